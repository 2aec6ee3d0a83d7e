"""What each model of the spec is called where it runs: by its version, or as a revision of it.

A version is an artifact and everything else that its pods run. When the spec changes what pods run and keeps the
version, that is a revision: it has a name of its own, so that it is approved, walks, is judged and goes back as a
version does, beside the one that runs. The first one is called as the version itself. Which one is known is what the
release record says: it holds every version that runs as it was released.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType

from gitops.plan.lives import frozen_model, target_of
from gitops.plan.stored import Stored
from gitops.rollout.release import Release
from gitops.spec.environment import Environment
from gitops.spec.frozen import dump_model, runs_of
from gitops.spec.pipeline import Model
from gitops.spec.resolved import Spec
from gitops.values import base_version, revision_name

_MARK = 6
"""Characters of a digest that name a revision; more where those are taken."""


def revised(spec: Spec, stored: Stored) -> Spec:
    """The spec with every model called as it is, or would be, where it runs; the spec itself if nothing is renamed.

    It may be asked again of what it gave.
    """
    models = {}
    texts = {key: dump_model(model) for key, model in {id(model): model for model in spec.models.values()}.items()}
    for unit, model in spec.models.items():
        name = base_version(model.version)
        if release := stored.releases.get(unit):
            at_once = _goes_at_once(spec, model, spec.environments[unit.environment])
            name = _name(model, texts[id(model)], release, in_place=at_once)
        models[unit] = model if name == model.version else model.model_copy(update={"version": name})
    if all(model is spec.models[unit] for unit, model in models.items()):
        return spec
    return replace(spec, models=MappingProxyType(models))


def _goes_at_once(spec: Spec, model: Model, environment: Environment) -> bool:
    """Whether the policy lets a revision replace what runs in its place. Where people are asked they are."""
    asked = environment.approvals is not None or environment.promotion == "manual"
    return spec.pipeline.rollouts[model.rollout].revisions == "at-once" and not asked


def _name(model: Model, text: str, release: Release, *, in_place: bool) -> str:
    version = base_version(model.version)
    known = {name: text for name, text in release.models.items() if base_version(name) == version}
    if any(target_of(model).contradicts(one) for one in release.state.versions):
        return version  # another artifact never gets this name, or that of a revision: it is refused
    stable, candidate = release.stable.version, release.candidate
    if (name := _known(model, text, known)) or not known:
        return name or _rejected_as(model, release)
    walks = candidate is not None and base_version(candidate.version.version) == version
    if in_place and stable in known and not walks:
        return stable
    return _new(model, known)


def _known(model: Model, text: str, known: dict[str, str]) -> str:
    """The name under which the record has this very model; empty if it has not."""
    if same := next((name for name, recorded in known.items() if recorded == text), ""):
        return same
    runs = runs_of(model) if known else ""
    return next((name for name, recorded in known.items() if _runs(recorded, name) == runs), "")


def _rejected_as(model: Model, release: Release) -> str:
    """Its name where no revision of the version runs: its own, unless another one was rejected by that."""
    version, runs = base_version(model.version), runs_of(model)
    past = {one.version.version: one.runs for one in release.rejected if base_version(one.version.version) == version}
    same = next((name for name, ran in past.items() if ran in ("", runs)), "")
    return same or (_new(model, past) if past else version)


def _new(model: Model, taken: Collection[str]) -> str:
    version, mark = base_version(model.version), runs_of(model).removeprefix("sha256:")
    names = (revision_name(version, mark[:length]) for length in range(_MARK, len(mark) + 1))
    return next(name for name in names if name not in taken)


@lru_cache(maxsize=10_000)
def _runs(text: str, name: str) -> str:
    return runs_of(frozen_model(text, name))
