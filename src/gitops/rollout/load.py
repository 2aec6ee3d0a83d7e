"""How much more all traffic takes than the declared least replicas carry, cluster by cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

Loads = tuple[tuple[str, Fraction], ...]
"""By cluster, how many times its declared least replicas a version needs to answer all requests: 4 replicas where 2
are declared are `2`. Sorted; a cluster that is not named needs what is declared."""

DECLARED = Fraction(1)
_FACTOR = re.compile(r"[1-9]\d{0,4}(/[1-9]\d{0,4})?")


def load_on(loads: Loads, cluster: str) -> Fraction:
    """The factor of one cluster."""
    return dict(loads).get(cluster, DECLARED)


def loads_of(factors: Mapping[str, Fraction]) -> Loads:
    """What is above the declared size; nothing is ever sized for less than that."""
    return tuple(sorted((cluster, factor) for cluster, factor in factors.items() if factor > DECLARED))


def grown(loads: Loads, seen: Loads) -> Loads:
    """The larger of the two on each cluster."""
    known = dict(loads)
    return loads_of(known | {cluster: max(factor, known.get(cluster, DECLARED)) for cluster, factor in seen})


class Carrier(NamedTuple):
    """An autoscaled version that answers `weight` percent of a cluster's requests with so many replicas.

    Its autoscaler never runs fewer than `held`; `minimum` is what its spec declares.
    """

    replicas: int
    held: int
    weight: int
    minimum: int


def load_shown(carriers: Sequence[Carrier]) -> Fraction | None:
    """The load that autoscalers show by running more than they are held at; None where none does.

    Each has enough for its own percentage, and so bounds what all requests together may take: the lowest bound counts,
    so that one replica more of a version with 1 % of the requests is no load a hundred times as high.
    """
    if not any(one.replicas > one.held for one in carriers):
        return None
    return min(Fraction(one.replicas * 100 // one.weight, one.minimum) for one in carriers)


def load_words(loads: Loads) -> str:
    """`2x on eu and 1.33x on us`."""
    return " and ".join(f"{float(factor):.3g}x on {cluster}" for cluster, factor in loads)


def write_loads(loads: Loads) -> str:
    """`eu=2 us=4/3`."""
    return " ".join(f"{cluster}={factor}" for cluster, factor in loads)


def read_loads(text: str) -> Loads:
    """The reverse of `write_loads`. Raises ValueError for anything else."""
    pairs = [part.partition("=") for part in text.split()]
    if not all(cluster and _FACTOR.fullmatch(factor) for cluster, _, factor in pairs):
        raise ValueError("Load")
    return loads_of({cluster: Fraction(factor) for cluster, _, factor in pairs})
