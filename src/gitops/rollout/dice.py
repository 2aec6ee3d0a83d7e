"""Numbers that look random and depend on a key alone: the same in every process, at any time, in any order."""

from __future__ import annotations

import math
from collections.abc import Iterator
from hashlib import blake2b
from statistics import NormalDist
from struct import Struct

_WORDS = Struct("<16I")
_STEP = 2.0**-32
_EXACT = 15.0
"""Below this mean (or its complement's) a draw is exact; above it the normal approximation is within a few percent."""
_inverse = NormalDist().inv_cdf


def uniforms(key: str) -> Iterator[float]:
    """Numbers between 0 and 1, without end and never exactly either."""
    text, block = key.encode(), 0
    while True:
        for word in _WORDS.unpack(blake2b(text, salt=block.to_bytes(16)).digest()):
            yield (word + 0.5) * _STEP
        block += 1


def normal(key: str) -> float:
    """One standard normal number."""
    return _inverse(next(uniforms(key)))


def poisson(mean: float, uniform: float) -> int:
    """A Poisson number from one uniform one, by inversion."""
    if mean > _EXACT:
        return max(0, round(mean + math.sqrt(mean) * _inverse(uniform)))
    count, chance = 0, math.exp(-mean)
    while uniform > chance and chance > 0:
        uniform -= chance
        count += 1
        chance *= mean / count
    return count


def binomial(trials: int, share: float, uniform: float) -> int:
    """How many of so many trials succeed, each with a chance of `share`: from one uniform number, by inversion."""
    if share > 0.5:
        return trials - binomial(trials, 1 - share, uniform)
    mean = trials * share
    if mean <= 0:
        return 0
    if mean > _EXACT:
        drawn = round(mean + math.sqrt(mean * (1 - share)) * _inverse(uniform))
        return min(max(0, drawn), trials)
    count, chance, odds = 0, (1 - share) ** trials, share / (1 - share)
    while uniform > chance and count < trials:
        uniform -= chance
        count += 1
        chance *= odds * (trials - count + 1) / count
    return count
