"""The words that text and Markdown share, kubectl's and Terraform's own where they have one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

import orjson

from gitops.plan.model import (
    Base,
    ClusterInfrastructure,
    ObjectChange,
    Plan,
    PoolUse,
    ReleaseChange,
)
from gitops.plan.observed import FieldChange, ResourceChange
from gitops.values import version_in_words
from gitops.view.terminal import clip, visible

SYMBOLS = {"create": "+", "update": "~", "delete": "-", "replace": "-/+", "read": "<="}
EMBEDDED = "EMBEDDED world: clusters are simulated on this machine, nothing real is touched"
OFFLINE = "OFFLINE: clusters and infrastructure were not looked at, only Git"

GROUPS = {
    "start": "Rollouts that start: traffic moves in the steps of the policy, as long as the gates pass",
    "roll-back": "Back to the stable version: the spec no longer names the one on its way",
    "clear": "Rejections that lapse: the spec names another version now",
    "": "At once: first releases, and changed configuration of what runs already",
    "delete": "Removed",
}
"""What happens to a release, by `group_of`, in the order of reading."""

_T = TypeVar("_T")


def count(number: int, noun: str) -> str:
    """`1 file`, `16 files`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def tally(actions: Iterable[str]) -> str:
    """`2 to create, 1 to delete`, in a fixed order; `nothing` for none."""
    counted = Counter(actions)
    order = ("create", "update", "replace", "delete")
    return ", ".join(f"{counted[action]:,} to {action}" for action in order if counted[action]) or "nothing"


def marks(actions: Iterable[str]) -> str:
    """The same in a few characters: `+2 -1`; a dash for none."""
    counted = Counter(actions)
    symbols = (("create", "+"), ("update", "~"), ("delete", "-"))
    return " ".join(f"{symbol}{counted[action]}" for action, symbol in symbols if counted[action]) or "—"


def title(plan: Plan) -> str:
    """What the plan is about."""
    parts = [count(plan.models, "model")] if plan.models else []
    if plan.environments:
        parts.append("environments " + ", ".join(plan.environments))
    return f"Plan for {plan.base.pipeline}" + (f" ({'; '.join(parts)})" if parts else "")


def based_on(base: Base) -> str:
    """The commits that the plan was computed from."""
    git = f"at {base.head[:7]}" if base.head else "without any commit yet"
    spec = f"at {base.spec_commit[:7]}" if base.spec_commit else f"not in Git ({clip(base.spec, 20)})"
    modified = ", with changes that are not committed" if base.spec_modified else ""
    return f"GitOps repository {git}; spec {spec}{modified}"


def caveats(base: Base) -> list[str]:
    """What a reader must know before believing the rest."""
    return [EMBEDDED] * (base.world == "embedded") + [OFFLINE] * (not base.live)


def verdict(plan: Plan) -> str:
    """The last line, in Terraform's style. It speaks only of what was looked at."""
    if not plan.pending:
        return _no_changes(plan)
    sums = {kind: sum(actions.values()) for kind, actions in plan.summary().items()}
    rollouts = release_words(plan) if any(change.decision for change in plan.releases) else ""
    kinds = f" ({rollouts})" if rollouts else ""
    git = f"Plan: {count(sums['release'], 'release')}{kinds}, {count(sums['file'], 'file')}"
    waiting = f" {waiting_words(plan)}." if plan.waiting else ""
    if plan.registrations:
        waiting = f" {count(len(plan.registrations), 'version')} to register first.{waiting}"
    if not (plan.base.live or sums["object"] or sums["infrastructure"]):
        return f"{git}. Clusters and infrastructure were not looked at.{waiting}"
    return (
        f"{git}, {count(sums['object'], 'object')}, {count(sums['infrastructure'], 'infrastructure change')}.{waiting}"
    )


def group_of(change: ReleaseChange) -> str:
    """The key of `GROUPS` that a release belongs to."""
    if change.action == "delete":
        return "delete"
    return change.decision if change.decision in GROUPS else ""


def groups(plan: Plan) -> list[tuple[str, list[ReleaseChange]]]:
    """Headings of `GROUPS` with their releases, those without any left out."""
    found = grouped((group_of(change), change) for change in plan.releases)
    return [(heading, found[key]) for key, heading in GROUPS.items() if key in found]


def release_words(plan: Plan) -> str:
    """`1 rollout starts, 2 at once`."""
    counted = Counter(group_of(change) for change in plan.releases)
    words = {
        "start": ("{} rollout starts", "{} rollouts start"),
        "roll-back": ("{} goes back", "{} go back"),
        "clear": ("{} rejection lapses", "{} rejections lapse"),
        "": ("{} at once", "{} at once"),
        "delete": ("{} removed", "{} removed"),
    }
    return ", ".join(
        forms[counted[key] != 1].format(f"{counted[key]:,}") for key, forms in words.items() if counted[key]
    )


def waiting_words(plan: Plan) -> str:
    """`1 unit waits`, `2 units wait`."""
    number = len(plan.waiting)
    return f"{count(number, 'unit')} {'waits' if number == 1 else 'wait'}"


def outlook_of(plan: Plan) -> dict[str, list[str]]:
    """For each unit what its rollout needs and can see."""
    return {item.unit: list(item.lines) for item in plan.outlook}


def version_words(change: ReleaseChange) -> str:
    """`2.3.0`, `2.2.0 → 2.3.0`, `2.3.0 (configuration)` or, of a rollout that goes back, `2.3.0 → 2.2.0`."""
    version, previous = version_in_words(change.version), version_in_words(change.previous)
    if change.decision == "roll-back":
        return f"{version} → {previous}"
    if change.decision == "clear":
        return version
    if change.action == "update":
        if change.previous == change.version:
            return f"{version} (configuration)"
        return f"{previous} → {version}"
    return version if change.action == "create" else previous or version


def object_words(change: ObjectChange, *, namespace: bool = False) -> str:
    """`+ Deployment support-chat-2-3-0`, and why if it is not the spec."""
    name = str(change.ref) if namespace else f"{change.ref.kind} {change.ref.name}"
    reason = _reason(change)
    return f"{SYMBOLS[change.action]} {name}" + (f"   ({reason})" if reason else "")


def field_words(change: FieldChange, width: int) -> str:
    """`spec.replicas: 5 → 3`, long values shortened so that their difference stays to be seen."""
    mark = f"   (changed by {change.manager})" if change.manager else ""
    limit = max((width - len(change.path) - len(mark) - 5) // 2, 24)
    before, after = value_words(change.before, change.after, limit)
    return f"{change.path}: {before} → {after}{mark}"


def value_words(before: object, after: object, limit: int) -> tuple[str, str]:
    """Both values as JSON, neither longer than `limit` (at least 24); different values give different words."""
    left, right = _value(before), _value(after)
    if max(len(left), len(right)) <= limit:
        return left, right
    # Images and digests differ at their end: what both begin with is the part to spare.
    spared = _shared(left, right) - 8
    if spared > 0:
        left, right = f"…{left[spared:]}", f"…{right[spared:]}"
    return clip(left, limit), clip(right, limit)


def resource_words(line: ResourceChange) -> str:
    """`~ aws_eks_node_group.h100   (scaling_config; drifted)`."""
    notes = [", ".join(line.attributes)] * bool(line.attributes) + ["drifted"] * line.drifted
    return f"{SYMBOLS[line.action]} {line.address}" + (f"   ({'; '.join(notes)})" if notes else "")


def infrastructure_words(cluster: ClusterInfrastructure, changes: list[ResourceChange]) -> str:
    """`aws-production: 49 to create (new cluster)`."""
    new = "" if cluster.exists else " (new cluster)"
    return f"{cluster.cluster}: {tally(line.action for line in changes)}{new}"


def gpus_now(use: PoolUse) -> str:
    """`2`, or `2 (4 live)` where autoscalers run more than the least."""
    return f"{use.before} ({use.live} live)" if use.live not in (None, use.before) else str(use.before)


def price(hourly: float | None) -> str:
    """US dollars an hour."""
    return "unknown" if hourly is None else f"{hourly:,.2f}"


def total_cost(capacity: Iterable[PoolUse]) -> str:
    """What all pools cost together, and whether some have no price."""
    pools = list(capacity)
    priced = [use for use in pools if None not in (use.hourly_before, use.hourly_after, use.hourly_peak)]
    if not priced:
        return "No pool declares a price, so the cost is unknown."
    before = sum(use.hourly_before or 0 for use in priced)
    after = sum(use.hourly_after or 0 for use in priced)
    peak = sum(use.hourly_peak or 0 for use in priced)
    unknown = len(pools) - len(priced)
    rest = f"; without {count(unknown, 'pool')} of unknown price" if unknown else ""
    return f"Together ${price(before)} → ${price(after)} an hour, ${price(peak)} at the peak{rest}."


def grouped(items: Iterable[tuple[str, _T]]) -> dict[str, list[_T]]:
    """Items by key, both in the order of their first appearance."""
    groups: dict[str, list[_T]] = {}
    for key, item in items:
        groups.setdefault(key, []).append(item)
    return groups


def unit_name(unit: str) -> str:
    """A unit for reading; what belongs to no unit is shared."""
    return unit or "(shared)"


def refused_heading(plan: Plan) -> str:
    """What refusals mean for the plan as a whole."""
    if plan.stopped:
        return "Refused: apply will not run this plan"
    units = sorted({unit for one in plan.refusals for unit in one.units})
    return f"Refused: apply leaves {count(len(units), 'unit')} as they are"


def _no_changes(plan: Plan) -> str:
    parts = ["what waits"] * bool(plan.waiting) + ["what is left alone"] * bool(plan.left_alone)
    parts += ["clusters that were not reached"] * bool(plan.unreachable)
    rest = f", except for {' and '.join(parts)}" if parts else ""
    if plan.base.live:
        return f"No changes. Git, clusters and infrastructure match the spec{rest}."
    return f"No changes. Git matches the spec{rest}; clusters and infrastructure were not looked at."


def _reason(change: ObjectChange) -> str:
    if change.reason == "foreign":
        return "not the pipeline's"
    if change.reason == "taken-over":
        return f"taken over by {', '.join(change.conflicts)}" if change.conflicts else "taken over"
    return {"spec": "", "missing": "missing in the cluster", "changed": "drifted", "surplus": "no longer wanted"}[
        change.reason
    ]


def _shared(left: str, right: str) -> int:
    pairs = enumerate(zip(left, right, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(left), len(right)))


def _value(value: object) -> str:
    if value is None:
        return "(not set)"
    try:
        return visible(orjson.dumps(value).decode())
    except orjson.JSONEncodeError:
        return visible(repr(value))
