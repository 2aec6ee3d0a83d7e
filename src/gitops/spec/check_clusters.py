"""Checks of clusters and their pools."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gitops.spec.catalog import AWS_INSTANCES
from gitops.spec.check_models import wrong_network
from gitops.spec.documents import Finding
from gitops.spec.draft import Draft
from gitops.spec.environment import AwsCluster, AwsNodePool, Cluster, NodePool
from gitops.spec.placement import PRE_STOP_SLEEP
from gitops.spec.problems import Path, shorten, suggestion
from gitops.values import API_GROUP


def clusters(draft: Draft) -> Iterator[Finding]:
    """Sizes, zones, networks and instance types of every cluster make sense by themselves."""
    for environment, described in draft.environments.items():
        for name, cluster in described.clusters.items():
            top: Path = ("clusters", name)
            for path, message, hint in _cluster(cluster):
                yield Finding(top + path, message, hint, environment)
            if isinstance(cluster, AwsCluster) and not _EKS_NAME.fullmatch(name):
                message = f"{name} cannot be the name of a cluster on AWS"
                yield Finding(top, message, _EKS_NAME_FORM, environment, at="key")


def cluster_definitions(draft: Draft) -> Iterator[Finding]:
    """A cluster that several environments share is described the same in each."""
    first: dict[str, tuple[str, Cluster]] = {}
    for environment, described in draft.environments.items():
        for name, cluster in described.clusters.items():
            other, definition = first.setdefault(name, (environment, cluster))
            if definition != cluster or list(definition.node_pools) != list(cluster.node_pools):
                message = f"the cluster {name} is described differently in {draft.files[other]}"
                hint = "make both the same, or name one otherwise"
                yield Finding(("clusters", name), message, hint, environment, at="key")


_EKS_NAME = re.compile(r"(?!.*--)[a-z][a-z0-9-]{1,38}[a-z0-9]")
"""What IAM, ECR (which takes no two dashes) and EKS all accept in the names that the module makes from it."""
_EKS_NAME_FORM = "use 3 to 40 lower-case letters, digits and single -, starting with a letter"
_LEAST_DISK_GIB = 50

_Wrong = tuple[Path, str, str]


def _cluster(cluster: Cluster) -> Iterator[_Wrong]:
    for name, pool in cluster.node_pools.items():
        if pool.min > pool.max:
            yield ("nodePools", name, "min"), f"min {pool.min} is more than max {pool.max}", ""
        if isinstance(pool, AwsNodePool):
            yield from _instance(("nodePools", name), pool)
            yield from _node(("nodePools", name), pool)
    if isinstance(cluster, AwsCluster):
        yield from _aws(cluster)


def _instance(top: Path, pool: AwsNodePool | NodePool) -> Iterator[_Wrong]:
    assert isinstance(pool, AwsNodePool)
    known = AWS_INSTANCES.get(pool.instance)
    if not known and not pool.gpu:
        near = suggestion(pool.instance, AWS_INSTANCES).partition("valid:")[0]
        hint = f"{near}for a type that is not in the list declare `gpu` too"
        yield (*top, "instance"), f"{shorten(pool.instance)} is not a GPU instance type that is known here", hint
    elif known and pool.gpu and (pool.gpu.type, pool.gpu.count) != (known.gpu, known.gpus):
        message = f"{pool.instance} has {known.gpus} x {known.gpu}, not {pool.gpu.count} x {pool.gpu.type}"
        yield (*top, "gpu"), message, "remove `gpu`; it is known from the instance type"


def _node(top: Path, pool: AwsNodePool) -> Iterator[_Wrong]:
    if int(pool.disk.removesuffix("Gi")) < _LEAST_DISK_GIB:
        yield (*top, "disk"), f"{pool.disk} is too small for the images of a node", f"use {_LEAST_DISK_GIB}Gi or more"
    for label in pool.selector:
        if label.startswith(f"{API_GROUP}/"):
            message = f"the label {label} is set by the node group itself"
            yield (*top, "selector", label), message, "remove it; use a label of your own"


def _aws(cluster: AwsCluster) -> Iterator[_Wrong]:
    nodes = cluster.system_nodes
    if nodes.min > nodes.max:
        yield ("systemNodes", "min"), f"min {nodes.min} is more than max {nodes.max}", ""
    for index, zone in enumerate(cluster.availability_zones):
        place: Path = ("availabilityZones", index)
        if zone[:-1] != cluster.region:
            hint = f"such as {cluster.region}a"
            yield place, f"{zone} is not an availability zone of {cluster.region}", hint
        elif zone in cluster.availability_zones[:index]:
            yield place, f"{zone} is there twice", "name different zones"
    if wrong := wrong_network(cluster.cidr):
        yield (("cidr",), *wrong)
    elif not 16 <= int(cluster.cidr.partition("/")[2]) <= 18:
        yield ("cidr",), f"{cluster.cidr} does not fit a VPC with subnets", "use a size from /16 to /18"
    if tuple(map(int, cluster.kubernetes_version.split("."))) < PRE_STOP_SLEEP:
        message = f"pods end with `preStop.sleep`, which Kubernetes {cluster.kubernetes_version} does not have"
        yield ("kubernetesVersion",), message, "use 1.30 or later"
    for tag in cluster.tags:
        if tag.lower().startswith("aws:"):
            yield ("tags", tag), "tags that begin with aws: are reserved by AWS", "rename it"
    for index, block in enumerate(cluster.endpoint_allowed_cidrs):
        if wrong := wrong_network(block):
            yield (("endpointAllowedCidrs", index), *wrong)
    if cluster.state.s3 and ".." in cluster.state.s3.prefix.split("/"):
        yield ("state", "s3", "prefix"), "the path must not go up with `..`", "write the path out"
