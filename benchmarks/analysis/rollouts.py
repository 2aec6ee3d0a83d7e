"""Rollouts through the whole path: looks, evidence, verdicts, second opinions by pod, and the state machine.

The policy is `careful` of `docs/rollouts.md` with a holdback of 1 %.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from benchmarks.analysis.servers import CANDIDATE, STABLE, Servers, Source
from gitops.rollout.policy import Policy, PolicyStep
from gitops.rollout.simulation import BEGIN, Trial, simulate
from gitops.rollout.timeline import Timeline
from gitops.spec.rollouts import Gate
from gitops.values import UnitKey

UNIT = UnitKey("production", "chat")
STEPS = (PolicyStep(1, 900), PolicyStep(10, 900), PolicyStep(50, 1800), PolicyStep(99, 3600))
RELATIVE = {"metric": "latency-p99", "pause": "1.1x stable", "rollback": "1.5x stable"}
ERRORS = {"metric": "error-rate", "pause": "0.5%", "rollback": "1%"}


@dataclass(frozen=True)
class Situation:
    """`good` has nothing that deserves a pause or a rollback."""

    name: str
    servers: Servers
    gates: tuple[Mapping[str, str], ...] = (RELATIVE, ERRORS)
    good: bool = True
    steps: tuple[PolicyStep, ...] = STEPS
    hours: int = 5
    """For which it is played."""
    every: int = 60
    """Seconds between two decisions."""


@dataclass(frozen=True)
class Found:
    """Of so many runs. `minute` is the median of when the stopped ones were stopped first."""

    situation: str
    runs: int
    rolled_back: float
    paused: float
    stopped: float
    minute: float | None


def run(situation: Situation, runs: int, first: int = 0) -> Found:
    """Play it so often."""
    seen: Counter[str] = Counter()
    minutes = []
    for seed in range(first, first + runs):
        timeline = play(situation, seed)
        kinds = {moment.kind for moment in timeline.moments}
        seen["rolled back"] += "roll-back" in kinds
        seen["paused"] += "pause" in kinds
        stop = next((moment.at for moment in timeline.moments if moment.kind in ("pause", "roll-back")), None)
        if stop is not None:
            minutes.append(stop / 60)
    share = {kind: seen[kind] / runs for kind in ("rolled back", "paused")}
    middle = median(minutes) if minutes else None
    return Found(situation.name, runs, share["rolled back"], share["paused"], len(minutes) / runs, middle)


def play(situation: Situation, seed: int) -> Timeline:
    """One rollout to its end, or for the hours of the situation."""
    gates = tuple(Gate.model_validate(dict(gate)) for gate in situation.gates)
    policy = Policy(
        "canary", situation.steps, tuple(gate.key for gate in gates), pause_timeout=max(3, situation.hours) * 3600
    )
    trial = Trial(UNIT, policy, gates, STABLE, CANDIDATE, "vllm", load_time=240, every=situation.every)
    return simulate(trial, Source(situation.servers, seed), until=BEGIN + situation.hours * 3600)
