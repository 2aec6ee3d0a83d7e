"""A file that was read, and how a finding about its data becomes a problem with a place in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gitops.spec.problems import Path, Problem, dotted
from gitops.spec.resolved import SourceFile
from gitops.spec.source import decode, read_yaml
from gitops.spec.survey import Place, locate


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with the data, not yet with a place.

    Without `environment` it is about `pipeline.yaml`. With one it is about that environment: it is shown in the
    environment's file if that has `path` or one of the paths in `near` (what else the contradiction involves),
    otherwise, for a model, in `pipeline.yaml`.
    """

    path: Path
    message: str
    hint: str = ""
    environment: str | None = None
    near: tuple[Path, ...] = ()
    at: Literal["key", "value"] = "value"


@dataclass(slots=True)
class Document:
    """One YAML file: its name, its data, and the places in it that were asked for."""

    source: SourceFile
    data: dict[str, Any]
    places: dict[Path, Place] = field(default_factory=dict)

    @classmethod
    def read(cls, source: SourceFile) -> Document:
        """Reads the file; SpecError with everything that is refused in it."""
        return cls(source, read_yaml(source))

    def look_up(self, paths: Iterable[Path]) -> None:
        """Finds the places of the paths and of everything above them, in one pass over the text."""
        wanted = {path[:end] for path in paths for end in range(len(path) + 1)} - self.places.keys()
        if wanted:
            self.places.update(locate(decode(self.source), wanted))

    def place(self, path: Path) -> Place:
        """Where the path is, or the nearest entry above it; `look_up` must have been asked for it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, Place((1, 1), (1, 1), None))

    def written(self, path: Path) -> str | None:
        """The scalar at the path as it was written; `look_up` must have been asked for it."""
        place = self.places.get(path)
        return place.raw if place else None

    def has(self, path: Path) -> bool:
        """Whether the data has the path."""
        return value_at(self.data, path) is not _ABSENT


class _Absent:
    pass


_ABSENT = _Absent()


def value_at(data: Any, path: Path) -> Any:
    """The value at a path, or a marker that equals nothing where there is none."""
    for part in path:
        if isinstance(part, str) and isinstance(data, Mapping):
            data = data.get(part, _ABSENT)
        elif isinstance(part, int) and isinstance(data, list) and part < len(data):
            data = data[part]
        else:
            return _ABSENT
    return data


@dataclass(frozen=True, slots=True)
class Documents:
    """The files of a spec that could be read."""

    pipeline: Document | None
    environments: Mapping[str, Document]

    def problems(self, findings: Iterable[Finding]) -> list[Problem]:
        """Every finding at its place."""
        placed = [(self._choose(finding), finding) for finding in findings]
        for document in [self.pipeline, *self.environments.values()]:
            if document:
                document.look_up(path for (chosen, path), _ in placed if chosen is document)
        return [_problem(document, path, finding) for (document, path), finding in placed if document]

    def owner(self, environment: str | None, path: Path) -> Document | None:
        """The file that says what is at the path of an environment, or of the pipeline."""
        document = self.environments.get(environment) if environment else self.pipeline
        if document and environment and path[:1] == ("models",) and not document.has(path) and self.pipeline:
            return self.pipeline
        return document

    def _choose(self, finding: Finding) -> tuple[Document | None, Path]:
        own = self.environments.get(finding.environment) if finding.environment else self.pipeline
        if own and finding.environment:
            for path in (finding.path, *finding.near):
                if own.has(path):
                    return own, path
        return self.owner(finding.environment, finding.path), finding.path


def _problem(document: Document, path: Path, finding: Finding) -> Problem:
    place = document.place(path)
    line, column = place.key if finding.at == "key" else place.value
    return Problem(document.source.path, line, column, dotted(path), finding.message, finding.hint)
