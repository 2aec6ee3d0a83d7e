"""Which node pool a model runs on, and how many replicas the pool can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gitops.spec.catalog import AWS_INSTANCES
from gitops.spec.environment import AwsCluster, AwsNodePool, Cluster, Environment, NodePool
from gitops.spec.pipeline import Gpu, Serve
from gitops.spec.pods import Pods, together
from gitops.values import API_GROUP

PRE_STOP_SLEEP = (1, 30)
"""The first Kubernetes in which `preStop.sleep`, with which pods end, is on by default (KEP-3960)."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A node pool of any provider. `min` and `max` count nodes, `gpus` those of one node."""

    name: str
    gpu_type: str
    gpus: int
    min: int
    max: int
    hourly_price: float | None
    selector: Mapping[str, str]
    pods: Pods | None = None
    """What pods on it get beside the selector."""

    def slots(self, gpus: int) -> int:
        """How many replicas of `gpus` GPUs each fit at the pool's largest size."""
        return self.max * (self.gpus // gpus)

    @property
    def capacity(self) -> int:
        """GPUs at the pool's largest size."""
        return self.max * self.gpus


def node_gpu(pool: NodePool | AwsNodePool) -> Gpu | None:
    """The GPUs of one node: as declared, else known from the instance type, else None."""
    if pool.gpu is not None:
        return pool.gpu
    instance = AWS_INSTANCES.get(pool.instance) if isinstance(pool, AwsNodePool) else None
    return Gpu.model_validate({"type": instance.gpu, "count": instance.gpus}) if instance else None


def pools(cluster: Cluster) -> dict[str, Pool]:
    """The cluster's pools whose GPUs are known, in declared order."""
    result = {}
    declared: Mapping[str, NodePool | AwsNodePool] = cluster.node_pools
    for name, pool in declared.items():
        if gpu := node_gpu(pool):
            selector = pool.selector or {f"{API_GROUP}/pool": name}
            pods = _pods(pool) if isinstance(pool, NodePool) else None
            result[name] = Pool(name, gpu.type, gpu.count, pool.min, pool.max, pool.hourly_price, selector, pods)
    return result


def _pods(pool: NodePool) -> Pods:
    return Pods.model_construct(runtime_class=pool.runtime_class, tolerations=pool.tolerations)


def pods_of(environment: Environment | None, cluster: Cluster, pool: Pool | None, serve: Serve | None) -> Pods:
    """What the pods of a model get on a cluster. The labels of the pool's nodes count before all others."""
    labels = Pods.model_construct(node_selector=dict(pool.selector)) if pool else None
    widest = environment.pods if environment else None
    return together(widest, cluster.pods, pool.pods if pool else None, serve.pods if serve else None, labels)


def choose_pool(serve: Serve, available: Mapping[str, Pool]) -> Pool | None:
    """The pool that the model names, else the first whose nodes have enough GPUs of its type; None if none has."""
    if serve.gpu is None:
        return None
    if serve.pool is not None:
        pool = available.get(serve.pool)
        return pool if pool and pool.gpu_type == serve.gpu.type and pool.gpus >= serve.gpu.count else None
    for pool in available.values():
        if pool.gpu_type == serve.gpu.type and pool.gpus >= serve.gpu.count:
            return pool
    return None


def is_managed(cluster: Cluster) -> bool:
    """Whether Terraform creates and keeps this cluster."""
    return isinstance(cluster, AwsCluster)
