"""Whether a cluster is where Git says a unit is: cheap enough to ask at every look, for every unit."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from gitops.plan.observed import Survey, Workload
from gitops.rollout.release import Release
from gitops.rollout.state import RolloutState
from gitops.spec.promotion import waves_since
from gitops.spec.resolved import Spec
from gitops.values import LABEL_VERSION, UnitKey, workload_name

Stamps = Mapping[str, str]
"""By model: the Git tree of the unit that was last brought to the cluster, as the cluster itself remembers it."""


@dataclass(frozen=True)
class Sighting:
    """One cluster at one look, indexed by unit."""

    workloads: Mapping[tuple[UnitKey, str], Workload]
    """By unit and version."""
    survey: Survey
    stamps: Mapping[str, Stamps]
    """By environment."""

    @classmethod
    def of(cls, survey: Survey, stamps: Mapping[str, Stamps]) -> Sighting:
        """Index a survey."""
        workloads = {(UnitKey(one.environment, one.model), one.version): one for one in survey.workloads}
        return cls(workloads, survey, stamps)


def unsettled(spec: Spec, releases: Mapping[UnitKey, Release], cluster: str, seen: Sighting) -> Iterator[UnitKey]:
    """Units of this cluster that are not where their records say, as far as one look shows."""
    for unit, release in releases.items():
        if cluster in release.rendered.trees and unit in spec.models and not _is_there(spec, release, cluster, seen):
            yield unit


def _is_there(spec: Spec, release: Release, cluster: str, seen: Sighting) -> bool:
    unit, state = release.unit, release.state
    stamped = seen.stamps.get(unit.environment, {}).get(unit.model)
    if stamped != release.rendered.trees[cluster]:
        return False
    if any((unit, version) not in seen.workloads for version in _running(state)):
        return False
    return _routed(spec, unit, state, cluster, seen.survey)


def _running(state: RolloutState) -> Collection[str]:
    candidate = [state.candidate.version] if state.candidate and state.candidate.scale else []
    stable = [state.stable] if state.stable else []
    return [version.version for version in (*stable, *candidate, *(one.version for one in state.kept))]


def _routed(spec: Spec, unit: UnitKey, state: RolloutState, cluster: str, survey: Survey) -> bool:
    """Whether the traffic goes where the record says."""
    environment, model = spec.environments[unit.environment], spec.models[unit]
    place = spec.namespace(unit.environment), unit.model
    waves = waves_since(environment, state.begun)
    number = next((number for number, clusters in enumerate(waves) if cluster in clusters), 0)
    traffic = state.weights(len(waves))[number]
    shares = {}
    if state.stable and traffic.stable:
        shares[state.stable.version] = traffic.stable
    if state.candidate and traffic.candidate:
        shares[state.candidate.version.version] = traffic.candidate
    if environment.gateway is not None and model.route is not None:
        copies = {state.candidate.version.version: traffic.mirror} if state.candidate and traffic.mirror else {}
        return _is_split(unit, survey.weights.get(place, {}), shares) and _is_split(
            unit, survey.mirrors.get(place, {}), copies
        )
    selected = survey.selectors.get(place, {}).get(LABEL_VERSION, "")
    return selected == (next(iter(shares)) if len(shares) == 1 else "")


def _is_split(unit: UnitKey, live: Mapping[str, int], wanted: Mapping[str, int]) -> bool:
    """Whether a route gives each version's Service its percentage, and others nothing."""
    named = {workload_name(unit.model, version): percent for version, percent in wanted.items()}
    return {name: percent for name, percent in live.items() if percent} == named
