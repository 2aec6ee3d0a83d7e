"""Whether the models fit onto the GPUs of their clusters, at rest and while one of them is rolled out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from gitops.spec.catalog import AWS_INSTANCES
from gitops.spec.documents import Finding
from gitops.spec.draft import Draft
from gitops.spec.environment import AwsNodePool, Cluster
from gitops.spec.pipeline import Gpu, Serve
from gitops.spec.placement import Pool, choose_pool, pools
from gitops.spec.problems import Path, listed
from gitops.spec.quantities import amount
from gitops.spec.rollouts import Canary, Rollout
from gitops.values import UnitKey

_Tenants = dict[tuple[str, str], list[UnitKey]]
"""By cluster and pool, the units that run there."""


def nodes_needed(gpus_of_node: int, replicas: Mapping[int, int]) -> int:
    """How many nodes hold the replicas, given as how many there are of each number of GPUs.

    A replica does not span nodes. Best-fit decreasing: exact where the sizes divide each other, as 1, 2, 4 and 8
    do, and otherwise no worse than what a scheduler does.
    """
    nodes = 0
    free: Counter[int] = Counter()
    for size, count in sorted(replicas.items(), reverse=True):
        for gap in sorted(g for g in free if g >= size):
            placed = min(count, free[gap] * (gap // size))
            full, rest = divmod(placed, gap // size)
            free[gap] -= full + bool(rest)
            free[gap % size] += full
            free[gap - rest * size] += bool(rest)
            count -= placed
        if count > 0:
            per_node = gpus_of_node // size
            full, rest = divmod(count, per_node)
            nodes += full + bool(rest)
            free[gpus_of_node % size] += full
            free[gpus_of_node - rest * size] += bool(rest)
    return nodes


def capacity(draft: Draft) -> Iterator[Finding]:
    """Every model has a pool, all smallest sizes fit together, and so does any one rollout on top."""
    available: dict[str, dict[str, Pool]] = {}
    tenants: _Tenants = {}
    by_environment: dict[str, list[UnitKey]] = {}
    for unit in draft.models:
        by_environment.setdefault(unit.environment, []).append(unit)
    for environment, units in by_environment.items():
        for cluster, described in draft.environments[environment].clusters.items():
            if cluster not in available:
                available[cluster] = pools(described)
            knows_all = len(available[cluster]) == len(described.node_pools)
            yield from _place(draft, units, cluster, available[cluster], tenants, knows_all)
            yield from _too_big(draft, units, cluster, described)
    for (cluster, name), units in tenants.items():
        yield from _fit(draft, cluster, available[cluster][name], units)


def _place(
    draft: Draft, units: list[UnitKey], cluster: str, available: Mapping[str, Pool], tenants: _Tenants, knows_all: bool
) -> Iterator[Finding]:
    """Notes each model under its pool. Where some pool's GPUs are unknown, a model without one is no finding."""
    chosen: dict[tuple[str, int, str | None], Pool | None] = {}
    for unit in units:
        serve = draft.models[unit].serve
        if not (gpu := serve.gpu):
            continue
        need = (gpu.type, gpu.count, serve.pool)
        if need not in chosen:
            chosen[need] = choose_pool(serve, available)
        if pool := chosen[need]:
            tenants.setdefault((cluster, pool.name), []).append(unit)
        elif knows_all:
            yield _homeless(draft, unit, cluster, serve, gpu, available)


def _too_big(draft: Draft, units: list[UnitKey], name: str, cluster: Cluster) -> Iterator[Finding]:
    """CPU and memory that no node of the pool can ever give; a node needs some of both for itself."""
    available = pools(cluster)
    for unit in units:
        serve = draft.models[unit].serve
        pool = choose_pool(serve, available)
        declared = cluster.node_pools[pool.name] if pool else None
        instance = AWS_INSTANCES.get(declared.instance) if isinstance(declared, AwsNodePool) else None
        if not instance or not pool or not isinstance(declared, AwsNodePool):
            continue
        where = f"a {declared.instance} of the pool {pool.name} on {name}"
        asked: tuple[tuple[str, str, float, int], ...] = (
            ("cpu", "CPUs", float(amount(serve.resources.cpu)), instance.cpus),
            ("memory", "GiB", float(amount(serve.resources.memory) / 2**30), instance.memory_gib),
        )
        for key, noun, wanted, there in asked:
            if wanted >= there:
                message = f"{wanted:g} {noun} do not fit {where}, which has {there} and needs some for itself"
                yield draft.subject(unit).finding(("serve", "resources", key), message, f"lower serve.resources.{key}")


def _homeless(
    draft: Draft, unit: UnitKey, cluster: str, serve: Serve, gpu: Gpu, available: Mapping[str, Pool]
) -> Finding:
    there = [f"{p.name} ({p.gpus} x {p.gpu_type})" for p in available.values()]
    hint = f"its pools: {listed(there)}" if there else "it has no pools; add one under nodePools"
    where = f"the cluster {cluster} of {unit.environment}"
    near: tuple[Path, ...] = (("serve", "gpu", "type"), ("serve", "gpu", "count"))
    if serve.pool and serve.pool not in available:
        message = f"{where} has no pool {serve.pool}"
        return draft.subject(unit).finding(("serve", "pool"), message, hint)
    if serve.pool:
        message = f"nodes of the pool {serve.pool} on {where} do not have {gpu.count} x {gpu.type}"
        return draft.subject(unit).finding(("serve", "pool"), message, hint, near)
    message = f"no pool of {where} has nodes with {gpu.count} x {gpu.type}"
    return draft.subject(unit).finding(("serve", "gpu"), message, hint)


def _fit(draft: Draft, cluster: str, pool: Pool, units: list[UnitKey]) -> Iterator[Finding]:
    smallest: Counter[int] = Counter()
    for unit in units:
        serve = draft.models[unit].serve
        assert serve.gpu
        smallest[serve.gpu.count] += serve.replicas.min
    needed = nodes_needed(pool.gpus, smallest)
    if needed > pool.max:
        sizes = listed(f"{n} of {size} GPU{'s' if size > 1 else ''}" for size, n in sorted(smallest.items()))
        message = f"the smallest sizes of its models need {needed} nodes, the pool ends at {pool.max}"
        hint = f"replicas: {sizes}; a node has {pool.gpus} GPU{'s' if pool.gpus > 1 else ''}"
        place: Path = ("clusters", cluster, "nodePools", pool.name, "max")
        yield Finding(place, message, hint, units[0].environment)
        return
    yield from _rollouts_fit(draft, cluster, pool, units, smallest)


def _rollouts_fit(
    draft: Draft, cluster: str, pool: Pool, units: list[UnitKey], smallest: Counter[int]
) -> Iterator[Finding]:
    needed: dict[tuple[int, int], int] = {}
    for unit in units:
        model = draft.models[unit]
        rollout = draft.pipeline.rollouts.get(model.rollout)
        extra = extra_replicas(rollout, model.serve.replicas.min) if rollout else 0
        if not extra or not rollout or not model.serve.gpu:
            continue
        size = model.serve.gpu.count
        if (size, extra) not in needed:
            needed[size, extra] = nodes_needed(pool.gpus, smallest + Counter({size: extra}))
        if needed[size, extra] > pool.max:
            kind = "canary" if isinstance(rollout, Canary) else f"{rollout.strategy} rollout"
            more = f"{extra} more replica{'s' if extra > 1 else ''} of {size} GPU{'s' if size > 1 else ''}"
            message = f"a {kind} needs {more} next to stable, and the pool {pool.name} has no room"
            hint = f"raise nodePools.{pool.name}.max of the cluster {cluster} ({pool.max})"
            yield draft.subject(unit).finding(("rollout",), message, hint, (("serve", "replicas", "min"),))


def extra_replicas(rollout: Rollout, smallest: int) -> int:
    """How many replicas a new version has next to stable before any traffic moves back from it."""
    return 1 if isinstance(rollout, Canary) else smallest
