"""What `pipeline.yaml` may say."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from gitops.spec.build import Build as Build
from gitops.spec.ci import Ci
from gitops.spec.fields import (
    ArtifactUri,
    Cpu,
    Digest,
    Duration,
    Hostname,
    Image,
    KubernetesName,
    Memory,
    Name,
    PodEnvName,
    SpecModel,
    Version,
)
from gitops.spec.images import Images
from gitops.spec.parts import Gpu as Gpu
from gitops.spec.parts import GpuType as GpuType
from gitops.spec.parts import OptionValue as OptionValue
from gitops.spec.parts import SecretRef as SecretRef
from gitops.spec.pods import Pods
from gitops.spec.rollouts import BlueGreen as BlueGreen
from gitops.spec.rollouts import Canary as Canary
from gitops.spec.rollouts import Gate as Gate
from gitops.spec.rollouts import Rolling as Rolling
from gitops.spec.rollouts import Rollout as Rollout
from gitops.spec.rollouts import Shadow as Shadow
from gitops.spec.secret_names import DIGEST_PATTERN
from gitops.spec.signatures import Signatures
from gitops.spec.unbuilt import artifact_of
from gitops.spec.validation import Validation as Validation


class Signing(SpecModel):
    """Sign every commit with an SSH key (`git log --show-signature` verifies it)."""

    ssh_key: Annotated[str, Field(min_length=1, examples=["~/.ssh/gitops_ed25519"])]
    """Path of the private key, or of the public key when an agent holds the private one."""


class Repository(SpecModel):
    """The GitOps repository that holds release records and rendered files."""

    url: Annotated[str, Field(min_length=1, max_length=2048)] = ".gitops/repository.git"
    """Any Git URL. A path is a bare repository on disk, created when it does not exist."""
    branch: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$")] = "main"
    signing: Signing | None = None


class BuiltFor(SpecModel):
    """What a TensorRT engine was built for; it runs nowhere else."""

    gpu: GpuType
    tensorrt: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+(\.\d+){0,2}$"), Field(examples=["10.7"])]


class Artifact(SpecModel):
    """The model's files, known by digest."""

    uri: ArtifactUri
    digest: Digest
    format: Literal["safetensors", "pytorch", "onnx", "tensorrt", "savedmodel", "triton"]
    """`triton` is a whole model repository of Triton, which brings its own configuration."""
    built_for: BuiltFor | None = None
    """Required for `format: tensorrt`; also for a `triton` repository with an engine in it. Meaningless for others."""


class Parallelism(SpecModel):
    """How one replica spreads over its GPUs: tensor x pipeline must equal `gpu.count`."""

    tensor: Annotated[int, Field(ge=1, le=16)] = 1
    pipeline: Annotated[int, Field(ge=1, le=16)] = 1


class Resources(SpecModel):
    """CPU and memory of one replica."""

    cpu: Cpu = "3"
    memory: Memory = "12Gi"
    shared_memory: Memory | None = None
    """Size of /dev/shm; with tensor parallelism it defaults to 8Gi a GPU."""


ScalingMetric = Literal["cpu", "requests-running", "queue-length"]


class Autoscaling(SpecModel):
    """What adds replicas between `min` and `max`."""

    metric: ScalingMetric | None = None
    """`cpu` uses a HorizontalPodAutoscaler; the others go by the model server's own metrics, through what the
    environment declares as `autoscaler`, or KEDA. By default `cpu` without a GPU; with one what that autoscaler knows,
    `queue-length` first, and without an autoscaler nothing."""
    target: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Percent of CPU (by default 80), or running (80) or waiting requests (4) a replica."""


class Replicas(SpecModel):
    """Bounds of the number of replicas; equal bounds need no autoscaler."""

    min: Annotated[int, Field(ge=1, le=1000)] = 1
    max: Annotated[int, Field(ge=1, le=1000)] = 1
    autoscaling: Autoscaling = Autoscaling()
    surge: Annotated[int, Field(ge=0, le=1)] | None = None
    """Pods beyond these while pods are replaced in place (another template, `revisions: at-once`). By default 1; with 0
    an old pod ends before its new one starts, which a full GPU pool needs."""


class NetworkPlace(SpecModel):
    """A place on the network: a namespace of this cluster, or a CIDR block."""

    namespace: KubernetesName | None = None
    cidr: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F.:]+/\d{1,3}$")] | None = None


class Peer(NetworkPlace):
    """Somebody on the network: a namespace of this cluster, or a CIDR block."""

    ports: Annotated[tuple[Annotated[int, Field(ge=1, le=65535)], ...], Field(max_length=32, strict=False)] = ()
    """Empty means every port."""
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    """Of `ports`; without ports every protocol is meant."""


class Network(SpecModel):
    """Who may talk to the model, and whom it may call. Everything else is denied."""

    ingress: Annotated[tuple[Peer, ...], Field(max_length=64, strict=False)] = ()
    egress: Annotated[tuple[Peer, ...], Field(max_length=64, strict=False)] = ()


class ServeBase(SpecModel):
    """What every runtime understands."""

    image: Image | None = None
    """The server; by default that of the runtime in `images`."""
    fetch_image: Image | None = None
    """What downloads the artifact before the server starts, and checks it; by default `images.fetchModel`, and
    `images.fetchOci` for an artifact in a registry."""
    gpu: Gpu | None = None
    pool: Name | None = None
    """Node pool to run on; by default the first pool of the cluster that has the GPU type and enough of them."""
    resources: Resources = Resources()
    load_time: Duration = 300
    """How long the slowest start may take, download included; the startup probe allows exactly this."""
    replicas: Replicas = Replicas()
    env: dict[PodEnvName, str | SecretRef] = {}
    network: Network = Network()
    pods: Pods | None = None
    """What this model's pods get beside what its environment and its clusters say."""


class VllmServe(ServeBase):
    """vLLM's OpenAI-compatible server."""

    runtime: Literal["vllm"]
    gpu: Gpu
    parallelism: Parallelism = Parallelism()
    args: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$")], OptionValue] = {}
    """vLLM's own options, without the leading dashes. A map is passed as JSON, and a list as the option takes it."""


class TritonServe(ServeBase):
    """NVIDIA Triton; the artifact is a model repository, an ONNX file or a TensorRT engine."""

    runtime: Literal["triton"]
    gpu: Gpu
    max_batch_size: Annotated[int, Field(ge=0, le=4096)] = 0
    instances: Annotated[int, Field(ge=1, le=64)] = 1
    """Model instances on each GPU."""


class CustomServe(ServeBase):
    """Any container that answers HTTP."""

    runtime: Literal["custom"]
    image: Image
    port: Annotated[int, Field(ge=1024, le=65535)] = 8000
    command: Annotated[tuple[str, ...], Field(max_length=64, strict=False)] = ()
    args: Annotated[tuple[str, ...], Field(max_length=256, strict=False)] = ()
    health: Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9/_.-]*$")] = "/health"
    metrics: Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9/_.-]*$")] = "/metrics"


Serve = Annotated[VllmServe | TritonServe | CustomServe, Field(discriminator="runtime")]


class Route(SpecModel):
    """Where clients reach the model."""

    hostnames: Annotated[tuple[Hostname, ...], Field(min_length=1, max_length=16, strict=False)]
    path: Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9/_.-]*$")] = "/"


class Model(SpecModel):
    """One model: which version, from which artifact, served how."""

    version: Version
    artifact: Artifact
    """What is served. With `build` it is left out: the build makes it, and Git keeps its digest."""
    build: Build | None = None
    """How the artifact is made from a checkpoint."""
    validation: Annotated[Validation | None, Field(alias="validate")] = None
    """The gates that a version has to pass before it is released anywhere."""
    serve: Serve
    route: Route | None = None
    rollout: Name
    expected_requests_per_second: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    """What a plan goes by where it cannot measure the traffic, to say what a rollout could see at each step."""
    owner: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._@/+-]{0,99}$")] | None = None

    @model_validator(mode="before")
    @classmethod
    def _unbuilt(cls, data: Any) -> Any:
        """What a build makes stands where the artifact would, with a digest of its own kind."""
        if isinstance(data, dict) and "build" in data and "artifact" not in data:
            made = artifact_of(data["build"])
            return {**data, "artifact": made} if made else data
        return data


class Pipeline(SpecModel):
    """The whole of `pipeline.yaml`."""

    api_version: Literal["gitops/v1"]
    name: Name
    repository: Repository = Repository()
    promotion: Annotated[tuple[Name, ...], Field(min_length=1, max_length=16, strict=False)]
    """Environments in the order in which a version reaches them; each has a file in `environments/`."""
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    rollouts: Annotated[dict[Name, Rollout], Field(min_length=1)]
    images: Images = Images()
    """What runs in place of the default images."""
    signatures: Signatures | None = None
    """Whose signatures a version needs before it is released."""
    ci: Ci | None = None
    """What `gitops ci` writes."""
    not_secret: Annotated[
        tuple[Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)], ...], Field(max_length=1000, strict=False)
    ] = ()
    """Texts of these files that look like secrets and are none, each by the first 12 digits of its SHA-256, as the
    refusal names it. A changed text is looked at again."""
