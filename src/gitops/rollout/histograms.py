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
        if not isinstance(datum, Mapping) or self.upper not in datum:
            return Counts(0, 0)
        total = max(datum.values(), default=0.0)
        below, count = datum.get(self.lower, 0.0), datum[self.upper]
        return Counts(total, max(0.0, total - count + self.part * max(0.0, count - below)))


def cut_at(limit: float, reference: Histogram) -> Cut | None:
    """How to count requests slower than `limit`, the shares within its bucket as in `reference`.

    None beyond the greatest bucket.
    """
    upper = min((bound for bound in reference if limit <= bound < math.inf), default=None)
    if upper is None:
        return None
    lower = max((bound for bound in reference if bound < upper), default=0.0)
    total = max(reference.values(), default=0.0)
    above, beyond = total - reference.get(lower, 0.0), total - reference[upper]
    found = slower(reference, limit)
    inside = (found.bad - beyond) / (above - beyond) if found and above > beyond else 0.0
    return Cut(lower, upper, min(1.0, max(0.0, inside)))


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
