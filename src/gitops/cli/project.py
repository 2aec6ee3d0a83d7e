"""What a command names in the project: the spec, a release of it, a model of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gitops.errors import GitopsError
from gitops.values import UnitKey

if TYPE_CHECKING:
    from gitops.spec.resolved import Spec


def load(project: Path) -> Spec:
    """The spec of a project. Raises SpecError with every problem at once, GitopsError for files that are not there."""
    from gitops.spec.load import load_spec
    from gitops.world.files import read_project

    sources = read_project(project)
    return load_spec(sources.pipeline, sources.environments)


def unit_of(spec: Spec, text: str) -> UnitKey:
    """The release that ENVIRONMENT/MODEL names; GitopsError where there is none."""
    from gitops.spec.problems import suggestion

    environment, _, name = text.partition("/")
    unit = UnitKey(environment, name)
    if unit not in spec.models:
        hint = suggestion(text, map(str, spec.models), "release")
        raise GitopsError("there is no such release", where=text, hint=hint)
    return unit
