"""How one model is rolled out: the spec's policy with everything that the state machine needs filled in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from gitops.spec.environment import Environment
from gitops.spec.promotion import waves_since
from gitops.spec.rollouts import BlueGreen, Canary, Rolling, Rollout, Shadow, ready_timeout

Strategy = Literal["canary", "blue-green", "rolling", "shadow"]
STRIDE = 10


class PolicyStep(NamedTuple):
    """A percentage of traffic (mirrored with `shadow`) and the seconds for which it is watched."""

    weight: int
    bake: int


@dataclass(frozen=True, slots=True)
class Policy:
    """All durations are seconds. Defaults are the spec's."""

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
    samples: int = 100
    """So many requests a gate needs before it says anything."""
    no_data_deadline: int = 600
    no_data: Literal["pause", "roll-back"] = "pause"
    too_few_deadline: int = 1800
    too_few: Literal["pause", "roll-back", "advance"] = "pause"
    """`advance` declares that a step may be too short of requests to be judged; failing gates still stop it."""
    pause_timeout: int = 86_400
    pause_outcome: Literal["roll-back", "hold"] = "roll-back"
    """`hold` declares that a paused rollout waits for a person, for ever if need be."""
    on_hold: Literal["wait", "roll-back"] = "wait"
    """When a gate is beyond a limit through no fault of the candidate."""
    lost_capacity: Literal["roll-back", "pause"] = "roll-back"
    """When the candidate's ready capacity is below its weight for as long as `lost_after`."""
    lost_after: int = 60
    """A pod that is not ready at one look is no lost capacity: it has to be so for several."""
    keep_warm: int = 3600
    """How long the previous version keeps its pods after a promotion."""
    drain: int = 120
    """How long a version that lost its traffic keeps its pods, for requests that it still answers."""
    approvals: int = 0
    """How many people must approve a digest before it starts."""
    stride: int = STRIDE
    """The smallest growth of a rolling update's weight, so that a hundred replicas are not a hundred commits."""
    clusters: tuple[tuple[str, ...], ...] = ()
    """The clusters by wave: a rollout that starts keeps to them to its end."""
    waves: int = 1
    """How many groups of clusters the rollout goes through one after another; each walks all steps."""

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
        return self.waves * sum(self.step_limit(weight) for weight in weights)


def policy_of(
    rollout: Rollout,
    environment: Environment | None = None,
    load_time: int = 0,
    begun: Sequence[Sequence[str]] = (),
) -> Policy:
    """The policy of a rollout as the spec declares it, in an environment that may ask for approvals and waves, for a
    model that loads for so many seconds. `begun` are the waves with which one under way began.
    """
    approvals = environment.approvals if environment else None
    waves = waves_since(environment, begun) if environment else ()
    return Policy(
        strategy=rollout.strategy,
        steps=_steps(rollout),
        gates=tuple(gate.key for gate in rollout.gates),
        ready_timeout=ready_timeout(rollout, load_time),
        capacity_timeout=rollout.capacity_timeout,
        warm_up=rollout.warm_up,
        samples=rollout.too_few_samples.minimum,
        no_data_deadline=rollout.no_data.after,
        no_data=rollout.no_data.then,
        too_few_deadline=rollout.too_few_samples.after,
        too_few=rollout.too_few_samples.then,
        pause_timeout=rollout.pause_timeout,
        pause_outcome=rollout.after_pause_timeout,
        on_hold=rollout.on_hold,
        lost_capacity=rollout.lost_capacity,
        keep_warm=rollout.keep_warm,
        drain=rollout.drain,
        approvals=approvals.required if approvals else 0,
        stride=rollout.stride if isinstance(rollout, Rolling) else STRIDE,
        clusters=waves,
        waves=max(1, len(waves)),
    )


def _steps(rollout: Rollout) -> tuple[PolicyStep, ...]:
    """What stable holds back is missing in the last one; the promotion then takes it."""
    if isinstance(rollout, Shadow):
        return tuple(PolicyStep(step.weight, step.bake) for step in rollout.steps)
    if isinstance(rollout, Canary):
        return tuple(PolicyStep(min(step.weight, 100 - rollout.holdback), step.bake) for step in rollout.steps)
    return (PolicyStep(100 - rollout.holdback, rollout.bake),) if isinstance(rollout, BlueGreen) else ()
