"""What the checks look at: the parts of a spec that are well-formed, even if others are not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gitops.spec.documents import Finding
from gitops.spec.environment import Environment
from gitops.spec.pipeline import Model, Pipeline
from gitops.spec.problems import Path
from gitops.values import UnitKey


@dataclass(frozen=True, slots=True)
class Subject:
    """A model as `pipeline.yaml` has it, or as one environment changes it."""

    name: str
    model: Model
    environment: str | None
    servers: tuple[str, ...] = ()
    """Images of vLLM that run where the model names none."""

    def finding(self, path: Path, message: str, hint: str = "", near: tuple[Path, ...] = ()) -> Finding:
        """A finding about `path` inside the model; `near` are other paths inside it that play a part."""
        top: Path = ("models", self.name)
        others = tuple(top + other for other in near)
        return Finding(top + path, message, hint, self.environment, others)


@dataclass(frozen=True, slots=True)
class Draft:
    """The well-formed parts. `files` has every environment's file, the ill-formed and unreadable ones too.

    The known names include parts that are ill-formed themselves, so that one mistake is not reported twice;
    `damaged` names the environments that lack something they had.
    """

    pipeline: Pipeline
    environments: Mapping[str, Environment]
    models: Mapping[UnitKey, Model]
    files: Mapping[str, str]
    known_models: frozenset[str]
    known_rollouts: frozenset[str]
    damaged: frozenset[str]
    written: Mapping[str, Any]
    """The models of `pipeline.yaml` as the file has them: without defaults, and not checked."""
    servers: Mapping[str, str]
    """For each environment the image of vLLM that runs where a model names none."""

    def subjects(self) -> Iterator[Subject]:
        """Every distinct model once: each of the pipeline, and each that an environment changes."""
        everywhere = tuple(self.servers.values())
        for name, model in self.pipeline.models.items():
            yield Subject(name, model, None, everywhere)
        for unit, model in self.models.items():
            if self.pipeline.models.get(unit.model) is not model:
                yield self.subject(unit)

    def subject(self, unit: UnitKey) -> Subject:
        """The model of a unit, for findings that hold in its environment only."""
        return Subject(unit.model, self.models[unit], unit.environment, (self.servers[unit.environment],))
