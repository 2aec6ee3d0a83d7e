"""Which versions may be released: what has to be built or validated first, stays what it is until that is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from gitops.plan.stored import Stored
from gitops.rollout.registration import Registration
from gitops.spec.frozen import load_model
from gitops.spec.pipeline import Model, Validation
from gitops.spec.resolved import Spec
from gitops.values import UnitKey


class VersionKey(NamedTuple):
    """A version of a model, wherever it runs."""

    model: str
    version: str


Registrations = Mapping[VersionKey, Registration]


def _nothing() -> Mapping[Any, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Registered:
    """A spec in which every version can run, and what of the user's spec waits to be registered."""

    spec: Spec
    waiting: Mapping[UnitKey, str] = field(default_factory=_nothing)
    """Units that stay with what they run, or away, and why."""
    missing: Mapping[VersionKey, Model] = field(default_factory=_nothing)
    """Versions to build and validate, in the order of the spec."""
    contradicted: Mapping[VersionKey, str] = field(default_factory=_nothing)
    """Versions whose source or artifact is not the one that was registered, in words."""


def has_to_register(model: Model) -> bool:
    """Whether a version of the model is built or validated before it is released."""
    return model.build is not None or model.validation is not None


def asked_for(spec: Spec) -> dict[VersionKey, Model]:
    """The versions of the spec that have to be registered; the first environment's model of each."""
    found: dict[VersionKey, Model] = {}
    for unit, model in spec.models.items():
        if has_to_register(model):
            found.setdefault(VersionKey(unit.model, model.version), model)
    return found


def registered(spec: Spec, stored: Stored, known: Registrations) -> Registered:
    """Fill in what builds made; where a version is not registered, the unit stays with what it runs, or away."""
    asked = asked_for(spec)
    if not asked:
        return Registered(spec)
    contradicted = dict(_contradictions(asked, known))
    models: dict[UnitKey, Model] = {}
    waiting: dict[UnitKey, str] = {}
    for unit, model in spec.models.items():
        key = VersionKey(unit.model, model.version)
        if not has_to_register(model):
            models[unit] = model
        elif key in known and key not in contradicted:
            models[unit] = with_artifact(model, known[key])
        else:
            waiting[unit] = contradicted.get(key) or f"{model.version} is not {_wanted(model)} yet"
            if kept := _kept(unit, stored):
                models[unit] = kept
    return Registered(
        spec=replace(spec, models=MappingProxyType(models)),
        waiting=MappingProxyType(waiting),
        missing=MappingProxyType({key: model for key, model in asked.items() if key not in known}),
        contradicted=MappingProxyType(contradicted),
    )


def with_artifact(model: Model, one: Registration) -> Model:
    """The model with the artifact that was registered. One that was not built is in the spec already."""
    if model.build is None:
        return model
    changed = {"uri": one.uri, "digest": one.digest, "format": one.format}
    return model.model_copy(update={"artifact": model.artifact.model_copy(update=changed)})


def work_of(model: Model) -> Iterator[str]:
    """What registering a version takes: `build: convert, quantize, package` and `gates: loads, golden`."""
    if model.build:
        yield f"build: {', '.join(stage.stage for stage in model.build.stages)}"
    if model.validation:
        yield f"gates: {', '.join(gates_of(model.validation))}"


def gates_of(validation: Validation) -> Iterator[str]:
    """The names of the gates that are asked, in the order in which they are."""
    data = validation.data
    asked = (
        ("loads", validation.server),
        ("golden", validation.golden),
        ("benchmark", validation.benchmark),
        ("accuracy", data and data.accuracy),
        ("drift", data and data.drift),
        ("bias", data and data.bias),
        ("parity", validation.parity),
    )
    yield from (name for name, gate in asked if gate)


def _contradictions(asked: Mapping[VersionKey, Model], known: Registrations) -> Iterator[tuple[VersionKey, str]]:
    for key, model in asked.items():
        one = known.get(key)
        if one is None:
            continue
        what, had = ("source", one.source) if model.build else ("artifact", one.digest)
        wanted = model.build.source.digest if model.build else model.artifact.digest
        if wanted != had:
            said = f"{key.version} is registered with the {what} {had[:19]}…, and the spec says {wanted[:19]}…"
            yield key, said


def _kept(unit: UnitKey, stored: Stored) -> Model | None:
    """What the unit is on its way to, or runs; None when it was never released."""
    release = stored.releases.get(unit)
    if release is None:
        return None
    version = release.candidate.version.version if release.candidate else release.stable.version
    return load_model(release.models[version])


def _wanted(model: Model) -> str:
    return " and ".join(
        word for word, there in (("built", model.build), ("validated", model.validation)) if there is not None
    )
