"""The Terraform root of a cluster that this pipeline keeps: what its module is called with."""

from __future__ import annotations

from typing import Any

from gitops.errors import GitopsError
from gitops.spec.environment import AwsCluster, AwsNodePool
from gitops.spec.placement import node_gpu
from gitops.spec.resolved import Spec
from gitops.values import UnitKey


def root_context(name: str, cluster: AwsCluster) -> dict[str, Any]:
    """What the templates of `terraform/aws/` see as `cluster`."""
    return {"name": name, "region": cluster.region, "backend": _backend(name, cluster)}


def root_variables(spec: Spec, name: str, cluster: AwsCluster) -> dict[str, Any]:
    """The content of `terraform.tfvars.json`. Raises GitopsError for a pool whose GPUs nobody knows."""
    units = [unit for unit in spec.models if unit.environment in spec.cluster_environments[name]]
    return {
        "name": name,
        "region": cluster.region,
        "availability_zones": list(cluster.availability_zones),
        "kubernetes_version": cluster.kubernetes_version,
        "cidr": cluster.cidr,
        "endpoint_allowed_cidrs": list(cluster.endpoint_allowed_cidrs),
        "system_nodes": {
            "instance_type": cluster.system_nodes.instance,
            "min": cluster.system_nodes.min,
            "max": cluster.system_nodes.max,
        },
        "gpu_pools": {key: _pool(name, key, pool) for key, pool in cluster.node_pools.items()},
        "pod_identities": _pod_identities(spec, units),
        "administrators": list(cluster.administrators),
        "artifact_buckets": sorted(set(cluster.artifact_buckets)),
        "artifact_prefixes": sorted({place for unit in units if (place := _artifact_place(spec, unit))}),
        "tags": cluster.tags,
    }


def _backend(name: str, cluster: AwsCluster) -> dict[str, str]:
    s3 = cluster.state.s3
    if s3 is None:
        return {"kind": "local", "path": "terraform.tfstate"}
    return {"kind": "s3", "bucket": s3.bucket, "key": f"{s3.prefix}/{name}.tfstate", "region": s3.region}


def _pool(cluster: str, name: str, pool: AwsNodePool) -> dict[str, Any]:
    gpu = node_gpu(pool)
    if gpu is None:
        raise GitopsError(
            f"the GPUs of instance type {pool.instance} are unknown",
            where=f"cluster {cluster}, pool {name}",
            hint="declare them: gpu: {type: H100, count: 8}",
        )
    return {
        "instance_type": pool.instance,
        "min": pool.min,
        "max": pool.max,
        "gpu_type": gpu.type,
        "gpus_per_node": gpu.count,
        "disk_gb": int(pool.disk.removesuffix("Gi")),
        "capacity_type": {"on-demand": "ON_DEMAND", "spot": "SPOT"}[pool.capacity],
        "labels": pool.selector,
    }


def _pod_identities(spec: Spec, units: list[UnitKey]) -> list[dict[str, str]]:
    pairs = sorted({(spec.namespace(unit.environment), unit.model) for unit in units})
    return [{"namespace": namespace, "service_account": model} for namespace, model in pairs]


def _artifact_place(spec: Spec, unit: UnitKey) -> str:
    """Where all versions of a model lie, with `<model>` for its name; nothing outside of S3.

    That is what stands before the version in the artifact's address. Only where the model's name is a part of that is
    the place the model's own.
    """
    scheme, _, rest = spec.models[unit].artifact.uri.partition("://")
    if scheme != "s3":
        return ""
    bucket, *parts = rest.strip("/").split("/")
    own = unit.model in parts
    before = [*parts[: parts.index(unit.model)], "<model>"] if own else parts[:-1]
    return "/".join([bucket, *filter(None, before), ""])
