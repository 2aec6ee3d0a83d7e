"""Read release history: only the repository block of the spec, then the repository's log.

Where that block cannot be read, it is that of an earlier spec; the embedded world needs none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from gitops.errors import GitopsError
from gitops.rollout.history import HistoryEntry, entries, parse_filter
from gitops.spec.peek import Repository, repository_of
from gitops.spec.problems import SpecError
from gitops.world.files import read_pipeline
from gitops.world.past import pasts
from gitops.world.places import Kind, repository_at, state_directory, wants_embedded


def read_history(project: Path, unit: str, *, embedded: bool, limit: int | None) -> Iterator[HistoryEntry]:
    """Newest first; `unit` is ENVIRONMENT/MODEL, MODEL, ENVIRONMENT/ or empty for everything."""
    only = parse_filter(unit)
    kind: Kind = "embedded" if wants_embedded(embedded) else "real"
    settings = Repository() if kind == "embedded" else _settings(project)
    repository = repository_at(settings.url, settings.branch, project, kind)
    return islice(entries(repository.log(models=only.models), only), limit)


def _settings(project: Path) -> Repository:
    try:
        return repository_of(read_pipeline(project))[1]
    except GitopsError:
        for past in pasts(project, state_directory(project, "real")):
            with suppress(SpecError):
                return repository_of(past.project.pipeline)[1]
        raise
