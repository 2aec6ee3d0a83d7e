"""One gate, one measurement, one verdict."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.rollout.verdicts import Measured, QueryFailure, Rules, Verdict, verdict
from gitops.spec.catalog import METRICS
from gitops.spec.fields import Threshold
from gitops.spec.pipeline import Gate


def gate(metric: str, pause: str | None = None, rollback: str | None = None) -> Gate:
    return Gate.model_validate({"metric": metric, "pause": pause, "rollback": rollback})


LATENCY = gate("latency-p99", "1.1x stable", "1.5x stable")
ERRORS = gate("error-rate", rollback="1%")


@pytest.mark.parametrize(
    ("value", "status"), [(0.40, "pass"), (0.44, "pass"), (0.45, "warn"), (0.60, "warn"), (0.61, "fail"), (1e9, "fail")]
)
def test_two_limits_relative_to_stable(value: float, status: str) -> None:
    found = verdict(LATENCY, Measured(value, 500), Measured(0.4, 500))
    assert isinstance(found, Verdict)
    assert found.status == status


@pytest.mark.parametrize(("value", "status"), [(0.0, "pass"), (1.0, "pass"), (1.01, "fail"), (math.inf, "fail")])
def test_an_absolute_limit_is_crossed_beyond_it(value: float, status: str) -> None:
    found = verdict(ERRORS, Measured(value, 500))
    assert isinstance(found, Verdict)
    assert found.status == status


def test_lower_is_worse_for_throughput() -> None:
    throughput = gate("tokens-per-second", "0.9x stable", "0.5x stable")
    found = [verdict(throughput, Measured(value), Measured(100.0)) for value in (90.0, 89.0, 50.0, 49.0, 200.0)]
    assert [one.status for one in found if isinstance(one, Verdict)] == ["pass", "warn", "warn", "fail", "pass"]


@pytest.mark.parametrize("value", [None, math.nan])
def test_nothing_measured_is_no_data(value: float | None) -> None:
    found = verdict(ERRORS, Measured(value, missing_for=90))
    assert found == Verdict("error-rate", "no data", "error-rate: no data", 90)


def test_without_stable_a_relative_limit_has_no_data_but_the_other_holds() -> None:
    mixed = gate("error-rate", "1.2x stable", "1%")
    found = [verdict(mixed, Measured(value, 500)) for value in (0.5, 1.5)]
    assert [one.status for one in found if isinstance(one, Verdict)] == ["no data", "fail"]
    other = verdict(LATENCY, Measured(0.4, 500), Measured(None, missing_for=30))
    assert isinstance(other, Verdict)
    assert (other.status, other.lasting) == ("no data", 30)


def test_few_requests_are_not_judged() -> None:
    few = verdict(ERRORS, Measured(50.0, 99, missing_for=20))
    assert few == Verdict("error-rate", "too few samples", "error-rate: 99 requests, 100 are needed", 20)
    stable = verdict(LATENCY, Measured(0.4, 500), Measured(0.4, 3))
    assert stable.sentence == "latency-p99: stable has 3 requests, 100 are needed"
    assert verdict(ERRORS, Measured(0.1, 3), rules=Rules(samples=3)).sentence.endswith("pass")


def test_a_failed_query_is_not_a_failed_model() -> None:
    assert verdict(ERRORS, Measured(None, failures=4)) == QueryFailure(
        "error-rate", "error-rate: query failed 4 times in a row"
    )
    found = verdict(ERRORS, Measured(99.0, 500, failures=5))
    assert isinstance(found, QueryFailure)
    assert found.outage
    of_stable = verdict(LATENCY, Measured(0.4, 500), Measured(None, failures=1))
    assert of_stable.sentence == "latency-p99: stable's query failed once"
    assert isinstance(verdict(ERRORS, Measured(0.0, 500), Measured(None, failures=9)), Verdict), "stable is not asked"


def test_a_ratio_to_nothing_pauses_and_never_rolls_back() -> None:
    relative = gate("error-rate", rollback="1.2x stable")
    found = [verdict(relative, Measured(value, 500), Measured(0.0, 500)) for value in (0.0, 0.1)]
    assert [one.status for one in found if isinstance(one, Verdict)] == ["pass", "warn"]


def test_sentences_show_the_numbers_and_the_limits() -> None:
    found = verdict(LATENCY, Measured(0.412, 18204), Measured(0.398, 18204))
    assert found.sentence == (
        "latency-p99 412 ms, stable 398 ms (+3.5 %, pause above +10 %, roll back above +50 %), 18204 requests: pass"
    )
    assert (
        verdict(ERRORS, Measured(0.02, 500)).sentence == "error-rate 0.02 % (roll back above 1 %), 500 requests: pass"
    )
    queue = gate("queue-length", "40")
    assert verdict(queue, Measured(41.0)).sentence == "queue-length 41 (pause above 40): warn"
    slow = gate("latency-p50", "2s")
    assert verdict(slow, Measured(1.5)).sentence == "latency-p50 1.5 s (pause above 2 s): pass"


def test_a_value_that_may_be_chance_passes_and_says_so() -> None:
    found = verdict(LATENCY, Measured(0.62, 240), Measured(0.4, 500), doubt=lambda limit: f"p {limit.value:g}")
    assert found.sentence.endswith("240 requests, p 1.5: pass")
    sure = verdict(LATENCY, Measured(0.62, 240), Measured(0.4, 500), doubt=lambda limit: "p" * (limit.value > 1.2))
    assert isinstance(sure, Verdict)
    assert sure.status == "warn"
    assert sure.sentence.endswith("240 requests: warn")


def test_a_value_within_its_limits_needs_no_evidence() -> None:
    def doubt(limit: Threshold) -> str:
        raise AssertionError(limit)

    assert verdict(LATENCY, Measured(0.41, 240), Measured(0.4, 500), doubt=doubt).sentence.endswith("pass")


def test_a_value_beyond_the_greatest_bucket_is_only_known_to_be_beyond_it() -> None:
    slow = gate("latency-p99", rollback="2s")
    assert verdict(slow, Measured(1.0, 500, open=True)).sentence == (
        "latency-p99: no data above the greatest bucket, 1 s, and the limit is there"
    )
    beyond = [
        verdict(slow, Measured(3.0, 500, open=True)),
        verdict(LATENCY, Measured(1.0, 500, open=True), Measured(0.4, 500)),
        verdict(LATENCY, Measured(1.0, 500, open=True), Measured(1.0, 500, open=True)),
        verdict(LATENCY, Measured(0.4, 500), Measured(1.0, 500, open=True)),
        verdict(LATENCY, Measured(3.0, 500), Measured(1.0, 500, open=True)),
    ]
    assert [one.status for one in beyond if isinstance(one, Verdict)] == ["fail", "fail", "no data", "pass", "no data"]


def test_reasons_and_the_past_are_told() -> None:
    assert verdict(ERRORS, Measured(None, reason="no exporter")).sentence == "error-rate: no data (no exporter)"
    assert verdict(ERRORS, Measured(None, failures=2, reason="it is down")).sentence == (
        "error-rate: query failed 2 times in a row: it is down"
    )
    found = verdict(LATENCY, Measured(0.4, 500), Measured(0.4, 500, past=True))
    assert found.sentence.startswith("latency-p99 400 ms, stable 400 ms before (+0.0 %")


def test_a_query_of_ones_own() -> None:
    own = Gate.model_validate(
        {"name": "toxic-answers", "query": "x", "unit": "%", "pause": "2%", "rollback": "3x stable"}
    )
    found = verdict(own, Measured(2.5), Measured(1.0))
    assert found == Verdict(
        "toxic-answers",
        "warn",
        "toxic-answers 2.5 %, stable 1 % (+150.0 %, pause above 2 %, roll back above +200 %): warn",
    )


numbers = st.one_of(st.none(), st.floats(), st.floats(0, 100))
measurements = st.builds(
    Measured, numbers, st.one_of(st.none(), st.integers(0, 1000)), st.integers(0, 6), st.integers(0, 900)
)
limits = st.one_of(st.none(), st.sampled_from(("1.5x stable", "0.5x stable", "3%", "3s", "3")))


@given(st.sampled_from(tuple(METRICS)), limits, limits, measurements, st.one_of(st.none(), measurements))
def test_every_measurement_gets_an_answer(
    metric: str, pause: str | None, rollback: str | None, measured: Measured, stable: Measured | None
) -> None:
    found = verdict(gate(metric, pause, rollback), measured, stable)
    assert found.gate == metric
    assert found.sentence.startswith(metric)
    if measured.failures:
        assert isinstance(found, QueryFailure)
    elif measured.value is None or math.isnan(measured.value):
        assert isinstance(found, QueryFailure) or found.status in ("no data", "too few samples")


def test_what_is_not_its_own_doing_holds() -> None:
    both = gate("error-rate", "0.5%", "1%")

    def excuse(limit: Threshold) -> str:
        return "stable is beyond it too" if limit.value == 1 else ""

    found = verdict(both, Measured(5.0, 500), None, doubt=lambda _: "", excuse=lambda _: "stable is beyond it too")
    assert isinstance(found, Verdict)
    assert found.status == "hold"
    assert found.sentence == (
        "error-rate 5 % (pause above 0.5 %, roll back above 1 %), 500 requests, stable is beyond it too: hold"
    )
    mild = verdict(both, Measured(5.0, 500), None, doubt=lambda _: "", excuse=excuse)
    assert isinstance(mild, Verdict)
    assert mild.status == "warn", "worse than stable by the milder limit, which stable keeps"
    chance = verdict(both, Measured(5.0, 500), None, doubt=lambda _: "may be chance", excuse=excuse)
    assert isinstance(chance, Verdict)
    assert chance.status == "pass", "nothing has to be excused that may be chance"


def test_what_is_sure_needs_no_number_of_requests() -> None:
    few = Measured(100.0, 4, missing_for=120)
    sure, chance = (verdict(ERRORS, few, doubt=lambda _, why=why: why) for why in ("", "may be chance"))
    assert isinstance(sure, Verdict)
    assert isinstance(chance, Verdict)
    assert sure.sentence == "error-rate 100 % (roll back above 1 %), 4 requests: fail"
    assert chance == Verdict("error-rate", "too few samples", "error-rate: 4 requests, 100 are needed", 120)
    untested = verdict(ERRORS, few)
    assert isinstance(untested, Verdict)
    assert untested.status == "too few samples", "without a test the value of four requests says nothing"
