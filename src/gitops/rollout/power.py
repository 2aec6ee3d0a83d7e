"""What a gate finds within a step: the smallest effect that stops a rollout with a probability of `POWER`.

The rule itself is asked (`measuring.assess`), about a step that goes as badly as one in twenty does: the candidate has
so few of its bad requests that fewer come with a chance of 1 - `POWER` only, beside a stable that has what it is
expected to have. From look to look both vary as chance has it, and by `NOISE`, in fixed sequences that fill the unit
interval evenly. Where the rule stops that step, it stops 95 in 100; the least such effect is found by bisection.
`tests/rollout/test_power.py` holds such claims to simulated steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

from gitops.rollout.dice import binomial, poisson
from gitops.rollout.histograms import slower
from gitops.rollout.measuring import NOISE_LOOKS, assess
from gitops.rollout.series import Datum, Histogram, Look, Series
from gitops.rollout.statistics import Counts
from gitops.rollout.verdicts import Verdict, relative
from gitops.rollout.windows import Asked, Whole
from gitops.spec.rollouts import Gate

POWER = 0.95
MOST_SLOWER = 30.0
"""Greater factors on time than this are not looked for."""
NOISE = 0.1
"""Standard deviation, from look to look, of the logarithm of each version's share of bad requests; half of it is left
at the next look."""
AT_ONCE = 0.1
"""The chance of too few slow requests at each of the bounds that durations are compared at: so many at all of them
together are as rare as 1 - `POWER`."""
_CORRELATED = 3.0
_MOST_LOOKS = 60
_HALVINGS = 9
_GOLDEN, _SILVER = 0.6180339887, 0.4142135624
"""Steps of two sequences that have nothing to do with one another."""
_NORMAL = NormalDist()


class Watch(NamedTuple):
    """One step. Requests are all of the bake; `before` are stable's in as much time before it."""

    candidate: int
    stable: int
    before: int
    looks: int
    look: int
    alpha: float
    samples: int = 100
    together: float = 0.0
    """The level of evidence from all weights together; of earlier ones nothing is foreseen."""

    @property
    def asked(self) -> Asked:
        """How the gate is asked at the end of the step."""
        looks = min(self.looks, _MOST_LOOKS)
        whole = max(1, self.candidate + self.stable)
        return Asked(
            now=looks * self.look,
            begin=0,
            look=self.look,
            samples=self.samples,
            alpha=self.alpha,
            whole=Whole(0, (), self.together) if self.together else None,
            weight=100 * self.candidate / whole,
            stable_weight=100 * self.stable / whole,
            before_weight=100 * self.before / whole,
        )


@lru_cache(maxsize=4096)
def finds_errors(gate: Gate, watch: Watch, share: float, errors: float) -> bool:
    """Whether such a share of errors is found, where stable has `errors`."""
    mine = share * _low(_alike(watch, share, errors, relative(gate)), share, 1 - POWER)
    return watch.candidate > 0 and _stops(gate, watch, _errors(mine), _errors(errors))


@lru_cache(maxsize=4096)
def least_errors(gate: Gate, watch: Watch, errors: float) -> float | None:
    """The smallest share of errors that is found, where stable has `errors`; None where not even 1 is."""
    if not finds_errors(gate, watch, 1.0, errors):
        return None
    least = math.log(max(errors, 1e-6))
    return math.exp(_least(lambda log: finds_errors(gate, watch, math.exp(log), errors), least, 0.0))


@lru_cache(maxsize=4096)
def least_slowdown(gate: Gate, watch: Watch, durations: tuple[tuple[float, float], ...]) -> float | None:
    """The smallest factor on stable's durations that is found; None where none is."""
    buckets = dict(durations)
    total = max(buckets.values())

    def found(factor: float) -> bool:
        mine = {}
        for bound in buckets:
            share, theirs = (_slower_than(buckets, time) / total for time in (bound / factor, bound))
            chance = AT_ONCE if relative(gate) else 1 - POWER
            mine[bound] = share * _low(_alike(watch, share, theirs, relative(gate)), share, chance)
        return _stops(gate, watch, _times(mine), _times(stables))

    stables = {bound: 1 - count / total for bound, count in buckets.items()}
    most = math.log(MOST_SLOWER)
    if not (watch.candidate and found(MOST_SLOWER)):
        return None
    return math.exp(_least(lambda log: found(math.exp(log)), 0.0, most))


# --- One step ------------------------------------------------------------------------------------------------


_Draw = Callable[[float, float], Datum]
"""A look at so many requests, by a number between 0 and 1 for its place among all looks."""


def _stops(gate: Gate, watch: Watch, mine: _Draw, theirs: _Draw) -> bool:
    looks = min(watch.looks, _MOST_LOOKS)

    def drawn(draw: _Draw, requests: float, count: int, step: float) -> list[Datum]:
        return [draw(requests / looks, index * step % 1) for index in range(1, count + 1)]

    before = drawn(theirs, watch.before, NOISE_LOOKS, _SILVER)
    during = drawn(theirs, watch.stable, looks, _SILVER) if watch.stable else []
    candidate = _series(drawn(mine, watch.candidate, looks, _GOLDEN), watch.look)
    result = assess(gate, candidate, _series([*before, *during], watch.look, -NOISE_LOOKS), watch.asked)
    return isinstance(result, Verdict) and result.status in ("warn", "fail")


def _series(data: Sequence[Datum], look: int, first: int = 0) -> Series:
    return Series(tuple(Look((first + index) * look, datum) for index, datum in enumerate(data, 1)))


def _errors(share: float) -> _Draw:
    return lambda requests, uniform: Counts(requests, _bad(requests, share, uniform))


def _times(slower_than: Mapping[float, float]) -> _Draw:
    def drawn(requests: float, uniform: float) -> Datum:
        found: dict[float, float] = {}
        for bound in sorted(slower_than):
            found[bound] = max([requests - _bad(requests, slower_than[bound], uniform), *found.values()])
        return found

    return drawn


def _bad(requests: float, share: float, uniform: float) -> float:
    """As chance and noise have it; the commoner half of them does not vary."""
    expected = requests * share
    if share > 0.5:
        return expected
    noisy = expected * math.exp(NOISE * _NORMAL.inv_cdf((2 * uniform + _GOLDEN) % 1 or 0.5))
    return min(requests, float(poisson(noisy, uniform)))


def _slower_than(buckets: Histogram, time: float) -> float:
    """Beyond the greatest bound nothing is known: what is slower than that is as slow as it."""
    finite = max((bound for bound in buckets if math.isfinite(bound)), default=0.0)
    found = slower(buckets, min(time, finite)) if math.isfinite(time) else None
    return found.bad if found else 0.0


def _alike(watch: Watch, share: float, stables: float, compared: bool) -> float:
    """The number of bad requests that varies as much as what is judged: the candidate's own, those of stable where the
    limit is a multiple of them, and the noise.
    """
    mine, theirs = watch.candidate * share, (watch.stable or watch.before) * stables
    if mine <= 0:
        return 0.0
    variance = 1 / mine + _CORRELATED * NOISE**2 / watch.looks * (2 if compared else 1)
    return 1 / (variance + (1 / max(1.0, theirs) if compared else 0.0))


def _low(expected: float, share: float, chance: float) -> float:
    """The part of so many expected bad requests that is not reached with such a chance."""
    if share >= 0.5 or expected <= 0:
        return 1.0
    return min(1.0, binomial(round(expected / share), share, chance) / expected)


def _least(found: Callable[[float], bool], low: float, high: float) -> float:
    """Where it begins to be found, between one that is not and one that is."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high
