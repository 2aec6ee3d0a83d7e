"""Simulated traffic: it adds up, it is what was declared, and the same question has the same answer."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean, pvariance
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.rollout.dice import binomial, normal, poisson, uniforms
from gitops.rollout.series import Histogram, Question, Series, Unanswered
from gitops.rollout.statistics import Counts
from gitops.rollout.traffic import SETTLED, Scene, Share, answer, bounds_of, runs
from gitops.spec.behaviour import (
    Behaviour,
    Bursts,
    Fault,
    Noise,
    Span,
    healthy,
    parse_change,
    parse_growth,
)
from gitops.spec.catalog import METRICS
from gitops.values import UnitKey

UNIT = UnitKey("production", "chat")
BEGIN = 1_700_000_040
QUIET = Noise(0.0, 0.0)
TEN = (Share(BEGIN, {"1.0": 90, "2.0": 10}),)


def asked(metric: str = "error-rate", version: str = "2.0", **other: Any) -> Question:
    begin = Question(UNIT, "ns", version, "vllm", metric, BEGIN, 60)
    return replace(begin, **other)


def scene(candidate: Behaviour | None = None, shares: Any = TEN, seed: int = 1, **stable: Any) -> Scene:
    base = replace(healthy("vllm"), noise=QUIET)
    return Scene(UNIT, shares, {"1.0": replace(base, **stable), "2.0": candidate or base}, seed)


def with_fault(trait: str, change: str, begins: int = 0, ends: int | None = None, grows: bool = False) -> Behaviour:
    parsed = parse_growth(change) if grows else parse_change(change)
    base = replace(healthy("vllm"), noise=QUIET)
    return base.with_faults((Fault(trait, parsed, Span(begins, ends)),))


def series(of: Scene, question: Question, seconds: int = 3600) -> Series:
    found = answer(of, question, BEGIN + seconds)
    assert isinstance(found, Series)
    return found


def counts(found: Series) -> Counts:
    data = [look.datum for look in found.looks]
    assert all(isinstance(datum, Counts) for datum in data)
    return Counts(sum(d.requests for d in data), sum(d.bad for d in data))  # type: ignore[union-attr,misc]


def histogram(found: Series) -> Histogram:
    total: dict[float, float] = {}
    for look in found.looks:
        assert isinstance(look.datum, dict)
        for bound, count in look.datum.items():
            total[bound] = total.get(bound, 0) + count
    return total


def gauges(found: Series) -> list[float]:
    return [look.datum for look in found.looks if isinstance(look.datum, float)]


def quantile(buckets: Histogram, q: float) -> float:
    """As Prometheus's histogram_quantile."""
    rank, below, lower = q * buckets[math.inf], 0.0, 0.0
    for bound, count in sorted(buckets.items()):
        if count >= rank:
            return lower + (bound - lower) * (rank - below) / (count - below)
        below, lower = count, bound
    raise AssertionError("no such quantile")


# --- Dice ----------------------------------------------------------------------------------------------------


def test_uniform_numbers_are_uniform_and_never_repeat() -> None:
    stream = uniforms("a")
    drawn = [next(stream) for _ in range(20_000)]
    assert min(drawn) > 0
    assert max(drawn) < 1
    assert fmean(drawn) == pytest.approx(0.5, abs=0.01)
    assert pvariance(drawn) == pytest.approx(1 / 12, rel=0.03)
    assert len(set(drawn)) > 19_990
    assert drawn[0] != next(uniforms("b"))


def test_normal_numbers_are_normal() -> None:
    drawn = [normal(f"key {index}") for index in range(10_000)]
    assert fmean(drawn) == pytest.approx(0, abs=0.04)
    assert pvariance(drawn) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("mean", [0.05, 1, 8, 14.9, 15.1, 60, 5000])
def test_poisson_has_its_mean_and_variance(mean: float) -> None:
    drawn = [poisson(mean, next(uniforms(f"{mean}/{index}"))) for index in range(8000)]
    assert fmean(drawn) == pytest.approx(mean, abs=5 * math.sqrt(mean / 8000))
    assert pvariance(drawn) == pytest.approx(mean, rel=0.1, abs=0.01)


@pytest.mark.parametrize(("trials", "share"), [(12, 0.5), (200, 0.03), (200, 0.97), (5000, 0.3), (10**6, 1e-6)])
def test_binomial_has_its_mean_and_variance(trials: int, share: float) -> None:
    drawn = [binomial(trials, share, next(uniforms(f"{share}/{index}"))) for index in range(8000)]
    variance = trials * share * (1 - share)
    assert fmean(drawn) == pytest.approx(trials * share, abs=5 * math.sqrt(variance / 8000))
    assert pvariance(drawn) == pytest.approx(variance, rel=0.1)


@given(trials=st.integers(0, 10**7), share=st.floats(0, 1), uniform=st.floats(1e-10, 1 - 1e-10))
def test_binomial_stays_within_its_trials(trials: int, share: float, uniform: float) -> None:
    assert 0 <= binomial(trials, share, uniform) <= trials


@given(mean=st.floats(0, 1e9), uniform=st.floats(1e-10, 1 - 1e-10))
def test_poisson_ends_and_is_no_less_than_nothing(mean: float, uniform: float) -> None:
    assert poisson(mean, uniform) >= 0


# --- What holds for every behaviour --------------------------------------------------------------------------

faults = st.builds(
    Fault,
    trait=st.sampled_from(("latency", "error-rate", "gpu-memory", "tokens-per-request", "requests-per-second")),
    change=st.sampled_from(("0x", "0.5x", "1.3x", "50x", "0%", "3%", "100%", "0s", "2s", "1000")).map(parse_change)
    | st.sampled_from(("5%", "1s", "90%", "7")).map(parse_growth),
    span=st.builds(Span, st.integers(0, 900), st.none() | st.integers(0, 3600)),
)
behaviours = st.builds(
    lambda runtime, given, rate, errors, noise, bursts: replace(
        healthy(runtime),
        levels={**healthy(runtime).levels, "requests-per-second": rate, "error-rate": errors},
        faults=tuple(given),
        noise=noise,
        bursts=bursts,
    ),
    runtime=st.sampled_from(("vllm", "triton", "custom")),
    given=st.lists(faults, max_size=3),
    rate=st.sampled_from((0.0, 0.001, 0.3, 5.0, 300.0, 1e5)),
    errors=st.sampled_from((0.0, 0.01, 3.0, 100.0)),
    noise=st.builds(Noise, st.sampled_from((0.0, 0.02, 1.0)), st.sampled_from((0.0, 0.5, 0.9))),
    bursts=st.none() | st.builds(Bursts, every=st.integers(120, 900), lasts=st.integers(1, 100)),
)
percents = st.lists(st.integers(0, 100), min_size=1, max_size=4)


@given(
    behaviour=behaviours,
    weights=percents,
    metric=st.sampled_from(tuple(METRICS)),
    look=st.sampled_from((10, 15, 60, 300)),
    until=st.integers(-100, 1500),
    begin=st.integers(-200, 200),
)
def test_every_answer_adds_up(
    behaviour: Behaviour, weights: list[int], metric: str, look: int, until: int, begin: int
) -> None:
    shares = [Share(BEGIN + 400 * i, {"1.0": 100 - w, "2.0": w}) for i, w in enumerate(weights)]
    question = asked(metric, begin=BEGIN + begin, look=look)
    found = answer(Scene(UNIT, shares, {"1.0": behaviour, "2.0": behaviour}), question, BEGIN + until)
    assert isinstance(found, Series)
    ends = [one.end for one in found.looks]
    assert ends == sorted(set(ends))
    assert all(end % look == 0 and question.begin <= end - look and end <= BEGIN + until for end in ends)
    for datum in (*(one.datum for one in found.looks), found.latest):
        if isinstance(datum, Counts):
            assert 0 <= datum.bad <= datum.requests
        elif isinstance(datum, dict):
            values = [datum[bound] for bound in sorted(datum)]
            assert values == sorted(values)
            assert math.isinf(max(datum))
            assert min(values) >= 0
        elif datum is not None:
            assert isinstance(datum, float)
            assert 0 <= datum < math.inf
            assert METRICS[metric].unit != "%" or datum <= 100


@given(behaviour=behaviours, metric=st.sampled_from(tuple(METRICS)), seed=st.integers(0, 5), later=st.integers(1, 2000))
def test_a_past_look_never_changes(behaviour: Behaviour, metric: str, seed: int, later: int) -> None:
    """Not when it is asked later, from another begin, nor when the weights have moved on since."""
    both = {"1.0": behaviour, "2.0": behaviour}
    then = answer(Scene(UNIT, TEN, both, seed), asked(metric), BEGIN + 600)
    moved = (*TEN, Share(BEGIN + 600, {"1.0": 50, "2.0": 50}))
    now = answer(Scene(UNIT, moved, both, seed), asked(metric, begin=BEGIN + 180), BEGIN + 600 + later)
    assert isinstance(then, Series)
    assert isinstance(now, Series)
    before = {look.end: look.datum for look in then.looks if look.end - 60 >= BEGIN + 180}
    assert {look.end: look.datum for look in now.looks if look.end <= BEGIN + 600} == before


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_requests_are_the_same_ones_in_every_metric(version: str) -> None:
    errors, latency = (series(scene(), asked(metric, version)) for metric in ("error-rate", "latency-p99"))
    assert len(errors.looks) == len(latency.looks) == 60
    for one, other in zip(errors.looks, latency.looks, strict=True):
        assert isinstance(one.datum, Counts)
        assert isinstance(other.datum, dict)
        assert one.datum.requests == other.datum[math.inf]
    assert series(scene(), asked("latency-p50", version)) == latency


def test_seeds_units_and_versions_differ() -> None:
    first = series(scene(), asked()).looks
    assert series(scene(seed=2), asked()).looks != first
    other = replace(scene(), unit=UnitKey("staging", "chat"))
    assert series(other, asked()).looks != first
    half = (Share(BEGIN, {"1.0": 50, "2.0": 50}),)
    assert series(scene(shares=half), asked()).looks != series(scene(shares=half), asked(version="1.0")).looks


def test_another_process_draws_the_same() -> None:
    program = (
        "from tests.rollout.test_traffic import scene, series, asked\n"
        "print([series(scene(), asked(m)) for m in ('error-rate', 'latency-p99', 'gpu-memory')])"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-W", "error", "-c", program]
    environment = {"PYTHONPATH": f"{root / 'src'}:{root}", "PYTHONHASHSEED": "7"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    here = [series(scene(), asked(metric)) for metric in ("error-rate", "latency-p99", "gpu-memory")]
    assert done.stdout.strip() == str(here)


# --- What was declared ---------------------------------------------------------------------------------------


def test_requests_go_by_the_share_of_traffic() -> None:
    everything = 60 * 3600
    assert counts(series(scene(), asked())).requests == pytest.approx(everything / 10, rel=0.03)
    assert counts(series(scene(), asked(version="1.0"))).requests == pytest.approx(everything * 0.9, rel=0.01)


def test_a_share_that_changes_within_a_look_counts_in_part() -> None:
    shares = (*TEN, Share(BEGIN + 90, {"1.0": 0, "2.0": 100}))
    looks = series(scene(shares=shares), asked(), 240).looks
    drawn = [look.datum.requests for look in looks if isinstance(look.datum, Counts)]
    assert drawn == pytest.approx([360, 1980, 3600, 3600], rel=0.2)


def test_before_the_first_share_stable_has_everything() -> None:
    early = asked(version="1.0", begin=BEGIN - 3600)
    found = series(scene(), early, 0)
    assert counts(found).requests == pytest.approx(60 * 3600, rel=0.01)
    assert series(scene(), asked(begin=BEGIN - 3600), 0) == Series((), None)
    assert series(scene(shares=()), early, 0) == Series((), None)


def test_errors_have_the_declared_rate() -> None:
    found = counts(series(scene(with_fault("error-rate", "3%")), asked(), 4 * 3600))
    assert found.bad / found.requests == pytest.approx(0.03, rel=0.1)


@pytest.mark.parametrize("runtime", ["vllm", "custom"])
def test_times_have_the_declared_quantiles(runtime: str) -> None:
    behaviour = replace(healthy(runtime), noise=QUIET)
    world = Scene(UNIT, TEN, {"1.0": behaviour, "2.0": behaviour})
    found = histogram(series(world, asked("latency-p99", "1.0", runtime=runtime)))
    median, p99 = behaviour.levels["latency"], behaviour.levels["latency"] * behaviour.p99["latency"]
    # No nearer than the buckets allow.
    assert quantile(found, 0.5) == pytest.approx(median, rel=0.05)
    assert quantile(found, 0.99) == pytest.approx(p99, rel=0.25 if runtime == "vllm" else 0.08)


@pytest.mark.parametrize(("metric", "factor"), [("latency-p50", 1), ("latency-p99", 2.2)])
def test_triton_tells_quantiles(metric: str, factor: float) -> None:
    behaviour = replace(healthy("triton"), noise=QUIET)
    found = gauges(series(Scene(UNIT, TEN, {"2.0": behaviour}), asked(metric, runtime="triton")))
    assert len(found) == 60
    assert len(set(found)) == 60
    assert fmean(found) == pytest.approx(0.006 * factor, rel=0.03)


def test_the_bounds_are_those_of_vllm() -> None:
    for metric, lowest, highest in (
        ("latency-p99", 0.3, 7680),
        ("time-to-first-token-p99", 0.001, 2560),
        ("inter-token-latency-p99", 0.01, 80),
    ):
        bounds = [bound for bound in histogram(series(scene(), asked(metric))) if math.isfinite(bound)]
        assert (bounds[0], bounds[-1]) == (lowest, highest)
        assert bounds == sorted(bounds)
    fine = bounds_of("custom", "latency")
    assert all(below < above <= 1.26 * below for below, above in pairwise(fine))


@pytest.mark.parametrize(
    ("metric", "level", "near"),
    [("queue-length", 1, 0.01), ("gpu-memory", 90, 0.01), ("prediction-accuracy", 95, 0.01)],
)
def test_gauges_have_the_declared_level(metric: str, level: float, near: float) -> None:
    for version in ("1.0", "2.0"):
        found = gauges(series(scene(), asked(metric, version)))
        assert len(found) == 60
        assert fmean(found) == pytest.approx(level, rel=near)


@pytest.mark.parametrize(("metric", "whole"), [("requests-per-second", 60), ("tokens-per-second", 3600)])
def test_rates_go_by_the_share_of_traffic(metric: str, whole: float) -> None:
    assert fmean(gauges(series(scene(), asked(metric)))) == pytest.approx(whole / 10, rel=0.05)
    assert fmean(gauges(series(scene(), asked(metric, "1.0")))) == pytest.approx(whole * 0.9, rel=0.02)


def test_a_fault_begins_and_ends() -> None:
    world = scene(with_fault("error-rate", "20%", 600, 1200))
    found = series(world, asked())
    bad = {look.end - BEGIN: look.datum.bad / look.datum.requests for look in found.looks}  # type: ignore[union-attr]
    assert all(share < 0.05 for end, share in bad.items() if end <= 600 or end > 1200)
    assert all(share > 0.1 for end, share in bad.items() if 600 < end <= 1200)


def test_a_factor_slows_times_down() -> None:
    slow = histogram(series(scene(with_fault("latency", "2x")), asked("latency-p99"), 4 * 3600))
    usual = histogram(series(scene(), asked("latency-p99"), 4 * 3600))
    assert quantile(slow, 0.5) / quantile(usual, 0.5) == pytest.approx(2, rel=0.1)


def test_a_leak_grows_by_the_hour_up_to_all_there_is() -> None:
    found = gauges(series(scene(with_fault("gpu-memory", "5%", grows=True)), asked("gpu-memory"), 4 * 3600))
    assert found[0] == pytest.approx(90, abs=0.1)
    assert found[60] == pytest.approx(95, abs=0.1)
    assert found[-1] == 100


def test_a_leak_of_a_time_is_a_share_of_what_is_healthy() -> None:
    leaking = with_fault("latency", "10%", grows=True)
    assert leaking.level("latency", 7200) == pytest.approx(1.2 * 0.8)
    assert with_fault("latency", "100ms", grows=True).level("latency", 7200) == pytest.approx(1.0)


def test_a_version_that_comes_back_begins_again() -> None:
    shares = (
        Share(BEGIN, {"1.0": 90, "2.0": 10}),
        Share(BEGIN + 1200, {"1.0": 100}),
        Share(BEGIN + 2400, {"1.0": 90, "2.0": 10}),
    )
    assert list(runs(shares, "2.0")) == [(BEGIN, BEGIN + 1200), (BEGIN + 2400, math.inf)]
    assert list(runs(shares, "1.0")) == [(BEGIN - SETTLED, math.inf)]
    world = scene(with_fault("error-rate", "50%", 600), shares)
    bad = {look.end - BEGIN: look.datum.bad for look in series(world, asked()).looks}  # type: ignore[union-attr]
    assert max(bad) == 3600
    assert [end for end in bad if 1200 < end <= 2400] == []
    assert {end for end, count in bad.items() if count > 100} == {*range(660, 1201, 60), *range(3060, 3601, 60)}


def test_noise_is_autocorrelated() -> None:
    noisy = replace(healthy("vllm"), noise=Noise(0.1, 0.8))
    found = gauges(series(scene(noisy), asked("queue-length"), 3600 * 40))
    logs = [math.log(value) for value in found]
    mean, variance = fmean(logs), pvariance(logs)
    lagged = fmean((a - mean) * (b - mean) for a, b in pairwise(logs))
    assert math.sqrt(variance) == pytest.approx(0.1, rel=0.1)
    assert lagged / variance == pytest.approx(0.8, abs=0.05)


def test_bursts_hit_both_versions_at_once() -> None:
    bursts = Bursts(every=1200, lasts=300, requests=3)
    world = scene(replace(healthy("vllm"), noise=QUIET, bursts=bursts), bursts=bursts)
    rates = [gauges(series(world, asked("requests-per-second", version), 7200)) for version in ("1.0", "2.0")]
    busy = [
        {index for index, rate in enumerate(one) if rate > limit} for one, limit in zip(rates, (108, 12), strict=True)
    ]
    assert len(busy[0]) == pytest.approx(30, abs=6)
    assert len(busy[0] ^ busy[1]) <= 4


# --- What is not there ---------------------------------------------------------------------------------------


def test_in_an_outage_nobody_answers_and_afterwards_the_looks_are_missing() -> None:
    world = scene(replace(healthy("vllm"), outages=(Span(600, 900),)))
    for version in ("1.0", "2.0"):
        assert isinstance(answer(world, asked(version=version), BEGIN + 700), Unanswered)
        found = series(world, asked(version=version), 1800)
        missing = set(range(BEGIN + 60, BEGIN + 1801, 60)) - {look.end for look in found.looks}
        assert missing == set(range(BEGIN + 660, BEGIN + 901, 60))


def test_what_a_runtime_does_not_measure_has_no_data() -> None:
    triton = healthy("triton")
    world = Scene(UNIT, TEN, {"1.0": triton, "2.0": triton})
    assert series(world, asked("time-to-first-token-p99", runtime="triton")) == Series((), None)


def test_a_query_of_ones_own_needs_a_declared_value() -> None:
    own = asked("refusals", query="sum(rate(refusals_total[5m]))")
    missing = answer(scene(), own, BEGIN + 600)
    assert isinstance(missing, Unanswered)
    assert "refusals" in missing.reason
    declared = replace(healthy("vllm"), levels={"refusals": 2.5, "requests-per-second": 10}, noise=QUIET)
    worse = declared.with_faults((Fault("refusals", parse_change("2x"), Span(300)),))
    assert gauges(series(scene(worse), own, 600)) == pytest.approx([2.5] * 5 + [5.0] * 5)


def test_the_latest_look_needs_the_begin_behind_it() -> None:
    assert series(scene(), asked(), 59).latest is None
    assert series(scene(), asked(), 60).latest == series(scene(), asked(), 60).looks[0].datum
    assert series(scene(), asked(), 75).latest is not None
