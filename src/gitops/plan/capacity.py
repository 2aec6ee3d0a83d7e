"""GPUs and money: what the pools carry before a plan, after it, and at its peak; and which rollouts find no room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from types import MappingProxyType
from typing import NamedTuple

from gitops.plan.census import NOTHING_SEEN, Census
from gitops.plan.model import PoolUse
from gitops.plan.rehearsal import Rehearsal
from gitops.plan.room import Place, Pools
from gitops.plan.stored import Stored
from gitops.spec.fields import format_duration
from gitops.spec.placement import Pool
from gitops.spec.resolved import Spec
from gitops.values import UnitKey

_Gpus = Mapping[Place, int]
Ahead = Mapping[UnitKey, Rehearsal]
"""Every unit that does not simply run what the spec names, rehearsed."""


@dataclass(frozen=True, slots=True)
class Loads:
    """GPUs of all units together, by pool."""

    before: Counter[Place] = field(default_factory=Counter)
    """What runs now, by the records."""
    after: Counter[Place] = field(default_factory=Counter)
    """When every rollout is over and nothing is kept any more."""
    peak: Counter[Place] = field(default_factory=Counter)
    """If every unit is at its largest at the same time."""
    steady: Counter[Place] = field(default_factory=Counter)
    """When the plan is applied, before any rollout takes a step, with what autoscalers run: what each of them has to
    find room beside."""
    live: Counter[Place] = field(default_factory=Counter)
    """What runs now, by the clusters where they were asked: autoscalers may run more than the least."""
    own: dict[UnitKey, _Gpus] = field(default_factory=dict)
    """Of `steady`, what units with something ahead of them take themselves."""


def loads(
    spec: Spec,
    stored: Stored,
    pools: Pools,
    ahead: Ahead,
    changing: Collection[UnitKey],
    alone: Collection[str] = (),
    census: Census = NOTHING_SEEN,
    surges: Mapping[UnitKey, _Gpus] = MappingProxyType({}),
) -> Loads:
    """Add everything up. `changing` are units whose release changes with the plan, `alone` those left as they are;
    `census` is what runs, and `surges` what replacing pods in place takes for a while."""
    found, same = Loads(), Counter[Place]()
    for unit in spec.models.keys() | stored.releases.keys():
        release, model, rehearsal = stored.releases.get(unit), spec.models.get(unit), ahead.get(unit)
        before = pools.recorded(release) if release else {}
        running = pools.recorded(release, census) if release else {}
        more = {place: gpus for place, gpus in running.items() if gpus > before.get(place, 0)}
        _add(found.live, running)
        if rehearsal:
            found.own[unit] = running
            _put(found, before, _in_the_end(pools, rehearsal), running, *(one.gpus for one in rehearsal.moments))
            continue
        stays = bool(alone) and str(unit) in alone
        after = before if stays else pools.wanted(unit, model) if model else {}
        if unit in changing:
            steady, surge = _largest(after, more), surges.get(unit, {})
            _put(found, before, after, steady, {place: n + surge.get(place, 0) for place, n in steady.items()})
        elif before == after == running:
            _add(same, before)
        else:
            # A first release that has to wait is not there when the plan is applied.
            _put(found, before, after, _largest(after, more) if release else {})
    for total in (found.before, found.after, found.peak, found.steady):
        total.update(same)
    return found


def _put(found: Loads, before: _Gpus, after: _Gpus, steady: _Gpus, *between: _Gpus) -> None:
    _add(found.before, before)
    _add(found.after, after)
    _add(found.steady, steady)
    _add(found.peak, _largest(before, after, steady, *between))


def _in_the_end(pools: Pools, rehearsal: Rehearsal) -> _Gpus:
    """What the spec names has all traffic, unless it is rejected."""
    here, release = rehearsal.standing, rehearsal.standing.release
    if rehearsal.moments or here.target == here.state.stable:
        return pools.wanted(here.unit, here.model)
    return pools.recorded(replace(release, candidate=None, kept=()))


def _add(total: Counter[Place], gpus: _Gpus) -> None:
    for place, count in gpus.items():
        total[place] += count


def _largest(*states: _Gpus) -> dict[Place, int]:
    found: dict[Place, int] = {}
    for state in states:
        for place, gpus in state.items():
            found[place] = max(gpus, found.get(place, 0))
    return found


# --- Pools ---------------------------------------------------------------------------------------------------


def pool_use(stored: Stored, pools: Pools, found: Loads, census: Census = NOTHING_SEEN) -> list[PoolUse]:
    """One entry for each GPU pool of each cluster, in the spec's order."""
    in_use = {cluster for release in stored.releases.values() for cluster in release.rendered.trees}
    return [
        _use(cluster, pool, found, new=cluster not in in_use, looked=cluster in census.workloads)
        for cluster, by_name in pools.by_cluster.items()
        for pool in by_name.values()
    ]


def _use(cluster: str, pool: Pool, found: Loads, *, new: bool, looked: bool) -> PoolUse:
    place = cluster, pool.name
    before, after, peak = found.before[place], found.after[place], found.peak[place]
    return PoolUse(
        cluster=cluster,
        pool=pool.name,
        gpu_type=pool.gpu_type,
        before=before,
        after=after,
        peak=peak,
        capacity=pool.capacity,
        # A cluster that nothing was released to yet has no nodes to pay for.
        hourly_before=0.0 if new and pool.hourly_price is not None else _cost(pool, before),
        hourly_after=_cost(pool, after),
        hourly_peak=_cost(pool, peak),
        live=found.live[place] if looked else None,
    )


def _cost(pool: Pool, gpus: int) -> float | None:
    if pool.hourly_price is None:
        return None
    nodes = min(max(pool.min, ceil(gpus / pool.gpus)), max(pool.max, pool.min))
    return nodes * pool.hourly_price


# --- Rollouts that find no room ------------------------------------------------------------------------------

_HINT = "raise the pool's max or lower replicas.min"


def free_gpus(pools: Pools, found: Loads) -> dict[Place, int]:
    """What is left of each pool at its largest size beside everything that runs when the plan is applied."""
    return {
        (cluster, pool.name): pool.capacity - found.steady[cluster, pool.name]
        for cluster, by_name in pools.by_cluster.items()
        for pool in by_name.values()
    }


def stalls(pools: Pools, ahead: Ahead, found: Loads, census: Census = NOTHING_SEEN) -> Iterator[str]:
    """A sentence for each rollout that would wait for room by itself, and for each pool that all together overfill."""
    short: set[Place] = set()
    for unit, rehearsal in ahead.items():
        if rehearsal.begins and (stall := _stall(pools, rehearsal, found, census)):
            short.add(stall.place)
            yield f"{unit}: {stall.sentence}"
    yield from _together(pools, ahead, found, short)


class _Stall(NamedTuple):
    place: Place
    sentence: str


def _stall(pools: Pools, rehearsal: Rehearsal, found: Loads, census: Census) -> _Stall | None:
    """The first weight that the rollout finds no room for, beside everything that runs when the plan is applied."""
    own = found.own[rehearsal.standing.unit]
    last: _Gpus = pools.recorded(replace(rehearsal.standing.release, candidate=None, kept=()), census)
    for number, moment in enumerate(rehearsal.moments):
        for place, gpus in moment.needed.items():
            pool = pools.by_cluster[place[0]][place[1]]
            free = pool.capacity - found.steady[place] + own.get(place, 0) - last.get(place, 0)
            more = gpus - last.get(place, 0)
            if more > max(0, free):
                return _Stall(
                    place, f"{rehearsal.goal(number)} {_short(place, pool, more, max(0, free), rehearsal)} — {_HINT}"
                )
        last = moment.needed
    return None


def _short(place: Place, pool: Pool, more: int, free: int, rehearsal: Rehearsal) -> str:
    timeout = format_duration(rehearsal.standing.policy.capacity_timeout)
    left = f"{free} of them free" if free else "none of them free"
    return (
        f"needs {more} more {pool.gpu_type} on {place[0]}; pool {pool.name} ends at {pool.capacity}, {left}: "
        f"the rollout would wait up to {timeout} for room, then roll back"
    )


def _together(pools: Pools, ahead: Ahead, found: Loads, short: Collection[Place]) -> Iterator[str]:
    """Rollouts that fit one by one, but not all that this plan starts at once."""
    needed, starting = Counter(found.steady), Counter[Place]()
    for rehearsal in ahead.values():
        if rehearsal.starts:
            most = _largest(*(moment.needed for moment in rehearsal.moments))
            needed.subtract(found.own[rehearsal.standing.unit])
            _add(needed, most)
            starting.update(most.keys())
    for cluster, by_name in pools.by_cluster.items():
        for name, pool in by_name.items():
            place = cluster, name
            grows = starting[place] or found.steady[place] > found.before[place]
            if needed[place] > pool.capacity and place not in short and grows:
                crowd = _crowd(needed[place], starting[place])
                yield f"{cluster}: pool {name} ends at {pool.capacity} {pool.gpu_type}, and {crowd}"


def _crowd(gpus: int, rollouts: int) -> str:
    if not rollouts:
        return f"what this plan makes there needs {gpus}: pods would stay pending — {_HINT}"
    return (
        f"the rollouts that start there now ({rollouts}) need up to {gpus} with everything else: each waits for those "
        f"that started before it — {_HINT}, or release fewer models at a time"
    )
