"""What so many requests can show at all: the bounds, and the simulated gates that keep to them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.plan.visibility import Traffic, blind_spot, counts, needed, percent, traffic_of
from gitops.rollout.binomial import detectable
from gitops.rollout.series import Look, Question, Series, Unanswered
from gitops.rollout.statistics import Counts
from gitops.spec.rollouts import Gate
from tests.plan.repository import CHAT

ALPHA = 0.01
BUCKETS = {0.1: 500.0, 0.2: 900.0, 0.4: 990.0, 0.8: 1000.0, math.inf: 1000.0}
"""The median is 100 ms, the 99th percentile 400 ms."""


def gate(metric: str, **limits: str) -> Gate:
    return Gate.model_validate({"metric": metric, **limits})


def blind(one: Gate, requests: int, traffic: Traffic | None = None, runtime: str = "vllm") -> str:
    return blind_spot(one, runtime, requests, traffic or Traffic(), ALPHA)


@pytest.mark.parametrize(
    ("requests", "errors", "said"),
    [
        (27, None, "an error rate under 11 % (its limit of 1 % is out of sight)"),
        (27, 0.001, "an error rate under 16 % (its limit of 1 % is out of sight)"),
        (10_000, None, "an error rate under 0.03 %"),
        (0, None, "errors at all"),
        (1, 0.02, "errors at all"),
    ],
)
def test_errors(requests: int, errors: float | None, said: str) -> None:
    assert blind(gate("error-rate", pause="0.5%", rollback="1%"), requests, Traffic(errors=errors)) == said


def test_errors_relative_to_stable_have_a_limit_when_stable_is_known() -> None:
    one = gate("error-rate", rollback="2x stable")
    assert blind(one, 1000, Traffic(errors=0.01)) == "an error rate under 2.7 % (its limit of 2 % is out of sight)"
    assert blind(one, 1000) == "an error rate under 0.3 %"


@given(st.integers(1, 10**6), st.sampled_from([0.0, 0.001, 0.02]))
def test_it_is_the_bound_of_the_binomial(requests: int, errors: float) -> None:
    said = blind(gate("error-rate", rollback="100%"), requests, Traffic(errors=errors))
    least = detectable(requests, errors, ALPHA)
    assert said == ("errors at all" if least >= 1 else f"an error rate under {percent(least)}")


def test_a_slowdown_by_the_shape_of_stables_durations() -> None:
    known = Traffic(durations={"latency-p99": BUCKETS})
    assert blind(gate("latency-p99", pause="1.1x stable"), 100_000, known) == "latency-p99 grow by less than 11 %"
    assert blind(gate("latency-p99", pause="1.1x stable"), 300, known) == "latency-p99 grow by less than 22 %"
    assert blind(gate("latency-p99", rollback="800ms"), 300, known) == "latency-p99 grow by less than 153 %"


def test_a_slowdown_is_never_seen_sooner_than_its_limit() -> None:
    known = Traffic(durations={"latency-p99": BUCKETS})
    said = blind(gate("latency-p99", pause="1.5x stable"), 10**7, known)
    assert float(said.removeprefix("latency-p99 grow by less than ").removesuffix(" %")) >= 50


def test_without_a_histogram_it_is_said_of_requests() -> None:
    assert blind(gate("latency-p99", rollback="2s"), 27) == "fewer than 22 % of requests beyond 2s (latency-p99)"
    relative = blind(gate("latency-p95", pause="1.2x stable"), 540)
    assert relative == "fewer than 9.3 % of requests beyond 1.2x stable's quantile (latency-p95)"
    assert blind(gate("latency-p99", rollback="2s"), 1) == "slow requests at all (latency-p99)"


def test_a_limit_that_stable_is_beyond_hides_nothing() -> None:
    assert blind(gate("latency-p99", rollback="100ms"), 10_000, Traffic(durations={"latency-p99": BUCKETS})) == ""


@pytest.mark.parametrize(
    ("metric", "runtime"), [("gpu-memory", "vllm"), ("latency-p99", "triton"), ("requests-per-second", "custom")]
)
def test_what_does_not_go_by_requests(metric: str, runtime: str) -> None:
    one = gate(metric, pause="1.2x stable" if metric != "requests-per-second" else "0.8x stable")
    assert not counts(one, runtime)
    assert blind(one, 10, runtime=runtime) == ""
    own = Gate.model_validate({"name": "mine", "query": "x{version='$version'}", "rollback": "3"})
    assert not counts(own, runtime)


@pytest.mark.parametrize(
    ("limits", "errors", "requests"),
    [
        ({"rollback": "1%"}, 0.0, 299),
        ({"pause": "5%"}, 0.0, 59),
        ({"rollback": "2x stable"}, 0.0, None),
        ({"rollback": "1%"}, 0.02, None),
        ({"pause": "0.5%", "rollback": "100%"}, 0.0, None),
    ],
)
def test_requests_that_a_limit_needs(limits: dict[str, str], errors: float, requests: int | None) -> None:
    assert needed(gate("error-rate", **limits), "vllm", errors, ALPHA) == requests


@given(st.sampled_from([0.0, 0.001, 0.01]), st.sampled_from([0.02, 0.1]))
def test_so_many_are_enough_and_fewer_are_not(errors: float, limit: float) -> None:
    requests = needed(gate("error-rate", rollback=f"{limit:.0%}"), "vllm", errors, ALPHA)
    assert requests
    assert detectable(requests, errors, ALPHA) <= limit
    assert detectable(requests // 2, errors, ALPHA) > limit


def test_latencies_need_no_number_of_requests() -> None:
    assert needed(gate("latency-p99", rollback="2s"), "vllm", 0.0, ALPHA) is None


# --- What metrics say ----------------------------------------------------------------------------------------


def question(metric: str) -> Question:
    return Question(CHAT, "dev", "1.0.0", "vllm", metric, 0, 300)


def series(*data: Any, latest: Any = None) -> Series:
    return Series(tuple(Look(300 * number, datum) for number, datum in enumerate(data, 1)), latest)


def test_traffic_is_the_mean_of_the_looks() -> None:
    found = traffic_of(
        {
            question("requests-per-second"): series(2.0, 4.0, latest=100.0),
            question("error-rate"): series(Counts(300, 3), Counts(100, 1)),
            question("latency-p99"): series({0.1: 5.0, math.inf: 10.0}, {0.1: 1.0, math.inf: 2.0}),
        },
        100,
    )
    assert found == Traffic(3.0, True, 0.01, {"latency-p99": {0.1: 6.0, math.inf: 12.0}})


def test_stable_answers_only_a_part_of_it() -> None:
    assert traffic_of({question("requests-per-second"): series(9.0)}, 90).rate == pytest.approx(10)


def test_the_span_up_to_now_is_better_than_nothing() -> None:
    assert traffic_of({question("requests-per-second"): series(latest=2.5)}, 100).rate == 2.5


@pytest.mark.parametrize("answer", [Unanswered("no route to host"), series(), series(0.0)])
def test_what_cannot_be_asked_is_not_known(answer: Series | Unanswered) -> None:
    found = traffic_of({question("requests-per-second"): answer}, 100)
    assert (found.rate, found.measured) == (None, False)
    assert traffic_of({question("requests-per-second"): series(1.0)}, 0).rate is None
    assert traffic_of({}, 100) == Traffic()
