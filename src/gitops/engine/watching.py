"""What clusters show at one look: which versions are ready for how much traffic, and where Git and they differ."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from gitops.engine.session import Session
from gitops.errors import GitopsError
from gitops.plan.census import NOTHING_SEEN, Census
from gitops.plan.observed import Readiness, Workload
from gitops.plan.rollouts import Standing
from gitops.plan.settled import Sighting, unsettled
from gitops.plan.stored import Stored
from gitops.render.live import full_size, replicas_for, share_of
from gitops.rollout.load import Loads, grown, load_on
from gitops.rollout.state import ModelVersion
from gitops.spec.resolved import Spec
from gitops.values import LABEL_CLUSTER, LABEL_PIPELINE, ObjectRef, UnitKey, workload_name

CLUSTERS_AT_ONCE = 4
EXPLAINED = 20
"""So many versions of a cluster that are not ready are asked why not: each takes a look at its pods."""

Key = tuple[UnitKey, str]
"""A unit and a version."""


@dataclass(frozen=True)
class Sight:
    """Every cluster at one look. `blind` says of each cluster that could not be asked why not."""

    clusters: Mapping[str, Sighting]
    blind: Mapping[str, str]
    astray: Mapping[UnitKey, tuple[str, ...]]
    """Units that are not where Git says, with the clusters."""

    @property
    def census(self) -> Census:
        """What runs, without what Git says of it."""
        return Census({name: sighting.workloads for name, sighting in self.clusters.items()})

    def ready(self, here: Standing, version: ModelVersion, load: Loads | None = None) -> tuple[int | None, ...]:
        """For each wave the percent of all traffic that a version can carry on each of its clusters; None: unknown.

        Measured by the load that there is now, or by another one.
        """
        load = grown(here.state.load, here.load) if load is None else load
        return tuple(self._ready(here, version, clusters, load) for clusters in here.waves)

    def _ready(self, here: Standing, version: ModelVersion, clusters: tuple[str, ...], load: Loads) -> int | None:
        replicas = here.models()[version.version].serve.replicas
        found = []
        for cluster in clusters:
            sighting = self.clusters.get(cluster)
            if sighting is None:
                return None
            workload = sighting.workloads.get((here.unit, version.version))
            if workload and workload.ready is None:
                return None
            whole = full_size(replicas, load_on(load, cluster))
            found.append(share_of(workload.ready, whole) if workload and workload.ready else 0)
        return min(found, default=100)


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


def census(session: Session, stored: Stored) -> Census:
    """What runs, for a plan that has to know it: where nothing autoscales it is what is declared, and nobody is asked.

    A cluster that cannot be asked is left out.
    """
    spec = session.spec
    found: dict[str, Mapping[Key, Workload]] = {}
    moving = {
        cluster
        for unit, release in stored.releases.items()
        if (model := spec.models.get(unit)) and model.serve.gpu and model.serve.replicas.min < model.serve.replicas.max
        for cluster in release.rendered.trees
    }
    names = [name for name in spec.clusters if name in moving]

    def take(name: str) -> Census:
        labels = {LABEL_PIPELINE: spec.pipeline.name, LABEL_CLUSTER: name}
        try:
            survey = session.cluster(name).survey(labels, ("Deployment",))
        except GitopsError:
            return NOTHING_SEEN
        return Census({name: Sighting.of(survey, {}).workloads})

    with ThreadPoolExecutor(CLUSTERS_AT_ONCE, thread_name_prefix="count") as pool:
        for one in pool.map(take, names):
            found.update(one.workloads)
    return Census(found)


def readiness(session: Session, sight: Sight, cluster: str, keys: Collection[Key]) -> dict[Key, Readiness]:
    """What the look at a cluster shows of these versions; of some of those that are not ready, the reason as well."""
    workloads = sight.clusters[cluster].workloads
    states = {key: _readiness(workloads.get(key)) for key in keys}
    unready = {_ref(session, *key): key for key, state in states.items() if not state.ready}
    refs = list(unready)[:EXPLAINED]
    try:
        found = session.cluster(cluster).readiness(refs) if refs else {}
    except GitopsError:
        return states
    # Between the two looks it may have become ready.
    return states | {unready[ref]: state for ref, state in found.items()}


class Trouble(NamedTuple):
    """A version that has fewer ready replicas than it should."""

    words: str
    """What is said of it, with the cluster."""
    crashed: bool
    unready: Mapping[str, tuple[int, ...]]
    """By cluster, since when each replica that it lacks is not ready."""


def troubles(session: Session, sight: Sight, candidates: Collection[Key]) -> dict[Key, Trouble]:
    """The candidates that have fewer ready replicas than they should."""
    found: dict[Key, Trouble] = {}
    for name, sighting in sight.clusters.items():
        short = [key for key in candidates if _is_short(sighting.workloads.get(key))]
        for key, state in readiness(session, sight, name, short).items() if short else ():
            if not state.ready:
                first = found.get(key, Trouble(f"{name}: {state.message}", False, {}))
                unready = {**first.unready, name: state.unready}
                found[key] = Trouble(first.words, first.crashed or state.crashed, unready)
    return found


def lost_for(sight: Sight, here: Standing, trouble: Trouble, now: int) -> int:
    """Seconds for which a candidate has fewer ready replicas than its weight takes; 0 where nothing tells since when.

    It has less than it needs since the last moment at which enough of those that are not ready now still were.
    """
    candidate, found = here.state.candidate, now
    assert candidate is not None, "only candidates are looked after"
    replicas, waves = here.models()[candidate.version.version].serve.replicas, here.waves
    for clusters, traffic in zip(waves, here.state.weights(len(waves)), strict=True):
        for cluster in clusters:
            since = trouble.unready.get(cluster, ())
            ready = sight.census.ready(cluster, here.unit, candidate.version.version)
            whole = full_size(replicas, load_on(candidate.basis, cluster))
            need = replicas_for(whole, max(traffic.candidate, traffic.mirror))
            if ready is not None and since and ready < need:
                found = min(found, since[max(0, min(ready + len(since) - need, len(since) - 1))])
    return max(0, now - found)


def _is_short(workload: Workload | None) -> bool:
    return workload is not None and (workload.ready is None or workload.ready < workload.replicas)


def _readiness(workload: Workload | None) -> Readiness:
    if workload is None:
        return Readiness(False, "does not exist")
    if workload.ready is None:
        return Readiness(False, "is being updated")
    said = f"{workload.ready} of {workload.replicas} replicas ready"
    return Readiness(workload.ready >= workload.replicas, f"{said}: {workload.failed}" if workload.failed else said)


def _ref(session: Session, unit: UnitKey, version: str) -> ObjectRef:
    namespace = session.spec.namespace(unit.environment)
    return ObjectRef("apps/v1", "Deployment", namespace, workload_name(unit.model, version))


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
