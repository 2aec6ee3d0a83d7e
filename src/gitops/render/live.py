"""The versions of a model that run side by side, as rendering sees them, and how many replicas each of them has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from gitops.spec.pipeline import Model, Replicas


class Live(NamedTuple):
    """One version that runs. Percentages are whole numbers from 0 to 100."""

    model: Model
    """The resolved model of this version: `version`, `artifact` and `serve` are its own."""
    weight: int
    """Percent of requests that it answers."""
    mirror: int = 0
    """Percent of requests that are mirrored to it; its answers to those are thrown away."""
    scale: int = 100
    """Percent of all traffic that it is sized for; where it answers more, it is sized for that."""
    load: Fraction = Fraction(1)
    """How many times its declared least replicas all traffic takes now."""


class Share(NamedTuple):
    """What one version gets on one cluster, where that is not what `Live` says. Percentages as there."""

    weight: int
    mirror: int = 0
    scale: int = 100
    load: Fraction = Fraction(1)


Waves = Mapping[str, Sequence[int | Share]]
"""By cluster, what each version gets there, in the order of the lives. A plain number is a weight alone: the
version is sized and mirrored to as everywhere, but not mirrored to where the wave gives it more to answer."""


def lives_in(cluster: str, lives: Sequence[Live], waves: Waves | None = None) -> tuple[Live, ...]:
    """The lives with the numbers that hold on this cluster; none is sized for less than it answers.

    Raises ValueError when a cluster has not one entry for each live, or its weights add up to neither 100 nor 0.
    """
    shares = waves.get(cluster) if waves else None
    here = [_shared(*pair) for pair in zip(lives, shares, strict=True)] if shares is not None else lives
    if lives and sum(live.weight for live in here) not in (0, 100):
        raise ValueError(f"on {cluster} the weights are {[live.weight for live in here]}: they must add up to 100")
    return tuple(live if live.scale >= live.weight else live._replace(scale=live.weight) for live in here)


def replicas_for(minimum: int, scale: int) -> int:
    """Replicas of a version that is sized for `scale` percent of all traffic, where `minimum` carry all of it.

    At least one, or the version could never be tried; none for a scale of 0.
    """
    return max(1, -(-minimum * scale // 100)) if scale > 0 else 0


def full_size(replicas: Replicas, load: Fraction) -> int:
    """How many replicas carry all traffic: the declared least number times the load, and never more than declared."""
    return min(replicas.max, max(replicas.min, math.ceil(replicas.min * load)))


def share_of(ready: int, minimum: int) -> int:
    """Percent of all traffic, at most 100, that `ready` replicas can carry, where `minimum` carry all of it."""
    return min(100, 100 * max(0, ready) // minimum)


def replica_share(weight: int, stable_replicas: int) -> tuple[int, int]:
    """The candidate's replicas for `weight` percent where one Service spreads requests evenly over all pods, and
    the percentage that they really get beside `stable_replicas` of stable.

    `weight / (100 - weight)` of stable's replicas, rounded, but never too few to carry the weight, and never more
    than stable has: stable keeps its size, so that going back needs no new pods, and beyond half of the traffic a
    candidate would outgrow every pool. At 0 and 100 percent the Service selects one version alone.
    """
    if weight <= 0:
        return 0, 0
    stable = max(1, stable_replicas)
    if weight >= 100:
        return stable, 100
    nearest = (2 * weight * stable + 100 - weight) // (2 * (100 - weight))
    candidate = min(stable, max(nearest, replicas_for(stable, weight)))
    return candidate, _percent(candidate, stable)


def is_shared(lives: Sequence[Live]) -> bool:
    """Whether several versions have traffic. Without a gateway one Service then selects all of them."""
    return sum(live.weight > 0 for live in lives) > 1


def replicas_of(lives: Sequence[Live], *, routed: bool) -> tuple[int, ...]:
    """How many replicas each version runs on one cluster, at least where it is autoscaled.

    With a gateway that is what its scale asks for. Without one, replicas are the weights while versions share
    traffic: versions without traffic then have none, because the Service would select them too.
    """
    sized = tuple(replicas_for(full_size(live.model.serve.replicas, live.load), live.scale) for live in lives)
    if routed or not is_shared(lives):
        return sized
    first = lives[0]
    return tuple(
        count if live is first else max(count, _beside(live, sized[0])) if live.weight > 0 else 0
        for live, count in zip(lives, sized, strict=True)
    )


def _beside(live: Live, stable_replicas: int) -> int:
    return min(replica_share(live.weight, stable_replicas)[0], live.model.serve.replicas.max)


def _percent(part: int, rest: int) -> int:
    whole = part + rest
    return (200 * part + whole) // (2 * whole)


def _shared(live: Live, share: int | Share) -> Live:
    if isinstance(share, Share):
        return Live(live.model, *share)
    return live._replace(weight=share, mirror=live.mirror if share <= live.weight else 0)
