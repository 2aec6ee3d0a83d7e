"""What runs now beside what is declared: how many replicas of each version there are, and what load they carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple

from gitops.plan.observed import Workload
from gitops.render.live import full_size, replicas_for
from gitops.rollout.load import Carrier, Loads, load_on, load_shown, loads_of
from gitops.rollout.release import Release
from gitops.rollout.state import ModelVersion, RolloutState
from gitops.spec.environment import Environment
from gitops.spec.pipeline import Model
from gitops.spec.promotion import waves_since
from gitops.values import UnitKey


@dataclass(frozen=True)
class Census:
    """Workloads by cluster, unit and version; a cluster that was not looked at is not there."""

    workloads: Mapping[str, Mapping[tuple[UnitKey, str], Workload]] = field(
        default_factory=lambda: MappingProxyType({})
    )

    def replicas(self, cluster: str, unit: UnitKey, version: str) -> int:
        """How many there are or will be as soon as they find a node; 0 where nothing is known."""
        workload = self._workload(cluster, unit, version)
        return workload.replicas if workload else 0

    def ready(self, cluster: str, unit: UnitKey, version: str) -> int | None:
        """How many answer requests; None when that is not known."""
        workload = self._workload(cluster, unit, version)
        return workload.ready if workload else None

    def load(self, release: Release, models: Mapping[str, Model], environment: Environment) -> Loads:
        """How much more all traffic of a unit takes than declared.

        Autoscalers that stand at what they are held at show nothing: such a cluster is not named.
        """
        found: dict[str, Fraction] = {}
        waves = waves_since(environment, release.state.begun)
        for number, clusters in enumerate(waves):
            shares = tuple(one for one in _shares(release.state, number, len(waves)) if _scales(models, one))
            for cluster in clusters:
                carriers = [self._carrier(cluster, release, models[one.version.version], one) for one in shares]
                known = [one for one in carriers if one is not None]
                if len(known) == len(shares) and (factor := load_shown(known)):
                    found[cluster] = factor
        return loads_of(found)

    def _carrier(self, cluster: str, release: Release, model: Model, one: _Share) -> Carrier | None:
        bounds, workload = model.serve.replicas, self._workload(cluster, release.unit, one.version.version)
        if workload is None or workload.ready is None:
            return None
        held = replicas_for(full_size(bounds, load_on(release.load, cluster)), one.scale)
        # Above its most there is only the surge of a rolling update.
        return Carrier(min(workload.ready, workload.replicas, bounds.max), held, one.weight, bounds.min)

    def _workload(self, cluster: str, unit: UnitKey, version: str) -> Workload | None:
        return self.workloads.get(cluster, {}).get((unit, version))


NOTHING_SEEN = Census()


def _scales(models: Mapping[str, Model], one: _Share) -> bool:
    bounds = models[one.version.version].serve.replicas
    return bounds.min < bounds.max


class _Share(NamedTuple):
    """A version that answers `weight` percent of the requests, and is sized for `scale` percent."""

    version: ModelVersion
    weight: int
    scale: int


def _shares(state: RolloutState, wave: int, waves: int) -> Iterator[_Share]:
    traffic = state.weights(waves)[wave]
    if state.stable and traffic.stable:
        yield _Share(state.stable, traffic.stable, 100)
    if state.candidate and traffic.candidate:
        yield _Share(state.candidate.version, traffic.candidate, max(state.scales(waves)[wave], traffic.candidate))
