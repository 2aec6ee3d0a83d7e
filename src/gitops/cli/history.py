"""`gitops history`: apart from the other commands because it must start without loading the spec's models."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

from gitops.cli.console import OK, write


def history(project: Path, unit: str, embedded: bool, form: str, limit: int) -> int:
    """Print what the repository's log says, newest first."""
    from gitops.world.chronicle import read_history

    entries = read_history(project, unit, embedded=embedded, limit=limit or None)
    if form == "json":
        import orjson

        from gitops.view.history import history_data

        write(orjson.dumps(history_data(entries), option=orjson.OPT_INDENT_2).decode())
        return OK
    from gitops.view.history import history_text

    found = list(entries)
    if unit and not found:
        write(f"No release of {unit} has been recorded.")
    else:
        write(history_text(found, now=datetime.now(UTC), absolute=not sys.stdout.isatty()))
    return OK
