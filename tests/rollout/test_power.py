"""What the plan claims to see, held to the rule: simulated steps of that effect are stopped in about 95 of 100."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from gitops.rollout.measuring import NOISE_LOOKS, assess
from gitops.rollout.power import Watch, finds_errors, least_errors, least_slowdown
from gitops.rollout.series import Datum, Look, Series
from gitops.rollout.statistics import Counts
from gitops.rollout.traffic import bounds_of
from gitops.rollout.verdicts import Verdict
from gitops.spec.rollouts import Gate

LOOK, LOOKS, RUNS = 60, 15, 100
ALPHA = 0.001
"""Of two gates at four weights, four fifths."""
BOTH = Gate.model_validate({"metric": "error-rate", "pause": "0.5%", "rollback": "1%"})
BACK = Gate.model_validate({"metric": "error-rate", "rollback": "2%"})
PAUSE = Gate.model_validate({"metric": "error-rate", "pause": "1%"})
TWICE = Gate.model_validate({"metric": "error-rate", "pause": "2x stable"})
LATENCY = Gate.model_validate({"metric": "latency-p99", "pause": "1.1x stable", "rollback": "1.5x stable"})
FIXED = Gate.model_validate({"metric": "latency-p99", "pause": "4s"})
BOUNDS = (*bounds_of("vllm", "latency"), math.inf)
SPREAD = math.log(2.8) / 2.3263
"""p99 is 2.8 times the median of 0.8 s."""
DURATIONS = tuple(
    (bound, 1e5 * NormalDist(math.log(0.8), SPREAD).cdf(math.log(bound)) if bound < math.inf else 1e5)
    for bound in BOUNDS
)


def watch(requests: int, share: float) -> Watch:
    whole = round(requests / share)
    return Watch(requests, whole - requests, whole, LOOKS, LOOK, ALPHA)


def noise(rng: np.random.Generator, looks: int, deviation: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    found = rng.standard_normal(looks)
    for index in range(1, looks):
        found[index] = 0.5 * found[index - 1] + math.sqrt(0.75) * found[index]
    return deviation * found


Draw = Callable[[np.random.Generator, float, int], list[Datum]]


def errors(share: float) -> Draw:
    def draw(rng: np.random.Generator, requests: float, looks: int) -> list[Datum]:
        counts = rng.poisson(requests, looks)
        bad = rng.binomial(counts, np.minimum(1.0, share * np.exp(noise(rng, looks, 0.1))))
        return [Counts(float(n), float(k)) for n, k in zip(counts, bad, strict=True)]

    return draw


def times(factor: float) -> Draw:
    def draw(rng: np.random.Generator, requests: float, looks: int) -> list[Datum]:
        found: list[Datum] = []
        for shift in noise(rng, looks, 0.02):
            law = NormalDist(math.log(0.8 * factor) + float(shift), SPREAD)
            below = np.array([law.cdf(math.log(bound)) if bound < math.inf else 1.0 for bound in BOUNDS])
            counts = rng.multinomial(rng.poisson(requests), np.diff(below, prepend=0.0)).cumsum()
            found.append(dict(zip(BOUNDS, map(float, counts), strict=True)))
        return found

    return draw


def series(data: Sequence[Datum], first: int) -> Series:
    return Series(tuple(Look((first + index) * LOOK, datum) for index, datum in enumerate(data, 1)))


def stopped(gate: Gate, step: Watch, mine: Draw, theirs: Draw, seed: int) -> bool:
    """At the end of any third look."""
    rng = np.random.default_rng(seed)
    candidate = series(mine(rng, step.candidate / LOOKS, LOOKS), 0)
    past, present = theirs(rng, step.before / LOOKS, NOISE_LOOKS), theirs(rng, step.stable / LOOKS, LOOKS)
    stable = series([*past, *present], -NOISE_LOOKS)
    for look in range(3, LOOKS + 1, 3):
        now = look * LOOK
        seen = [Series(tuple(one for one in all.looks if one.end <= now)) for all in (candidate, stable)]
        found = assess(gate, seen[0], seen[1], replace(step.asked, now=now))
        if isinstance(found, Verdict) and found.status in ("warn", "fail"):
            return True
    return False


CLAIMS = [
    (BOTH, 539, 0.01, 0.0005),
    (BOTH, 5391, 0.1, 0.0005),
    (BACK, 9032, 0.1, 0.0005),
    (PAUSE, 720, 0.1, 0.0005),
    (BOTH, 27, 0.01, 0.001),
    (TWICE, 5391, 0.1, 0.005),
    (LATENCY, 539, 0.01, 0.0),
    (LATENCY, 5391, 0.1, 0.0),
    (LATENCY, 54_000, 0.5, 0.0),
    (FIXED, 2000, 0.1, 0.0),
]


@pytest.mark.parametrize(("gate", "requests", "share", "usual"), CLAIMS)
def test_a_claim_is_true_for_about_95_steps_in_100(gate: Gate, requests: int, share: float, usual: float) -> None:
    """100 steps each: with 86 or fewer found a claim of 95 % would be wrong by more than chance (p < 0.001)."""
    step = watch(requests, share)
    if gate.metric == "error-rate":
        claimed = least_errors(gate, step, usual)
        assert claimed
        mine, theirs = errors(claimed), errors(usual)
        weaker = errors(usual + (claimed - usual) * 0.5)
    else:
        claimed = least_slowdown(gate, step, DURATIONS)
        assert claimed
        mine, theirs = times(claimed), times(1.0)
        weaker = times(1 + (claimed - 1) * 0.5)
    found = sum(stopped(gate, step, mine, theirs, seed) for seed in range(RUNS))
    assert found > 86
    assert sum(stopped(gate, step, weaker, theirs, seed) for seed in range(30)) < 24, "half of it is often missed"


def test_more_requests_show_less() -> None:
    found = [least_errors(BOTH, watch(requests, 0.1), 0.0005) or 1 for requests in (50, 500, 5000, 50_000)]
    assert found == sorted(found, reverse=True)
    assert 0.005 < found[-1] < 0.01 < found[0]


def test_nothing_is_seen_without_requests() -> None:
    nothing = watch(0, 0.1)._replace(stable=100)
    assert least_errors(BOTH, nothing, 0.0005) is None
    assert least_slowdown(LATENCY, nothing, DURATIONS) is None
    assert not finds_errors(BOTH, nothing, 1.0, 0.0005)


def test_a_limit_is_not_seen_at_the_limit() -> None:
    assert not finds_errors(BOTH, watch(50_000, 0.5), 0.005, 0.0005)
    assert finds_errors(BOTH, watch(50_000, 0.5), 0.01, 0.0005)


def test_without_stables_traffic_its_past_is_the_measure() -> None:
    alone = watch(50_000, 0.5)._replace(stable=0)
    found = least_slowdown(LATENCY, alone, DURATIONS)
    assert found
    assert 1.1 < found < 1.5
