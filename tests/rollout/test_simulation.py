"""Whole rollouts on simulated servers: what is healthy arrives, what is broken is stopped, and why is said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops.rollout.phases import TRANSITIONS
from gitops.rollout.policy import Policy, policy_of
from gitops.rollout.series import Look, Question, Series, Unanswered
from gitops.rollout.simulation import BEGIN, Recorded, Simulated, Trial, simulate
from gitops.rollout.statistics import Counts
from gitops.rollout.timeline import Repeated, Timeline
from gitops.rollout.traffic import Share
from gitops.spec.behaviour import (
    Fault,
    Noise,
    Span,
    healthy,
    parse_change,
    parse_growth,
)
from gitops.spec.rollouts import BlueGreen, Canary, Rolling, Rollout, Shadow
from gitops.values import UnitKey

UNIT = UnitKey("production", "chat")
GATES = [
    {"metric": "latency-p99", "pause": "1.1x stable", "rollback": "1.5x stable"},
    {"metric": "error-rate", "pause": "0.5%", "rollback": "1%"},
    {"metric": "gpu-memory", "pause": "95%", "rollback": "98%"},
]
STEPS = [
    {"weight": 1, "bake": "15m"},
    {"weight": 10, "bake": "15m"},
    {"weight": 50, "bake": "15m"},
    {"weight": 100, "bake": "15m"},
]


def canary(**more: Any) -> Rollout:
    return Canary.model_validate({"strategy": "canary", "steps": STEPS, "gates": GATES} | more)


def trial(rollout: Rollout | None = None, **more: Any) -> Trial:
    rollout = rollout or canary()
    one = Trial(UNIT, policy_of(rollout), rollout.gates, "1.0", "2.0", "vllm", load_time=240)
    return replace(one, **more)


def servers(*faults: Fault, outages: Sequence[Span] = (), rate: float = 60.0, seed: int = 1) -> Simulated:
    base = healthy("vllm")
    base = replace(base, levels={**base.levels, "requests-per-second": rate})
    return Simulated(UNIT, {"1.0": base, "2.0": base.with_faults(faults, tuple(outages))}, seed)


def fault(trait: str, change: str, begins: int = 0, ends: int | None = None) -> Fault:
    return Fault(trait, parse_growth(change) if change.startswith("+") else parse_change(change), Span(begins, ends))


def kinds(timeline: Timeline) -> list[str]:
    return [one.kind for one in timeline.moments]


def moment(timeline: Timeline, kind: str) -> Any:
    return next(one for one in timeline.moments if one.kind == kind)


SEEDS = (1, 2, 3)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_healthy_candidate_arrives(seed: int) -> None:
    timeline = simulate(trial(), servers(seed=seed))
    assert timeline.outcome == "promoted"
    assert kinds(timeline) == ["start", *["advance", "scale"] * 3, "advance", "promote"]
    assert [one.weight for one in timeline.moments if one.kind == "advance"] == [1, 10, 50, 100]
    assert timeline.load == 100
    assert timeline.stopped is timeline.onset is timeline.detected is None
    # Four times the warm-up, the bake and the start of replicas, and at most a look's delay for each of them.
    least = 4 * (60 + 900 + 240)
    assert least <= timeline.seconds <= least + 4 * 3 * 60
    assert timeline.seconds == timeline.moments[-1].at
    assert "latency-p99" in moment(timeline, "promote").evidence[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_slower_answers_are_stopped(seed: int) -> None:
    timeline = simulate(trial(), servers(fault("latency", "1.3x", 300), seed=seed))
    assert timeline.outcome == "rolled back"
    assert timeline.onset == moment(timeline, "advance").at + 300
    assert timeline.detected is not None
    assert timeline.detected <= 3600
    paused = moment(timeline, "pause")
    assert paused.weight in (1, 10, 50)
    assert paused.sentence.startswith("latency-p99 ")
    assert "pause above +10 %" in paused.sentence
    # Nobody came: the declared outcome of a pause.
    assert timeline.seconds >= paused.at + 24 * 3600
    assert "paused for longer than" in timeline.sentence


@pytest.mark.parametrize("seed", SEEDS)
def test_errors_are_rolled_back(seed: int) -> None:
    timeline = simulate(trial(), servers(fault("error-rate", "2%"), seed=seed))
    assert timeline.outcome == "rolled back"
    assert timeline.load in (1, 10)
    assert timeline.seconds < 2 * 3600
    assert timeline.sentence.startswith("error-rate ")
    assert timeline.sentence.endswith("fail")


def test_many_errors_at_full_traffic_are_rolled_back_at_once() -> None:
    green = BlueGreen.model_validate({"strategy": "blue-green", "gates": GATES})
    timeline = simulate(trial(green), servers(fault("error-rate", "20%")))
    assert (timeline.outcome, timeline.load) == ("rolled back", 100)
    assert timeline.detected is not None
    assert timeline.detected <= 180


@pytest.mark.parametrize("seed", SEEDS)
def test_a_leak_pauses_and_then_rolls_back(seed: int) -> None:
    timeline = simulate(trial(), servers(fault("gpu-memory", "+5%/h"), seed=seed))
    assert kinds(timeline)[-2:] == ["pause", "roll-back"]
    # From 90 % to 95 % is an hour, to 98 % it is 36 minutes more; what is within its noise of a limit passes.
    paused, rolled_back = timeline.moments[-2:]
    assert 0 <= paused.at - moment(timeline, "advance").at - 3600 <= 900
    assert rolled_back.at - paused.at == pytest.approx(36 * 60, abs=600)
    assert "gpu-memory 95" in paused.sentence


def test_a_metrics_outage_pauses_and_resumes() -> None:
    timeline = simulate(trial(), servers(outages=[Span(600, 1500)]))
    assert timeline.outcome == "promoted"
    assert kinds(timeline)[:4] == ["start", "advance", "pause", "resume"]
    first, paused, resumed = timeline.moments[1:4]
    assert first.at + 600 < paused.at < first.at + 1500 < resumed.at
    assert "declared outage" in paused.sentence
    assert timeline.detected == paused.at - first.at - 600


def test_an_outage_may_be_declared_to_roll_back() -> None:
    rollout = canary(noData={"after": "10m", "then": "roll-back"}, pauseTimeout="1h")
    timeline = simulate(trial(rollout), servers(outages=[Span(600)]))
    assert timeline.outcome == "rolled back"


@pytest.mark.parametrize(("then", "outcome"), [("pause", "rolled back"), ("roll-back", "rolled back")])
def test_too_few_requests_have_the_declared_outcome(then: str, outcome: str) -> None:
    rollout = canary(tooFewSamples={"minimum": 1000, "after": "30m", "then": then}, pauseTimeout="2h")
    timeline = simulate(trial(rollout), servers(rate=3))
    assert timeline.outcome == outcome
    assert timeline.load == 1
    stopped = moment(timeline, "pause" if then == "pause" else "roll-back")
    assert "requests, 1000 are needed" in stopped.sentence
    assert stopped.at == pytest.approx(240 + 60 + 1800, abs=120)


def test_too_few_requests_may_be_declared_to_be_enough() -> None:
    rollout = canary(tooFewSamples={"minimum": 1000, "after": "30m", "then": "advance"})
    timeline = simulate(trial(rollout), servers(rate=3))
    assert "pause" not in kinds(timeline)
    assert timeline.load >= 50


def test_a_pause_that_waits_for_a_person_is_told_as_one() -> None:
    rollout = canary(afterPauseTimeout="hold", pauseTimeout="1h")
    timeline = simulate(trial(rollout), servers(fault("error-rate", "0.7%"), rate=600))
    assert timeline.outcome == "paused"
    assert kinds(timeline)[-1] == "pause"
    assert "error-rate" in timeline.sentence


def test_a_fault_that_ends_lets_the_rollout_go_on() -> None:
    timeline = simulate(trial(), servers(fault("error-rate", "0.8%", 0, 3600), rate=600))
    assert timeline.outcome == "promoted"
    assert "resume" in kinds(timeline)


def test_what_is_over_is_forgotten_once_the_rollout_goes_on() -> None:
    for seed in range(4):
        timeline = simulate(trial(), servers(fault("latency", "1.4x", 1500, 1860), seed=seed))
        assert timeline.outcome == "promoted"
        assert kinds(timeline).count("pause") <= 2


def test_a_long_bake_is_watched_to_its_end() -> None:
    """Hours after stable lost its traffic there still is something to compare with."""
    long = canary(steps=[{"weight": 10, "bake": "3h"}, {"weight": 100, "bake": "5h"}])
    assert kinds(simulate(trial(long), servers())) == ["start", "advance", "scale", "advance", "promote"]
    dead = simulate(trial(long), servers(fault("error-rate", "100%", 4 * 3600)))
    assert (dead.outcome, dead.load) == ("rolled back", 100)
    assert dead.detected is not None
    assert dead.detected <= 240


def test_rolling_and_shadow_rollouts() -> None:
    rolling = simulate(trial(Rolling.model_validate({"strategy": "rolling"})), servers())
    assert kinds(rolling) == ["start", "advance", "promote"]
    steps = {"strategy": "shadow", "steps": [{"weight": 10, "bake": "10m"}], "gates": GATES}
    shadow = simulate(trial(Shadow.model_validate(steps)), servers())
    assert shadow.outcome == "promoted"
    assert (moment(shadow, "advance").weight, moment(shadow, "advance").mirror) == (0, 10)
    broken = simulate(trial(Shadow.model_validate(steps)), servers(fault("error-rate", "20%")))
    assert (broken.outcome, broken.load) == ("rolled back", 10)


def test_waves_walk_one_after_the_other() -> None:
    rollout = canary(steps=[{"weight": 50, "bake": "5m"}, {"weight": 100, "bake": "5m"}])
    timeline = simulate(replace(trial(rollout), policy=replace(policy_of(rollout), waves=2)), servers())
    assert timeline.outcome == "promoted"
    advances = [(one.wave, one.weight) for one in timeline.moments if one.kind == "advance"]
    assert advances == [(0, 50), (0, 100), (1, 50), (1, 100)]


def test_the_same_simulation_is_the_same() -> None:
    source = servers(fault("latency", "1.3x", 300))
    first = simulate(trial(), source)
    assert simulate(trial(), source) == first
    assert simulate(trial(), servers(fault("latency", "1.3x", 300))) == first
    assert simulate(trial(), servers(fault("latency", "1.3x", 300), seed=2)) != first


def test_repeating_counts() -> None:
    bad = Repeated(tuple(simulate(trial(), servers(fault("error-rate", "10%", 300), seed=seed)) for seed in range(5)))
    assert len(bad.ended("rolled back")) == 5
    assert bad.early == 0
    assert bad.detection is not None
    assert 0 < bad.detection < 1800
    good = Repeated((simulate(trial(), servers()),))
    assert (len(good.ended("promoted")), good.early, good.detection) == (1, 0, None)


def test_gates_are_asked_for_as_long_as_a_pause_lasts_at_ever_longer_intervals() -> None:
    asked: list[int] = []

    class Counting(Simulated):
        def read(self, questions: Sequence[Question], now: int, shares: Sequence[Share]) -> Any:
            if not any(question.by_pod for question in questions):
                asked.append(now)
            return Simulated.read(self, questions, now, shares)

    whole = servers(fault("latency", "1.3x"))
    timeline = simulate(trial(), Counting(whole.unit, whole.behaviours))
    paused = BEGIN + max(one.at for one in timeline.moments if one.kind == "pause")
    looks = [now - paused for now in asked if now > paused]
    assert len(looks) < 120, "a day of looks that say the same takes no time"
    assert looks[-1] == 24 * 3600
    assert all(later <= 60 + earlier * 1.2 for earlier, later in pairwise(looks))


def test_what_a_pause_goes_on_to_show_rolls_back() -> None:
    """More requests make sure of what was in doubt when the rollout paused."""
    found = [simulate(trial(), servers(fault("error-rate", "1.5%"), rate=20, seed=seed)) for seed in range(12)]
    assert [one.sentence for one in found if "paused for longer" in one.sentence] == []
    assert {one.outcome for one in found} == {"rolled back"}


changes = st.sampled_from(("0.5x", "1.2x", "2x", "30x")).map(parse_change) | st.sampled_from(("5%", "50%")).map(
    parse_growth
)
times = st.sampled_from((0, 300, 1800, 7200))
wrongs = st.lists(
    st.builds(Fault, st.sampled_from(("latency", "error-rate", "gpu-memory")), changes, st.builds(Span, times)),
    max_size=2,
)
policies = st.builds(
    replace,
    st.just(policy_of(canary(steps=[{"weight": 10, "bake": "5m"}, {"weight": 100, "bake": "5m"}]))),
    no_data=st.sampled_from(("pause", "roll-back")),
    too_few=st.sampled_from(("pause", "roll-back", "advance")),
    pause_timeout=st.sampled_from((600, 7200)),
    pause_outcome=st.sampled_from(("roll-back", "hold")),
    ready_timeout=st.sampled_from((120, 1800)),
    approvals=st.integers(0, 2),
)


@settings(max_examples=30)
@given(
    policy=policies,
    wrong=wrongs,
    outage=st.lists(st.builds(Span, times, st.just(9000)), max_size=1),
    rate=st.sampled_from((0.0, 0.2, 20.0)),
    noise=st.sampled_from((0.02, 0.5)),
)
def test_every_simulation_ends_and_its_moments_follow(
    policy: Policy, wrong: list[Fault], outage: list[Span], rate: float, noise: float
) -> None:
    source = servers(*wrong, outages=outage, rate=rate)
    noisy = {name: replace(one, noise=Noise(noise)) for name, one in source.behaviours.items()}
    timeline = simulate(trial(policy=policy), Simulated(UNIT, noisy))
    assert timeline.outcome in ("promoted", "rolled back", "paused")
    assert timeline.outcome != "paused" or policy.pause_outcome == "hold"
    at = [one.at for one in timeline.moments]
    assert at == sorted(at)
    assert timeline.seconds <= policy.longest
    assert timeline.moments[0].kind == "start"
    ends = {"promoted": "promote", "rolled back": "roll-back"}
    assert timeline.outcome == "paused" or timeline.moments[-1].kind == ends[timeline.outcome]
    assert set(kinds(timeline)) <= {arrow.kind for arrow in TRANSITIONS}
    assert timeline.detected is None or timeline.detected >= 0


# --- Recorded data -------------------------------------------------------------------------------------------


def recorded(bad: float, looks: int = 300, length: int = 60) -> Recorded:
    ends = [BEGIN + length * (index + 1) for index in range(-20, looks)]
    buckets = {0.5: 300.0, 1.0: 550.0, 2.0: 595.0, math.inf: 600.0}
    slow = {0.5: 200.0, 1.0: 500.0, 2.0: 590.0, math.inf: 600.0}
    data: dict[tuple[str, str], list[Look]] = {
        ("1.0", "error-rate"): [Look(end, Counts(600, 0.6)) for end in ends],
        ("2.0", "error-rate"): [Look(end, Counts(600, 600 * bad)) for end in ends[20:]],
        ("1.0", "latency-p99"): [Look(end, buckets) for end in ends],
        ("2.0", "latency-p99"): [Look(end, slow if bad > 0.01 else buckets) for end in ends[20:]],
        ("1.0", "gpu-memory"): [Look(end, 90.0) for end in ends],
        ("2.0", "gpu-memory"): [Look(end, 90.0) for end in ends[20:]],
    }
    return Recorded(data, length)


def test_recorded_data_are_played_back() -> None:
    at_once = trial(load_time=0, look=60)
    good = simulate(at_once, recorded(0.001), begin=BEGIN - 60)
    assert good.outcome == "promoted"
    bad = simulate(at_once, recorded(0.05), begin=BEGIN - 60)
    assert (bad.outcome, bad.load) == ("rolled back", 1)
    assert "error-rate 5 %" in bad.sentence
    assert bad.onset is None


def test_a_recording_may_end_before_the_rollout() -> None:
    source = recorded(0.001, looks=30)
    span = source.span("2.0")
    assert span == (BEGIN, BEGIN + 1800)
    timeline = simulate(trial(load_time=0, look=60), source, begin=BEGIN - 60, until=span[1])
    assert timeline.outcome == "unfinished"
    assert timeline.seconds == 1860
    assert timeline.load == 10


def test_a_recording_answers_what_it_has() -> None:
    source = recorded(0.0)
    question = Question(UNIT, "", "2.0", "vllm", "error-rate", BEGIN + 120, 60)
    found = source.read([question], BEGIN + 300, [])[question]
    assert isinstance(found, Series)
    assert [look.end - BEGIN for look in found.looks] == [180, 240, 300]
    assert found.latest == Counts(600, 0)
    later = source.read([question], BEGIN + 330, [])[question]
    assert later == Series(found.looks, None)
    missing = replace(question, metric="queue-length")
    assert source.read([missing], BEGIN + 300, [])[missing] == Unanswered("the recording has no queue-length of 2.0")
    assert source.span("3.0") is None
