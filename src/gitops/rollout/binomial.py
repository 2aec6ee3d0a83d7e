"""Exact binomial tails, and bisection."""

from __future__ import annotations

import math
from collections.abc import Callable


def root(increasing: Callable[[float], float], low: float, high: float, steps: int = 50) -> float:
    """Where an increasing function crosses zero, by bisection; an end of the range when it does not."""
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (middle, high) if increasing(middle) < 0 else (low, middle)
    return (low + high) / 2


def tail(n: int, count: int, rate: float) -> float:
    """P(Bin(n, rate) >= count) = I_rate(count, n - count + 1), the incomplete beta function (DLMF 8.17.5).

    Its continued fraction (8.17.22) by Lentz's method, on the side of the mean where it converges fast.
    """
    if count <= 0 or rate >= 1:
        return 1.0
    if count > n or rate <= 0:
        return 0.0
    a, b = float(count), float(n - count + 1)
    front = a * math.log(rate) + b * math.log1p(-rate) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    if rate <= (a + 1) / (a + b + 2):
        return min(1.0, math.exp(front) / a * _fraction(a, b, rate))
    return max(0.0, 1 - math.exp(front) / b * _fraction(b, a, 1 - rate))


def _fraction(a: float, b: float, x: float) -> float:
    d = 1 / (1 - (a + b) * x / (a + 1))
    c, value = 1.0, d
    for m in range(1, 100_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1 / (1 + even * d), 1 + even / c
        value *= d * c
        d, c = 1 / (1 + odd * d), 1 + odd / c
        value *= d * c
        if abs(d * c - 1) < 1e-12:
            break
    return value
