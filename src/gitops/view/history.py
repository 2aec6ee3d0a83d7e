"""History for people (aligned columns) and for programs (plain data)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from gitops.rollout.history import HistoryEntry
from gitops.values import version_in_words
from gitops.view.measured import PASSES, in_short
from gitops.view.terminal import display_width, fitted, pad, visible

_HEADER = ("WHEN", "COMMIT", "UNIT", "DECISION", "VERSION", "TRAFFIC", "BY", "WHY")
_ABSOLUTE_AFTER = timedelta(days=1)
_MOVES = ("start", "scale", "wait", "advance", "promote", "roll-back", "release")
"""Decisions about two versions; others are about one alone."""
_SHARED = ("advance", "pause", "resume", "promote", "roll-back", "start", "scale", "wait")
"""Decisions that say how much traffic there is."""
_MEASURED = ("advance", "scale", "promote")
"""Decisions whose reason says no more than their columns: what gates measured says more."""
_UNIT, _WHY = _HEADER.index("UNIT"), _HEADER.index("WHY")
_LEAST_ROOM = 40
"""Columns for a reason, below which it stands on a line of its own."""


def history_text(
    entries: Iterable[HistoryEntry],
    *,
    now: datetime,
    absolute: bool = False,
    width: int | None = None,
    full: bool = False,
) -> str:
    """A line each, in the order given; columns that nothing has anything to say in are left out.

    Times of the last day are relative to `now`, all others (or, with `absolute`, all) are UTC to the minute. On a
    terminal of `width` columns the unit is left out where it is always the same, and reasons are cut, or stand on a
    line of their own where there is little room. With `full` everything that the commit says follows below each line.
    Empty history gives one sentence.
    """
    found = list(entries)
    if not found:
        return "No release has been recorded yet.\n"
    rows = [_row(entry, now, absolute) for entry in found]
    alone = width is not None and len(rows) > 1 and len({row[_UNIT] for row in rows}) == 1
    used = [i for i in range(_WHY) if any(row[i] for row in rows) and not (alone and i == _UNIT)]
    lines = _table([_HEADER, *rows], used)
    reasons = ["" if full else row[_WHY] for row in (_HEADER, *rows)]
    if any(reasons[1:]):
        lines = _explained(lines, reasons, width)
    head, *lines = (line.rstrip() for line in lines)
    return "".join(f"{line}\n" for line in (head, *(_with_notes(lines, found) if full else lines)))


def history_data(entries: Iterable[HistoryEntry]) -> list[dict[str, object]]:
    """The entries as data for JSON, with the fields of HistoryEntry in camelCase."""
    return [{_camel(name): value for name, value in asdict(entry).items()} for entry in entries]


def _table(rows: Sequence[tuple[str, ...]], used: Sequence[int]) -> list[str]:
    widths = [max(display_width(row[i]) for row in rows) for i in used]
    return ["  ".join(pad(row[i], width) for i, width in zip(used, widths, strict=True)) for row in rows]


def _explained(lines: Sequence[str], reasons: Sequence[str], width: int | None) -> list[str]:
    """The reasons beside the lines, or below them."""
    if width is None:
        return [f"{line}  {reason}" for line, reason in zip(lines, reasons, strict=True)]
    room = width - display_width(lines[0]) - 2
    if room >= _LEAST_ROOM:
        return [f"{line}  {fitted(reason, room)}" for line, reason in zip(lines, reasons, strict=True)]
    below = ("", *(f"\n{fitted(f'    {reason}', width)}" if reason else "" for reason in reasons[1:]))
    return [f"{fitted(line.rstrip(), width)}{text}" for line, text in zip(lines, below, strict=True)]


def _with_notes(lines: Sequence[str], entries: Sequence[HistoryEntry]) -> Iterator[str]:
    """What each commit says, below its line."""
    for line, entry in zip(lines, entries, strict=True):
        yield line
        said = entry.said if entry.reason in entry.said or not entry.reason else (entry.reason, *entry.said)
        yield from (f"    {_shown(text)}" for text in said)
        if said:
            yield ""


# --- Cells ---------------------------------------------------------------------------------------------------


def _row(entry: HistoryEntry, now: datetime, absolute: bool) -> tuple[str, ...]:
    unit = f"{entry.environment}/{entry.model}".removeprefix("/") or "-"
    return (
        _when(entry.moment, now, absolute),
        _shown(entry.commit[:10]),
        _shown(unit),
        _shown(entry.decision or "by hand"),
        _shown(_versions(entry) if entry.model else entry.subject),
        _shown(_traffic(entry)),
        _shown(entry.by or entry.author.partition(" <")[0]),
        _shown(_why(entry)),
    )


def _versions(entry: HistoryEntry) -> str:
    if entry.version and entry.previous and entry.version != entry.previous and entry.decision in _MOVES:
        return (
            f"{version_in_words(entry.previous)} -> {version_in_words(entry.version)}"
            if entry.decision != "roll-back"
            else _back(entry)
        )
    return version_in_words(entry.version) or "-"


def _back(entry: HistoryEntry) -> str:
    return f"{version_in_words(entry.version)} -> {version_in_words(entry.previous)}"


def _traffic(entry: HistoryEntry) -> str:
    """`10 % (2/4)`, `10 % mirrored (1/2)`, `10 % (wave 2/3, 2/4)`."""
    if entry.decision not in _SHARED or not entry.weight:
        return ""
    share = f"{entry.mirror} % mirrored" if entry.mirror else f"{entry.weight} %"
    if entry.decision == "roll-back":
        return share
    where = ", ".join(part for part in (f"wave {entry.wave}" if entry.wave else "", entry.step) if part)
    return f"{share} ({where})" if where else share


def _why(entry: HistoryEntry) -> str:
    if entry.decision == "register":
        return entry.subject.partition(f": {entry.version} ")[2]
    if entry.decision in _MEASURED:
        passed = [line for line in entry.said if line.endswith(PASSES)]
        if passed:
            return in_short(passed)
    return entry.reason.removeprefix(f"{version_in_words(entry.version)} ")


def _when(time: str, now: datetime, absolute: bool) -> str:
    if not time:
        return "unknown"
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
    return visible(re.sub(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x1f\x7f-\x9f]", "", text))


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
