"""What `pipeline.yaml` may say about the CI workflow that `gitops ci` writes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from gitops.spec.fields import Digest, EnvName, Image, Name, OneLine, SpecModel

Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Labels = Annotated[tuple[Label, ...], Field(min_length=1, max_length=16, strict=False)]


def _plain(command: str) -> str:
    if "${{" in command or "$[[" in command:
        raise ValueError("an expression of the CI system does not work here; use a variable of the shell")
    return command


Command = Annotated[OneLine, AfterValidator(_plain)]
"""One line of shell. It holds no expression of a CI system: those would be replaced before the shell sees them."""
Hosted = Annotated[str, StringConstraints(pattern=r"^(ubuntu|windows|macos)-[a-z0-9.-]{1,40}$")]
"""A runner of GitHub's own: a new machine for each job."""
WheelUri = Annotated[
    str,
    StringConstraints(
        pattern=r"^(https://[A-Za-z0-9.:-]+/|\./)?([A-Za-z0-9_][A-Za-z0-9._+-]*/)*gitops_models-[A-Za-z0-9._+-]+\.whl$",
        max_length=400,
    ),
]
Schedule = Literal["never", "5m", "10m", "15m", "20m", "30m", "1h"]
_Uuid = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]


class AwsIdentity(SpecModel):
    """A role that trusts the CI system's OpenID Connect provider."""

    role: Annotated[
        str,
        StringConstraints(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/[A-Za-z0-9+=,.@_/-]{1,512}$"),
        Field(examples=["arn:aws:iam::123456789012:role/gitops-apply"]),
    ]
    region: Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[a-z]+)+-\d$"), Field(examples=["us-east-1"])]


class GcpIdentity(SpecModel):
    """A service account that is reached through workload identity federation."""

    provider: Annotated[
        str,
        StringConstraints(
            pattern=r"^projects/\d{1,20}/locations/global/workloadIdentityPools/[a-z0-9-]{4,32}/providers/[a-z0-9-]{4,32}$"
        ),
        Field(examples=["projects/123456789/locations/global/workloadIdentityPools/ci-pool/providers/github"]),
    ]
    service_account: Annotated[
        str,
        StringConstraints(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]@[a-z0-9.-]+\.gserviceaccount\.com$"),
        Field(examples=["gitops@acme.iam.gserviceaccount.com"]),
    ]


class AzureIdentity(SpecModel):
    """An application or managed identity with a federated credential."""

    client: _Uuid
    tenant: _Uuid
    subscription: _Uuid


class Identity(SpecModel):
    """Who a job is in each cloud, by OpenID Connect: no key is stored anywhere."""

    aws: AwsIdentity | None = None
    gcp: GcpIdentity | None = None
    azure: AzureIdentity | None = None


class Identities(SpecModel):
    """An identity for each thing that CI does. One run works on all environments, so each has one for each cloud."""

    plan: Identity = Field(default_factory=Identity)
    """Reads: a plan of live systems on a pull request, which anybody with a branch can change."""
    build: Identity = Field(default_factory=Identity)
    """Reads checkpoints and writes artifacts: the jobs on the GPU runner."""
    apply: Identity = Field(default_factory=Identity)
    """Writes: apply, reconcile and what people ask for, from the default branch alone."""


class GpuJobs(SpecModel):
    """Where models are built and checked before they are merged."""

    runner: Labels = ("self-hosted", "gpu")
    """Labels (GitLab: tags) of the runner on which pull requests are built and checked: it runs what they say."""
    register_runner: Labels = ("self-hosted", "gpu-register")
    """Labels of the one that builds what is merged, with the rights to record it. Never the same machine."""
    image: Image | None = None
    """GitLab's image for these jobs, by default that of the others."""
    serve: Command | None = None
    """A command that serves `$MODEL` on the runner until it is killed; without one something serves there already."""
    endpoint: Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.:/_-]+$")] = "http://127.0.0.1:8000"
    """Where it answers."""
    health: Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9/_.-]*$")] = "/health"
    """The path that answers once it is ready."""


class Wheel(SpecModel):
    """The wheel of gitops itself, as the team keeps it: `pip wheel --no-deps` of a checkout makes it."""

    uri: Annotated[WheelUri, Field(examples=["vendor/gitops_models-0.1.0-py3-none-any.whl"])]
    """A file of this repository, or an https:// URL."""
    digest: Digest
    """Its SHA-256, as `sha256sum` prints it."""


GitlabUrl = Annotated[
    str,
    StringConstraints(pattern=r"^(https://[A-Za-z0-9.-]+(:\d{1,5})?|http://(127\.0\.0\.1|localhost)(:\d{1,5})?)$"),
]
GitlabPath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]{0,254}$")]


class GitlabProject(SpecModel):
    """Whose word counts on who started a job: with `approvals.identity: ci`, GitLab's signed one about this project."""

    url: GitlabUrl = "https://gitlab.com"
    """The instance, without a path."""
    project: GitlabPath
    """The full path of the project whose jobs approve, such as acme/models."""


class Ci(SpecModel):
    """How the CI workflow is written by `gitops ci github` and `gitops ci gitlab`."""

    branch: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,99}$")] = "main"
    """The default branch, whose pipeline.yaml is applied."""
    plan: Literal["offline", "live"] = "offline"
    """What a pull request is compared with: Git alone, which needs no credentials of clusters and clouds, or also
    live objects and infrastructure."""
    wheel: Wheel | None = None
    """What is installed on the runners, with every package that it needs by hash."""
    install: Command | None = None
    """A command of your own that installs gitops instead, such as one that finds it in the image."""
    install_secrets: Annotated[tuple[EnvName, ...], Field(max_length=16, strict=False)] = ()
    """Secrets of CI that the install command gets as variables, such as PIP_INDEX_URL of a private index."""
    runner: Labels = ("ubuntu-24.04",)
    """Labels (GitLab: tags) of the runner that plans pull requests. In GitLab the default means any runner."""
    fork_runner: Hosted | None = "ubuntu-24.04"
    """GitHub's own runner on which pull requests of forks are validated; `null` leaves forks without a job. A runner of
    yours never runs anything of a fork."""
    write_runner: Labels | None = None
    """Labels (GitLab: tags) of the runner that applies, with the rights to write. By default that of `runner` where
    GitHub hosts it; a runner of yours that pull requests use as well would be theirs."""
    image: Image = "python:3.12-bookworm"
    """GitLab's image: Python 3.11 or newer, git, bash, and what else the clusters need (Terraform, cloud CLIs)."""
    python: Annotated[str, StringConstraints(pattern=r"^3\.(1[1-9]|[2-9]\d)$"), Field(examples=["3.12"])] = "3.12"
    terraform: Annotated[str, StringConstraints(pattern=r"^1\.\d{1,3}\.\d{1,3}$"), Field(examples=["1.11.4"])] = (
        "1.11.4"
    )
    """Set up where the spec has clusters that Terraform keeps (GitHub; in GitLab it is part of the image)."""
    schedule: Schedule = "5m"
    """How often rollouts are walked on; `never` where `gitops run` does it in the cluster."""
    own_repository: bool = False
    """The GitOps repository is the one that CI runs in, on another branch: the job's own token pushes."""
    kubeconfig: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9/_.-]{0,199}$")] | None = None
    """A file in this repository with the contexts of existing clusters, without credentials in it; by default the
    secrets GITOPS_READ_KUBECONFIG and GITOPS_WRITE_KUBECONFIG hold one."""
    apply_environment: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")] = "gitops"
    """The CI system's environment that apply runs in: whoever protects it decides who has to agree to a merge once
    more. All else that nobody may hold up runs in `gitops`."""
    verify: Annotated[tuple[Name, ...], Field(max_length=16, strict=False)] = ()
    """Environments in which a model that has `validate` is checked by its route when a version has become stable
    there; one that fails is rolled back before the next environment can start it."""
    gpu: GpuJobs = Field(default_factory=GpuJobs)
    identities: Identities = Field(default_factory=Identities)
    gitlab: GitlabProject | None = None
    """Needed where jobs of GitLab approve (`approvals.identity: ci`)."""
