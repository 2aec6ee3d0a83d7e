"""A plan without some of its units: what is left of it can be done all the same."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType

from gitops.plan.model import LeftAlone, Plan
from gitops.plan.stored import CLUSTERS
from gitops.spec.resolved import Spec


def without(plan: Plan, reasons: Mapping[str, str]) -> Plan:
    """Nothing is done for these units (or a cluster's own files), and the plan says why. Its message is not changed."""
    if not reasons:
        return plan
    alone = {item.unit for item in plan.left_alone}
    return replace(
        plan,
        releases=tuple(change for change in plan.releases if str(change.unit) not in reasons),
        files=tuple(change for change in plan.files if change.unit not in reasons),
        steps=tuple(step for step in plan.steps if step.unit not in reasons),
        objects=tuple(change for change in plan.objects if change.unit not in reasons),
        infrastructure=tuple(entry for entry in plan.infrastructure if entry.cluster not in reasons),
        outlook=tuple(item for item in plan.outlook if item.unit not in reasons),
        seen=MappingProxyType({name: record for name, record in plan.seen.items() if name not in reasons}),
        left_alone=(*plan.left_alone, *(LeftAlone(*one) for one in reasons.items() if one[0] not in alone)),
    )


def refused_units(plan: Plan) -> dict[str, str]:
    """The units that rules leave as they are, and which rule it is."""
    return {unit: f"refused by the rule {one.rule}" for one in plan.refusals for unit in one.units}


def out_of_reach(spec: Spec, plan: Plan) -> dict[str, str]:
    """What waits for clusters that cannot be reached: their own files, units that run nowhere else, and versions that
    would start where nobody can see whether they get ready. Anything else goes on, and they follow later."""
    away = {item.unit for item in plan.unreachable}
    if not away:
        return {}
    found = dict.fromkeys(sorted(away & {change.unit for change in plan.files}), "it cannot be reached")
    stepping = {step.unit for step in plan.steps}
    for unit, clusters in _clusters(spec, plan).items():
        missing = sorted(away & set(clusters))
        if missing and (unit in stepping or len(missing) == len(clusters)):
            found[unit] = f"{', '.join(missing)} cannot be reached"
    return found


def _clusters(spec: Spec, plan: Plan) -> dict[str, Collection[str]]:
    """Where each unit that changes runs; one that left the spec runs where it has files."""
    found: dict[str, set[str]] = {}
    for change in plan.files:
        parts = change.path.split("/")
        clusters = found.setdefault(change.unit, set())
        if parts[0] == CLUSTERS:
            clusters.add(parts[1])
    for unit, clusters in found.items():
        environment = spec.environments.get(unit.partition("/")[0])
        if environment and "/" in unit:
            clusters.update(environment.clusters)
    return {unit: clusters for unit, clusters in found.items() if "/" in unit and clusters}
