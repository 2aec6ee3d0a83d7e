"""The state of one unit's rollout, as the release record keeps it. Values only; times are whole seconds of an epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from gitops.rollout.phases import Phase, Stage

PauseCause = Literal["person", "gate", "no data", "capacity"]
"""Who or what stopped it. Only a person's pause never ends by itself."""


class ModelVersion(NamedTuple):
    """A version by its name and by the digest of its artifact."""

    version: str
    digest: str


class Traffic(NamedTuple):
    """Percent of requests that stable and candidate answer, and percent mirrored to the candidate."""

    stable: int
    candidate: int
    mirror: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Why a rollout stands still; `by` names the person, if it was one."""

    cause: PauseCause
    reason: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version on its way.

    `weight` is its percentage of traffic, `mirror` its percentage of mirrored requests, `scale` the percentage of
    traffic that it is rendered to carry, never below `weight`. `step` counts weights set so far.
    `started` is the begin of the rollout, `since` of the present weight, `entered` of the present phase.
    """

    version: ModelVersion
    stage: Stage
    scale: int
    started: int
    since: int
    entered: int
    step: int = 0
    weight: int = 0
    mirror: int = 0
    pause: Pause | None = None
    tolerated: tuple[str, ...] = ()
    """Gates whose warnings a person accepted at the present weight."""

    @property
    def load(self) -> int:
        """Percentage of requests that reach it, answered or mirrored."""
        return max(self.weight, self.mirror)


@dataclass(frozen=True, slots=True)
class Kept:
    """A version without traffic whose pods still run, until `until`; its last requests are over at `drained`."""

    version: ModelVersion
    drained: int
    until: int
    previous: bool = False
    """It was stable, so that a rollback without a version goes to it."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A version that gets no traffic again until the spec names another digest or a person retries it."""

    version: ModelVersion
    reason: str
    at: int


class Approval(NamedTuple):
    """A person's consent to one digest."""

    digest: str
    by: str


@dataclass(frozen=True, slots=True)
class RolloutState:
    """Everything that the next step needs. Without a candidate nothing is under way."""

    stable: ModelVersion | None = None
    candidate: Candidate | None = None
    kept: tuple[Kept, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    approvals: tuple[Approval, ...] = ()

    @property
    def phase(self) -> Phase:
        """Where the rollout stands."""
        if self.candidate is None:
            return "idle"
        return "paused" if self.candidate.pause else self.candidate.stage

    @property
    def traffic(self) -> Traffic:
        """Who gets which percentage of traffic; before the first deployment is ready nobody gets any."""
        weight, mirror = (self.candidate.weight, self.candidate.mirror) if self.candidate else (0, 0)
        return Traffic(100 - weight if self.stable else 0, weight, mirror)

    def rejection(self, digest: str) -> Rejection | None:
        """Why this digest is rejected, or None."""
        return next((one for one in self.rejected if one.version.digest == digest), None)
