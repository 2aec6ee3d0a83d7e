"""The world that a command works on, real or embedded: opens each adapter when it is first needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import Lock

from gitops.errors import GitopsError
from gitops.spec.environment import AwsCluster, EmbeddedCluster
from gitops.spec.environment import Cluster as ClusterSpec
from gitops.spec.placement import pools
from gitops.spec.resolved import Spec
from gitops.world.places import Kind, repository_at, state_directory
from gitops.world.ports import Cluster, Infrastructure, Progress, Repository

Access = Callable[[], Mapping[str, str] | None]
"""Terraform's outputs for a cluster, or None while it does not exist."""


class World:
    """Repository, clusters and infrastructure of one pipeline.

    The embedded world stands in for all of them whatever the spec names, so that a production pipeline can be
    tried without credentials; it has a directory of its own and never touches the real repository.
    """

    def __init__(self, spec: Spec, project: Path, kind: Kind, progress: Progress) -> None:
        self.kind = kind
        self._spec = spec
        self._project = project
        self._state = state_directory(project, kind)
        self._progress = progress
        self._clusters: dict[str, Cluster] = {}
        self._connecting: dict[str, Lock] = {}
        self._open = ExitStack()

    def close(self) -> None:
        """Give every connection back."""
        self._open.close()

    def repository(self, *, create: bool = False) -> Repository:
        """The GitOps repository; only with `create` is a missing local one made."""
        settings = self._spec.pipeline.repository
        key = settings.signing.ssh_key if settings.signing else ""
        return repository_at(
            settings.url, settings.branch, self._project, self.kind, key=key, create=create, progress=self._progress
        )

    def infrastructure(self, name: str) -> Infrastructure | None:
        """The infrastructure of a cluster that we keep; None for clusters of others."""
        if not isinstance(self._spec.clusters[name], AwsCluster):
            return None
        root = f"terraform/{name}"
        if self.kind == "embedded":
            from gitops.world.embedded.infrastructure import EmbeddedInfrastructure

            return EmbeddedInfrastructure(self._state / "infrastructure" / f"{name}.json", root)
        from gitops.world.terraform import Terraform
        from gitops.world.terraform.infrastructure import TerraformInfrastructure

        terraform = Terraform(self._state / "terraform" / name, root=root, progress=self._progress)
        return TerraformInfrastructure(terraform, root)

    def cluster(self, name: str, access: Access) -> Cluster:
        """A connection to one cluster. `access` asks its infrastructure how to reach it; not every cluster needs it."""
        # A lock for each, so that threads connect to different clusters at once and never twice to one.
        with self._connecting.setdefault(name, Lock()):
            if name not in self._clusters:
                cluster = self._connect(name, self._spec.clusters[name], access)
                self._open.callback(cluster.close)
                self._clusters[name] = cluster
            return self._clusters[name]

    def _connect(self, name: str, spec: ClusterSpec, access: Access) -> Cluster:
        if self.kind == "embedded" or isinstance(spec, EmbeddedCluster):
            return self._embedded(name, spec)
        from gitops.world.kubernetes.cluster import connect

        if spec.context is not None:
            return connect(spec.context)
        outputs = access()
        if outputs is None:
            raise GitopsError(
                "the cluster does not exist yet", where=name, hint="`gitops apply` creates it by Terraform"
            )
        from gitops.world.kubernetes.kubeconfig import write_eks_kubeconfig

        return connect(name, kubeconfig=write_eks_kubeconfig(self._state / "kubeconfig", name, outputs))

    def _embedded(self, name: str, spec: ClusterSpec) -> Cluster:
        from gitops.world.embedded.apiserver import EmbeddedPool, open_embedded

        speed = spec.speed if isinstance(spec, EmbeddedCluster) else EmbeddedCluster.model_fields["speed"].default
        nodes = [EmbeddedPool(pool.name, pool.gpus, pool.max, pool.selector) for pool in pools(spec).values()]
        return open_embedded(self._state / "clusters" / f"{name}.db", nodes, speed)
