"""`simulation.yaml` to the behaviour of every unit's servers. `gitops.spec.simulation_file` shows what it may say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gitops.spec.behaviour import (
    GPU_TRAITS,
    TRAITS,
    Behaviour,
    Bursts,
    Fault,
    Misshapen,
    Noise,
    Span,
    fits,
    healthy,
    known_traits,
    trait_of,
)
from gitops.spec.documents import Document, Finding
from gitops.spec.explain import Spot, explain
from gitops.spec.lone import load_lone
from gitops.spec.problems import Path, shorten, suggestion
from gitops.spec.resolved import SourceFile, Spec
from gitops.spec.simulation_file import (
    SimulatedEnvironment,
    SimulatedFault,
    SimulatedModel,
    SimulatedSpan,
    SimulatedTime,
    SimulatedVersion,
    SimulationFile,
)
from gitops.values import UnitKey, base_version


@dataclass(frozen=True, slots=True)
class Simulation:
    """How the servers of every unit behave, version by version."""

    seed: int = 1
    units: Mapping[UnitKey, Behaviour] = field(default_factory=dict)
    """Healthy behaviour."""
    versions: Mapping[tuple[UnitKey, str], Behaviour] = field(default_factory=dict)
    """Versions about which something is different."""
    needs: Mapping[UnitKey, int] = field(default_factory=dict)
    """How many replicas all requests take, where that is declared."""

    def behaviour(self, unit: UnitKey, version: str, runtime: str) -> Behaviour:
        """What the servers of a version do, and those of its revisions; of a unit that the spec does not have they are
        healthy.
        """
        named = (self.versions.get((unit, name)) for name in (version, base_version(version)))
        return next(filter(None, named), None) or self.units.get(unit) or healthy(runtime)


def load_simulation(source: SourceFile | None, spec: Spec) -> Simulation:
    """The simulation of a spec's units; without a file everything is healthy. Raises SpecError with every problem."""
    if source is None:
        return _resolved(SimulationFile.model_validate({"apiVersion": "gitops/v1"}), spec)
    file = load_lone(source, SimulationFile, _finding, lambda file: _contradictions(file, spec))
    return _resolved(file, spec)


def _finding(spot: Spot, document: Document) -> Finding:
    error = spot.context.get("error")
    if isinstance(error, Misshapen):
        shown = f'"{shorten(spot.value)}"' if isinstance(spot.value, str) else shorten(str(spot.value))
        return Finding(spot.path, f"{shown} is not {error.noun}", error.form)
    return explain(spot, document.written)


# --- Contradictions ------------------------------------------------------------------------------------------


def _contradictions(file: SimulationFile, spec: Spec) -> Iterator[Finding]:
    """What a well-formed file can still have wrong."""
    known = spec.pipeline.models
    for name, model in file.models.items():
        top: Path = ("models", name)
        if name not in known:
            yield Finding(top, f"there is no model {name}", suggestion(name, known, "model"), at="key")
        yield from _times(top, model)
        yield from _versions(top, model, model.versions)
        if model.bursts and model.bursts.lasts >= model.bursts.every:
            yield Finding(
                (*top, "bursts", "lasts"), "a burst lasts longer than the time between two", "make it shorter"
            )
        for environment, there in model.environments.items():
            place = (*top, "environments", environment)
            if environment not in spec.environments:
                hint = suggestion(environment, spec.environments, "environment")
                yield Finding(place, f"there is no environment {environment}", hint, at="key")
            yield from _versions(place, model, there.versions)


def _times(top: Path, model: SimulatedModel) -> Iterator[Finding]:
    for key, time in _times_of(model):
        if time.p99 <= time.median:
            alias = SimulatedModel.model_fields[key].alias or key
            yield Finding((*top, alias, "p99"), "p99 is not above the median", "one request in a hundred is slower")


def _versions(top: Path, model: SimulatedModel, versions: Mapping[str, SimulatedVersion]) -> Iterator[Finding]:
    for name, version in versions.items():
        place = (*top, "versions", name)
        for index, fault in enumerate(version.faults):
            yield from _fault((*place, "faults", index), fault, model.metrics)
        if version.metrics_outage:
            yield from _span((*place, "metricsOutage"), version.metrics_outage)


def _fault(place: Path, fault: SimulatedFault, own: Mapping[str, float]) -> Iterator[Finding]:
    trait = trait_of(fault.metric, own)
    if not trait:
        yield Finding((*place, "metric"), f"{shorten(fault.metric)} is not known", known_traits(fault.metric, own))
    if (fault.becomes is None) == (fault.grows is None):
        yield Finding(place, "a fault says either `becomes` or `grows`", "such as {metric: latency, becomes: 1.3x}")
    for key, change in (("becomes", fault.becomes), ("grows", fault.grows)):
        if trait and change and (misfit := fits(trait, change)):
            yield Finding((*place, key), f"{change} does not fit: {misfit}", "a factor such as 1.8x fits everything")
    yield from _span(place, fault)


def _span(place: Path, span: SimulatedSpan) -> Iterator[Finding]:
    if span.until is not None and span.until <= span.begin:
        yield Finding((*place, "until"), "it ends before it begins", "`until` counts from the first traffic, as `from`")


# --- From the file to behaviours -----------------------------------------------------------------------------


def _resolved(file: SimulationFile, spec: Spec) -> Simulation:
    units: dict[UnitKey, Behaviour] = {}
    versions: dict[tuple[UnitKey, str], Behaviour] = {}
    needs: dict[UnitKey, int] = {}
    for unit, model in spec.models.items():
        said = file.models.get(unit.model) or SimulatedModel.model_validate({})
        here = said.environments.get(unit.environment) or SimulatedEnvironment.model_validate({})
        units[unit] = _healthy(said, here, model.serve.runtime, has_gpu=model.serve.gpu is not None)
        if need := here.replicas or said.replicas:
            needs[unit] = need
        for name, version in {**said.versions, **here.versions}.items():
            versions[unit, name] = units[unit].with_faults(_faults(version, said.metrics), _outages(version))
    return Simulation(file.seed, units, versions, needs)


def _healthy(said: SimulatedModel, here: SimulatedEnvironment, runtime: str, *, has_gpu: bool) -> Behaviour:
    default = healthy(runtime)
    levels, p99 = dict(default.levels), dict(default.p99)
    if has_gpu:
        levels = {**{trait: healthy("triton").levels[trait] for trait in GPU_TRAITS}, **levels}
    for trait, unit in TRAITS.items():
        if unit != "s" and (value := getattr(said, trait.replace("-", "_"))) is not None:
            levels[trait] = value
    for key, time in _times_of(said):
        trait = key.replace("_", "-")
        levels[trait], p99[trait] = time.median, time.p99 / time.median
    if here.requests_per_second is not None:
        levels["requests-per-second"] = here.requests_per_second
    noise = Noise(said.noise.deviation / 100, said.noise.autocorrelation)
    burst = said.bursts
    bursts = Bursts(burst.every, burst.lasts, burst.requests, burst.latency) if burst else None
    return replace(default, levels=levels | said.metrics, p99=p99, noise=noise, bursts=bursts)


def _times_of(said: SimulatedModel) -> list[tuple[str, SimulatedTime]]:
    """The times that the file gives, by the field's name."""
    keys = [trait.replace("-", "_") for trait, unit in TRAITS.items() if unit == "s"]
    given: list[tuple[str, Any]] = [(key, getattr(said, key)) for key in keys]
    return [(key, time) for key, time in given if time]


def _faults(version: SimulatedVersion, own: Mapping[str, float]) -> tuple[Fault, ...]:
    return tuple(
        Fault(trait_of(fault.metric, own), change, Span(fault.begin, fault.until))
        for fault in version.faults
        if (change := fault.becomes or fault.grows)
    )


def _outages(version: SimulatedVersion) -> tuple[Span, ...]:
    outage = version.metrics_outage
    return (Span(outage.begin, outage.until),) if outage else ()
