"""What a file in `environments/` may say."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from gitops.spec.fields import KubernetesName, Name, SpecModel
from gitops.spec.pipeline import Gpu

Cidr = Annotated[str, StringConstraints(pattern=r"^(\d{1,3}\.){3}\d{1,3}/\d{1,2}$")]
Region = Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$"), Field(examples=["us-east-1"])]
LabelKey = Annotated[
    str, StringConstraints(pattern=r"^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$")
]
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$")]
Context = Annotated[str, Field(min_length=1, max_length=253)]
Price = Annotated[float, Field(ge=0, le=100_000)]


class NodePool(SpecModel):
    """Nodes of one kind with GPUs."""

    gpu: Gpu
    """GPUs of one node."""
    min: Annotated[int, Field(ge=0, le=1000)] = 0
    max: Annotated[int, Field(ge=1, le=1000)]
    hourly_price: Price | None = None
    """Of one node, in US dollars; without it a plan names the cost as unknown."""
    selector: dict[LabelKey, LabelValue] = {}
    """Labels of the pool's nodes; by default `gitops/pool: <name>`, which pools that we create carry."""


class AwsNodePool(SpecModel):
    """An EKS managed node group with GPUs."""

    instance: Annotated[str, Field(examples=["p5.48xlarge"])]
    gpu: Gpu | None = None
    """Known from the instance type; needed only for a type that this version does not know."""
    min: Annotated[int, Field(ge=0, le=1000)] = 0
    max: Annotated[int, Field(ge=1, le=1000)]
    disk: Annotated[str, StringConstraints(pattern=r"^[1-9]\d{1,4}Gi$")] = "200Gi"
    capacity: Literal["on-demand", "spot"] = "on-demand"
    hourly_price: Price | None = None
    selector: dict[LabelKey, LabelValue] = {}


class SystemNodes(SpecModel):
    """Nodes without GPUs, for everything that is not a model."""

    instance: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+\.[a-z0-9-]+$")] = "m7i.large"
    min: Annotated[int, Field(ge=1, le=100)] = 2
    max: Annotated[int, Field(ge=1, le=100)] = 4


class S3State(SpecModel):
    """Terraform state in S3, locked by S3 itself."""

    bucket: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    region: Region
    prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9/_.-]{0,199}$")] = "gitops"
    """The state of a cluster is the object `<prefix>/<cluster>.tfstate`."""


class State(SpecModel):
    """Where Terraform keeps its state; without `s3` it is a file under `.gitops/`, for trials only."""

    s3: S3State | None = None


class AwsCluster(SpecModel):
    """An EKS cluster that this pipeline creates and keeps by Terraform."""

    provider: Literal["aws"]
    region: Region
    availability_zones: Annotated[
        tuple[Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+[a-z]$")], ...],
        Field(min_length=2, max_length=6, strict=False),
    ]
    kubernetes_version: Annotated[str, StringConstraints(pattern=r"^1\.\d{2}$")] = "1.33"
    cidr: Cidr = "10.0.0.0/16"
    endpoint_allowed_cidrs: Annotated[tuple[Cidr, ...], Field(max_length=64, strict=False)] = ()
    """Who may reach the Kubernetes API from outside the VPC; nobody by default."""
    system_nodes: SystemNodes = SystemNodes()
    node_pools: Annotated[dict[Name, AwsNodePool], Field(min_length=1)]
    administrators: Annotated[
        tuple[Annotated[str, StringConstraints(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:.+$")], ...],
        Field(max_length=32, strict=False),
    ] = ()
    artifact_buckets: Annotated[
        tuple[Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")], ...],
        Field(max_length=32, strict=False),
    ] = ()
    """Existing buckets that the models may read; the cluster's own bucket is always readable."""
    context: Context | None = None
    """A kubeconfig context; by default access comes from Terraform's outputs and `aws eks get-token`."""
    state: State = State()
    tags: dict[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_ .:/=+@-]{1,128}$")],
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_ .:/=+@-]{0,256}$")],
    ] = {}


class ExistingCluster(SpecModel):
    """A cluster that somebody else created."""

    provider: Literal["existing"]
    context: Context
    node_pools: dict[Name, NodePool] = {}


class EmbeddedCluster(SpecModel):
    """A simulated cluster in one file under `.gitops/`, for trying things out."""

    provider: Literal["embedded"]
    node_pools: dict[Name, NodePool] = {}
    speed: Annotated[float, Field(gt=0, le=1_000_000)] = 1000.0
    """How much faster than real its time runs: a load time of 5 minutes takes 0.3 s at 1000."""


Cluster = Annotated[AwsCluster | ExistingCluster | EmbeddedCluster, Field(discriminator="provider")]


class Gateway(SpecModel):
    """The Gateway API gateway that model routes attach to."""

    name: KubernetesName
    namespace: KubernetesName


class Monitoring(SpecModel):
    """How metrics are scraped and read."""

    pod_monitors: bool = True
    """Render PodMonitors (they need the Prometheus operator's kinds in the cluster)."""
    prometheus: Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.:/_-]+$")] | None = None
    """Base URL, needed by autoscaling on request metrics."""
    namespace: KubernetesName = "monitoring"
    """Where Prometheus runs: only pods of this namespace may read the models' metrics."""


class Environment(SpecModel):
    """The whole of one file in `environments/`; its name is the file's name."""

    api_version: Literal["gitops/v1"]
    namespace: KubernetesName | None = None
    """By default `<pipeline>-<environment>`."""
    clusters: Annotated[dict[Name, Cluster], Field(min_length=1)]
    gateway: Gateway | None = None
    """Without one no HTTPRoute is rendered and the models are reached through their Services."""
    monitoring: Monitoring | None = None
    """Without it nothing is scraped and autoscaling knows CPU only."""
    models: dict[Name, dict[str, Any]] = {}
    """What differs here: mappings are merged into the model, lists and scalars replace, null removes."""
    exclude: Annotated[tuple[Name, ...], Field(max_length=10_000, strict=False)] = ()
    """Models that do not run here."""
