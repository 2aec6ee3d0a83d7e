"""Short ways to write policies, states and looks for the tests of rollouts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gitops.rollout.machine import Decision, step
from gitops.rollout.observation import Command, CommandKind, Observation
from gitops.rollout.policy import Policy, PolicyStep
from gitops.rollout.state import Kept, ModelVersion, RolloutState
from gitops.rollout.verdicts import QueryFailure, Status, Verdict


def version(name: str) -> ModelVersion:
    return ModelVersion(name, f"sha256:{name}")


OLD, NEW, NEXT = version("2.2.0"), version("2.3.0"), version("2.4.0")
GATES = ("latency-p99", "error-rate")

CANARY = Policy(
    "canary",
    steps=(PolicyStep(1, 900), PolicyStep(10, 900), PolicyStep(50, 1800), PolicyStep(100, 3600)),
    gates=GATES,
    ready_timeout=1800,
)
BLUE_GREEN = Policy("blue-green", (PolicyStep(100, 600),), GATES)
ROLLING = Policy("rolling")
SHADOW = Policy("shadow", (PolicyStep(10, 600), PolicyStep(100, 600)), GATES)
STABLE = RolloutState(stable=OLD)


def passing(policy: Policy = CANARY) -> tuple[Verdict, ...]:
    return tuple(Verdict(gate, "pass", f"{gate}: pass") for gate in policy.gates)


def saying(status: Status, gate: str = "error-rate", lasting: int = 0) -> tuple[Verdict, ...]:
    """All gates pass but this one."""
    others = tuple(one for one in passing() if one.gate != gate)
    return (*others, Verdict(gate, status, f"{gate}: {status}", lasting))


def outage(*, total: bool = True) -> tuple[QueryFailure, ...]:
    return tuple(QueryFailure(gate, f"{gate}: query failed", total) for gate in GATES)


class Walk:
    """A unit that is looked at again and again; time goes on by what each look says."""

    def __init__(self, policy: Policy = CANARY, state: RolloutState = STABLE, **seen: Any) -> None:
        self.policy, self.state = policy, state
        self.seen = Observation(now=1_000_000, target=NEW, ready=100, results=passing(policy))
        self.decisions: list[Decision] = []
        self.given(**seen)

    def given(self, **seen: Any) -> Walk:
        """From now on the world looks like this."""
        self.seen = replace(self.seen, **seen)
        return self

    def look(self, seconds: int = 0, **seen: Any) -> Decision:
        """Look after so many seconds. Commands are seen once."""
        self.given(now=self.seen.now + seconds, **seen)
        decision = step(self.policy, self.state, self.seen)
        self.given(commands=())
        self.state = decision.state
        self.decisions.append(decision)
        return decision

    def say(self, kind: CommandKind, to: str = "", by: str = "ada", seconds: int = 0) -> Decision:
        return self.look(seconds, commands=(Command(kind, by, to),))

    def until(self, *phases: str, every: int = 60, looks: int = 10_000) -> Walk:
        """Look on until the rollout is in one of the phases."""
        for _ in range(looks):
            self.look(every)
            if self.state.phase in phases:
                return self
        raise AssertionError(f"never {phases}; it stands at {self.state}")

    @property
    def kinds(self) -> list[str]:
        return [one.kind for one in self.decisions if one.kind != "hold"]


def at_weight(weight: int, policy: Policy = CANARY) -> Walk:
    """A walk that has just reached this weight."""
    walk = Walk(policy)
    while not walk.state.candidate or walk.state.candidate.load < weight:
        walk.look(60)
    walk.decisions.clear()
    return walk


def kept(one: ModelVersion, until: int, *, previous: bool = True) -> Kept:
    return Kept(one, until, until, previous)
