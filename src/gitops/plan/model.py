"""The Plan: everything that would happen, as one frozen value that apply, views and CI all read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from gitops.plan.observed import FieldChange, ResourceChange
from gitops.values import Action, ObjectRef, Owner, UnitKey

ChangeKind = Literal["release", "file", "object", "infrastructure"]
Reason = Literal["spec", "missing", "changed", "taken-over", "surplus", "foreign"]


@dataclass(frozen=True, slots=True)
class Base:
    """What a plan was computed from. A saved plan is good only while all of it still holds."""

    pipeline: str
    head: str | None
    """Commit of the GitOps repository; None while it has none."""
    spec: str
    """Digest of the spec's files."""
    engine: str
    """Digest of templates and engine version."""
    world: Literal["real", "embedded"]
    live: bool
    """Whether clusters and infrastructure were looked at (`--offline` leaves them out)."""
    spec_commit: str = ""
    spec_modified: bool = False


@dataclass(frozen=True, slots=True)
class Making:
    """What a plan was made with beside its base: with the same, the same base gives the same plan again."""

    now: int = 0
    """Seconds of the epoch."""
    ids: tuple[str, ...] = ()
    """The name of the commit of everything that happens at once, then those of the rollouts, in their order."""


@dataclass(frozen=True, slots=True)
class ReleaseChange:
    """A unit whose release changes. An `update` to the same version means that its configuration changed."""

    unit: UnitKey
    action: Action
    version: str
    previous: str
    rollout: str
    """What the policy is, in words: `careful (canary 1 % → 10 % → 50 % → 100 %)`."""
    decision: str = ""
    """What its rollout does (`start`, `roll-back`); empty for what happens at once."""
    digest: str = ""
    """Of the artifact that is stable then, for what happens at once."""


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file of the GitOps repository: `content` is what it becomes, None when it is deleted."""

    unit: str
    action: Action
    path: str
    content: bytes | None = field(repr=False)
    diff: str = field(default="", repr=False)
    """Unified diff for updates, empty otherwise."""


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step of a unit's rollout: a commit of its own, after everything else that the plan commits."""

    unit: str
    message: str
    files: Mapping[str, bytes | None] = field(repr=False)
    """What the commit sets (bytes) and removes (None), by path."""
    goes_back: bool = False
    """It takes traffic away from a version: routes come before anything else."""


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """A live object that apply creates, updates or deletes, and why.

    reason: `foreign` when what is there belongs to somebody else, `spec` when this very plan changes what is desired
    of it, otherwise the kind of drift.
    """

    unit: str
    cluster: str
    environment: str
    action: Action
    ref: ObjectRef
    reason: Reason
    path: str = ""
    """The file that holds the desired object; empty for deletions."""
    uid: str = ""
    fields: tuple[FieldChange, ...] = ()
    owner: Owner | None = None
    """Whose the live object is by its marks, where the repository's history does not show that it is ours."""

    @property
    def conflicts(self) -> tuple[str, ...]:
        """The other field managers that claim what we set, each once; an owner's own is no conflict of fields."""
        if self.reason not in ("taken-over", "foreign"):
            return ()
        return tuple(dict.fromkeys(change.manager for change in self.fields if change.manager))


@dataclass(frozen=True, slots=True)
class ClusterInfrastructure:
    """What Terraform would do for one cluster; `saved` is the tfplan that apply runs exactly."""

    cluster: str
    exists: bool
    resources: tuple[ResourceChange, ...]
    saved: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class PoolUse:
    """GPUs of one pool: what runs by the records, what will when every rollout is over and nothing is kept any more,
    the most in between if all units are at their largest at once, and what the pool can hold.

    Autoscaled models count with their least replicas; what really runs is `live`. Prices are US dollars an hour for
    the nodes that those GPUs need; None when the pool declares no price.
    """

    cluster: str
    pool: str
    gpu_type: str
    before: int
    after: int
    peak: int
    capacity: int
    hourly_before: float | None
    hourly_after: float | None
    hourly_peak: float | None
    live: int | None = None
    """GPUs that versions take now by their cluster; None where it was not asked."""


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """A unit that the spec would change, but this plan does not, and why."""

    unit: str
    reason: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is ahead of a unit's rollout when nothing goes wrong, and what it could see of what does: a sentence a line.

    For units whose rollout starts with the plan, and for those that wait for something else.
    """

    unit: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A safety rule that stops apply; `flag` overrules it, where one does.

    `units` are what it is about, units or a cluster's own files: they are left as they are, and all else is done.
    Without any it is about the run: nothing is done.
    """

    rule: str
    message: str
    flag: str = ""
    units: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What would happen, and from what that was computed. Apply does exactly this or refuses."""

    base: Base
    releases: tuple[ReleaseChange, ...] = ()
    files: tuple[FileChange, ...] = ()
    objects: tuple[ObjectChange, ...] = ()
    infrastructure: tuple[ClusterInfrastructure, ...] = ()
    capacity: tuple[PoolUse, ...] = ()
    left_alone: tuple[LeftAlone, ...] = ()
    unreachable: tuple[LeftAlone, ...] = ()
    """Clusters that could not be looked at, and why; nothing is done there."""
    waiting: tuple[LeftAlone, ...] = ()
    """Units that do not run yet what the spec names, and what each waits for."""
    registrations: tuple[LeftAlone, ...] = ()
    """Versions (`MODEL VERSION`) to build or validate before they can be released, and what is done for each."""
    steps: tuple[PlannedStep, ...] = ()
    """Steps of rollouts; what they change is among `files` as well."""
    outlook: tuple[Outlook, ...] = ()
    warnings: tuple[str, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    message: str = ""
    """The message of the commit of everything but the steps; empty when there is no such commit."""
    seen: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """For every unit that changes: the id of its release record at `base.head`, empty when there was none."""
    models: int = 0
    environments: tuple[str, ...] = ()
    making: Making = Making()

    @property
    def at_once(self) -> tuple[FileChange, ...]:
        """The files of the first commit: all but those of units that take a step of their rollout."""
        stepping = {step.unit for step in self.steps}
        return tuple(change for change in self.files if change.unit not in stepping)

    @property
    def stopped(self) -> tuple[Refusal, ...]:
        """The refusals that stop the whole run."""
        return tuple(one for one in self.refusals if not one.units)

    @property
    def pending(self) -> bool:
        """Whether there is anything to do, or refused: the prompt, the exit code and CI all ask this."""
        changes = (self.releases, self.files, self.objects, self.registrations, self.refusals)
        return any(changes) or any(self.resources())

    def resources(self) -> Iterator[tuple[str, ResourceChange]]:
        """Every infrastructure change with its cluster; reads are no changes."""
        for cluster in self.infrastructure:
            for line in cluster.resources:
                if line.action != "read":
                    yield cluster.cluster, line

    def summary(self) -> dict[str, dict[str, int]]:
        """Counts by kind of change and action; every kind and action is present."""
        counted: Counter[tuple[str, str]] = Counter()
        counted.update(("release", change.action) for change in self.releases)
        counted.update(("file", change.action) for change in self.files)
        counted.update(("object", change.action) for change in self.objects)
        for _, line in self.resources():
            # A replacement is one thing destroyed and one made, as Terraform itself counts it.
            actions = ("create", "delete") if line.action == "replace" else (line.action,)
            counted.update(("infrastructure", action) for action in actions)
        kinds: tuple[ChangeKind, ...] = ("release", "file", "object", "infrastructure")
        actions_: tuple[Action, ...] = ("create", "update", "delete")
        return {kind: {action: counted[kind, action] for action in actions_} for kind in kinds}
