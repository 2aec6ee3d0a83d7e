"""From looks to a verdict: what counts, what is beyond a limit by chance, and how soon a fault is seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.analysis.world import HISTORY, LOOKS, Scenario, World, play, value
from gitops.rollout import histograms
from gitops.rollout.measuring import ALPHA, Asked, assess, levels
from gitops.rollout.series import Answer, Datum, Histogram, Look, Series, Unanswered
from gitops.rollout.statistics import Counts
from gitops.rollout.verdicts import QueryFailure, Result, Verdict
from gitops.rollout.windows import Whole
from gitops.spec.pipeline import Gate

LOOK = 60
BEGIN = 6_000_000
MINUTE = 60


def gate(metric: str, pause: str | None = None, rollback: str | None = None) -> Gate:
    return Gate.model_validate({"metric": metric, "pause": pause, "rollback": rollback})


def own(pause: str | None = None, rollback: str | None = None, worse: str = "higher") -> Gate:
    spec = {"name": "dropped", "query": "x", "worse": worse, "pause": pause, "rollback": rollback}
    return Gate.model_validate(spec)


ERRORS = gate("error-rate", rollback="1%")
LATENCY = gate("latency-p99", "1.1x stable", "1.5x stable")
QUEUE = gate("queue-length", rollback="40")


def series(data: Sequence[Datum | None], first: int = BEGIN, latest: Datum | None = None) -> Series:
    """Looks one after another; None is a look without data."""
    looks = ((first + (index + 1) * LOOK, datum) for index, datum in enumerate(data))
    return Series(tuple(Look(end, datum) for end, datum in looks if datum is not None), latest)


def asked(looks: float, **more: float) -> Asked:
    return Asked(now=BEGIN + int(looks * LOOK) + 10, begin=BEGIN, look=LOOK, **more)  # type: ignore[arg-type]


def told(result: Result) -> tuple[str, int]:
    assert isinstance(result, Verdict), result
    return result.status, result.lasting


def histogram(requests: float, slow: float, very_slow: float = 0.0) -> Histogram:
    """`slow` took from 0.5 to 1 s, `very_slow` from 1 to 2 s, the others at most 0.5 s."""
    return {0.5: requests - slow - very_slow, 1.0: requests - very_slow, 2.0: requests, math.inf: requests}


# --- What counts -------------------------------------------------------------------------------------------------


def test_a_good_candidate_passes_with_its_numbers() -> None:
    found = assess(ERRORS, series([Counts(600, 1)] * 10), None, asked(10))
    assert found == Verdict("error-rate", "pass", "error-rate 0.1667 % (roll back above 1 %), 3000 requests: pass")
    slow = series([histogram(600, 6)] * 30, BEGIN - 20 * LOOK)
    found = assess(LATENCY, series([histogram(600, 6)] * 10), slow, asked(10))
    assert found.sentence == (
        "latency-p99 500 ms, stable 500 ms (+0.0 %, pause above +10 %, roll back above +50 %), 3000 requests: pass"
    )


def test_the_window_is_the_last_minutes_and_never_before_the_step() -> None:
    bad = series([Counts(600, 60)] * 10, BEGIN - 10 * LOOK)
    good = series([Counts(600, 0)] * 3)
    both = Series((*bad.looks, *good.looks))
    assert assess(ERRORS, both, None, asked(3)).sentence == "error-rate 0 % (roll back above 1 %), 1800 requests: pass"
    assert "1200 requests" in assess(ERRORS, series([Counts(600, 0)] * 9), None, asked(9, window=120)).sentence


def test_the_window_reaches_back_while_there_are_too_few_requests() -> None:
    few = series([Counts(10, 0)] * 30)
    assert told(assess(ERRORS, few, None, asked(9.8))) == ("too few samples", 598)
    assert "100 requests" in assess(ERRORS, few, None, asked(10)).sentence
    assert "100 requests" in assess(ERRORS, few, None, asked(30)).sentence


def test_stable_needs_enough_requests_as_well() -> None:
    candidate = series([histogram(600, 6)] * 10)
    found = assess(LATENCY, candidate, series([histogram(5, 0)] * 10), asked(10))
    assert found.sentence == "latency-p99: stable has 50 requests, 100 are needed"
    found = assess(LATENCY, candidate, series([histogram(15, 0)] * 10), asked(10))
    assert "4200 requests" in found.sentence, "seven looks of stable's make 105"


@pytest.mark.parametrize("answer", [None, Series(), series([0.5, math.nan])])
def test_nothing_is_no_data(answer: Answer | None) -> None:
    found = assess(gate("gpu-memory", "90%"), answer, None, asked(20))
    assert told(found)[0] == "no data"


def test_data_that_ended_are_no_data() -> None:
    found = assess(ERRORS, series([Counts(600, 0)] * 10), None, asked(14))
    assert told(found) == ("pass", 0), "the window still has some"
    found = assess(ERRORS, series([Counts(600, 0)] * 10), None, asked(16))
    assert told(found) == ("no data", 6 * MINUTE + 10)


def test_no_data_names_where_they_should_come_from() -> None:
    where = Asked(BEGIN + 600, BEGIN, LOOK, source="DCGM exporter")
    assert assess(gate("gpu-memory", "90%"), None, None, where).sentence == "gpu-memory: no data (DCGM exporter)"


def test_a_look_without_requests_is_not_a_look_without_data() -> None:
    assert told(assess(ERRORS, series([Counts(0, 0)] * 10), None, asked(10)))[0] == "too few samples"
    idle = series([dict.fromkeys((0.5, 1.0, math.inf), 0.0)] * 10)
    assert told(assess(LATENCY, idle, idle, asked(10)))[0] == "too few samples"


def test_a_query_that_fails_is_an_outage_after_four_times() -> None:
    once = assess(ERRORS, Unanswered("http://prometheus answered 503"), None, asked(1))
    assert once == QueryFailure("error-rate", "error-rate: query failed once: http://prometheus answered 503")
    fifth = assess(ERRORS, Unanswered("it is down"), None, asked(1, failures=5, failing_for=240))
    assert fifth == QueryFailure("error-rate", "error-rate: query failed 5 times in a row: it is down", True, 240)
    stables = assess(LATENCY, series([histogram(600, 6)]), Unanswered("it is down"), asked(1))
    assert stables.sentence == "latency-p99: query failed once: of stable, it is down"
    assert isinstance(assess(ERRORS, series([Counts(600, 0)] * 2), Unanswered("x"), asked(2)), Verdict)


@pytest.mark.parametrize(("gates", "steps", "waves"), [(2, 5, 1), (1, 1, 1), (1, 1, 3), (3, 4, 2), (0, 0, 0)])
def test_all_that_gates_may_be_wrong_by_adds_up_to_alpha(gates: int, steps: int, waves: int) -> None:
    level = levels(ALPHA, gates, steps, waves)
    whole = max(1, gates) * max(1, waves) * (max(1, steps) * level.each + level.together)
    assert whole == pytest.approx(ALPHA)
    assert (level.together > 0) == (steps > 1), "a single weight has no earlier ones"


def test_looks_at_earlier_weights_are_evidence_too() -> None:
    """0.3 % beside 0.1 % at 10 %, then at 50 %: at 50 % alone it may be chance, together it is not."""
    limit, level = gate("error-rate", "1.5x stable"), levels(ALPHA, gates=1, steps=4, waves=1)
    mine = [Counts(360, 2)] * 15 + [Counts(1800, 30)] + [Counts(1800, 5)] * 14
    theirs = [Counts(3600, 4)] * 20 + [Counts(3240, 3)] * 15 + [Counts(1800, 2)] * 15
    candidate, stable = series(mine, BEGIN - 16 * LOOK), series(theirs, BEGIN - 36 * LOOK)
    now = asked(14, alpha=0.8 * level.each, weight=50, stable_weight=50)
    assert told(assess(limit, candidate, stable, now))[0] == "pass", "of the present weight alone"
    change = ((BEGIN - LOOK, BEGIN),)
    whole = Whole(BEGIN - 16 * LOOK, change, 0.8 * level.together)
    found = assess(limit, candidate, stable, replace(now, whole=whole))
    assert told(found)[0] == "warn"
    well = series([Counts(360, 0)] * 15 + [Counts(1800, 1800)] + [Counts(1800, 2)] * 14, BEGIN - 16 * LOOK)
    assert told(assess(limit, well, stable, replace(now, whole=whole)))[0] == "pass", "the warm-up is left out"
    calmed = series([*mine[:-6], *[Counts(1800, 2)] * 6], BEGIN - 16 * LOOK)
    assert told(assess(limit, calmed, stable, replace(now, whole=whole)))[0] == "pass", "it is within the limit now"


# --- Absolute limits ---------------------------------------------------------------------------------------------


def test_a_gross_breach_is_seen_before_its_look_is_over() -> None:
    storm = series([Counts(600, 0)] * 5, latest=Counts(600, 120))
    found = assess(ERRORS, storm, None, asked(5.5))
    assert found.sentence == "error-rate 20 % (roll back above 1 %), 600 requests: fail"


def test_latest_does_not_count_what_was_before_the_step() -> None:
    found = assess(ERRORS, series([], latest=Counts(600, 120)), None, asked(0.5))
    assert told(found)[0] == "no data"


def test_a_few_errors_more_may_be_chance() -> None:
    found = assess(ERRORS, series([Counts(100, 2)]), None, asked(1))
    assert found.sentence.startswith("error-rate 2 % (roll back above 1 %), 100 requests, may be chance (p = ")
    assert found.sentence.endswith("): pass")


def test_no_error_at_all_is_a_limit_too() -> None:
    found = assess(gate("error-rate", rollback="0%"), series([Counts(600, 0)] * 4 + [Counts(600, 1)]), None, asked(5))
    assert told(found)[0] == "fail"


def test_errors_that_are_over_no_longer_fail() -> None:
    found = assess(ERRORS, series([Counts(600, 60)] * 3 + [Counts(600, 0)] * 10), None, asked(13))
    assert told(found)[0] == "pass"


def test_a_duration_against_a_limit_within_a_bucket() -> None:
    limit = gate("latency-p99", rollback="800ms")
    quick, slow = (series([histogram(600, share * 600, share * 60)] * 10) for share in (0.02, 0.1))
    assert assess(limit, quick, None, asked(10)).sentence.startswith("latency-p99 642 ms (roll back above 800 ms)")
    found = assess(limit, slow, None, asked(10))
    assert found.sentence == "latency-p99 1 s (roll back above 800 ms), 3000 requests: fail"


def test_a_limit_beyond_the_greatest_bucket_never_passes() -> None:
    beyond = series([{0.5: 500.0, 1.0: 500.0, math.inf: 600.0}] * 10)
    found = assess(gate("latency-p99", rollback="3s"), beyond, None, asked(10))
    assert found.sentence == "latency-p99: no data above the greatest bucket, 1 s, and the limit is there"
    found = assess(gate("latency-p99", rollback="900ms"), beyond, None, asked(10))
    assert told(found)[0] == "fail"
    assert told(assess(LATENCY, beyond, beyond, asked(10)))[0] == "no data"


def test_errors_alone_are_beyond_doubt_after_a_few_requests() -> None:
    found = assess(ERRORS, series([Counts(2, 2), Counts(3, 3)]), None, asked(2))
    assert found.sentence == "error-rate 100 % (roll back above 1 %), 5 requests: fail"
    assert told(assess(ERRORS, series([Counts(2, 0), Counts(3, 1)]), None, asked(2)))[0] == "too few samples"


def test_what_stable_suffers_too_accuses_nobody() -> None:
    storm, calm = [Counts(600, 30)] * 4, [Counts(5400, 3)] * 20
    both = series([*calm, *[Counts(5400, 270)] * 4], BEGIN - 20 * LOOK)
    found = assess(ERRORS, series(storm), both, asked(4))
    assert found.sentence == ("error-rate 5 % (roll back above 1 %), 2400 requests, stable is beyond it too: hold")
    alone = series([*calm, *[Counts(5400, 3)] * 4], BEGIN - 20 * LOOK)
    assert told(assess(ERRORS, series(storm), alone, asked(4)))[0] == "fail"
    worse = series([Counts(600, 120)] * 4)
    assert told(assess(ERRORS, worse, both, asked(4)))[0] == "fail", "beyond it, and worse than stable"
    assert told(assess(ERRORS, series(storm), series([]), asked(4)))[0] == "fail", "nothing to compare with"


def test_what_both_suffered_for_hours_does_not_make_chance_sure_afterwards() -> None:
    after = [Counts(100, 0)] * 6 + [Counts(100, bad) for bad in (2, 1, 2, 1, 2)]
    stable = series([Counts(5400, 3)] * 20 + [Counts(5400, 270)] * 60 + [Counts(5400, 3)] * 11, BEGIN - 20 * LOOK)
    found = assess(ERRORS, series([Counts(100, 5)] * 60 + after), stable, asked(71))
    assert told(found)[0] == "hold", "1.6 % of 500 requests may be chance"
    worse = series([Counts(100, 5)] * 60 + [Counts(100, 20)] * 5)
    assert told(assess(ERRORS, worse, stable, asked(65)))[0] == "fail"


def test_stable_that_is_surely_within_a_limit_is_no_excuse_however_noisy_it_was() -> None:
    noisy_before = [Counts(3500, bad) for bad in (7, 0, 3, 0, 0, 5, 0, 1, 0, 4) * 2]
    stable = series([*noisy_before, Counts(3256, 1)], BEGIN - 20 * LOOK)
    found = assess(ERRORS, series([Counts(366, 23)]), stable, asked(1, alpha=SPLIT, weight=10, stable_weight=90))
    assert told(found)[0] == "fail"


def test_a_duration_that_stable_has_too_accuses_nobody() -> None:
    limit = gate("latency-p99", rollback="800ms")
    slow, calm = histogram(600, 60, 9), [histogram(5400, 27)] * 20
    both = series([*calm, *[histogram(5400, 540, 81)] * 10], BEGIN - 20 * LOOK)
    assert told(assess(limit, series([slow] * 10), both, asked(10)))[0] == "hold"
    alone = series([*calm, *[histogram(5400, 27)] * 10], BEGIN - 20 * LOOK)
    assert told(assess(limit, series([slow] * 10), alone, asked(10)))[0] == "fail"


# --- Gauges ------------------------------------------------------------------------------------------------------


def test_one_spike_of_a_gauge_is_not_enough() -> None:
    found = assess(QUEUE, series([1.0, 2.0, 900.0, 1.0, 2.0]), None, asked(5))
    assert found.sentence == "queue-length 181.2 (roll back above 40), beyond it in 1 of the last 3 looks: pass"


def test_a_lasting_breach_of_a_gauge_is_seen_in_three_looks() -> None:
    rising = [1.0] * 10 + [90.0] * 3
    found = [told(assess(QUEUE, series(rising[:looks]), None, asked(looks)))[0] for looks in (10, 11, 12, 13)]
    assert found == ["pass", "pass", "pass", "fail"]
    soon = assess(QUEUE, series(rising[:12], latest=95.0), None, asked(12.7))
    assert told(soon)[0] == "fail", "the present span is a look of its own"


def test_a_gauge_that_is_low_where_low_is_worse() -> None:
    accuracy = gate("prediction-accuracy", rollback="90%")
    assert told(assess(accuracy, series([95.0] * 5), None, asked(5)))[0] == "pass"
    found = assess(accuracy, series([80.0] * 5), None, asked(5))
    assert found.sentence == "prediction-accuracy 80 % (roll back below 90 %): fail"


def noisy(level: float, deviation: float, looks: int, seed: int) -> list[Datum | None]:
    return list(map(float, level + deviation * np.random.default_rng(seed).standard_normal(looks)))


def test_a_gauge_within_noise_of_its_limit_is_not_beyond_it() -> None:
    memory = gate("gpu-memory", "95%")
    for seed in range(40):
        stable = series(noisy(94.3, 0.5, 80, seed), BEGIN - 20 * LOOK)
        mine = noisy(94.3, 0.5, 60, 100 + seed)
        found = [assess(memory, series(mine[:looks]), stable, asked(looks, alpha=SPLIT)) for looks in range(3, 61)]
        assert {told(one)[0] for one in found} == {"pass"}
    full = [assess(memory, series([99.0] * looks), stable, asked(looks, alpha=SPLIT)) for looks in range(3, 8)]
    assert told(full[1])[0] == "warn", "four looks"


def test_a_gauge_that_is_high_on_stable_too() -> None:
    stable = series(noisy(96, 0.3, 40, 1), BEGIN - 20 * LOOK)
    found = assess(gate("gpu-memory", "95%"), series(noisy(96, 0.3, 20, 2)), stable, asked(20))
    assert told(found)[0] == "hold"
    assert "stable is beyond it too" in found.sentence


def test_infinitely_bad_is_beyond_every_limit() -> None:
    found = assess(own(rollback="40"), series([math.inf] * 5), None, asked(5))
    assert found == Verdict("dropped", "fail", "dropped +Inf (roll back above 40): fail")
    stable = series([4.0] * 23, BEGIN - 20 * LOOK)
    assert told(assess(own(rollback="1.5x stable"), series([math.inf] * 3), stable, asked(3)))[0] == "fail"
    both = series([4.0] * 20 + [math.inf] * 3, BEGIN - 20 * LOOK)
    assert told(assess(own(rollback="1.5x stable"), series([math.inf] * 3), both, asked(3)))[0] == "pass"
    found = assess(own(rollback="40"), series([1.0, 2.0, math.inf, 1.0, 2.0]), None, asked(5))
    assert told(found)[0] == "pass", "one look is a spike, whatever its height"


def test_infinitely_good_is_no_data() -> None:
    found = assess(own(rollback="5", worse="lower"), series([math.inf] * 5), None, asked(5))
    assert told(found)[0] == "no data"
    assert told(assess(own(rollback="5", worse="lower"), series([-math.inf] * 5), None, asked(5)))[0] == "fail"


def test_a_gauge_needs_three_looks() -> None:
    found = assess(QUEUE, series([99.0, 99.0]), None, asked(2))
    assert found == Verdict(
        "queue-length", "too few samples", "queue-length: 2 of the 3 looks that are needed", 2 * MINUTE + 10
    )


def test_a_query_of_ones_own() -> None:
    assert told(assess(own(pause="5"), series([6.0] * 3), None, asked(3)))[0] == "warn"
    assert told(assess(own(pause="5", worse="lower"), series([4.0] * 3), None, asked(3)))[0] == "warn"
    stable = series([4.0] * 23, BEGIN - 20 * LOOK)
    assert told(assess(own(rollback="1.5x stable"), series([12.0] * 3), stable, asked(3)))[0] == "fail"


def test_traffic_is_compared_by_its_share() -> None:
    throughput = gate("tokens-per-second", rollback="0.5x stable")
    stable = series([9000.0] * 30, BEGIN - 20 * LOOK)
    equal = asked(10, weight=10, stable_weight=90, before_weight=90)
    found = assess(throughput, series([1000.0] * 10), stable, equal)
    assert found.sentence == "tokens-per-second 1e+04, stable 1e+04 (+0.0 %, roll back below -50 %): pass"
    assert told(assess(throughput, series([200.0] * 10), stable, equal))[0] == "fail"


def test_a_ratio_to_nothing_pauses() -> None:
    drift = gate("prediction-drift", rollback="2x stable")
    found = assess(drift, series([0.4] * 5), series([0.0] * 25, BEGIN - 20 * LOOK), asked(5))
    assert told(found)[0] == "warn"


# --- Against stable ----------------------------------------------------------------------------------------------


def test_a_slower_candidate_is_told_with_its_numbers() -> None:
    stable = series([histogram(5400, 45)] * 25, BEGIN - 20 * LOOK)
    found = assess(LATENCY, series([histogram(600, 50, 30)] * 5), stable, asked(5))
    assert isinstance(found, Verdict)
    assert found.status == "fail"
    assert found.sentence.startswith("latency-p99 1.28 s, stable 499 ms (+155.5 %, pause above +10 %, roll back above")


def test_without_a_history_limits_come_from_stables_first_looks() -> None:
    slow, stable = series([histogram(600, 50, 30)] * 8), series([histogram(5400, 45)] * 8)
    assert told(assess(LATENCY, slow, stable, asked(8)))[0] == "fail"
    assert told(assess(LATENCY, stable, stable, asked(8)))[0] == "pass"
    assert told(assess(LATENCY, slow, None, asked(8)))[0] == "no data"


def test_once_stable_has_no_traffic_it_is_compared_with_its_past() -> None:
    before = series([histogram(2700, 23)] * 20 + [histogram(1, 0)], BEGIN - 21 * LOOK)
    alone = asked(6, stable_weight=0, before_weight=50)
    same = assess(LATENCY, series([histogram(5400, 45)] * 6), before, alone)
    assert same.sentence.startswith("latency-p99 499 ms, stable 499 ms before (-0.0 %")
    assert told(same)[0] == "pass"
    assert told(assess(LATENCY, series([histogram(5400, 500, 300)] * 6), before, alone))[0] == "fail"
    assert told(assess(LATENCY, series([histogram(5400, 45)] * 6), Series(), alone))[0] == "no data"
    errors, failing = gate("error-rate", rollback="2x stable"), series([Counts(5400, 540)] * 6)
    assert told(assess(errors, failing, series([Counts(2700, 27)] * 20, BEGIN - 20 * LOOK), alone))[0] == "fail"
    queue = gate("queue-length", rollback="2x stable")
    past = series([4.0] * 20, BEGIN - 20 * LOOK)
    assert told(assess(queue, series([30.0] * 6), past, alone))[0] == "fail"
    assert told(assess(queue, series([5.0] * 6), past, alone))[0] == "pass"


def test_what_stable_shows_after_it_lost_its_traffic_is_not_compared_with() -> None:
    memory = gate("gpu-memory", rollback="1.2x stable")
    idle = series([80.0] * 20 + [10.0] * 50, BEGIN - 60 * LOOK)
    alone = Asked(BEGIN + 6 * LOOK + 10, BEGIN, LOOK, stable_weight=0, lost=BEGIN - 40 * LOOK)
    assert told(assess(memory, series([80.0] * 6), idle, alone))[0] == "pass"


def test_two_runtimes_that_count_differently_are_compared_by_value() -> None:
    triton = series([0.496] * 25, BEGIN - 20 * LOOK)
    assert told(assess(LATENCY, series([histogram(600, 5)] * 5), triton, asked(5)))[0] == "pass"
    found = assess(LATENCY, series([histogram(600, 50, 30)] * 5), triton, asked(5))
    assert told(found)[0] == "fail"


# --- Histograms --------------------------------------------------------------------------------------------------

buckets = st.lists(
    st.tuples(st.integers(1, 100_000).map(lambda ms: ms / 1000), st.integers(0, 10**6)), min_size=1, max_size=12
).map(lambda pairs: dict(zip(sorted({bound for bound, _ in pairs}), np.cumsum([n for _, n in pairs]), strict=False)))


@given(buckets, st.floats(0.01, 0.99))
def test_a_quantile_has_its_share_of_slower_requests(finite: dict[float, float], share: float) -> None:
    whole = {bound: float(count) for bound, count in finite.items()}
    whole[math.inf] = max(whole.values()) * 1.01
    found = histograms.quantile(whole, share)
    if whole[math.inf] == 0:
        assert found is None
        return
    assert found is not None
    counts = histograms.slower(whole, found.value)
    assert counts is not None
    assert found.open or counts.bad == pytest.approx((1 - share) * counts.requests, rel=1e-6, abs=1e-3)


@pytest.mark.parametrize(("spread", "shape"), [(0.3, "log-normal"), (0.5, "log-normal"), (0, "power law")])
@pytest.mark.parametrize("limit", [5.5, 6.5, 8.0, 9.5])
def test_within_a_wide_bucket_the_tail_falls_like_those_of_servers(spread: float, shape: str, limit: float) -> None:
    """vLLM has no bound between 5 and 10 s. Linear in both it would be off by 40 to 300 %."""

    def slower(time: float) -> float:
        if shape == "power law":
            return (time / 2.5) ** -3
        return 1 - NormalDist(math.log(4), spread).cdf(math.log(time))

    buckets = {bound: 1e6 * (1 - slower(bound)) for bound in (2.5, 5.0, 10.0, 15.0)} | {math.inf: 1e6}
    cut = histograms.cut_at(limit, buckets)
    assert cut
    exact = 1e6 * slower(limit)
    assert cut.counts(buckets).bad == pytest.approx(exact, rel=0.12 if shape == "power law" else 0.001)
    assert cut.counts(buckets).bad >= exact * 0.999, "stable is never taken to be faster than it is"


def test_few_requests_are_cut_like_many() -> None:
    """What lies within a bucket is taken from before, so that looks with a request each add up to the same."""
    reference = {1.0: 900.0, 2.0: 990.0, math.inf: 1000.0}
    cut = histograms.cut_at(1.5, reference)
    assert cut
    parts = [{1.0: 9.0, 2.0: 10.0, math.inf: 10.0}] * 90 + [{1.0: 0.0, 2.0: 0.0, math.inf: 1.0}] * 10
    whole = cut.counts(histograms.merged([reference]))
    found = [cut.counts(part).bad for part in parts]
    assert sum(found) == pytest.approx(whole.bad)


SPREAD = 0.25


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
@pytest.mark.parametrize(("lower", "limit", "upper"), [(1.0, 1.5, 2.5), (2.5, 2.6, 5.0), (2.5, 4.0, 5.0), (10, 14, 15)])
def test_a_version_within_a_limit_inside_a_bucket_is_on_the_lower_side_of_some_piece(
    share: float, lower: float, limit: float, upper: float
) -> None:
    """Whatever its spread, from the least one on: a version exactly at the limit, and not one 1.3 times as slow."""
    normal, buckets = NormalDist(), {lower: 0.0, upper: 1.0, math.inf: 1.0}
    pieces = histograms.pieces_at(limit, share, buckets, SPREAD)

    def above(factor: float, spread: float) -> bool:
        middle = math.log(limit * factor) - spread * normal.inv_cdf(share)
        below = {edge: normal.cdf((math.log(edge) - middle) / spread) for edge in (lower, upper)} | {math.inf: 1.0}
        return all(any(line.cut.counts(below).bad > line.rate * 1.01 for line in piece) for piece in pieces)

    spreads = [SPREAD * 1.02**step for step in range(150)]
    assert not any(above(1.0, spread) for spread in spreads)
    assert all(above(1.3, spread) for spread in spreads if spread < 1)


@pytest.mark.parametrize(
    ("p99", "spread", "stopped"), [(3.8, 0.44, False), (4.6, 0.44, True), (3.5, 0.1, False), (4.6, 0.1, True)]
)
def test_a_limit_inside_a_bucket_whose_p99_stable_has_below_it(p99: float, spread: float, stopped: bool) -> None:
    """Neither blind up to the bucket's edge, nor against a version within the limit whose times lie close together."""
    one, normal, bounds = gate("latency-p99", "4s"), NormalDist(), (1.0, 1.5, 2.0, 2.5, 5.0, 10.0, math.inf)

    def looks(of: float, requests: float, seed: int, count: int) -> list[Datum | None]:
        rng, middle = np.random.default_rng(seed), math.log(of) - spread * normal.inv_cdf(0.99)
        below = [normal.cdf((math.log(bound) - middle) / spread) if bound < math.inf else 1.0 for bound in bounds]
        drawn = rng.multinomial(int(requests), np.diff(below, prepend=0.0), size=count).cumsum(1)
        return [dict(zip(bounds, map(float, row), strict=True)) for row in drawn]

    found = 0
    for seed in range(10):
        stable = series(looks(2.2, 7200, seed, 20) + looks(2.2, 3600, 100 + seed, 15), BEGIN - 20 * LOOK)
        found += (
            told(assess(one, series(looks(p99, 3600, 200 + seed, 15)), stable, asked(15, alpha=SPLIT)))[0] == "warn"
        )
    assert found == (10 if stopped else 0)


def test_a_limit_at_an_edge_counts_requests_and_nothing_else() -> None:
    assert histograms.pieces_at(2.0, 0.99, {1.0: 5.0, 2.0: 5.0, math.inf: 6.0}, 0.2) == [
        (histograms.Line(histograms.Cut(1.0, 2.0, 0.0), pytest.approx(0.01)),)
    ]


def test_nothing_is_known_beyond_the_greatest_bucket() -> None:
    assert histograms.pieces_at(2.0, 0.99, {1.0: 5.0, math.inf: 6.0}, 0.2) == []
    assert histograms.cut_at(2.0, {1.0: 5.0, math.inf: 6.0}) is None
    assert histograms.slower({1.0: 5.0, math.inf: 6.0}, 2.0) is None
    assert histograms.quantile({math.inf: 6.0}, 0.5) is None
    assert histograms.quantile({}, 0.5) is None
    assert histograms.quantile({1.0: 5.0, math.inf: 6.0}, 0.99) == (1.0, True)


# --- Over a whole step: false alarms, and how soon -------------------------------------------------------------

RUNS = 200
SPLIT = levels(ALPHA, gates=2, steps=4, waves=1).each
VLLM = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0)
RELATIVE = gate("error-rate", "1.2x stable", "2x stable")


@cache
def world(scenario: Scenario) -> World:
    return play(scenario, RUNS, seed=11)


def arms(scenario: Scenario, run: int, *, gauge: bool) -> tuple[Series, Series]:
    """The candidate's looks, and stable's, of which twenty lie before the step."""
    found = world(scenario)

    def data(arm: str, first: int, last: int) -> list[Datum | None]:
        part = getattr(found, arm)
        if gauge:
            return [float(one) for one in value(part, scenario)[run, first:last]]
        rows = zip(part.requests[run, first:last], part.above[run, first:last], strict=True)
        if scenario.errors:
            return [Counts(float(n), float(bad[0])) for n, bad in rows]
        return [{b: float(n - k) for b, k in zip(scenario.bounds, bad, strict=True)} | {math.inf: n} for n, bad in rows]

    before = data("history", HISTORY - 20, HISTORY)
    return series(data("candidate", 0, LOOKS)), series(before + data("stable", 0, LOOKS), BEGIN - 20 * LOOK)


def stops(scenario: Scenario, one: Gate, runs: int, *, every: int = 1, gauge: bool = False) -> list[int | None]:
    """The look at which each run is stopped by the gate (rolled back, if it has that limit), None for never."""
    return [_stop(scenario, one, *arms(scenario, run, gauge=gauge), every=every) for run in range(runs)]


def _stop(scenario: Scenario, one: Gate, mine: Series, theirs: Series, *, every: int) -> int | None:
    wanted = "fail" if one.rollback else "warn"
    weights = {"weight": scenario.candidate, "stable_weight": scenario.stable, "before_weight": 100.0}
    for looks in range(1, LOOKS + 1, every):
        now = asked(looks, alpha=SPLIT, **weights)
        candidate, stable = (Series(tuple(look for look in all.looks if look.end <= now.now)) for all in (mine, theirs))
        if told(assess(one, candidate, stable, now))[0] == wanted:
            return looks
    return None


HEALTHY = [
    (Scenario("one in ten", candidate=10, stable=90, rho=0.5), gate("latency-p99", "1.1x stable")),
    (Scenario("vLLM's buckets", candidate=1, stable=99, rho=0.5, bounds=VLLM), gate("latency-p99", "1.1x stable")),
    (Scenario("noisy", noise=0.06, rho=0.5), gate("latency-p99", "1.1x stable")),
    (Scenario("errors", errors=0.002, candidate=10, stable=90, noise=0.2, rho=0.5), gate("error-rate", "1.2x stable")),
    (Scenario("errors", errors=0.002, candidate=10, stable=90, noise=0.2, rho=0.5), gate("error-rate", "0.5%")),
    (Scenario("one in ten", candidate=10, stable=90, rho=0.5), gate("latency-p99", "1750ms")),
]


@pytest.mark.parametrize(("scenario", "one"), HEALTHY, ids=lambda part: getattr(part, "name", ""))
def test_a_healthy_candidate_is_hardly_ever_stopped(scenario: Scenario, one: Gate) -> None:
    """60 looks, noise of each version's own between looks with an autocorrelation of one half."""
    assert sum(stop is not None for stop in stops(scenario, one, RUNS, every=4)) <= 2


def test_a_quantile_as_a_gauge_is_hardly_ever_stopped() -> None:
    """Triton gives nothing else. The candidate's is made of a hundredth of the requests."""
    for scenario in (Scenario("x", candidate=1, stable=99, rho=0.5), Scenario("y", rho=0.5, candidate_noise=2)):
        found = stops(scenario, gate("latency-p99", "1.1x stable"), RUNS, every=4, gauge=True)
        assert sum(stop is not None for stop in found) <= 2


def times(factor: float, after: int = 0, **more: float) -> Scenario:
    """Ten requests a second of a hundred."""
    settings = {"candidate": 10.0, "stable": 90.0, "rho": 0.5} | more
    return Scenario("fault", False, fault=lambda look: math.log(factor) + 0 * look, onset=after, **settings)  # type: ignore[arg-type]


FAULTY = [
    ("p99 x2", times(2), LATENCY, 3),
    ("p99 x2, 1 of 100", times(2, candidate=1, stable=99), LATENCY, 6),
    ("p99 x2, late", times(2, after=30), LATENCY, 34),
    ("p99 x2 against a limit", times(2), gate("latency-p99", rollback="2s"), 3),
    ("p99 +30 %, late", times(1.3, after=20), gate("latency-p99", "1.1x stable"), 32),
    ("errors 3 %", times(30, errors=0.001, noise=0.2), ERRORS, 3),
    ("errors 3 %, late", times(30, after=30, errors=0.001, noise=0.2), ERRORS, 33),
    ("errors 3 % beside stable", times(30, errors=0.001, noise=0.2), RELATIVE, 3),
    ("errors 3 % of 1 in 100", times(30, errors=0.001, noise=0.2, candidate=1, stable=99), RELATIVE, 8),
]


@pytest.mark.parametrize(("scenario", "one", "by"), [pytest.param(*rest, id=name) for name, *rest in FAULTY])
def test_a_fault_is_found_within_a_few_looks(scenario: Scenario, one: Gate, by: int) -> None:
    found = stops(scenario, one, 20)
    assert all(stop is not None and scenario.onset < stop for stop in found)
    assert sorted(stop or LOOKS for stop in found)[len(found) // 2] <= by


def test_a_slower_gauge_is_found() -> None:
    found = stops(times(2), LATENCY, 20, gauge=True)
    assert sorted(stop or LOOKS for stop in found)[10] <= 8
    assert None not in found
