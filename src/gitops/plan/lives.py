"""Which versions of a unit run, as whom, and for how much traffic: from its record to what rendering takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from gitops.errors import GitopsError
from gitops.render.live import Live, Share, Waves
from gitops.rollout.load import DECLARED, load_on
from gitops.rollout.release import Release, record_path
from gitops.rollout.state import ModelVersion, RolloutState, Traffic
from gitops.spec.environment import Environment
from gitops.spec.frozen import load_model
from gitops.spec.pipeline import Model
from gitops.spec.promotion import waves_since


def target_of(model: Model) -> ModelVersion:
    """The version that a model of the spec names."""
    return ModelVersion(model.version, model.artifact.digest)


def models_of(release: Release, present: Model | None) -> dict[str, Model]:
    """Every version of the record as it was released; the one that the spec names as the spec has it now.

    Without `present` all are as they were released. Raises GitopsError for a record whose models are damaged.
    """
    found = {}
    for version, text in release.models.items():
        try:
            found[version] = frozen_model(text, version)
        except GitopsError as error:
            raise GitopsError(error.what, where=record_path(release.unit), hint=error.hint) from error
    if present and _names(release, target_of(present)):
        found[present.version] = present
    return found


def _names(release: Release, version: ModelVersion) -> bool:
    versions = (release.state.stable, release.candidate and release.candidate.version)
    return version in versions or any(one.version == version for one in release.kept)


@lru_cache(maxsize=10_000)
def frozen_model(text: str, name: str) -> Model:
    """A model of a record, called as the record calls it. Raises GitopsError for what is none."""
    model = load_model(text)
    return model if model.version == name else model.model_copy(update={"version": name})


def lives_of(release: Release, state: RolloutState, models: Mapping[str, Model]) -> tuple[Live, ...]:
    """What runs in that state: stable, the candidate unless it waits for room, then what is kept.

    Where waves or loads differ, it is as in the present wave at the declared size; `waves_of` says the rest.
    """
    present = state.candidate.wave if state.candidate else 0
    return _lives(release, state, models, state.traffic, present)


def waves_of(
    release: Release, state: RolloutState, models: Mapping[str, Model], environment: Environment
) -> Waves | None:
    """What runs on each cluster where that differs between waves or by load; None when all clusters are alike."""
    waves = waves_since(environment, state.begun)
    if not (state.candidate or state.kept) or (len(waves) < 2 and not state.load):
        return None
    result: dict[str, Sequence[int | Share]] = {}
    for number, (clusters, traffic) in enumerate(zip(waves, state.weights(len(waves)), strict=True)):
        shares = [Share(*live[1:]) for live in _lives(release, state, models, traffic, number)]
        for cluster in clusters:
            load = load_on(state.load, cluster)
            result[cluster] = [share._replace(load=load) for share in shares] if load != DECLARED else shares
    return result


def _lives(
    release: Release, state: RolloutState, models: Mapping[str, Model], traffic: Traffic, wave: int
) -> tuple[Live, ...]:
    lives: list[Live] = []
    if state.stable:
        lives.append(Live(_model(release, models, state.stable), traffic.stable))
    candidate = state.candidate
    if candidate and candidate.scale:
        scale = candidate.scales[wave] if wave < len(candidate.scales) else candidate.scale
        lives.append(Live(_model(release, models, candidate.version), traffic.candidate, traffic.mirror, scale))
    for one in state.kept:
        scale = one.scales[wave] if wave < len(one.scales) else one.scale
        lives.append(Live(_model(release, models, one.version), 0, 0, scale))
    return tuple(lives)


def _model(release: Release, models: Mapping[str, Model], version: ModelVersion) -> Model:
    found = models.get(version.version)
    if found is None:
        raise GitopsError(
            f"the record does not say how {version.version} was released",
            where=record_path(release.unit),
            hint="it was written by an older gitops or edited: release the version that runs now once more",
        )
    return found
