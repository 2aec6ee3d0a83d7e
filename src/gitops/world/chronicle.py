"""Read release history: only the repository block of the spec, then the repository's log."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from gitops.rollout.history import HistoryEntry, entries, parse_filter
from gitops.spec.peek import repository_of
from gitops.world.files import read_pipeline
from gitops.world.places import repository_at, wants_embedded


def read_history(project: Path, unit: str, *, embedded: bool, limit: int | None) -> Iterator[HistoryEntry]:
    """Newest first; `unit` is ENVIRONMENT/MODEL, MODEL, ENVIRONMENT/ or empty for everything."""
    only = parse_filter(unit)
    _, settings = repository_of(read_pipeline(project))
    repository = repository_at(
        settings.url, settings.branch, project, "embedded" if wants_embedded(embedded) else "real"
    )
    return islice(entries(repository.log(models=only.models), only), limit)
