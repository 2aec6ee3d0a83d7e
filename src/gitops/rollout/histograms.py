"""Durations by bucket: quantiles, shares of slower requests, and the bounds at which two versions are compared.

Within a bucket durations are taken to be log-normal: the normal quantile of the share of slower requests is linear in
the logarithm of time. For a power law, which is heavier than what model servers have, that overestimates the share
between 5 and 10 s by a tenth; a straight line in the logarithms of both would underestimate a log-normal's by 40 %.
Prometheus's `histogram_quantile` is linear in both, which puts requests near the upper edge of a wide bucket that are
near its lower one: growth is hidden until it reaches the next edge. Where no request is slower than a bound, half of
one is taken to be; in a bucket that begins at zero there is nothing to go by, and it is linear here as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import NamedTuple

from gitops.rollout.series import Datum, Histogram
from gitops.rollout.statistics import Counts

NEAR = {0.5: (0.5, 0.75), 0.95: (0.8, 0.9, 0.95), 0.99: (0.9, 0.95, 0.99)}
"""Quantiles whose limits are averaged over, by the quantile that is asked for: the tail alone has few requests."""


_NORMAL = NormalDist()
HALF = 0.5
"""Of a request: what may be slower than a bound that none was seen to exceed."""


class Quantile(NamedTuple):
    """A quantile in seconds; `open` where it lies beyond the greatest bucket, and that bucket's bound is given."""

    value: float
    open: bool = False


class _Bucket(NamedTuple):
    """Its two edges, the requests that were slower than each, and all requests."""

    lower: float
    upper: float
    above: float
    beyond: float
    total: float

    @property
    def between(self) -> tuple[float, float] | None:
        """Normal quantiles of the shares beyond both edges; None where they are not known."""
        beyond = max(self.beyond, HALF)
        if not (self.lower > 0 and beyond < self.above < self.total) or math.isinf(self.upper):
            return None
        return _NORMAL.inv_cdf(self.above / self.total), _NORMAL.inv_cdf(beyond / self.total)

    def time_at(self, slower: float) -> float:
        """The duration that so many requests exceed."""
        if self.above <= self.beyond:
            return self.upper
        if not (self.between and 0 < slower < self.total):
            return self.lower + (self.upper - self.lower) * (self.above - slower) / (self.above - self.beyond)
        first, last = self.between
        part = (first - _NORMAL.inv_cdf(slower / self.total)) / (first - last)
        return self.lower * math.pow(self.upper / self.lower, min(1.0, part))

    def slower_than(self, time: float) -> float:
        """The requests that exceed a duration."""
        if self.upper <= self.lower or time >= self.upper:
            return self.beyond
        if not self.between:
            return self.above + (self.beyond - self.above) * (time - self.lower) / (self.upper - self.lower)
        first, last = self.between
        part = math.log(time / self.lower) / math.log(self.upper / self.lower)
        return self.total * _NORMAL.cdf(first + (last - first) * part)


def quantile(buckets: Histogram, share: float) -> Quantile | None:
    """None without requests or finite buckets."""
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0.0
    if not (total > 0 and len(bounds) > 1 and math.isfinite(bounds[-2])):
        return None
    slower, lower, below = (1 - share) * total, 0.0, 0.0
    for bound in bounds[:-1]:
        count = max(below, buckets[bound])
        if count >= share * total:
            return Quantile(_Bucket(lower, bound, total - below, total - count, total).time_at(slower))
        lower, below = bound, count
    return Quantile(bounds[-2], open=True)


def slower(buckets: Histogram, limit: float) -> Counts | None:
    """Requests, and how many took longer than a limit; None beyond the greatest bucket."""
    bounds = sorted(buckets)
    if not bounds or not limit <= max((bound for bound in bounds if math.isfinite(bound)), default=-1.0):
        return None
    total, lower, below = buckets[bounds[-1]], 0.0, 0.0
    for bound in bounds:
        count = max(below, buckets[bound])
        if limit <= bound:
            bucket = _Bucket(lower, bound, total - below, total - count, total)
            return Counts(total, max(0.0, bucket.slower_than(limit)))
        lower, below = bound, count
    return None


def merged(histograms: Sequence[Histogram]) -> dict[float, float]:
    """The sum of increments."""
    found: dict[float, float] = {}
    for histogram in histograms:
        for bound, count in histogram.items():
            found[bound] = found.get(bound, 0.0) + count
    return found


class Cut(NamedTuple):
    """Counts requests slower than a duration: all beyond a bucket's upper edge, and a `part` of those within it.

    The part is fixed beforehand, so that looks with a few requests each are counted like one with all of them, and so
    that the count stays linear: a part w of a request keeps the bound g^w <= 1 - w + w g for every factor g of an
    e-value.
    """

    lower: float
    upper: float
    part: float

    def counts(self, datum: Datum) -> Counts:
        """Requests, and how many of them were slower; nothing of what is no histogram with these edges."""
        parts = self.parts(datum)
        total = max(datum.values(), default=0.0) if parts and isinstance(datum, Mapping) else 0.0
        return Counts(total, sum(number * weight for number, weight in parts))

    def parts(self, datum: Datum) -> tuple[tuple[float, float], ...]:
        """How many requests were surely slower, and how many may have been, each with its weight."""
        if not isinstance(datum, Mapping) or self.upper not in datum:
            return ()
        total = max(datum.values(), default=0.0)
        below, count = datum.get(self.lower, 0.0), datum[self.upper]
        return (max(0.0, total - count), 1.0), (max(0.0, count - below), self.part)


def cut_at(limit: float, reference: Histogram) -> Cut | None:
    """How to count requests slower than `limit`, the shares within its bucket as in `reference`.

    None beyond the greatest bucket.
    """
    edges = _around(limit, reference)
    if edges is None:
        return None
    lower, upper = edges
    total = max(reference.values(), default=0.0)
    above, beyond = total - reference.get(lower, 0.0), total - reference[upper]
    found = slower(reference, limit)
    inside = (found.bad - beyond) / (above - beyond) if found and above > beyond else 0.0
    return Cut(lower, upper, min(1.0, max(0.0, inside)))


class Line(NamedTuple):
    """A count of slow requests, and the share of them up to which versions may be within a fixed limit."""

    cut: Cut
    rate: float


Piece = tuple[Line, ...]
"""Lines that all have the same versions on their lower side: to be above one of them is enough."""

SPREADS = (1.0, 1.5, 2.2, 4.0, math.inf)
"""Multiples of the least spread between which versions are told apart."""
LEAST_SPREAD, MOST_SPREAD = 0.1, 0.5
"""Standard deviations of the logarithm of durations: less, and more, is not taken for the least of a version."""


def least_spread(reference: Histogram) -> float:
    """The least spread that a version is taken to have, of the logarithm of time: half of stable's.

    Requests that all lie in one bucket show none of their own.
    """
    middle, far = quantile(reference, 0.5), quantile(reference, 0.99)
    if not (middle and far and 0 < middle.value < far.value):
        return LEAST_SPREAD
    spread = math.log(far.value / middle.value) / _NORMAL.inv_cdf(0.99)
    return min(MOST_SPREAD, max(LEAST_SPREAD, spread / 2))


def pieces_at(limit: float, share: float, buckets: Histogram, spread: float) -> list[Piece]:
    """What a version has to be above, all of it, for its quantile to be beyond `limit`; nothing beyond the last bucket.

    Where a limit lies inside a bucket, only the shares a and b of requests beyond its two edges can be counted. Within
    a bucket durations are log-normal, so that a version exactly at the limit is somewhere on a curve of a and b, from
    those with the least spread (nearly all requests in the bucket, none beyond it) to those with a great one (a = b).
    What is within the limit lies on its lower side. That is no half-plane, but half-planes together cover it, one for
    each piece of the curve: below the chord of the piece, since the curve is hollow towards what is beyond the limit,
    or left of its one end, or below its other. A version that is above one line of every piece is beyond the limit.
    """
    edges = _around(limit, buckets)
    if not edges:
        return []
    (lower, upper), rate = edges, 1 - share
    if limit >= upper or lower <= 0:
        return [(Line(Cut(lower, upper, 1 - limit / upper), rate),)]
    at = _NORMAL.inv_cdf(rate)
    curve = [
        (_NORMAL.cdf(at + math.log(limit / lower) / each), _NORMAL.cdf(at - math.log(upper / limit) / each))
        for each in (spread * times for times in SPREADS)
    ]
    return [_piece(Cut(lower, upper, 0.0), *ends) for ends in pairwise(curve)]


def edges_at(limit: float, buckets: Histogram) -> list[Cut]:
    """How to count requests beyond either edge of a limit's bucket."""
    edges = _around(limit, buckets)
    return [Cut(*edges, 0.0), Cut(*edges, 1.0)] if edges else []


def _around(limit: float, buckets: Histogram) -> tuple[float, float] | None:
    upper = min((bound for bound in buckets if limit <= bound < math.inf), default=None)
    return None if upper is None else (max((bound for bound in buckets if bound < upper), default=0.0), upper)


def _piece(cut: Cut, narrow: tuple[float, float], wide: tuple[float, float]) -> Piece:
    (most, low), (least, high) = narrow, wide
    part = (high - low) / ((high - low) + (most - least))
    chord = Line(cut._replace(part=part), part * most + (1 - part) * low)
    return chord, Line(cut._replace(part=1.0), most), Line(cut, high)


class Bound(NamedTuple):
    """A request of the candidate is slow beyond the one cut, one of stable beyond the other."""

    candidate: Cut
    stable: Cut


def bounds_for(before: Histogram, buckets: Histogram, share: float, factor: float) -> list[Bound]:
    """Where to count for a limit of `factor` times stable's quantile. `buckets` are any of the candidate's."""
    finite = [bound for bound in sorted(buckets) if 0 < bound < math.inf]
    quantiles = [quantile(before, near) for near in NEAR[share]]
    wanted = [one.value * factor for one in quantiles if one and not one.open and one.value > 0]
    chosen = {min(finite, key=lambda bound: abs(math.log(bound / one))) for one in wanted} if finite else set()
    cuts = ((Cut(0.0, bound, 0.0), cut_at(bound / factor, before)) for bound in sorted(chosen))
    return [Bound(mine, theirs) for mine, theirs in cuts if theirs]
