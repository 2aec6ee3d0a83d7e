"""How sure it is that a version is beyond a limit: logarithms of e-values, which may be asked at every look.

Evidence of -log(alpha) comes by chance with probability alpha at most, however often one looks (see `statistics`).
All functions return the peak over the looks that they are given.

- Against stable, of errors: `statistics` as it is, with the factor as margin on the odds.
- Against stable, of durations: "1.5x stable" is a factor on time, so the candidate's requests slower than a bound are
  compared with stable's requests slower than that bound divided by the factor; where the candidate is exactly that
  much slower, the two shares are equal. Bounds are the candidate's own buckets nearest to the factor times stable's
  quantiles before the step; stable's share between two of its buckets is interpolated as `histograms` does.
  A fraction w of a request keeps the bound: g^w <= 1 - w + w g for any factor g of an e-value.
- Against a fixed limit: the same test, beside a stable that has `EXACT` times the requests at exactly the limit's rate.
  For durations, whose limit may lie inside a bucket, see `histograms.pieces_at`.
- Of gauges against stable: bets on the candidate's excess, in standard deviations (`of_gauge`). Simulated, not proved.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import NamedTuple

from gitops.rollout.statistics import (
    ALTERNATIVES,
    LEAST_HISTORY,
    NOTHING,
    SHARED,
    UNKNOWN_NOISE,
    Comparing,
    Counts,
    Evidence,
    Look,
    noise_of,
    observe,
    start,
)

EXACT = 1000.0
SLACK = 0.1
"""What is tolerated of the odds of a slow request, beside the factor on time."""
SURE = 2.0
"""Standard errors by which a rate of the past may have been greater than it was seen."""

CONSTANT = 0.003
"""The part of bets that is shared again where only faults from the beginning are looked for."""
AGAIN = 10
"""After so many looks the evidence is gathered anew as well: a fault that begins late looks like noise between looks
to a test that knows the good ones before."""
LATER = 0.5
"""The part of alpha for these later beginnings: the n-th has 1 / (n (n + 1)) of it."""
LIFE = 60
"""Looks for which a later beginning is followed."""
KNOWN = 20
"""Looks at the candidate that tell a later beginning how noisy it is."""

Pair = tuple[Counts, Counts]
"""One look's increments: of the candidate, and of stable."""


# --- Counters ------------------------------------------------------------------------------------------------


def of_counts(
    streams: Sequence[Sequence[Pair]],
    noises: Sequence[float],
    margin: float,
    *,
    enough: float = math.inf,
    learning: bool = True,
    again: bool = True,
    gains: Sequence[Sequence[Sequence[float]]] = (),
) -> float:
    """Evidence that the candidate's odds of a bad request are more than 1 + margin times stable's.

    A stream for each kind of bad request, over the same looks, and the noise of each. It stops at `enough`. With
    `learning` a later beginning takes the candidate to be as noisy as it was before; without `again` there is none.
    `gains` are those of weighed requests, for each stream and look.
    """
    asked = Comparing(margin=max(0.0, margin), shared=SHARED if again else CONSTANT)
    peak, last = 0.0, (NOTHING,) * len(streams)
    followed: list[tuple[int, float, Evidence]] = []
    for index, look in enumerate(zip(*(_cumulative(one) for one in streams), strict=True)):
        if index == 0 or (again and index % AGAIN == 0):
            known = _own_noise(streams, index, noises) if index and learning else noises
            followed.append((index, _share(index // AGAIN) if again else 1.0, _after(last, known)))
        won = [each[index] for each in gains]
        alive = (one for one in followed if one[0] == 0 or index < one[0] + LIFE)
        followed = [(first, share, observe(evidence, look, asked, won)) for first, share, evidence in alive]
        total = sum(share * math.exp(min(500.0, evidence.log_evidence)) for _, share, evidence in followed)
        peak, last = max(peak, math.log(total)), look
        if peak >= enough:
            break
    return peak


def _share(beginning: int) -> float:
    return LATER / (beginning * (beginning + 1)) if beginning else 1 - LATER


def _own_noise(streams: Sequence[Sequence[Pair]], first: int, least: Sequence[float]) -> list[float]:
    own = (noise_before([pair[0] for pair in stream[max(0, first - KNOWN) : first]]) for stream in streams)
    return [max(pair) for pair in zip(own, least, strict=True)]


def _after(last: Sequence[Look], noises: Sequence[float]) -> Evidence:
    """No evidence, after some looks."""
    streams = zip(start(noises).streams, last, strict=True)
    return Evidence(tuple(replace(stream, last=look) for stream, look in streams))


class Weighed(NamedTuple):
    """Requests of a look, and how many of them count how much as bad: `(number, weight)`, weights up to 1."""

    requests: float
    parts: tuple[tuple[float, float], ...]

    @property
    def counts(self) -> Counts:
        """As numbers of requests."""
        return Counts(self.requests, sum(number * weight for number, weight in self.parts))

    @property
    def gains(self) -> tuple[float, ...]:
        """The logarithm of what they win for each alternative; see `statistics.observe`."""
        return tuple(sum(n * math.log1p((r - 1) * weight) for n, weight in self.parts) for r in ALTERNATIVES)


def of_limit(
    counted: Sequence[tuple[Sequence[Weighed], float]],
    enough: float = math.inf,
    noise: float = 0.0,
    *,
    again: bool = True,
) -> float:
    """Evidence that more requests are bad than a fixed rate allows, by one count of bad requests at least.

    Each comes with its rate. It stops at `enough`. `noise` is the candidate's own to begin with; it is learned as well.
    """
    if any(rate <= 0 < sum(one.counts.bad for one in looks) for looks, rate in counted):
        return math.inf
    known = [(looks, rate) for looks, rate in counted if rate > 0]
    streams = [beside([one.counts for one in looks], rate) for looks, rate in known]
    gains = [[one.gains for one in looks] for looks, _ in known]
    if not streams:
        return 0.0
    noises = [noise] * len(streams)
    return of_counts(streams, noises, 0.0, enough=enough, learning=False, again=again, gains=gains)


def beside(counts: Sequence[Counts], rate: float) -> list[Pair]:
    """Looks at a candidate beside a stable whose rate is known exactly."""
    return [(one, Counts(one.requests * EXACT, one.requests * EXACT * min(1.0, rate))) for one in counts]


def noise_before(before: Sequence[Counts]) -> float:
    """What `of_counts` needs of stable's looks before the step."""
    return noise_of(before, Comparing())


def own_noise(before: Sequence[Counts]) -> float:
    """What `of_limit` needs of stable's looks before the step: noise of one version, not of the difference of two.

    More than `UNKNOWN_NOISE` is not believed: few bad requests look noisier than they are.
    """
    return min(UNKNOWN_NOISE, noise_before(before) / math.sqrt(2)) if before else 0.0


def rate_before(before: Sequence[Counts], noise: float) -> float | None:
    """An upper bound for the rate of the past, where stable has no requests now; None without requests.

    `SURE` standard errors of its logarithm: of the count, and of the mean over looks with noise between them that is
    autocorrelated by one half (`noise` is of the difference of two versions, hence the half).
    """
    requests, bad = sum(one.requests for one in before), sum(one.bad for one in before)
    if requests <= 0:
        return None
    error = math.sqrt(1 / max(1.0, bad) + 3 * noise**2 / 2 / len(before))
    return min(1.0, max(1.0, bad) / requests * math.exp(SURE * error))


def _cumulative(stream: Sequence[Pair]) -> list[Look]:
    def add(before: Look, pair: Pair) -> Look:
        return Look(*(Counts(a.requests + b.requests, a.bad + b.bad) for a, b in zip(before, pair, strict=True)))

    return list(accumulate(stream, add, initial=NOTHING))[1:]


# --- Gauges --------------------------------------------------------------------------------------------------

STEPS = (0.0, 0.5, 1.0, 2.0, 3.5, 5.0)
"""Excesses, in standard deviations, that the evidence bets on; 0 is not to bet."""
MOST = 5.0
"""A greater excess counts as this one, so that one spike is never enough."""
CORRELATED = 3.0
"""(1 + a) / (1 - a) for an autocorrelation between looks of a = 0.5."""
LEAST_SPREAD = 0.03
"""Share of the mean below which no standard deviation is believed."""
LEAST_MOVE = 0.001
PRIOR = 6.0
"""Looks as which the spread is taken that is known before the first one."""


JUMP = 9.0
"""A squared difference counts as at most so many variances."""


class Spread(NamedTuple):
    """Variances of a look's value around its level: stable's as seen before, and the candidate's as expected."""

    stable: float
    candidate: float


def spread_before(before: Sequence[float], level: float, ratio: float) -> Spread:
    """From stable's looks before the step. `ratio` is stable's traffic by the candidate's: fewer requests, more noise.

    Few looks, or none, are taken to have `UNKNOWN_NOISE` of the level.
    """
    least = (LEAST_SPREAD * level) ** 2
    if len(before) < LEAST_HISTORY:
        variance = (UNKNOWN_NOISE * level) ** 2
        return Spread(variance, variance)
    variance = max(least, variance_of(before))
    return Spread(variance, variance * max(1.0, ratio))


def variance_of(values: Sequence[float]) -> float:
    """Around their mean; at least a thousandth of it, since a value that never moved may."""
    mean = sum(values) / len(values)
    return max((LEAST_MOVE * mean) ** 2, sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def of_gauge(pairs: Sequence[tuple[float, float]], factor: float, spread: Spread, *, higher: bool) -> float:
    """Evidence that the candidate's level is beyond `factor` times stable's, from values of the same looks.

    A normal excess z of unit variance and no mean gives E[exp(d z - d^2 / 2)] = 1 for each bet d; its root for
    autocorrelated looks, a mixture and a fixed share as in `statistics`. The candidate's variance is learned from
    differences of successive earlier looks, which a level does not enter.
    """
    weights = [1 / len(STEPS)] * len(STEPS)
    evidence = peak = 0.0
    squares, known, last = spread.candidate * PRIOR, PRIOR, math.nan
    for candidate, stable in pairs:
        if not math.isfinite(stable):
            continue
        excess = (candidate - factor * stable) * (1 if higher else -1)
        deviation = math.sqrt(squares / known + factor**2 * spread.stable)
        z = min(MOST, excess / deviation) if deviation > 0 else math.copysign(MOST, excess) if excess else 0.0
        won = [weight * math.exp((d * z - d * d / 2) / CORRELATED) for d, weight in zip(STEPS, weights, strict=True)]
        evidence += math.log(sum(won))
        weights = [(1 - SHARED) * each / sum(won) + SHARED / len(won) for each in won]
        peak = max(peak, evidence)
        if not math.isnan(last):
            # Half the squared difference, over 1 - a; of a jump to another level only a part.
            difference = 0.0 if candidate == last else candidate - last
            squares, known = squares + min(difference**2, JUMP * squares / known), known + 1
        last = candidate
    return peak
