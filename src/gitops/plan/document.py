"""A Plan as a JSON document for programs: `gitops/plan/v1`. No contents of files, no tfplan.

Within v1 properties are only added. A change of meaning makes a v2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import orjson

from gitops.errors import GitopsError
from gitops.plan.model import (
    Base,
    FileChange,
    LeftAlone,
    ObjectChange,
    Plan,
    PoolUse,
    Refusal,
    ReleaseChange,
)
from gitops.plan.observed import ResourceChange
from gitops.values import Action, Owner

SCHEMA = "gitops/plan/v1"

Json = dict[str, Any]


def plan_document(plan: Plan) -> dict[str, object]:
    """The plan as plain data, keys in a fixed order; the counts of `changes` are exactly those of `summary`."""
    return {
        "schema": SCHEMA,
        "pipeline": plan.base.pipeline,
        "pending": plan.pending,
        "models": plan.models,
        "environments": list(plan.environments),
        "base": _base(plan.base),
        "summary": plan.summary(),
        "changes": list(_changes(plan)),
        "capacity": [_pool(use) for use in plan.capacity],
        "leftAlone": [_left_alone(item) for item in plan.left_alone],
        "unreachable": [{"cluster": item.unit, "reason": item.reason} for item in plan.unreachable],
        "waiting": [_left_alone(item) for item in plan.waiting],
        "registrations": [{"version": item.unit, "work": item.reason} for item in plan.registrations],
        "steps": [{"unit": step.unit, "message": step.message} for step in plan.steps],
        "outlook": [{"unit": item.unit, "lines": list(item.lines)} for item in plan.outlook],
        "warnings": list(plan.warnings),
        "refusals": [_refusal(item) for item in plan.refusals],
        "message": plan.message,
    }


def encode(value: object, *, default: Callable[[Any], Any] | None = None, pretty: bool = False) -> bytes:
    """Plain data as JSON, keys in the order they have. Raises GitopsError for what JSON cannot say."""
    try:
        return orjson.dumps(value, default, orjson.OPT_INDENT_2 if pretty else 0)
    except orjson.JSONEncodeError as error:
        raise GitopsError(
            f"this plan cannot be written as JSON ({error})",
            hint="look at it with `gitops plan` and mend the file or object that is not valid Unicode",
        ) from error


def _changes(plan: Plan) -> Iterator[Json]:
    for release in plan.releases:
        yield _release(release)
    for file in plan.files:
        yield _file(file)
    for change in plan.objects:
        yield _object(change)
    for cluster, line in plan.resources():
        yield from _resource(cluster, line)


def _base(base: Base) -> Json:
    return {
        "head": base.head,
        "spec": base.spec,
        "specCommit": base.spec_commit,
        "specModified": base.spec_modified,
        "engine": base.engine,
        "world": base.world,
        "live": base.live,
    }


def _release(change: ReleaseChange) -> Json:
    return {
        "kind": "release",
        "unit": str(change.unit),
        "action": change.action,
        "name": change.version or change.previous,
        "environment": change.unit.environment,
        "model": change.unit.model,
        "version": change.version,
        "previous": change.previous,
        "rollout": change.rollout,
        "decision": change.decision,
    }


def _file(change: FileChange) -> Json:
    return {
        "kind": "file",
        "unit": change.unit,
        "action": change.action,
        "name": change.path,
        "path": change.path,
    }


def _object(change: ObjectChange) -> Json:
    return {
        "kind": "object",
        "unit": change.unit,
        "action": change.action,
        "name": f"{change.ref.kind} {change.ref.name}",
        "cluster": change.cluster,
        "environment": change.environment,
        "namespace": change.ref.namespace,
        "apiVersion": change.ref.api_version,
        "reason": change.reason,
        "path": change.path,
        "fields": [
            {"path": item.path, "before": item.before, "after": item.after, "manager": item.manager}
            for item in change.fields
        ],
        "owner": _owner(change.owner),
    }


def _owner(owner: Owner | None) -> Json | None:
    if owner is None:
        return None
    return {"pipeline": owner.pipeline, "repository": owner.repository, "cluster": owner.cluster}


def _resource(cluster: str, line: ResourceChange) -> Iterator[Json]:
    replaces = line.action == "replace"
    # A replacement is one thing destroyed and one made: two changes, as Terraform counts them.
    actions: tuple[Action, ...] = ("delete", "create") if replaces else (line.action,)  # type: ignore[assignment]
    for action in actions:
        yield {
            "kind": "infrastructure",
            "unit": cluster,
            "action": action,
            "name": line.address,
            "cluster": cluster,
            "drifted": line.drifted,
            "attributes": list(line.attributes),
            "replaces": replaces,
        }


def _pool(use: PoolUse) -> Json:
    return {
        "cluster": use.cluster,
        "pool": use.pool,
        "gpuType": use.gpu_type,
        "before": use.before,
        "after": use.after,
        "peak": use.peak,
        "capacity": use.capacity,
        "hourlyBefore": use.hourly_before,
        "hourlyAfter": use.hourly_after,
        "hourlyPeak": use.hourly_peak,
        "live": use.live,
    }


def _left_alone(item: LeftAlone) -> Json:
    return {"unit": item.unit, "reason": item.reason}


def _refusal(item: Refusal) -> Json:
    return {"rule": item.rule, "message": item.message, "flag": item.flag, "units": list(item.units)}
