"""What a file in `environments/` may say."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from gitops.spec.fields import Duration, KubernetesName, Name, ObjectName, OneLine, SpecModel
from gitops.spec.images import Images
from gitops.spec.pipeline import Gpu, NetworkPlace, Peer
from gitops.spec.pods import LabelKey as LabelKey
from gitops.spec.pods import LabelValue as LabelValue
from gitops.spec.pods import Pods, Tolerations

Cidr = Annotated[str, StringConstraints(pattern=r"^(\d{1,3}\.){3}\d{1,3}/\d{1,2}$")]
Region = Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$"), Field(examples=["us-east-1"])]
Context = Annotated[str, Field(min_length=1, max_length=253)]
Price = Annotated[float, Field(ge=0, le=100_000)]
Person = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}$"), Field(examples=["alice@acme.example"])
]
PublicKey = Annotated[
    str,
    StringConstraints(
        pattern=r"^(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)"
        r"|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com) [A-Za-z0-9+/]+={0,2}( [A-Za-z0-9._@+-]+)?$",
        max_length=8192,
    ),
]
Moment = Annotated[
    str,
    StringConstraints(pattern=r"^(2\d{3}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(Z|[+-]\d{2}:\d{2})|\d{2}:\d{2})$"),
    Field(examples=["2026-12-19T00:00:00Z", "16:00"]),
]
Timezone = Annotated[
    str,
    # IANA's names start with a capital; what lies beside them in a system's directory does not.
    StringConstraints(pattern=r"^[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$", max_length=64),
    Field(examples=["Europe/Berlin"]),
]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


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
    runtime_class: ObjectName | None = None
    """The RuntimeClass of pods here, such as `nvidia` where that is not the nodes' default runtime."""
    tolerations: Tolerations = ()
    """Taints of the pool's nodes; that of `nvidia.com/gpu` need not be named."""


AwsPoolName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,28}[a-z0-9]$")]
"""EKS makes names of node groups from it, which end at 63 characters."""
BucketName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+((\.|-+)[a-z0-9]+)*$", min_length=3, max_length=63)]


class AwsNodePool(SpecModel):
    """An EKS managed node group with GPUs."""

    instance: Annotated[str, Field(examples=["p5.48xlarge"])]
    gpu: Gpu | None = None
    """Known from the instance type; needed only for a type that this version does not know."""
    min: Annotated[int, Field(ge=0, le=1000)] = 0
    max: Annotated[int, Field(ge=1, le=1000)]
    disk: Annotated[str, StringConstraints(pattern=r"^[1-9]\d{1,4}Gi$")] = "200Gi"
    """At least 50Gi: an image for serving alone takes 20 to 30."""
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

    bucket: BucketName
    region: Region
    prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9/_.-]{0,199}$")] = "gitops"
    """The state of a cluster is the object `<prefix>/<cluster>.tfstate`."""


class State(SpecModel):
    """Where Terraform keeps its state; without `s3` it is a file under `.gitops/`, for trials only."""

    s3: S3State | None = None


class DnsServer(NetworkPlace):
    """Where pods look up names."""

    port: Annotated[int, Field(ge=1, le=65535)] = 53
    """The port of the server itself, which may be another than that of its Service (5353 on OpenShift)."""


class AnyCluster(SpecModel):
    """What may be said of a cluster whoever made it."""

    pods: Pods | None = None
    """What every model's pod on this cluster gets."""
    dns: Annotated[tuple[DnsServer, ...], Field(max_length=16, strict=False)] = ()
    """Whom NetworkPolicies let pods ask for names; by default the namespace kube-system. With NodeLocal DNSCache name
    its address too: `[{namespace: kube-system}, {cidr: 169.254.20.10/32}]`."""

    artifact_stores: Annotated[tuple[Peer, ...], Field(max_length=32, strict=False)] = ()
    """Whom NetworkPolicies let pods fetch artifacts from, by default port 443 of every address but link-local ones:
    name the networks of your stores and registries. Without `ports` 443 is meant."""


class AwsCluster(AnyCluster):
    """An EKS cluster that this pipeline creates and keeps by Terraform."""

    provider: Literal["aws"]
    region: Region
    availability_zones: Annotated[
        tuple[Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+[a-z]$")], ...],
        Field(min_length=2, max_length=6, strict=False),
    ]
    kubernetes_version: Annotated[str, StringConstraints(pattern=r"^1\.\d{2}$")] = "1.33"
    """At least 1.30: pods wait by `preStop.sleep` until no new request reaches them."""
    cidr: Cidr = "10.0.0.0/16"
    """Of the VPC, from /16 to /18: it is cut into sixteen subnets."""
    endpoint_allowed_cidrs: Annotated[tuple[Cidr, ...], Field(max_length=64, strict=False)] = ()
    """Who may reach the Kubernetes API from outside the VPC; nobody by default."""
    system_nodes: SystemNodes = SystemNodes()
    node_pools: Annotated[dict[AwsPoolName, AwsNodePool], Field(min_length=1)]
    administrators: Annotated[
        tuple[
            Annotated[str, StringConstraints(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:(role|user)/[A-Za-z0-9_+=,.@/-]+$")],
            ...,
        ],
        Field(max_length=32, strict=False),
    ] = ()
    """Roles and users of IAM; the root of an account cannot be one."""
    artifact_buckets: Annotated[tuple[BucketName, ...], Field(max_length=32, strict=False)] = ()
    """Existing buckets that every model may read. Beside them a model reads where its artifact's versions lie, and
    `<model>/` in the cluster's own bucket."""
    context: Context | None = None
    """A kubeconfig context; by default access comes from Terraform's outputs and `aws eks get-token`."""
    state: State = State()
    tags: dict[
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_ .:/=+@-]{1,128}$")],
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_ .:/=+@-]{0,256}$")],
    ] = {}
    """None that begins with `aws:`, which AWS reserves."""


class ExistingCluster(AnyCluster):
    """A cluster that somebody else created."""

    provider: Literal["existing"]
    context: Context
    node_pools: dict[Name, NodePool] = {}


class EmbeddedCluster(AnyCluster):
    """A simulated cluster in one file under `.gitops/`, for trying things out."""

    provider: Literal["embedded"]
    node_pools: dict[Name, NodePool] = {}
    speed: Annotated[float, Field(gt=0, le=1_000_000)] = 1000.0
    """How much faster than real its time runs: a load time of 5 minutes takes 0.3 s at 1000."""


Cluster = Annotated[AwsCluster | ExistingCluster | EmbeddedCluster, Field(discriminator="provider")]


class Gateway(SpecModel):
    """The gateway that model routes attach to."""

    name: ObjectName
    namespace: KubernetesName
    api: Literal["gateway-api", "istio"] = "gateway-api"
    """Which API splits traffic: HTTPRoutes of the Gateway API, or Istio's VirtualServices."""
    proxies: Annotated[tuple[NetworkPlace, ...], Field(max_length=16, strict=False)] = ()
    """Where the proxies run from which requests reach the models, for NetworkPolicies; by default the gateway's own
    namespace. Envoy Gateway, for one, runs them in `envoy-gateway-system`."""


class Monitoring(SpecModel):
    """How metrics are scraped and read."""

    pod_monitors: bool = True
    """Render PodMonitors (they need the Prometheus operator's kinds in the cluster)."""
    prometheus: Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.:/_-]+$")] | None = None
    """Base URL, needed by autoscaling on request metrics."""
    namespace: KubernetesName = "monitoring"
    """Where Prometheus runs: only pods of this namespace may read the models' metrics."""
    # Prometheus takes a series for gone after five minutes without a sample.
    interval: Annotated[Duration, Field(ge=1, le=120)] = 15
    """How often the models' metrics are scraped."""
    labels: dict[LabelKey, LabelValue] = {}
    """Further labels of PodMonitors: a Prometheus sees only those that its `podMonitorSelector` asks for, in
    kube-prometheus-stack `release: <name of its Helm release>`."""


MetricName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_:./-]{0,199}$")]


class Autoscaler(SpecModel):
    """What scales models by the metrics of their servers on the clusters of an environment."""

    kind: Literal["keda", "metrics-adapter"]
    """KEDA asks `monitoring.prometheus`; a metrics adapter serves pods' metrics to HorizontalPodAutoscalers."""
    metrics: dict[Literal["queue-length", "requests-running"], MetricName] = {}
    """Of a metrics adapter: the names under which it serves them for each pod."""


class Approvals(SpecModel):
    """People who must agree to a version before its rollout starts here."""

    required: Annotated[int, Field(ge=1, le=20)] = 1
    """How many different people."""
    approvers: Annotated[tuple[Person, ...], Field(max_length=64, strict=False)] = ()
    """Who may approve; empty means everybody whose identity holds."""
    identity: Literal["signature", "ci", "any"] = "signature"
    """What proves who approved: a commit signed with a key of `signers`, the identity that CI vouches for, or
    nothing but the name that the command was given, so that whoever may push may approve for anybody."""
    signers: dict[Person, PublicKey] = {}
    """The OpenSSH public key of each approver, needed for `identity: signature`."""


class Freeze(SpecModel):
    """A time in which no rollout starts, grows or is promoted; going back is always allowed.

    Either from one instant until another, or every week: from a time of day of each of `days` until the next
    `until`, on the day after if that is not later than `from`.
    """

    reason: OneLine
    begin: Annotated[Moment, Field(alias="from")]
    """An instant such as 2026-12-19T00:00:00Z; with `days` a time such as "16:00"."""
    until: Moment
    """The same; with `days` up to "24:00"."""
    days: Annotated[tuple[Day, ...], Field(max_length=7, strict=False)] = ()
    """The days on which a weekly window begins."""
    timezone: Timezone | None = None
    """Of a weekly window, by default UTC: an IANA name such as Europe/Berlin."""


Wave = Annotated[tuple[Name, ...], Field(min_length=1, max_length=1000, strict=False)]


class Environment(SpecModel):
    """The whole of one file in `environments/`; its name is the file's name."""

    api_version: Literal["gitops/v1"]
    namespace: KubernetesName | None = None
    """By default `<pipeline>-<environment>`. It has to be one for models alone, since all else in it is cut off the
    network: system namespaces, those of usual components, of the gateway's proxies and of Prometheus are refused."""
    clusters: Annotated[dict[Name, Cluster], Field(min_length=1)]
    gateway: Gateway | None = None
    """Without one no HTTPRoute is rendered and the models are reached through their Services."""
    monitoring: Monitoring | None = None
    """Without it nothing is scraped and autoscaling knows CPU only."""
    autoscaler: Autoscaler | None = None
    """Without it models on GPUs keep `replicas.min`, unless they say what they scale by."""
    promotion: Literal["automatic", "manual"] = "automatic"
    """Whether a version that is verified in the environment before starts here by itself, or when a person says so."""
    approvals: Approvals | None = None
    """Without it nobody is asked."""
    freeze: Annotated[tuple[Freeze, ...], Field(max_length=64, strict=False)] = ()
    """When nothing moves forward here."""
    pods: Pods | None = None
    """What every model's pod here gets."""
    waves: Annotated[tuple[Wave, ...], Field(max_length=100, strict=False)] = ()
    """Clusters in the order in which a rollout reaches them; each wave goes through all steps. By default one wave."""
    hotfix: Literal["denied", "allowed"] = "denied"
    """Whether a person may start a version here that the environment before has not verified."""
    images: Images = Images()
    """What runs here in place of the default images, before those of `pipeline.yaml`."""
    models: dict[Name, dict[str, Any]] = {}
    """What differs here: mappings are merged into the model, lists and scalars replace, null removes."""
    exclude: Annotated[tuple[Name, ...], Field(max_length=10_000, strict=False)] = ()
    """Models that do not run here."""
