"""History for people (aligned columns) and for programs (plain data)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from gitops.rollout.history import HistoryEntry

_HEADER = ("WHEN", "COMMIT", "UNIT", "DECISION", "VERSION", "BY")
_ABSOLUTE_AFTER = timedelta(days=1)


def history_text(entries: Iterable[HistoryEntry], *, now: datetime, absolute: bool = False) -> str:
    """A line each, in the order given. Times of the last day are relative to `now`, all others (or, with
    `absolute`, all) are UTC to the minute. Empty history gives one sentence."""
    rows = [_row(entry, now, absolute) for entry in entries]
    if not rows:
        return "No release has been recorded yet.\n"
    table = [_HEADER, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(_HEADER))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in table
    )


def history_data(entries: Iterable[HistoryEntry]) -> list[dict[str, object]]:
    """The entries as data for JSON, with the fields of HistoryEntry in camelCase."""
    return [{_camel(name): value for name, value in asdict(entry).items()} for entry in entries]


def _row(entry: HistoryEntry, now: datetime, absolute: bool) -> tuple[str, ...]:
    unit = f"{entry.environment}/{entry.model}" if entry.model else "-"
    return (
        _when(entry.time, now, absolute),
        entry.commit[:10],
        _shown(unit),
        _shown(entry.decision or "by hand"),
        _shown(_versions(entry) if entry.model else entry.subject),
        _shown(entry.author.partition(" <")[0]),
    )


def _versions(entry: HistoryEntry) -> str:
    if entry.version and entry.previous and entry.version != entry.previous:
        return f"{entry.previous} -> {entry.version}"
    return entry.version or "-"


def _when(time: str, now: datetime, absolute: bool) -> str:
    moment = datetime.fromisoformat(time).astimezone(UTC)
    age = now - moment
    if absolute or age < timedelta(0) or age >= _ABSOLUTE_AFTER:
        return f"{moment:%Y-%m-%d %H:%M}"
    if age < timedelta(minutes=1):
        return "now"
    if age < timedelta(hours=1):
        return f"{int(age.total_seconds() // 60)} min ago"
    return f"{int(age.total_seconds() // 3600)} h ago"


def _shown(text: str) -> str:
    # Commits by others may carry terminal escapes.
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x1f\x7f-\x9f]", "", text)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
