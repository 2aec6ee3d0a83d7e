"""Pure: what `terraform show -json` says about a saved plan, as a frozen value."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Literal

from gitops.world.ports import InfrastructurePlan, ResourceChange
from gitops.world.terraform.diagnostics import TerraformError

Action = Literal["create", "update", "delete", "replace", "read"]
Json = Mapping[str, Any]

_ACTIONS: dict[tuple[str, ...], Action | None] = {
    ("no-op",): None,
    ("create",): "create",
    ("read",): "read",
    ("update",): "update",
    ("delete",): "delete",
    ("delete", "create"): "replace",
    ("create", "delete"): "replace",
}
_CLUSTERS = frozenset({"aws_eks_cluster", "google_container_cluster", "azurerm_kubernetes_cluster"})


@dataclass(frozen=True)
class TerraformPlan(InfrastructurePlan):
    """A saved tfplan and what it does.

    `changes` and `drift` name attributes and never hold values. `drift` is what somebody else changed and this
    plan would set right; a change that Terraform is told to ignore, such as an autoscaler's, is not in it.
    `outputs` are the root's outputs as far as they are known and not sensitive, other types than strings as JSON.
    """

    outputs: Mapping[str, str] = field(default_factory=dict)
    changed_outputs: tuple[str, ...] = ()

    @property
    def tfplan(self) -> bytes:
        """The saved plan file's content."""
        return self.saved

    @property
    def empty(self) -> bool:
        """Applying it would change neither a resource nor an output."""
        return not self.changes and not self.changed_outputs


def read_plan(shown: Json, saved: bytes) -> TerraformPlan:
    """The plan in `shown`, the parsed output of `terraform show -json`. `saved` is the plan file's content."""
    planned = {entry["address"]: entry["change"] for entry in shown.get("resource_changes", ())}
    found = (_drift(entry, planned.get(entry["address"], {})) for entry in shown.get("resource_drift", ()))
    drift = tuple(change for change in found if change is not None)
    changes = tuple(_changes(shown.get("resource_changes", ()), {change.address for change in drift}))
    return TerraformPlan(
        changes=changes,
        drift=drift,
        exists=_has_cluster(shown.get("prior_state", {})),
        saved=saved,
        outputs=known_outputs(shown.get("planned_values", {}).get("outputs", {})),
        changed_outputs=_changed_outputs(shown.get("output_changes", {})),
    )


def known_outputs(outputs: Json) -> dict[str, str]:
    """Outputs that have a value and are not sensitive, other types than strings as JSON."""
    return {
        name: entry["value"] if isinstance(entry["value"], str) else json.dumps(entry["value"], sort_keys=True)
        for name, entry in outputs.items()
        if not entry.get("sensitive") and entry.get("value") is not None
    }


def _changes(entries: Any, drifted: Set[str]) -> Iterator[ResourceChange]:
    for entry in entries:
        actions = tuple(entry["change"]["actions"])
        if actions not in _ACTIONS:
            raise TerraformError(f"this version does not know the Terraform action {'/'.join(actions)}")
        action = _ACTIONS[actions]
        if action is not None:
            yield ResourceChange(
                address=entry["address"],
                action=action,
                drifted=entry["address"] in drifted,
                attributes=_attributes(entry["change"], action),
            )


def _drift(entry: Json, planned: Json) -> ResourceChange | None:
    """What happened outside, as far as the planned change undoes it; None if it undoes nothing."""
    action = _ACTIONS.get(tuple(entry["change"]["actions"]))
    if action == "delete":
        gone = planned.get("actions", ["no-op"]) != ["no-op"]
        return ResourceChange(address=entry["address"], action=action, drifted=True) if gone else None
    before, outside = (entry["change"].get(key) or {} for key in ("before", "after"))
    after, unknown = planned.get("after"), planned.get("after_unknown") or {}
    if action is None or after is None:
        return None
    undone = {
        name
        for name in {*before, *outside} - {name for name in unknown if unknown[name]}
        if _undone(before.get(name), outside.get(name), after.get(name))
    }
    if not undone:
        return None
    attributes = tuple(sorted(undone))
    return ResourceChange(address=entry["address"], action=action, drifted=True, attributes=attributes)


def _undone(before: object, outside: object, after: object) -> bool:
    """Whether some value that moved from `before` to `outside` does not stay there.

    Down to single values, because an autoscaler's moves and ours meet in one attribute. Null and empty are equal.
    """
    if not _differs(before, outside) or not _differs(outside, after):
        return False
    if isinstance(before, dict) and isinstance(outside, dict) and isinstance(after, dict):
        names = {*before, *outside, *after}
        return any(_undone(before.get(name), outside.get(name), after.get(name)) for name in names)
    if not (isinstance(before, list) and isinstance(outside, list) and isinstance(after, list)):
        return True
    return not len(before) == len(outside) == len(after) or any(map(_undone, before, outside, after))


def _attributes(change: Json, action: Action) -> tuple[str, ...]:
    """Names of the top-level attributes that an update or a replacement changes."""
    if action not in ("update", "replace"):
        return ()
    before, after, unknown = (change.get(key) or {} for key in ("before", "after", "after_unknown"))
    differing = {name for name in {*before, *after} if _differs(before.get(name), after.get(name))}
    if action == "replace":
        # Everything computed is unknown in a replacement; the reasons are what a reader wants.
        reasons = {str(path[0]) for path in change.get("replace_paths", ()) if path}
        return tuple(sorted(reasons or {name for name in differing if not unknown.get(name)}))
    return tuple(sorted(differing | {name for name, value in unknown.items() if value is True}))


def _differs(before: object, after: object) -> bool:
    empty: tuple[object, ...] = (None, "", [], {})
    return before != after and not (before in empty and after in empty)


def _changed_outputs(changes: Json) -> tuple[str, ...]:
    return tuple(sorted(name for name, change in changes.items() if change["actions"] != ["no-op"]))


def _has_cluster(state: Json) -> bool:
    return any(kind in _CLUSTERS for kind in _types(state.get("values", {}).get("root_module", {})))


def _types(module: Json) -> Iterator[str]:
    for resource in module.get("resources", ()):
        if resource.get("mode", "managed") == "managed":
            yield resource["type"]
    for child in module.get("child_modules", ()):
        yield from _types(child)
