"""What a step can show: sentences made of what `rollout.power` finds, which its own tests hold to the rule."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from gitops.plan.visibility import Traffic, blind_spot, counts, needed, traffic_of
from gitops.rollout.power import Watch, least_errors
from gitops.rollout.series import Look, Question, Series, Unanswered
from gitops.rollout.statistics import Counts
from gitops.spec.rollouts import Gate
from tests.plan.repository import CHAT

ALPHA = 0.01
BUCKETS = {0.1: 500.0, 0.2: 900.0, 0.4: 990.0, 0.8: 1000.0, math.inf: 1000.0}
"""The median is 100 ms, the 99th percentile 400 ms."""


def gate(metric: str, **limits: str) -> Gate:
    return Gate.model_validate({"metric": metric, **limits})


def step(requests: int, share: float = 0.1) -> Watch:
    whole = round(requests / share)
    return Watch(requests, whole - requests, whole, looks=15, look=60, alpha=ALPHA)


def blind(one: Gate, requests: int, traffic: Traffic | None = None, runtime: str = "vllm") -> str:
    return blind_spot(one, runtime, step(requests), traffic or Traffic())


@pytest.mark.parametrize(
    ("requests", "errors", "said"),
    [
        (27, None, "an error rate under 46 % (its limit is 0.5 %)"),
        (10_000, None, "an error rate under 0.89 % (its limit is 0.5 %)"),
        (0, None, "errors at all"),
        (1, 0.001, "errors at all"),
        (10_000, 0.02, ""),
    ],
)
def test_errors(requests: int, errors: float | None, said: str) -> None:
    found = blind(gate("error-rate", pause="0.5%", rollback="1%"), requests, Traffic(errors=errors))
    assert re.sub(r"[\d.]+ % \(", "", found) == re.sub(r"[\d.]+ % \(", "", said)
    if "under" in said:
        assert numbers(found)[0] == pytest.approx(numbers(said)[0], rel=0.35)


def test_errors_relative_to_stable_have_a_limit_when_stable_is_known() -> None:
    one = gate("error-rate", rollback="2x stable")
    assert blind(one, 10_000, Traffic(errors=0.01)).endswith(" (its limit is 2 %)")
    assert 2 < numbers(blind(one, 10_000, Traffic(errors=0.01)))[0] < 4
    assert "limit" not in blind(one, 1000)


def numbers(said: str) -> list[float]:
    return [float(found) for found in re.findall(r"[\d.]+(?= %)", said)]


def test_a_slowdown_by_the_shape_of_stables_durations() -> None:
    known = Traffic(durations={"latency-p99": BUCKETS})
    many, few = (numbers(blind(gate("latency-p99", pause="1.1x stable"), n, known))[0] for n in (50_000, 500))
    assert 10 < many < few < 200
    fixed = blind(gate("latency-p99", rollback="600ms"), 5000, known)
    assert fixed.startswith("latency-p99 grow by less than ")
    assert numbers(fixed)[0] > 50, "from 400 ms"


def test_a_slowdown_is_never_seen_sooner_than_its_limit() -> None:
    known = Traffic(durations={"latency-p99": BUCKETS})
    assert numbers(blind(gate("latency-p99", pause="1.5x stable"), 10**6, known))[0] >= 50


def test_without_a_histogram_it_is_said_of_requests() -> None:
    said = blind(gate("latency-p99", rollback="2s"), 540)
    assert said.startswith("fewer than ")
    assert said.endswith(" % of requests beyond 2s (latency-p99)")
    assert blind(gate("latency-p95", pause="1.2x stable"), 540).endswith(" beyond 1.2x stable's quantile (latency-p95)")
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
    ("limits", "errors"),
    [
        ({"rollback": "2x stable"}, 0.0),
        ({"rollback": "1%"}, 0.02),
        ({"rollback": "60%"}, 0.0),
    ],
)
def test_a_limit_of_which_twice_as_much_says_nothing(limits: dict[str, str], errors: float) -> None:
    assert needed(gate("error-rate", **limits), "vllm", errors, step(1000)) is None


@pytest.mark.parametrize("limit", [0.01, 0.05])
def test_so_many_are_enough_and_half_of_them_are_not(limit: float) -> None:
    one = gate("error-rate", rollback=f"{limit:.0%}")
    requests = needed(one, "vllm", 0.001, step(1000))
    assert requests
    found = [least_errors(one, step(n), 0.001) or 1.0 for n in (requests, requests // 2)]
    assert found[0] <= 2.1 * limit
    assert found[1] > 2 * limit


def test_latencies_need_no_number_of_requests() -> None:
    assert needed(gate("latency-p99", rollback="2s"), "vllm", 0.0, step(1000)) is None


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
