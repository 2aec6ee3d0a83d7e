"""GPUs and money: what the pools carry before a plan, after it, and at its peak."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import ceil

from gitops.plan.model import PoolUse
from gitops.plan.stored import Stored
from gitops.rollout.release import ReleasedVersion
from gitops.spec.pipeline import Model
from gitops.spec.placement import Pool, choose_pool, pools
from gitops.spec.resolved import Spec
from gitops.values import UnitKey


@dataclass(slots=True)
class _Load:
    before: int = 0
    after: int = 0
    peak: int = 0


def pool_use(spec: Spec, stored: Stored, changing: Collection[UnitKey]) -> list[PoolUse]:
    """One entry for each GPU pool of each cluster, in the spec's order.

    At the peak a new version runs its least replicas beside those of the version before, and a changed
    configuration one replica more (the surge of a rolling update).
    """
    changed = set(changing)
    loads: dict[tuple[str, str], _Load] = defaultdict(_Load)
    available = {name: pools(cluster) for name, cluster in spec.clusters.items()}
    for unit in spec.models.keys() | stored.releases.keys():
        _add(unit, spec, stored, unit in changed, available, loads)
    in_use = {cluster for release in stored.releases.values() for cluster in release.rendered.trees}
    return [
        _use(cluster, pool, loads[cluster, pool.name], new=cluster not in in_use)
        for cluster, by_name in available.items()
        for pool in by_name.values()
    ]


def stalls(uses: Collection[PoolUse]) -> Iterator[str]:
    """A sentence for each pool that cannot hold the peak."""
    for use in uses:
        if use.peak > use.capacity:
            yield (
                f"{use.cluster}: pool {use.pool} needs {use.peak} {use.gpu_type} at the peak of this change, ends at "
                f"{use.capacity}: the rollout would stall — raise the pool's max or lower replicas.min"
            )


def _add(
    unit: UnitKey,
    spec: Spec,
    stored: Stored,
    changing: bool,
    available: dict[str, dict[str, Pool]],
    loads: dict[tuple[str, str], _Load],
) -> None:
    environment = spec.environments.get(unit.environment)
    model = spec.models.get(unit)
    release = stored.releases.get(unit)
    clusters = environment.clusters if environment else (release.rendered.trees if release else ())
    for cluster in clusters:
        by_name = available.get(cluster)
        if by_name is None:
            continue
        if release and (pool := _pool_of(release.stable, model, by_name)):
            load, gpus = loads[cluster, pool.name], release.stable.gpus * release.stable.replicas
            load.before += gpus
            replaced = model is None or release.stable.version != model.version
            load.peak += gpus if replaced else 0
        if model and model.serve.gpu and (pool := choose_pool(model.serve, by_name)):
            load, gpus = loads[cluster, pool.name], model.serve.gpu.count * model.serve.replicas.min
            load.after += gpus
            surge = changing and release is not None and release.stable.version == model.version
            load.peak += gpus + (model.serve.gpu.count if surge else 0)


def _pool_of(version: ReleasedVersion, model: Model | None, by_name: dict[str, Pool]) -> Pool | None:
    """Where a released version runs: the model's pool if the GPU is still the same, else the first that fits."""
    gpu = model.serve.gpu if model else None
    if model and gpu and gpu.type == version.gpu_type and (pool := choose_pool(model.serve, by_name)):
        return pool
    fitting = (p for p in by_name.values() if p.gpu_type == version.gpu_type and p.gpus >= version.gpus > 0)
    return next(fitting, None)


def _use(cluster: str, pool: Pool, load: _Load, *, new: bool) -> PoolUse:
    return PoolUse(
        cluster=cluster,
        pool=pool.name,
        gpu_type=pool.gpu_type,
        before=load.before,
        after=load.after,
        peak=load.peak,
        capacity=pool.capacity,
        # A cluster that nothing was released to yet has no nodes to pay for.
        hourly_before=0.0 if new and pool.hourly_price is not None else _cost(pool, load.before),
        hourly_after=_cost(pool, load.after),
        hourly_peak=_cost(pool, load.peak),
    )


def _cost(pool: Pool, gpus: int) -> float | None:
    if pool.hourly_price is None:
        return None
    nodes = min(max(pool.min, ceil(gpus / pool.gpus)), max(pool.max, pool.min))
    return nodes * pool.hourly_price
