"""From differences between desired and live objects to changes of a plan, and the order of apply."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from gitops.plan.model import ObjectChange, Reason
from gitops.plan.observed import Difference
from gitops.plan.stored import owner_of
from gitops.values import LABEL_ENVIRONMENT, LABEL_VERSION, Action, Manifest, ObjectRef

_ACTIONS: dict[str, Action] = {
    "missing": "create",
    "changed": "update",
    "taken-over": "update",
    "surplus": "delete",
    "foreign": "update",
}

NAMESPACES, CONFIGURATION, WORKLOADS, ROUTES = range(4)
"""Phases of apply. Between WORKLOADS and ROUTES it waits until the new version can serve; deletion comes last."""

_PHASE_OF_KIND = {
    "Namespace": NAMESPACES,
    "ServiceAccount": CONFIGURATION,
    "ConfigMap": CONFIGURATION,
    "NetworkPolicy": CONFIGURATION,
    "PodMonitor": CONFIGURATION,
    "PodDisruptionBudget": CONFIGURATION,
    "Deployment": WORKLOADS,
    "HorizontalPodAutoscaler": WORKLOADS,
    "ScaledObject": WORKLOADS,
    "HTTPRoute": ROUTES,
    "VirtualService": ROUTES,
}


def phase_of(manifest: Manifest) -> int:
    """When apply sends this object. A Service without a version carries traffic, so it is a route."""
    kind = manifest["kind"]
    if kind == "Service":
        return CONFIGURATION if LABEL_VERSION in manifest["metadata"].get("labels", {}) else ROUTES
    return _PHASE_OF_KIND[kind]


def object_changes(
    cluster: str,
    differences: Iterable[Difference],
    desired: Mapping[ObjectRef, tuple[str, Manifest]],
    changed_paths: Collection[str],
) -> Iterator[ObjectChange]:
    """A change for every difference. `desired` gives path and manifest; `changed_paths` are files that this plan
    changes, so that a reader can tell an edit of the spec from drift.
    """
    changed_units = {owner_of(path) for path in changed_paths}
    for difference in differences:
        path, manifest = desired.get(difference.ref, ("", {}))
        unit = owner_of(path) if path else difference.unit or cluster
        yield ObjectChange(
            unit=unit,
            cluster=cluster,
            environment=_environment(manifest, unit),
            action=_ACTIONS[difference.kind],
            ref=difference.ref,
            reason=_reason(difference, path in changed_paths or (not path and unit in changed_units)),
            path=path,
            uid=difference.uid,
            fields=difference.fields,
            owner=difference.owner,
        )


def created(cluster: str, desired: Mapping[ObjectRef, tuple[str, Manifest]]) -> Iterator[ObjectChange]:
    """Every desired object as a creation: for a cluster that does not exist yet."""
    differences = (Difference(ref, "missing") for ref in desired)
    return object_changes(cluster, differences, desired, {path for path, _ in desired.values()})


def _reason(difference: Difference, by_this_plan: bool) -> Reason:
    if difference.kind in ("taken-over", "foreign"):
        return difference.kind
    return "spec" if by_this_plan else difference.kind


def _environment(manifest: Manifest, unit: str) -> str:
    labels: Mapping[str, str] = manifest.get("metadata", {}).get("labels", {}) if manifest else {}
    return labels.get(LABEL_ENVIRONMENT, unit.split("/")[0] if "/" in unit else "")
