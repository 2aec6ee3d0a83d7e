"""A second opinion by pod: a sick node and cold replicas accuse nobody, a bad version is found on all of its pods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from gitops.rollout.measuring import Asked, assess
from gitops.rollout.pods import joined, opinion, reconsidered, second, worth_asking
from gitops.rollout.series import Datum, Look, Question, Series, Unanswered
from gitops.rollout.statistics import Counts
from gitops.rollout.verdicts import QueryFailure, Result, Verdict
from gitops.spec.pipeline import Gate
from gitops.values import UnitKey

LOOK, BEGIN = 60, 6_000_000
ERRORS = Gate.model_validate({"metric": "error-rate", "pause": "0.5%", "rollback": "1%"})
LATENCY = Gate.model_validate({"metric": "latency-p99", "rollback": "1.5x stable"})
QUEUE = Gate.model_validate({"metric": "queue-length", "rollback": "40"})


def series(data: Sequence[Datum], first: int = BEGIN) -> Series:
    return Series(tuple(Look(first + (index + 1) * LOOK, datum) for index, datum in enumerate(data)))


STABLE = series([Counts(5400, 3)] * 40, BEGIN - 20 * LOOK)


def judged(pods: dict[str, Series], looks: int = 10, gate: Gate = ERRORS, stable: Series = STABLE) -> Result:
    asked = Asked(BEGIN + looks * LOOK + 5, BEGIN, LOOK)
    whole = joined(pods)
    result = assess(gate, whole, stable, asked)
    return reconsidered(gate, result, Series(whole.looks, whole.latest, pods), stable, asked)


def healthy(looks: int = 10) -> Series:
    return series([Counts(600, 0)] * looks)


def told(result: Result) -> str:
    assert isinstance(result, Verdict)
    return result.status


def test_one_sick_pod_holds_and_is_named() -> None:
    sick = series([Counts(600, 0)] * 6 + [Counts(600, 300)] * 2)
    found = judged({"chat-a": healthy(8), "chat-b": sick, "chat-c": healthy(8)}, 8)
    assert isinstance(found, Verdict)
    assert found.status == "hold"
    assert found.sentence.endswith("requests, but only on pod chat-b (delete it): hold")


def test_an_only_pod_that_served_well_before_may_be_to_blame_itself() -> None:
    bad = [Counts(600, 300)] * 2
    late = judged({"chat-a": series([Counts(600, 0)] * 10 + bad)}, 12)
    assert isinstance(late, Verdict)
    assert (late.status, late.only) == ("fail", True), "traffic goes to stable all the same"
    assert late.sentence.endswith("on its only pod chat-a, which served well before: fail")
    first = judged({"chat-a": series(bad)}, 2)
    assert isinstance(first, Verdict)
    assert (first.status, first.only) == ("fail", False), "bad from the beginning"
    worse = judged({"chat-a": series([Counts(600, 30)] * 8 + bad)}, 10)
    assert isinstance(worse, Verdict)
    assert not worse.only


def test_a_bad_version_is_bad_on_every_pod() -> None:
    bad = series([Counts(600, 18)] * 4)
    assert told(judged({"chat-a": bad, "chat-b": bad}, 4)) == "fail"


def test_a_fault_that_returns_in_the_successor_accuses() -> None:
    first = series([Counts(600, 300)] * 3)
    successor = series([Counts(600, 300)] * 7, BEGIN + 3 * LOOK)
    assert told(judged({"chat-a": first, "chat-b": healthy(3)}, 3)) == "hold"
    gone = {"chat-a": first, "chat-b": healthy()}
    assert told(judged(gone)) == "pass", "the pod is gone, and with it the fault"
    assert told(judged({**gone, "chat-c": successor})) == "fail"
    assert told(judged({"chat-a": first, "chat-c": successor})) == "fail"


def test_the_only_pod_is_judged_as_the_version() -> None:
    assert told(judged({"chat-a": series([Counts(600, 300)] * 3)}, 3)) == "fail"
    assert told(judged({"chat-a": series([Counts(600, 300)] * 3), "chat-b": series([Counts(0, 0)] * 3)}, 3)) == "fail"


def test_without_one_pod_it_may_be_beyond_the_milder_limit_only() -> None:
    worst, others = series([Counts(600, 60)] * 8), series([Counts(600, 5)] * 8)
    found = judged({"chat-a": worst, "chat-b": others, "chat-c": others}, 8)
    assert isinstance(found, Verdict)
    assert found.status == "warn"
    assert "mostly on pod chat-a" in found.sentence


def test_the_first_minutes_of_a_pod_that_joins_are_left_out() -> None:
    cold = [series([Counts(600, 60)] * 2 + [Counts(600, 0)] * 4, BEGIN + 4 * LOOK) for _ in range(2)]
    found = judged({"chat-a": healthy(), "chat-b": cold[0], "chat-c": cold[1]})
    assert isinstance(found, Verdict)
    assert found.status == "pass"
    assert found.sentence.endswith("without the first minutes of new pods: pass")
    never = [series([Counts(600, 60)] * 6, BEGIN + 4 * LOOK) for _ in range(2)]
    assert told(judged({"chat-a": healthy(), "chat-b": never[0], "chat-c": never[1]})) == "fail"
    everyone = {name: series([Counts(600, 60)] * 2, BEGIN + 4 * LOOK) for name in ("chat-b", "chat-c")}
    assert told(judged(everyone, 6)) == "fail", "none is older, so that they have to do"


def test_durations_by_pod() -> None:
    def histogram(slow: float) -> Datum:
        return {0.1: 300.0, 0.5: 600 - slow, 1.0: 600 - slow, 2.0: 600 - slow / 2, math.inf: 600.0}

    stable = series([histogram(3)] * 30, BEGIN - 20 * LOOK)
    sick, well = series([histogram(300)] * 8), series([histogram(3)] * 8)
    assert told(judged({"chat-a": sick, "chat-b": well}, 8, LATENCY, stable)) == "hold"
    assert told(judged({"chat-a": sick, "chat-b": sick}, 8, LATENCY, stable)) == "fail"


def test_only_what_stops_a_rollout_is_asked_by_pod() -> None:
    fail, good = Verdict("error-rate", "fail", ""), Verdict("error-rate", "pass", "")
    assert worth_asking(ERRORS, "vllm", fail)
    assert not worth_asking(ERRORS, "vllm", good)
    assert not worth_asking(ERRORS, "vllm", QueryFailure("error-rate", ""))
    assert not worth_asking(QUEUE, "vllm", fail), "a mean over pods already"
    assert not worth_asking(LATENCY, "triton", fail), "its quantiles cannot be put together"


def test_without_an_answer_by_pod_the_result_stands() -> None:
    fail = Verdict("error-rate", "fail", "error-rate 5 %: fail")
    asked = Asked(BEGIN + 600, BEGIN, LOOK)
    for answer in (None, Series(), Unanswered("it is down")):
        assert reconsidered(ERRORS, fail, answer, STABLE, asked) == fail


# --- Equal load ----------------------------------------------------------------------------------------------


def times(slow: float, requests: float = 600) -> Datum:
    part = requests / 600
    return {0.1: 300 * part, 0.5: (600 - slow) * part, 1.0: (600 - slow / 8) * part, 2.0: requests, math.inf: requests}


def compared(mine: float, stable_now: float, stable_before: float, pods: int = 2) -> Result:
    """The candidate's requests on so many pods, as many of stable's on six."""
    gate, asked = LATENCY, Asked(BEGIN + 8 * LOOK + 5, BEGIN, LOOK, weight=50, stable_weight=50, before_weight=90)
    unit = UnitKey("production", "chat")
    ask = Question(unit, "prod", "2.0", "vllm", "latency-p99", BEGIN, LOOK)
    asking = second(gate, ask, replace(ask, version="1.0", begin=BEGIN - 20 * LOOK), BEGIN - 3600)
    whole = series([times(mine)] * 8)
    stable = series([times(stable_now)] * 28, BEGIN - 20 * LOOK)
    assert asking.stable
    assert asking.before
    answers = {
        asking.candidate: replace(whole, pods={f"c{n}": series([times(mine, 600 / pods)] * 8) for n in range(pods)}),
        asking.stable: replace(stable, pods={f"s{n}": series([times(stable_now, 100)] * 8) for n in range(6)}),
        asking.before: series([times(stable_before)] * 20, BEGIN - 3600 - 20 * LOOK),
    }
    return opinion(gate, assess(gate, whole, stable, asked), asking, answers, stable, asked)


def test_pods_with_more_requests_than_stables_are_compared_with_stable_before_the_rollout() -> None:
    found = compared(mine=40, stable_now=3, stable_before=40)
    assert isinstance(found, Verdict)
    assert found.status == "pass"
    assert found.sentence.endswith("at equal load: pass")
    assert told(compared(mine=40, stable_now=3, stable_before=3)) == "fail", "slower at equal load as well"
    assert told(compared(mine=40, stable_now=3, stable_before=40, pods=6)) == "fail", "the load is equal now"


def test_only_durations_beside_stable_are_compared_with_what_was_before() -> None:
    ask = Question(UnitKey("production", "chat"), "prod", "2.0", "vllm", "error-rate", BEGIN, LOOK)
    assert second(ERRORS, ask, ask, BEGIN).questions == (replace(ask, by_pod=True),)
    assert len(second(LATENCY, ask, ask, BEGIN).questions) == 3
