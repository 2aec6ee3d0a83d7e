"""How one model is rolled out: the spec's policy with everything that the state machine needs filled in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from gitops.spec.pipeline import BlueGreen, Canary, Rollout

Strategy = Literal["canary", "blue-green", "rolling", "shadow"]


class PolicyStep(NamedTuple):
    """A percentage of traffic (mirrored with `shadow`) and the seconds for which it is watched."""

    weight: int
    bake: int


@dataclass(frozen=True, slots=True)
class Policy:
    """All durations are seconds. Defaults are those of fields that the spec does not have yet."""

    strategy: Strategy
    steps: tuple[PolicyStep, ...] = ()
    """In growing order. `rolling` has none: its weight follows ready capacity."""
    gates: tuple[str, ...] = ()
    """Every one of these has to pass; one without a result has no data."""
    ready_timeout: int = 1800
    capacity_timeout: int = 3600
    """How long a rollout waits for room in the cluster before each weight."""
    warm_up: int = 60
    """Left out of every judgement after a change of weight."""
    no_data_deadline: int = 600
    no_data: Literal["pause", "roll-back"] = "pause"
    too_few_deadline: int = 1800
    too_few: Literal["pause", "roll-back", "advance"] = "pause"
    """`advance` declares that a step may be too short of requests to be judged; failing gates still stop it."""
    pause_timeout: int = 86_400
    pause_outcome: Literal["roll-back", "hold"] = "roll-back"
    """`hold` declares that a paused rollout waits for a person, for ever if need be."""
    lost_capacity: Literal["roll-back", "pause"] = "roll-back"
    """When the candidate's ready capacity falls below its weight."""
    keep_warm: int = 3600
    """How long the previous version keeps its pods after a promotion."""
    drain: int = 120
    """How long a version that lost its traffic keeps its pods, for requests that it still answers."""
    approvals: int = 0
    """How many people must approve a digest before it starts."""
    stride: int = 10
    """The smallest growth of a rolling update's weight, so that a hundred replicas are not a hundred commits."""

    def bake(self, load: int) -> int:
        """Seconds to watch at this percentage: of the last step that it reached."""
        reached = [step.bake for step in self.steps if step.weight <= load]
        return reached[-1] if reached else 0

    @property
    def settling(self) -> int:
        """Seconds after a change of weight that count for nothing; without gates there is nothing to leave out."""
        return self.warm_up if self.gates else 0

    def step_limit(self, load: int) -> int:
        """The longest that a rollout may stay at one percentage, whatever happens there."""
        reaching = self.capacity_timeout + self.ready_timeout + self.pause_timeout
        if load == 0:
            return reaching
        return reaching + self.settling + self.bake(load) + max(self.no_data_deadline, self.too_few_deadline)

    @property
    def longest(self) -> int:
        """The longest that a whole rollout may take: the sum of its declared deadlines."""
        loads = range(self.stride, 100, max(self.stride, 1)) if self.strategy == "rolling" else ()
        weights = {0, *loads, *(step.weight for step in self.steps), 100}
        return sum(self.step_limit(weight) for weight in weights)


def policy_of(rollout: Rollout) -> Policy:
    """The policy of a rollout as the spec declares it."""
    gates = tuple(gate.metric for gate in rollout.gates)
    if isinstance(rollout, Canary):
        steps = tuple(PolicyStep(step.weight, step.bake) for step in rollout.steps)
    else:
        steps = (PolicyStep(100, rollout.bake),) if isinstance(rollout, BlueGreen) else ()
    return Policy(rollout.strategy, steps, gates, rollout.ready_timeout)
