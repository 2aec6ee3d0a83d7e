"""Files to a Spec, or to everything that is wrong with them."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from gitops.spec.check_secrets import problems_without_values, secrets
from gitops.spec.checks import CHECKS
from gitops.spec.complete import complete
from gitops.spec.documents import Document, Documents, Finding
from gitops.spec.draft import Draft
from gitops.spec.environment import Cluster, Environment
from gitops.spec.explain import Spot, explain, spots
from gitops.spec.images import chosen
from gitops.spec.pinning import tagged
from gitops.spec.pipeline import Model, Pipeline
from gitops.spec.problems import Problem, SpecError
from gitops.spec.resolved import SourceFile, Spec
from gitops.values import UnitKey

M = TypeVar("M", bound=BaseModel)

EXPLAINED = 1000
"""Problems of one file's form that are looked into; further ones are only counted."""

_MODELS = TypeAdapter(dict[str, Model])


def load_spec(pipeline: SourceFile, environments: Sequence[SourceFile]) -> Spec:
    """The checked spec from `pipeline.yaml` and the files of `environments/`, in any order.

    Raises SpecError with the problems of all files at once. What depends on a part that is itself wrong is
    judged as far as the rest allows.
    """
    with collector_paused():
        return _Loading().run(pipeline, environments)


@contextmanager
def collector_paused() -> Iterator[None]:
    """No garbage collection inside: the many objects that bulk work makes all stay alive."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def environment_name(path: str) -> str:
    """`environments/dev.yaml` is the environment `dev`."""
    return PurePosixPath(path.replace("\\", "/")).stem


def merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """The base with the override over it: mappings merge, everything else replaces, null removes."""
    merged = dict(base)
    for key, value in override.items():
        below = merged.get(key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            merged[key] = merge(below if isinstance(below, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged


@dataclass(slots=True)
class _Loading:
    """One load: what was read so far, and what is wrong so far."""

    problems: list[Problem] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    damaged: set[str] = field(default_factory=set)
    unexplained: int = 0

    def run(self, pipeline: SourceFile, environments: Sequence[SourceFile]) -> Spec:
        documents = self._read(pipeline, environments)
        checked = self._pipeline(documents)
        described = {
            name: environment
            for name, document in documents.environments.items()
            if (environment := self._environment(documents, name, document))
        }
        models: dict[UnitKey, Model] = {}
        if documents.pipeline and checked:
            models = self._units(documents, checked, described)
            draft = _draft(documents, checked, described, models, frozenset(self.damaged))
            for check in CHECKS:
                self.findings.extend(check(draft))
        others = self.problems + documents.problems(self.findings)
        problems = problems_without_values(documents, others, secrets(documents))
        if problems or not checked:
            raise SpecError(problems, self.unexplained)
        return _spec(checked, described, models, [pipeline, *environments], tagged(documents))

    def _read(self, pipeline: SourceFile, environments: Sequence[SourceFile]) -> Documents:
        by_name: dict[str, Document] = {}
        top = self._document(pipeline)
        for source in sorted(environments, key=lambda s: s.path):
            name = environment_name(source.path)
            if name in by_name:
                message = f"the environment {name} is described twice"
                hint = f"the other file is {by_name[name].source.path}; keep one"
                self.problems.append(Problem(source.path, 1, 1, "", message, hint))
            elif document := self._document(source):
                by_name[name] = document
            else:
                self.damaged.add(name)
        return Documents(top, by_name)

    def _document(self, source: SourceFile) -> Document | None:
        try:
            return Document.read(source)
        except SpecError as error:
            self.problems.extend(error.found)
            return None

    def _pipeline(self, documents: Documents) -> Pipeline | None:
        if not documents.pipeline:
            return None
        names = [n for n in documents.environments if n not in self.damaged]
        stand_ins = {"apiVersion": "gitops/v1", "name": "unnamed", "promotion": names}
        return self._validated(Pipeline, documents, documents.pipeline.data, None, stand_ins)

    def _environment(self, documents: Documents, name: str, document: Document) -> Environment | None:
        return self._validated(Environment, documents, document.data, name, {"apiVersion": "gitops/v1"})

    def _validated(
        self,
        model: type[M],
        documents: Documents,
        data: dict[str, Any],
        environment: str | None,
        stand_ins: Mapping[str, Any],
    ) -> M | None:
        """The data as a model. If parts are wrong they are reported, and what is right without them comes back."""
        try:
            return model.model_validate(data)
        except ValidationError as error:
            found = spots(error, model, data)
        self._explain(documents, found, environment)
        if environment:
            self.damaged.add(environment)
        try:
            return model.model_validate(_without(data, found, stand_ins))
        except ValidationError:
            return None

    def _explain(self, documents: Documents, found: list[Spot], environment: str | None) -> None:
        self.unexplained += max(0, len(found) - EXPLAINED)
        owners = [(documents.owner(environment, spot.path), spot) for spot in found[:EXPLAINED]]
        for owner in (documents.pipeline, documents.environments.get(environment or "")):
            if owner:
                owner.look_up(spot.path for chosen, spot in owners if chosen is owner)
        for owner, spot in owners:
            assert owner, "a validated file was read"
            finding = explain(spot, owner.written)
            path, message, hint, at = finding.path, finding.message, finding.hint, finding.at
            self.findings.append(Finding(path, message, hint, environment, at=at))

    def _units(
        self, documents: Documents, pipeline: Pipeline, environments: Mapping[str, Environment]
    ) -> dict[UnitKey, Model]:
        """Each model in each environment that runs it, after overrides; those that are wrong are left out."""
        assert documents.pipeline
        base = documents.pipeline.data["models"]
        units: dict[UnitKey, Model] = {}
        for name in pipeline.promotion:
            if not (environment := environments.get(name)):
                continue
            raw = {m: merge(base[m], over) for m, over in environment.models.items() if over and _is_map(base.get(m))}
            changed = self._overridden(documents, name, raw)
            excluded = set(environment.exclude)
            for model_name, model in pipeline.models.items():
                if model_name not in excluded and (model_name not in raw or model_name in changed):
                    units[UnitKey(name, model_name)] = changed.get(model_name, model)
        return units

    def _overridden(self, documents: Documents, environment: str, raw: dict[str, Any]) -> dict[str, Model]:
        try:
            return _MODELS.validate_python(raw)
        except ValidationError as error:
            found = spots(error, dict[str, Model], raw, prefix=("models",))
        self._explain(documents, found, environment)
        broken = {spot.path[1] for spot in found}
        return _MODELS.validate_python({name: model for name, model in raw.items() if name not in broken})


def _is_map(value: Any) -> bool:
    return isinstance(value, dict)


def _without(data: dict[str, Any], found: list[Spot], stand_ins: Mapping[str, Any]) -> dict[str, Any]:
    """The data without the wrong parts: entries of mappings go alone, other top-level keys as a whole."""
    kept = {key: dict(value) if isinstance(value, dict) else value for key, value in data.items()}
    for spot in found:
        top = spot.path[0]
        section = kept.get(str(top))
        if top in stand_ins:
            kept[str(top)] = stand_ins[str(top)]
        elif top in ("models", "rollouts", "clusters") and len(spot.path) > 1 and isinstance(section, dict):
            section.pop(str(spot.path[1]), None)
        else:
            kept.pop(str(top), None)
    return kept


def _draft(
    documents: Documents,
    pipeline: Pipeline,
    environments: Mapping[str, Environment],
    models: Mapping[UnitKey, Model],
    damaged: frozenset[str],
) -> Draft:
    assert documents.pipeline
    raw = documents.pipeline.data
    return Draft(
        pipeline=pipeline,
        environments=environments,
        models=models,
        files={**dict.fromkeys(damaged, ""), **{n: d.source.path for n, d in documents.environments.items()}},
        known_models=frozenset(raw["models"]),
        known_rollouts=frozenset(raw["rollouts"]),
        damaged=damaged,
        written=raw["models"],
        servers={name: chosen(pipeline.images, one.images)["vllm"] for name, one in environments.items()},
    )


def _spec(
    pipeline: Pipeline,
    environments: Mapping[str, Environment],
    models: Mapping[UnitKey, Model],
    sources: Sequence[SourceFile],
    by_tag: Mapping[str, str],
) -> Spec:
    ordered = {name: environments[name] for name in pipeline.promotion}
    clusters: dict[str, Cluster] = {}
    on: dict[str, tuple[str, ...]] = {}
    for name, environment in ordered.items():
        for cluster_name, cluster in environment.clusters.items():
            clusters.setdefault(cluster_name, cluster)
            on[cluster_name] = (*on.get(cluster_name, ()), name)
    whole = completed(pipeline, environments, models)
    return Spec(pipeline, ordered, whole, clusters, on, _digest(sources), by_tag)


def completed(
    pipeline: Pipeline, environments: Mapping[str, Environment], models: Mapping[UnitKey, Model]
) -> dict[UnitKey, Model]:
    """The models with what their pods run by default; one that several environments share stays the same object."""
    images = {name: chosen(pipeline.images, one.images) for name, one in environments.items()}
    made: dict[tuple[int, frozenset[tuple[str, str]]], Model] = {}
    keys = {name: frozenset(one.items()) for name, one in images.items()}
    for unit, model in models.items():
        key = (id(model), keys[unit.environment])
        if key not in made:
            made[key] = complete(model, images[unit.environment])
    return {unit: made[id(model), keys[unit.environment]] for unit, model in models.items()}


def _digest(sources: Sequence[SourceFile]) -> str:
    """Over names and bytes of all files, whatever their order."""
    total = hashlib.sha256()
    for source in sorted(sources, key=lambda s: s.path):
        total.update(f"{len(source.path.encode())} {len(source.data)}\n{source.path}".encode())
        total.update(source.data)
    return f"sha256:{total.hexdigest()}"
