"""Which versions may be released: what has to be built, validated or signed first, stays what it is until it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from gitops.plan.lives import models_of, target_of
from gitops.plan.stored import Stored
from gitops.rollout.registration import Registration
from gitops.rollout.release import Release
from gitops.spec.build import judged
from gitops.spec.pipeline import Model, Validation
from gitops.spec.resolved import Spec
from gitops.spec.signatures import Signatures
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
    """Versions to build, validate or verify, in the order of the spec."""
    known: Registrations = field(default_factory=_nothing)
    """What is registered of the versions that have to be."""
    unsigned: frozenset[VersionKey] = frozenset()
    """Versions of which a signature has to be verified."""
    withheld: frozenset[VersionKey] = frozenset()
    """Those of them that are released nowhere until then."""
    contradicted: Mapping[VersionKey, str] = field(default_factory=_nothing)
    """Versions whose source or artifact is not the one that was registered, in words."""

    def work(self, key: VersionKey) -> Iterator[str]:
        """What registering a missing version takes: `build: convert, package`, `gates: loads, golden`, …"""
        if key not in self.known:
            yield from work_of(self.missing[key])
        if key in self.unsigned:
            assert self.spec.pipeline.signatures
            yield f"signature: {_trusted(self.spec.pipeline.signatures)}"


def may_wait(spec: Spec) -> bool:
    """Whether anything of a spec has to be registered at all; without that nobody has to ask Git."""
    return spec.pipeline.signatures is not None or any(map(has_to_register, spec.models.values()))


def has_to_register(model: Model) -> bool:
    """Whether a version of the model is built or validated before it is released."""
    return model.build is not None or model.validation is not None


def asked_for(spec: Spec, stored: Stored) -> dict[VersionKey, Model]:
    """The versions of the spec that have to be registered; the first environment's model of each."""
    found: dict[VersionKey, Model] = {}
    for unit, model in spec.models.items():
        if has_to_register(model) or _needs_signature(spec, unit, model, stored):
            found.setdefault(VersionKey(unit.model, model.version), model)
    return found


def registered(
    spec: Spec,
    stored: Stored,
    known: Registrations,
    damaged: Mapping[VersionKey, str] = MappingProxyType({}),
    flaw: Callable[[Registration], str] = lambda _: "",
) -> Registered:
    """Fill in what builds made; where a version may not be released yet, the unit stays with what it runs, or away.

    `damaged` are versions whose registration is there and cannot be read, with the reason. `flaw` says why the
    signatures of a registration do not hold by the keys that are trusted now; empty if they do. It is asked only about
    what a policy wants to be signed.
    """
    asked = asked_for(spec, stored)
    if not asked:
        return Registered(spec)
    contradicted = dict(_contradictions(spec, known))
    models: dict[UnitKey, Model] = {}
    waiting: dict[UnitKey, str] = {}
    unsigned: set[VersionKey] = set()
    flaws: dict[VersionKey, str] = {}
    for unit, model in spec.models.items():
        key = VersionKey(unit.model, model.version)
        one = known.get(key)
        made = with_artifact(model, one) if one and has_to_register(model) and key not in contradicted else model
        signs, why = _needs_signature(spec, unit, made, stored), ""
        if signs and one:
            if key not in flaws:
                flaws[key] = flaw(one) if one.proofs else "none is recorded"
            why = flaws[key]
            signs = bool(why)
        if signs:
            unsigned.add(key)
        if key in damaged:
            waiting[unit] = damaged[key]
        elif key in contradicted:
            waiting[unit] = contradicted[key]
        elif one is None and has_to_register(model):
            waiting[unit] = f"{model.version} is not {_wanted(model)} yet"
        elif signs:
            waiting[unit] = f"{model.version} has no verified signature yet{f': {why}' if why else ''}"
        else:
            models[unit] = made
            continue
        if kept := _kept(unit, stored):
            models[unit] = kept
    free = {VersionKey(unit.model, model.version) for unit, model in spec.models.items() if unit not in waiting}
    asked = {key: model for key, model in asked.items() if key not in damaged}
    missing = {key: model for key, model in asked.items() if key not in known or key in unsigned - contradicted.keys()}
    return Registered(
        spec=replace(spec, models=MappingProxyType(models)),
        waiting=MappingProxyType(waiting),
        missing=MappingProxyType(missing),
        known=known,
        unsigned=frozenset(unsigned & missing.keys()),
        withheld=frozenset((unsigned | damaged.keys()) - free),
        contradicted=MappingProxyType(contradicted),
    )


def with_artifact(model: Model, one: Registration) -> Model:
    """The model with the artifact that was registered. One that was not built is in the spec already."""
    if model.build is None:
        return model
    changed = {"uri": one.uri, "digest": one.digest, "format": one.format}
    return model.model_copy(update={"artifact": model.artifact.model_copy(update=changed)})


def work_of(model: Model) -> Iterator[str]:
    """What a model's spec asks of a version: `build: convert, quantize, package` and `gates: loads, golden`."""
    if model.build:
        yield f"build: {', '.join(stage.stage for stage in model.build.stages)}"
    if model.validation:
        again = ("served-accuracy",) if _judged_again(model) else ()
        yield f"gates: {', '.join((*gates_of(model.validation), *again))}"


def _judged_again(model: Model) -> bool:
    """Whether the labelled samples of a build are asked of the served model too, which takes a protocol of tensors."""
    said = model.validation.endpoint if model.validation else None
    protocol = said.protocol if said else model.serve.runtime
    return model.build is not None and judged(model.build) is not None and protocol == "triton"


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


def _contradictions(spec: Spec, known: Registrations) -> Iterator[tuple[VersionKey, str]]:
    """In any environment: one may have changed what the others run as the same version."""
    for unit, model in spec.models.items():
        key = VersionKey(unit.model, model.version)
        one = known.get(key)
        if one is None:
            continue
        what, had = ("source", one.source) if model.build else ("artifact", one.digest)
        wanted = model.build.source.digest if model.build else model.artifact.digest
        if wanted != had:
            said = f"{key.version} is registered with the {what} {had[:19]}…, and the spec says {wanted[:19]}…"
            yield key, said


def _needs_signature(spec: Spec, unit: UnitKey, model: Model, stored: Stored) -> bool:
    """Whether the policy asks for one. What runs already stays, so that a new policy stops nothing."""
    policy = spec.pipeline.signatures
    if policy is None or not policy.cover(unit.environment):
        return False
    release = stored.releases.get(unit)
    return release is None or not _runs(release, model)


def _runs(release: Release, model: Model) -> bool:
    candidate = release.candidate.version if release.candidate else None
    return any(target_of(model).same_version(one) for one in (release.state.stable, candidate))


def _kept(unit: UnitKey, stored: Stored) -> Model | None:
    """What the unit is on its way to, or runs; None when it was never released."""
    release = stored.releases.get(unit)
    if release is None:
        return None
    version = release.candidate.version.version if release.candidate else release.stable.version
    return models_of(release, None)[version]


def _wanted(model: Model) -> str:
    return " and ".join(
        word for word, there in (("built", model.build), ("validated", model.validation)) if there is not None
    )


def _trusted(policy: Signatures) -> str:
    keys = f"by {' or '.join(policy.keys)}" if policy.keys else ""
    return " and ".join(filter(None, (keys, f"by {policy.sigstore.identity}" if policy.sigstore else "")))
