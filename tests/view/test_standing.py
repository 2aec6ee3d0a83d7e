"""Words for where a rollout stands; what they say of time is what the state machine does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gitops.rollout.machine import step
from gitops.rollout.observation import Observation
from gitops.rollout.policy import Policy, PolicyStep
from gitops.rollout.state import Candidate, Pause, RolloutState
from gitops.rollout.verdicts import QueryFailure, Verdict
from gitops.view.measured import in_short
from gitops.view.standing import (
    Share,
    deadline,
    gate_words,
    ladder,
    mark,
    pause_end,
    phase_words,
    shares,
    span,
    traffic_words,
    watched_until,
)
from tests.rollout.looks import CANARY, NEW, OLD, ROLLING, SHADOW
from tests.view.rollouts import ERRORS, LATENCY, NOON, results

STAGES = ("waiting-for-capacity", "starting", "baking", "promoting")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0s"),
        (0, "0s"),
        (45, "45s"),
        (60, "1m"),
        (510, "8m 30s"),
        (600, "10m"),
        (3599, "59m"),
        (3900, "1h 05m"),
        (86_400, "1d 0h"),
        (190_000, "2d 4h"),
    ],
)
def test_span(seconds: int, words: str) -> None:
    assert span(seconds) == words


def candidate(**fields: object) -> Candidate:
    known = {"stage": "baking", "scale": 100, "started": NOON, "since": NOON, "entered": NOON}
    return Candidate(NEW, **{**known, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "fields", "words"),
    [
        (CANARY, {}, "1 %  10 %  50 %  100 %"),
        (CANARY, {"weight": 10}, "1 % ✓  [10 %]  50 %  100 %"),
        (CANARY, {"weight": 100}, "1 % ✓  10 % ✓  50 % ✓  [100 %]"),
        (CANARY, {"weight": 20}, "1 % ✓  10 % ✓  [20 %]  50 %  100 %"),
        (ROLLING, {"weight": 40}, "[40 %]  100 %"),
        (SHADOW, {"mirror": 10}, "[10 %]  100 %  mirrored"),
        (replace(CANARY, waves=3), {"weight": 1, "wave": 1}, "[1 %]  10 %  50 %  100 %  (wave 2 of 3)"),
        (replace(CANARY, waves=2), {"weight": 1, "wave": 7}, "[1 %]  10 %  50 %  100 %  (wave 2 of 2)"),
    ],
)
def test_ladder(policy: Policy, fields: dict[str, object], words: str) -> None:
    assert ladder(policy, candidate(**fields)) == words


def test_shares() -> None:
    state = RolloutState(OLD, candidate(weight=10, wave=1))
    assert shares(state, 3) == (
        (Share("2.3.0", 100),),
        (Share("2.3.0", 10), Share("2.2.0", 90)),
        (Share("2.2.0", 100),),
    )
    assert traffic_words(shares(RolloutState(OLD, candidate(mirror=5)))[0]) == "2.3.0 5 % mirrored, 2.2.0 100 %"
    assert traffic_words(shares(RolloutState(None, candidate()))[0]) == "nobody yet"


# --- Time ----------------------------------------------------------------------------------------------------


policies = st.builds(
    Policy,
    strategy=st.just("canary"),
    steps=st.just((PolicyStep(10, 600), PolicyStep(100, 60))),
    gates=st.sampled_from([(), ("latency-p99", "error-rate")]),
    warm_up=st.integers(0, 300),
    ready_timeout=st.integers(1, 4000),
    capacity_timeout=st.integers(1, 4000),
    pause_timeout=st.integers(1, 100_000),
    pause_outcome=st.sampled_from(["roll-back", "hold"]),
)
candidates = st.builds(
    candidate,
    stage=st.sampled_from(STAGES),
    since=st.integers(NOON - 5000, NOON),
    entered=st.integers(NOON - 5000, NOON),
    weight=st.just(10),
    step=st.just(1),
    pause=st.none() | st.just(Pause("person", "paused by ada", "ada")),
)


@given(policies, candidates)
def test_a_bake_is_as_long_as_the_machine_makes_it(policy: Policy, one: Candidate) -> None:
    one = replace(one, stage="baking", pause=None)
    state, end = RolloutState(OLD, one), watched_until(policy, one)
    assume(end < one.since + policy.step_limit(one.load))
    seen = Observation(now=end, target=NEW, ready=100, results=results())
    assert step(policy, state, seen).kind != "hold"
    before = step(policy, state, replace(seen, now=end - 1))
    assert before.sentence == "watches 10 % for 1 s more"


@given(policies, candidates.filter(lambda one: one.stage != "baking" or one.pause is not None))
def test_a_wait_ends_when_the_machine_ends_it(policy: Policy, one: Candidate) -> None:
    """Nothing is ready and there is no room: nothing but the deadline moves it."""
    one = replace(one, weight=0, step=0)
    state, end = RolloutState(OLD, one), deadline(policy, one)
    seen = Observation(now=NOON + 1_000_000_000, target=NEW, ready=0, room=False, results=results())
    if end is None:
        assert one.pause
        assert step(policy, state, seen).kind == "hold"
        return
    assert step(policy, state, replace(seen, now=end)).kind == "roll-back"
    assert step(policy, state, replace(seen, now=end - 1)).kind == "hold"


@pytest.mark.parametrize(
    ("fields", "detail", "words"),
    [
        ({"weight": 10}, "watches 10 % for 900 s more", "watched for 15m more"),
        (
            {"weight": 10, "since": NOON - 9000, "entered": NOON - 9000},
            "waits at 10 %: no data",
            "waits at 10 %: no data",
        ),
        ({"weight": 10, "since": NOON - 9000, "entered": NOON - 9000}, "", "watched long enough"),
        ({"weight": 10}, "frozen: weekend, until Mon 08:00", "frozen: weekend, until Mon 08:00"),
        ({"stage": "starting"}, "", "waits for ready capacity; rolls back in 30m otherwise"),
        (
            {"stage": "waiting-for-capacity"},
            "waits for room to carry 1 %",
            "waits for room to carry 1 %; rolls back in 1h 00m otherwise",
        ),
        ({"pause": Pause("gate", "error-rate: warn")}, "", "paused, rolls back in 1d 0h otherwise: error-rate: warn"),
    ],
)
def test_phase(fields: dict[str, object], detail: str, words: str) -> None:
    assert phase_words(replace(CANARY, warm_up=0), candidate(**fields), NOON, detail) == words


def test_how_a_pause_ends() -> None:
    by_person, by_gate = (candidate(pause=Pause(cause, "why")) for cause in ("person", "gate"))  # type: ignore[arg-type]
    assert pause_end(CANARY, by_person) == "waits for a person, rolls back 1d 0h after the pause began"
    assert pause_end(replace(CANARY, pause_outcome="hold"), by_gate) == "goes on by itself when that is over"
    assert pause_end(CANARY, candidate()) == ""


# --- Gates ---------------------------------------------------------------------------------------------------


def test_gates_in_short() -> None:
    assert (
        in_short([LATENCY, ERRORS]) == "latency-p99 412 ms, stable 398 ms (+3.5 %); error-rate 0.02 %; 18,204 requests"
    )
    assert in_short(["gpu-memory 90 % (pause above 95 %): pass"]) == "gpu-memory 90 %"
    assert in_short([ERRORS, "latency-p99: no data"]).startswith("latency-p99: no data; error-rate 0.02 %")
    chance = "error-rate 1.2 % (roll back above 1 %), 80 requests, may be chance (p = 0.3): pass"
    assert in_short([chance]) == "error-rate 1.2 %, may be chance (p = 0.3); 80 requests"
    assert in_short([]) == ""


def test_words_of_a_gate_stand_beside_its_mark() -> None:
    passing, few = results()[1], Verdict("p99", "too few samples", "p99: 3 requests, 100 are needed")
    failed = QueryFailure("p99", "p99: query failed once: refused")
    assert (mark(passing), gate_words(passing)) == (
        "✓",
        "0.02 % (pause above 0.5 %, roll back above 1 %), 18204 requests",
    )
    assert (mark(few), gate_words(few)) == ("·", "3 requests, 100 are needed")
    assert (mark(failed), gate_words(failed)) == ("·", "query failed once: refused")
