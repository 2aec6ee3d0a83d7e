"""What happened in a simulated rollout, and in many of them."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Literal, NamedTuple

from gitops.rollout.phases import Kind

Outcome = Literal["promoted", "rolled back", "paused", "unfinished"]
"""`paused`: it waits for a person, for ever if need be. `unfinished`: the data ended before the rollout did."""


class Moment(NamedTuple):
    """One decision that changed something. `at` is in seconds since the rollout was due; weights are percent."""

    at: int
    kind: Kind
    weight: int
    mirror: int
    wave: int
    sentence: str
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """What happened, in order, and how it ended."""

    moments: tuple[Moment, ...]
    outcome: Outcome
    seconds: int
    load: int
    """The last percentage of requests that reached the candidate."""
    sentence: str
    onset: int | None = None
    """When the first declared fault began, in seconds like `Moment.at`; None if none did."""

    @property
    def stopped(self) -> int | None:
        """When the rollout was first paused or rolled back; None if it never was."""
        return next((one.at for one in self.moments if one.kind in ("pause", "roll-back")), None)

    @property
    def detected(self) -> int | None:
        """Seconds from the beginning of the fault until the rollout was stopped; None if it was not, or before."""
        if self.onset is None or self.stopped is None or self.stopped < self.onset:
            return None
        return self.stopped - self.onset


@dataclass(frozen=True, slots=True)
class Repeated:
    """The same rollout with other luck, again and again."""

    timelines: tuple[Timeline, ...]

    def ended(self, outcome: Outcome) -> tuple[Timeline, ...]:
        """Those that ended so."""
        return tuple(one for one in self.timelines if one.outcome == outcome)

    @property
    def early(self) -> int:
        """How many were stopped while nothing was wrong."""
        return sum(one.stopped is not None and (one.onset is None or one.stopped < one.onset) for one in self.timelines)

    @property
    def detection(self) -> float | None:
        """The median of seconds from the beginning of the fault until a rollout was stopped, of those that were."""
        found = [one.detected for one in self.timelines if one.detected is not None]
        return median(found) if found else None
