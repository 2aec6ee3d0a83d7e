"""Where a rollout goes next, wave by wave, and what it needs there: policy, state and observation side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gitops.rollout.judgement import Judgement, judge
from gitops.rollout.load import Loads, grown
from gitops.rollout.observation import Objection, Observation
from gitops.rollout.policy import Policy
from gitops.rollout.state import Candidate, RolloutState


class Goal(NamedTuple):
    """What the rollout goes for next: a percentage of requests in one wave. Reaching the last one promotes.

    Earlier waves give the candidate everything once the goal is reached, so that the last goal is all traffic.
    """

    wave: int
    load: int
    last: bool


class Shortage(NamedTuple):
    """A wave in whose clusters the candidate is not known to be able to carry what it should."""

    wave: int
    ready: int | None
    wanted: int


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that a rule looks at."""

    policy: Policy
    state: RolloutState
    seen: Observation

    def elapsed(self, since: int) -> int:
        """Seconds since then; none when the clock stepped back."""
        return max(0, self.seen.now - since)

    @property
    def waves(self) -> int:
        """How many groups of clusters there are."""
        return max(1, self.policy.waves)

    @property
    def line(self) -> str:
        """For whom it waits, for a sentence; nothing where it is not its turn that it waits for."""
        return f", after {' and '.join(self.seen.behind)}" if self.seen.behind else ""

    @property
    def load(self) -> Loads:
        """What every version has to be sized for now: it only grows while there are several."""
        return grown(self.state.load, self.seen.load)

    @property
    def known(self) -> tuple[str, ...]:
        """The rejections in earlier environments that whoever asks for something now is told of."""
        return tuple(one.key for one in self.seen.objections)

    @property
    def frozen(self) -> str:
        """Why nothing may grow now; empty when it may."""
        return self.seen.freeze

    @property
    def stable(self) -> str:
        """Stable's version for a sentence."""
        return self.state.stable.words if self.state.stable else "nothing"


@dataclass(frozen=True, slots=True)
class Course(Case):
    """A case with a rollout under way: where it stands, and what it needs to go on."""

    candidate: Candidate

    @property
    def judgement(self) -> Judgement:
        """What the gates say; nothing before the first request reaches the candidate."""
        if self.candidate.load == 0:
            return Judgement()
        return judge(self.policy.gates, self.seen.results, self.candidate.tolerated)

    @property
    def objections(self) -> tuple[Objection, ...]:
        """Rejections in earlier environments that no person has accepted for this rollout."""
        return tuple(one for one in self.seen.objections if one.key not in self.candidate.despite)

    @property
    def frozen(self) -> str:
        """A hotfix goes on through a freeze."""
        return "" if self.candidate.hotfix else self.seen.freeze

    @property
    def wave(self) -> int:
        """The present wave; the last one if an edit took away the one that it was in."""
        return min(self.candidate.wave, self.waves - 1)

    @property
    def loads(self) -> tuple[int, ...]:
        """Percentage of requests that reach the candidate in each wave, answered or mirrored."""
        return tuple(max(one.candidate, one.mirror) for one in self.state.weights(self.waves))

    @property
    def goal(self) -> Goal:
        """The next weight by weight, not by index: the policy may have changed since the last one."""
        last = self.waves - 1
        if self.state.stable is None or self.candidate.stage == "promoting":
            return Goal(last, 100, last=True)
        reached = self.candidate.load if self.policy.strategy == "shadow" else self.candidate.weight
        if ahead := self._after(reached, self.wave):
            return Goal(self.wave, ahead, last=False)
        if self.wave < last:
            return Goal(self.wave + 1, self._after(0, self.wave + 1), last=False)
        return Goal(last, 100, last=True)

    def _after(self, reached: int, wave: int) -> int:
        """The next percentage in a wave; 0 when none is left. A rolling update follows ready capacity."""
        if self.policy.strategy == "rolling":
            least = reached + max(1, self.policy.stride)
            return min(100, max(least, self.ready_in(wave) or 0)) if reached < 100 else 0
        steps = [min(step.weight, 100) for step in self.policy.steps if step.weight > 0] or [100]
        return min((weight for weight in steps if weight > reached), default=0)

    # --- Capacity --------------------------------------------------------------------------------------------

    def ready_in(self, wave: int) -> int | None:
        """Percentage of traffic that the candidate is known to be able to carry in a wave's clusters."""
        if wave == self.wave:
            return self.seen.ready
        return self.seen.ready_waves[wave] if wave < len(self.seen.ready_waves) else None

    def shortages(self, wanted: Sequence[int]) -> tuple[Shortage, ...]:
        """Where it is not known to be able to carry these percentages, one for each wave."""
        found = (Shortage(wave, self.ready_in(wave), load) for wave, load in enumerate(wanted))
        return tuple(one for one in found if one.wanted and (one.ready is None or one.ready < one.wanted))

    @property
    def missing(self) -> tuple[Shortage, ...]:
        """Where it is not known to have what it had when it got its weight; a load that grew since is no loss."""
        if not self.seen.held:
            return self.shortages(self.loads)
        told = (*self.seen.held, *(None,) * self.waves)
        found = (Shortage(wave, told[wave], load) for wave, load in enumerate(self.loads))
        return tuple(one for one in found if one.wanted and (one.ready is None or one.ready < one.wanted))

    @property
    def lost(self) -> tuple[Shortage, ...]:
        """Where it is known to have less than that."""
        return tuple(one for one in self.missing if one.ready is not None)

    @property
    def answered(self) -> int:
        """The largest percentage of requests that it answers in any wave."""
        return max(one.candidate for one in self.state.weights(self.waves))

    @property
    def gains_by_going_back(self) -> bool:
        """Whether stable alone carries as much as it does with what is left of the candidate; not where it is unknown.

        All in percent of the traffic that there is.
        """
        alone = self.seen.stable_ready
        if alone is None or not self.answered:
            return not self.answered
        left = min((one.ready for one in self.lost if one.ready is not None), default=self.answered)
        return min(alone, 100) >= min(alone, 100 - self.answered) + min(left, self.answered)

    @property
    def stranded(self) -> bool:
        """Whether the candidate answers requests, and stable has nothing that could take them."""
        return self.state.stable is not None and self.answered > 0 and self.seen.stable_ready == 0

    @property
    def wanted(self) -> tuple[int, ...]:
        """What the candidate carries in each wave once the goal is reached."""
        goal = self.goal
        return (*(100,) * goal.wave, goal.load, *(0,) * (self.waves - goal.wave - 1))

    @property
    def everywhere(self) -> tuple[int, ...]:
        """All traffic in each wave."""
        return (100,) * self.waves

    def sized(self, wanted: Sequence[int]) -> tuple[int, ...]:
        """What it has to be rendered for to carry that: never less than it is. A rolling update grows at once."""
        whole = self.policy.strategy == "rolling"
        asked = (100 if whole and load else load for load in wanted)
        return tuple(max(pair) for pair in zip(self.state.scales(self.waves), asked, strict=True))

    def place(self, wave: int) -> str:
        """Where, for a sentence; nothing when all clusters go together."""
        return f" in wave {wave + 1} of {self.waves}" if self.waves > 1 else ""

    @property
    def ahead(self) -> str:
        """The goal, for a sentence."""
        return f"{self.goal.load} %{self.place(self.goal.wave)}"
