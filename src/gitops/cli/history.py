"""`gitops history`: apart from the other commands because it must start without loading the spec's models."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

from gitops.cli.console import OK, write


def history(project: Path, unit: str, embedded: bool, form: str, limit: int, full: bool = False) -> int:
    """Print what the repository's log says, newest first; with `full` all that each commit says."""
    from gitops.world.chronicle import read_history

    entries = read_history(project, unit, embedded=embedded, limit=limit or None)
    if form == "json":
        import orjson

        from gitops.view.history import history_data

        write(orjson.dumps(history_data(entries), option=orjson.OPT_INDENT_2).decode())
        return OK
    from gitops.view.history import history_text

    found, terminal = list(entries), sys.stdout.isatty()
    if unit and not found:
        write(f"No release of {unit} has been recorded.")
        return OK
    width = shutil.get_terminal_size().columns if terminal else None
    write(history_text(found, now=_now(project, embedded), absolute=not terminal, width=width, full=full))
    return OK


def _now(project: Path, embedded: bool) -> datetime:
    """The present moment of the world that the history is of."""
    from gitops.world.places import state_directory, wants_embedded

    if not wants_embedded(embedded):
        return datetime.now(UTC)
    from gitops.world.embedded import clock

    return datetime.fromtimestamp(clock.EmbeddedClock(state_directory(project, "embedded") / clock.FILE).now(), UTC)
