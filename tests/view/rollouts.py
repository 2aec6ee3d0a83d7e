"""Passes over rollouts as the engine makes them, at every phase that people meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gitops.rollout.machine import Decision
from gitops.rollout.observation import Observation
from gitops.rollout.policy import Policy
from gitops.rollout.state import ModelVersion, RolloutState
from gitops.rollout.verdicts import QueryFailure, Result, Status, Verdict
from gitops.values import UnitKey
from tests.rollout.looks import BLUE_GREEN, CANARY, ROLLING, SHADOW, Walk

NOON = 1_795_262_400  # 2026-11-21T12:00:00Z
CHAT, EMBEDDER = UnitKey("production", "support-chat"), UnitKey("staging", "embedder")
EVIL = "x\x1b[2J\u202e\r\n"

LATENCY = "latency-p99 412 ms, stable 398 ms (+3.5 %, pause above +10 %, roll back above +50 %), 18204 requests: pass"
ERRORS = "error-rate 0.02 % (pause above 0.5 %, roll back above 1 %), 18204 requests: pass"
SLOW = "latency-p99 640 ms, stable 398 ms (+60.8 %, pause above +10 %, roll back above +50 %), 18204 requests: fail"
HIGH = "error-rate 0.6 % (pause above 0.5 %, roll back above 1 %), 18204 requests: warn"


def results(latency: str = LATENCY, errors: str = ERRORS) -> tuple[Verdict, ...]:
    return tuple(Verdict(said.split()[0], _status(said), said) for said in (latency, errors))


def _status(said: str) -> Status:
    return said.rpartition(": ")[2]  # type: ignore[return-value]


@dataclass(frozen=True)
class Standing:
    policy: Policy
    state: RolloutState
    target: ModelVersion


@dataclass(frozen=True)
class Failure:
    unit: str
    cluster: str
    message: str


@dataclass(frozen=True)
class Pass:
    """The engine's Pass, as far as views read it."""

    now: int
    standings: Mapping[UnitKey, Standing] = field(default_factory=dict)
    observations: Mapping[UnitKey, Observation] = field(default_factory=dict)
    decisions: Mapping[UnitKey, Decision] = field(default_factory=dict)
    blind: Mapping[str, str] = field(default_factory=dict)
    left_alone: Mapping[UnitKey, str] = field(default_factory=dict)
    settled: Mapping[UnitKey, tuple[str, ...]] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()


def begin(policy: Policy = CANARY, **seen: Any) -> Walk:
    """A new version that starts at noon, with gates that pass."""
    return Walk(policy, **{"now": NOON, "results": results(), "stable_ready": 100, **seen})


def after(walk: Walk, unit: UnitKey = CHAT) -> Pass:
    """The pass that made the walk's last decision."""
    return passed({unit: walk})


def passed(walks: Mapping[UnitKey, Walk], **fields: object) -> Pass:
    now = max((walk.seen.now for walk in walks.values()), default=NOON)
    return Pass(
        now,
        standings={unit: Standing(walk.policy, walk.state, walk.seen.target) for unit, walk in walks.items()},
        observations={unit: replace(walk.seen, now=now) for unit, walk in walks.items()},
        decisions={unit: walk.decisions[-1] for unit, walk in walks.items()},
        **fields,  # type: ignore[arg-type]
    )


def baking(policy: Policy = CANARY) -> Walk:
    """At the second step, watched for some minutes."""
    walk = begin(policy)
    while walk.state.candidate is None or walk.state.candidate.step < 2:
        walk.look(60)
    walk.look(400)
    return walk


def paused() -> Walk:
    """Somebody has to look at the error rate."""
    walk = baking()
    walk.look(15, results=results(errors=HIGH))
    walk.look(60)
    return walk


def undecided() -> Walk:
    """The metrics cannot be read, and nobody knows the capacity."""
    failed: tuple[Result, ...] = (
        QueryFailure("latency-p99", "latency-p99: query failed twice in a row: connection refused"),
        Verdict("error-rate", "too few samples", "error-rate: 12 requests, 100 are needed"),
    )
    walk = baking()
    walk.look(15, results=failed, ready=None)
    return walk


def waiting() -> Walk:
    """Two people must approve, one did."""
    walk = Walk(replace(CANARY, approvals=2), now=NOON, results=())
    walk.say("approve", by="alice@acme.example")
    walk.look(15)
    return walk


def starting() -> Walk:
    """Its pods load the model."""
    walk = begin(ready=0)
    walk.look()
    walk.look(300)
    return walk


def waves() -> Walk:
    """In the second of three groups of clusters."""
    walk = begin(replace(CANARY, waves=3), ready_waves=(100, 100, 100))
    while walk.state.candidate is None or (walk.state.candidate.wave, walk.state.candidate.step) < (1, 1):
        walk.look(60)
    walk.look(60)
    return walk


def shadowed() -> Walk:
    """Requests are mirrored to it."""
    return walk_to(SHADOW, "baking")


def walk_to(policy: Policy, phase: str) -> Walk:
    walk = begin(policy).until(phase)
    walk.look(60)
    return walk


PHASES = {
    "starting": starting,
    "baking": baking,
    "paused": paused,
    "undecided": undecided,
    "waves": waves,
    "shadow": shadowed,
    "blue-green": lambda: walk_to(BLUE_GREEN, "baking"),
    "rolling": lambda: begin(ROLLING, ready=40).until("baking"),
    "waiting": waiting,
}
