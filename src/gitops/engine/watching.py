"""What clusters show at one look: which versions are ready for how much traffic, and where Git and they differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from gitops.engine.session import Session
from gitops.errors import GitopsError
from gitops.plan.rollouts import Standing
from gitops.plan.settled import Sighting, unsettled
from gitops.plan.stored import Stored
from gitops.render.live import share_of
from gitops.rollout.state import ModelVersion
from gitops.spec.promotion import wave_of
from gitops.spec.resolved import Spec
from gitops.values import LABEL_CLUSTER, LABEL_PIPELINE, UnitKey

CLUSTERS_AT_ONCE = 4


@dataclass(frozen=True)
class Sight:
    """Every cluster at one look. `blind` says of each cluster that could not be asked why not."""

    clusters: Mapping[str, Sighting]
    blind: Mapping[str, str]
    astray: Mapping[UnitKey, tuple[str, ...]]
    """Units that are not where Git says, with the clusters."""

    def ready(self, here: Standing, version: ModelVersion) -> tuple[int | None, ...]:
        """For each wave the percent of all traffic that a version can carry on each of its clusters; None: unknown."""
        return tuple(self._ready(here, version, clusters) for clusters in wave_of(here.environment))

    def _ready(self, here: Standing, version: ModelVersion, clusters: tuple[str, ...]) -> int | None:
        model = here.models()[version.version]
        found = []
        for cluster in clusters:
            sighting = self.clusters.get(cluster)
            if sighting is None:
                return None
            workload = sighting.workloads.get((here.unit, version.version))
            found.append(share_of(workload.ready, model.serve.replicas.min) if workload else 0)
        return min(found)

    def failed(self, unit: UnitKey, version: str) -> Iterator[str]:
        """Why a version cannot get ready, where that is known."""
        for cluster, sighting in self.clusters.items():
            workload = sighting.workloads.get((unit, version))
            if workload and workload.failed:
                yield f"{cluster}: {workload.failed}"


def stamp_name(pipeline: str) -> str:
    """The ConfigMap in which a cluster remembers, for each model of a namespace, what was brought to it last."""
    return f"gitops-{pipeline}-applied"


def look(session: Session, stored: Stored) -> Sight:
    """Ask every cluster that something was released to, a few at once."""
    used = {cluster for release in stored.releases.values() for cluster in release.rendered.trees}
    names = [name for name in session.spec.clusters if name in used]
    clusters, blind = {}, {}
    with ThreadPoolExecutor(CLUSTERS_AT_ONCE, thread_name_prefix="look") as pool:
        for name, found in zip(names, pool.map(lambda name: _look(session, name), names), strict=True):
            if isinstance(found, Sighting):
                clusters[name] = found
            else:
                blind[name] = found
    astray: dict[UnitKey, tuple[str, ...]] = {}
    for name, sighting in clusters.items():
        for unit in unsettled(session.spec, stored.releases, name, sighting):
            astray[unit] = (*astray.get(unit, ()), name)
    return Sight(clusters, blind, astray)


def _look(session: Session, name: str) -> Sighting | str:
    spec = session.spec
    try:
        cluster = session.cluster(name)
        survey = cluster.survey({LABEL_PIPELINE: spec.pipeline.name, LABEL_CLUSTER: name}, _kinds(spec, name))
        stamps = {
            environment: cluster.stamps(spec.namespace(environment), stamp_name(spec.pipeline.name))
            for environment in spec.cluster_environments[name]
        }
    except GitopsError as error:
        return str(error)
    return Sighting.of(survey, stamps)


def _kinds(spec: Spec, cluster: str) -> tuple[str, ...]:
    """What has to be listed to know where traffic goes: Services only where some model has no gateway."""
    kinds = ["Deployment"]
    for name in spec.cluster_environments[cluster]:
        gateway = spec.environments[name].gateway
        if gateway:
            kinds.append("HTTPRoute" if gateway.api == "gateway-api" else "VirtualService")
        if gateway is None or any(
            unit.environment == name and model.route is None for unit, model in spec.models.items()
        ):
            kinds.append("Service")
    return tuple(dict.fromkeys(kinds))
