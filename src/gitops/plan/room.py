"""GPUs that versions take, by cluster and pool, and whether there is room for more of them.

What a version takes follows from the same numbers as its manifests: `render.live` says how many replicas it has.
Autoscaled versions count with what runs of them where somebody looked (`Census`), else with the least that they run.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

from gitops.plan.census import NOTHING_SEEN, Census
from gitops.plan.lives import lives_of, models_of, waves_of
from gitops.plan.stored import Stored
from gitops.render.live import Live, Waves, full_size, lives_in, replica_share, replicas_for, replicas_of
from gitops.rollout.load import Loads, load_on
from gitops.rollout.release import Release
from gitops.spec.pipeline import Model, Serve
from gitops.spec.placement import Pool, choose_pool, pools
from gitops.spec.resolved import Spec
from gitops.values import UnitKey

Place = tuple[str, str]
"""A cluster and one of its pools."""


class Pools:
    """Every pool of the spec's clusters, and what versions take of them."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._chosen: dict[tuple[str, str | None, str, int], Pool | None] = {}

    @cached_property
    def by_cluster(self) -> Mapping[str, Mapping[str, Pool]]:
        """The pools whose GPUs are known, by cluster and name, in the spec's order."""
        return {name: pools(cluster) for name, cluster in self._spec.clusters.items()}

    def chosen(self, cluster: str, serve: Serve) -> Pool | None:
        """The pool that a model runs on; None without a GPU, and where no pool has it."""
        if serve.gpu is None:
            return None
        key = cluster, serve.pool, serve.gpu.type, serve.gpu.count
        if key not in self._chosen:
            self._chosen[key] = choose_pool(serve, self.by_cluster.get(cluster, {}))
        return self._chosen[key]

    def routed(self, unit: UnitKey) -> bool:
        """Whether a gateway splits the unit's traffic; otherwise replicas are the weights."""
        model, environment = self._spec.models.get(unit), self._spec.environments.get(unit.environment)
        return bool(environment and environment.gateway and model and model.route)

    def taken(
        self,
        unit: UnitKey,
        lives: Sequence[Live],
        waves: Waves | None,
        clusters: Sequence[str] | None = None,
        census: Census = NOTHING_SEEN,
    ) -> Counter[Place]:
        """GPUs of versions that run side by side, on these clusters; by default on all of the environment.

        An autoscaler may run more than it is held at: `census` says how many.
        """
        found: Counter[Place] = Counter()
        routed = self.routed(unit)
        for cluster in self._spec.environments[unit.environment].clusters if clusters is None else clusters:
            here = lives_in(cluster, lives, waves)
            for live, count in zip(here, replicas_of(here, routed=routed), strict=True):
                number = max(count, census.replicas(cluster, unit, live.model.version)) if count else 0
                if (gpu := live.model.serve.gpu) and number and (pool := self.chosen(cluster, live.model.serve)):
                    found[cluster, pool.name] += number * gpu.count
        return found

    def wanted(self, unit: UnitKey, model: Model) -> dict[Place, int]:
        """GPUs of one version that has all traffic."""
        gpu, found = model.serve.gpu, {}
        for cluster in self._spec.environments[unit.environment].clusters:
            if gpu and (pool := self.chosen(cluster, model.serve)):
                found[cluster, pool.name] = gpu.count * model.serve.replicas.min
        return found

    def recorded(self, release: Release, census: Census = NOTHING_SEEN) -> Mapping[Place, int]:
        """GPUs of everything that runs by a record, on the clusters that the record names and the spec still has.

        With `census`, what runs of them where that is more.
        """
        clusters = [name for name in release.rendered.trees if name in self._spec.clusters]
        if not (release.candidate or release.kept) or not release.models:
            return self._stable(release, clusters, census)
        state, models = release.state, models_of(release, None)
        environment = self._spec.environments.get(release.unit.environment)
        waves = waves_of(release, state, models, environment) if environment else None
        if waves and not waves.keys() >= set(clusters):
            waves = None
        return self.taken(release.unit, lives_of(release, state, models), waves, clusters, census)

    def _stable(self, release: Release, clusters: Sequence[str], census: Census) -> dict[Place, int]:
        """The head of the record says it, so that thousands of models need not be read."""
        stable, found = release.stable, {}
        for cluster in clusters if stable.gpus * stable.replicas else ():
            if pool := self._pool_of_stable(release, cluster):
                running = census.replicas(cluster, release.unit, stable.version)
                found[cluster, pool.name] = stable.gpus * max(stable.replicas, running)
        return found

    def _pool_of_stable(self, release: Release, cluster: str) -> Pool | None:
        """The pool of the spec's model if it has the same GPU, else as it was released, else the first that fits."""
        stable = release.stable
        model = self._spec.models.get(release.unit)
        if model is None or _gpu(model) != (stable.gpu_type, stable.gpus):
            model = models_of(release, None).get(stable.version)
        if model and (pool := self.chosen(cluster, model.serve)):
            return pool
        fitting = (p for p in self.by_cluster[cluster].values() if p.gpu_type == stable.gpu_type)
        return next((pool for pool in fitting if pool.gpus >= stable.gpus), None)


class Claim(NamedTuple):
    """What a rollout takes in the end: its version with all traffic on every cluster."""

    unit: UnitKey
    model: Model
    load: Loads = ()


class Shortfall(NamedTuple):
    """No room on a pool. `behind` are the units that it waits for, if there will be room when they are done: rollouts
    that go first, and those that only keep the version before warm."""

    place: Place
    behind: tuple[UnitKey, ...] = ()


class Room:
    """GPUs that are free at each pool's largest size; worked out once, when it is first asked for.

    `claims` are all rollouts in the order in which they get room: what one of them still needs is kept free from those
    after it, so that none of them stops half-way for another that also has.
    """

    def __init__(self, spec: Spec, stored: Stored, census: Census = NOTHING_SEEN, claims: Sequence[Claim] = ()) -> None:
        self._spec, self._stored, self._pools, self._census = spec, stored, Pools(spec), census
        self._claims = tuple(claims)

    def fits(self, unit: UnitKey, model: Model, scales: Mapping[str, int], load: Loads = ()) -> bool:
        """Whether the version fits on each cluster when it is sized there for that percentage of traffic.

        What the unit's candidate takes already counts as free. Models without a GPU always fit: nothing is known
        about CPUs.
        """
        return self.shortfall(unit, model, scales, load) is None

    def shortfall(self, unit: UnitKey, model: Model, scales: Mapping[str, int], load: Loads = ()) -> Shortfall | None:
        """Where it does not fit; None if it does."""
        others = self._others(unit)
        for place, pool, gpus in self._asked(unit, model, scales, load):
            free = pool.capacity - others[place] - gpus
            before = [claim.unit for claim in self._before(unit)]
            if free < 0:
                ends = {one: gpus for one, gpus in self._passing[place].items() if one in before or self._is_over(one)}
                return Shortfall(place, tuple(ends) if free + sum(ends.values()) >= 0 else ())
            needed = {one: self._needs[one][place] for one in before if self._needs[one][place] > 0}
            if free < sum(needed.values()):
                return Shortfall(place, tuple(needed))
        return None

    def _is_over(self, unit: UnitKey) -> bool:
        return self._stored.releases[unit].candidate is None

    @cached_property
    def _passing(self) -> Mapping[Place, Mapping[UnitKey, int]]:
        """What units take beyond a single version, which they give back in the end."""
        found: dict[Place, dict[UnitKey, int]] = defaultdict(dict)
        for unit, release in self._stored.releases.items():
            if release.candidate or release.kept:
                rest = self._pools.recorded(replace(release, candidate=None, kept=()), self._census)
                for place, gpus in self._pools.recorded(release, self._census).items():
                    if gpus > rest.get(place, 0):
                        found[place][unit] = gpus - rest.get(place, 0)
        return found

    def _before(self, unit: UnitKey) -> Sequence[Claim]:
        own = next((number for number, claim in enumerate(self._claims) if claim.unit == unit), len(self._claims))
        return self._claims[:own]

    @cached_property
    def _needs(self) -> Mapping[UnitKey, Counter[Place]]:
        """What each claim still takes beyond what its candidate has."""
        return {claim.unit: self._still_needed(claim) for claim in self._claims}

    def _still_needed(self, claim: Claim) -> Counter[Place]:
        everywhere = dict.fromkeys(self._spec.environments[claim.unit.environment].clusters, 100)
        found: Counter[Place] = Counter()
        for place, _, gpus in self._asked(claim.unit, claim.model, everywhere, claim.load):
            found[place] += max(0, gpus - (self._used[place] - self._others(claim.unit)[place]))
        return found

    @cached_property
    def _used(self) -> Counter[Place]:
        used: Counter[Place] = Counter()
        for release in self._stored.releases.values():
            for place, gpus in self._pools.recorded(release, self._census).items():
                used[place] += gpus
        return used

    def _others(self, unit: UnitKey) -> Counter[Place]:
        """What everything but the unit's candidate takes."""
        release = self._stored.releases.get(unit)
        if release is None or release.candidate is None:
            return self._used
        rest = Counter(self._used)
        rest.subtract(self._pools.recorded(release, self._census))
        rest.update(self._pools.recorded(replace(release, candidate=None), self._census))
        return rest

    def _asked(
        self, unit: UnitKey, model: Model, scales: Mapping[str, int], load: Loads
    ) -> Iterator[tuple[Place, Pool, int]]:
        """Where the version would run, and with how many GPUs."""
        release, gpu = self._stored.releases.get(unit), model.serve.gpu
        stable = release.stable.replicas if release else 0
        for cluster in self._spec.environments[unit.environment].clusters:
            scale = scales.get(cluster, 0)
            if gpu and scale and (pool := self._pools.chosen(cluster, model.serve)):
                factor = load_on(load, cluster)
                count = replicas_for(full_size(model.serve.replicas, factor), scale)
                if not self._pools.routed(unit) and scale < 100:
                    beside = replica_share(scale, math.ceil(stable * factor))[0]
                    count = max(count, min(beside, model.serve.replicas.max))
                yield (cluster, pool.name), pool, count * gpu.count


def _gpu(model: Model) -> tuple[str, int]:
    gpu = model.serve.gpu
    return (gpu.type, gpu.count) if gpu else ("", 0)
