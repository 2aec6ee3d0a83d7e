"""A histogram of times with a bounded relative error, as HdrHistogram's, in little memory and mergeable.

Every power of two is divided into 256 equal parts. A value is counted in its part and given back as the middle of
it, so it is off by at most half a part: 1/512, which is 0.2 %, of values of any size.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate
from typing import Self

PARTS = 256
RELATIVE_ERROR = 0.5 / PARTS
"""How much a quantile may be off, relative to the exact one."""
_FLOOR = 1e-9
"""Seconds; anything shorter counts as this."""


class Histogram:
    """Counts of positive values, such as seconds."""

    __slots__ = ("_counts", "count", "highest", "lowest", "total")

    def __init__(self, values: Iterable[float] = ()) -> None:
        self._counts: Counter[int] = Counter()
        self.count = 0
        self.total = 0.0
        self.lowest = math.inf
        self.highest = 0.0
        for value in values:
            self.record(value)

    def record(self, value: float, times: int = 1) -> None:
        """Count a value. Raises ValueError for one that is not finite."""
        if value < _FLOOR:
            value = _FLOOR
        mantissa, exponent = math.frexp(value)
        if value == math.inf or value != value:
            raise ValueError(f"{value} is not a time")
        # The mantissa is in [0.5, 1): its 256 parts are numbered from 256 to 511.
        self._counts[exponent * PARTS + int(mantissa * 2 * PARTS) - PARTS] += times
        self.count += times
        self.total += value * times
        if value < self.lowest:
            self.lowest = value
        if value > self.highest:
            self.highest = value

    def quantile(self, share: float) -> float:
        """The smallest value that `share` of all values do not exceed (nearest rank), within RELATIVE_ERROR.

        The lowest and highest are exact; 0 without any value. Raises ValueError for a share outside of 0 to 1.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"{share} is no share")
        if not self.count:
            return 0.0
        # Floating point must not lift an exact rank such as 0.07 * 100 to the next one.
        rank = max(math.ceil(share * self.count - 1e-9), 1)
        keys = sorted(self._counts)
        passed = accumulate(self._counts[key] for key in keys)
        key = next(key for key, until in zip(keys, passed, strict=True) if until >= rank)
        return min(max(_middle(key), self.lowest), self.highest)

    @property
    def mean(self) -> float:
        """The exact mean; 0 without any value."""
        return self.total / self.count if self.count else 0.0

    def merge(self, other: Self) -> None:
        """Count all that the other one counted."""
        self._counts.update(other._counts)
        self.count += other.count
        self.total += other.total
        self.lowest = min(self.lowest, other.lowest)
        self.highest = max(self.highest, other.highest)


def _middle(key: int) -> float:
    exponent, part = divmod(key, PARTS)
    return math.ldexp((part + PARTS + 0.5) / (2 * PARTS), exponent)
