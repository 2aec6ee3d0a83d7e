"""The world that a command works on, real or embedded: opens each adapter when it is first needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from threading import Lock

from gitops.errors import GitopsError
from gitops.plan.records import with_sound_models
from gitops.plan.stored import Stored
from gitops.spec.environment import AwsCluster, EmbeddedCluster
from gitops.spec.environment import Cluster as ClusterSpec
from gitops.spec.placement import pools
from gitops.spec.pods import together
from gitops.spec.resolved import Spec
from gitops.values import Owner, UnitKey
from gitops.world.clock import Clock, RealClock
from gitops.world.files import read_simulation
from gitops.world.gather import read_stored
from gitops.world.places import Kind, repository_at, state_directory
from gitops.world.ports import Cluster, Infrastructure, MetricSource, Progress, Repository

Shares = Callable[[UnitKey], Sequence[tuple[float, Mapping[str, float]]]]
"""Percent of requests that reach each version of a unit, from a moment on, in order of time; stable is named first."""
Access = Callable[[], Mapping[str, str] | None]
"""Terraform's outputs for a cluster, or None while it does not exist."""


class World:
    """Repository, clusters and infrastructure of one pipeline.

    The embedded world stands in for all of them whatever the spec names, so that a production pipeline can be
    tried without credentials; it has a directory of its own and never touches the real repository.
    """

    def __init__(
        self,
        spec: Spec,
        project: Path,
        kind: Kind,
        progress: Progress,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.kind = kind
        self._spec = spec
        self._project = project
        self._state = state_directory(project, kind)
        self._progress = progress
        self._stopped = stopped
        self._repositories: dict[bool, Repository] = {}
        self._stored: Stored | None = None
        self._clusters: dict[str, Cluster] = {}
        self._metrics: dict[str, MetricSource | None] = {}
        self._shares: Shares = _all_to_stable
        self._connecting: dict[str, Lock] = {}
        self._open = ExitStack()

    def close(self) -> None:
        """Give every connection back."""
        self._open.close()

    def repository(self, *, create: bool = False) -> Repository:
        """The GitOps repository; only with `create` is a missing local one made."""
        if create not in self._repositories:
            settings = self._spec.pipeline.repository
            key = settings.signing.ssh_key if settings.signing else ""
            self._repositories[create] = repository_at(
                settings.url, settings.branch, self._project, self.kind, key=key, create=create, progress=self._progress
            )
        return self._repositories[create]

    def stored(self) -> Stored:
        """The outline of the GitOps repository at its present head; read again only when that has moved."""
        found = read_stored(self.repository(), self._stored)
        if found is not self._stored:
            self._stored = with_sound_models(self._spec, found)
        assert self._stored is not None
        return self._stored

    def owner(self, cluster: str) -> Owner:
        """Whose the objects are that we keep on a cluster, by the repository as it was last read."""
        stored = self._stored or self.stored()
        repository = "" if stored.head is None else self.repository().identity(stored.head)
        return Owner(self._spec.pipeline.name, repository, cluster)

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

    @cached_property
    def clock(self) -> Clock:
        """The time that everything here goes by; that of the embedded world runs as fast as it is asked to."""
        if self.kind == "embedded":
            from gitops.world.embedded import clock

            return clock.EmbeddedClock(self._state / clock.FILE)
        return RealClock(self._stopped)

    def metrics(self, environment: str, shares: Shares) -> MetricSource | None:
        """Where the metrics of an environment come from; None when it declares no source.

        `shares` says how the traffic of a simulated model is split; servers of the embedded world go by it.
        """
        self._shares = shares
        if environment not in self._metrics:
            self._metrics[environment] = self._measure(environment)
        return self._metrics[environment]

    def _measure(self, environment: str) -> MetricSource | None:
        settings = self._spec.environments[environment]
        simulated = all(isinstance(cluster, EmbeddedCluster) for cluster in settings.clusters.values())
        if self.kind == "embedded" or simulated:
            from gitops.spec.simulation import load_simulation
            from gitops.world.embedded.metrics import EmbeddedMetrics

            # Each reading brings its own split of the traffic; the source stays.
            return EmbeddedMetrics(load_simulation(read_simulation(self._project), self._spec), self._shared)
        url = settings.monitoring.prometheus if settings.monitoring else None
        if url is None:
            return None
        from gitops.world.prometheus import PrometheusSource

        assert settings.monitoring is not None
        return PrometheusSource(url, interval=settings.monitoring.interval)

    def _shared(self, unit: UnitKey) -> Sequence[tuple[float, Mapping[str, float]]]:
        return self._shares(unit)

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
            return connect(spec.context, owner=lambda: self.owner(name))
        outputs = access()
        if outputs is None:
            raise GitopsError(
                "the cluster does not exist yet", where=name, hint="`gitops apply` creates it by Terraform"
            )
        from gitops.world.kubernetes.kubeconfig import write_eks_kubeconfig

        kubeconfig = write_eks_kubeconfig(self._state / "kubeconfig", name, outputs)
        return connect(name, kubeconfig=kubeconfig, owner=lambda: self.owner(name))

    def _embedded(self, name: str, spec: ClusterSpec) -> Cluster:
        from gitops.world.embedded.apiserver import EmbeddedPool, open_embedded

        speed = spec.speed if isinstance(spec, EmbeddedCluster) else EmbeddedCluster.model_fields["speed"].default
        wanted = self._node_labels(name)
        nodes = [
            EmbeddedPool(pool.name, pool.gpus, pool.max, {**wanted, **pool.selector}) for pool in pools(spec).values()
        ]
        path = self._state / "clusters" / f"{name}.db"
        return open_embedded(path, nodes, speed, self.clock.now, lambda: self.owner(name), self._needs(name))

    def _needs(self, cluster: str) -> Mapping[tuple[str, str], int]:
        """How many replicas the requests of each model take on a cluster, by namespace, as `simulation.yaml` says.

        A file with a mistake in it says nothing: whoever asks for metrics is told.
        """
        source = read_simulation(self._project)
        if source is None:
            return {}
        from gitops.spec.simulation import load_simulation

        try:
            needs = load_simulation(source, self._spec).needs
        except GitopsError:
            return {}
        here = self._spec.cluster_environments[cluster]
        return {
            (self._spec.namespace(unit.environment), unit.model): replicas
            for unit, replicas in needs.items()
            if unit.environment in here
        }

    def _node_labels(self, cluster: str) -> dict[str, str]:
        """Simulated nodes have every label that the spec asks for there: what the nodes are is not simulated."""
        spec = self._spec
        names = spec.cluster_environments[cluster]
        said = [spec.environments[name].pods for name in names]
        said += [model.serve.pods for unit, model in spec.models.items() if unit.environment in names]
        return together(*said, spec.clusters[cluster].pods).node_selector


def _all_to_stable(unit: UnitKey) -> Sequence[tuple[float, Mapping[str, float]]]:
    del unit
    return ()
