"""Pass after pass as a log: what is new, said once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from gitops.rollout.machine import Decision
from gitops.values import UnitKey
from gitops.view.passes import Columns, Entry, Pass, entries_of
from gitops.view.terminal import Line

HEARTBEAT = 300.0
"""Seconds without a line after which what is under way is said again: CI ends jobs that are silent for long."""

_NUMBERS = re.compile(r"\d+")


class Journal:
    """The lines of pass after pass. It remembers what it said, so that nothing is said again at every pass.

    Decisions are always said; what a unit waits for, and a trouble, when it is new; everything under way at first,
    and after `heartbeat` seconds of silence (never with 0). A new day is said before its first line.
    """

    def __init__(self, heartbeat: float = HEARTBEAT) -> None:
        self._heartbeat = heartbeat
        self._columns = Columns()
        self._said: dict[tuple[str, str], str] = {}
        self._day = ""
        self._spoke: float | None = None

    def lines(self, done: Pass, clock: float) -> Iterator[Line]:
        """What is new in this pass. `clock` is the reader's own time in seconds, which no simulation hurries."""
        silent = self._heartbeat > 0 and (self._spoke is None or clock - self._spoke >= self._heartbeat)

        def tells(unit: UnitKey, decision: Decision) -> bool:
            return self._tells(done, unit, decision, silent)

        shown = [one for one in entries_of(done, tells) if self._says(one, silent)]
        shown += self._over(done)
        if self._spoke is None or shown:
            self._spoke = clock
        day = datetime.fromtimestamp(done.now, UTC).strftime("%Y-%m-%d")
        if shown and day != self._day:
            self._day = day
            yield Line(f"{day} (UTC)", "bold")
        yield from self._columns.lines(done.now, shown)

    def _tells(self, done: Pass, unit: UnitKey, decision: Decision, silent: bool) -> bool:
        event = decision.event
        if event:
            if event.kind == "start":
                self._said.pop((str(unit), "hold"), None)
            elif event.rejects:
                version = event.version.version
                self._new(str(unit), "hold", _alike(version, f"{version} is rejected: {event.reason}"))
            return True
        if decision.state.candidate:
            return silent
        # Nothing is under way: worth a line when it waits for something, and that is new.
        target = done.standings[unit].target
        news = _alike(target.version, decision.sentence)
        return target != decision.state.stable and self._new(str(unit), "hold", news)

    def _says(self, entry: Entry, silent: bool) -> bool:
        return entry.kind not in _TROUBLES or self._new(entry.unit, entry.kind, entry.words) or silent

    def _new(self, who: str, kind: str, text: str) -> bool:
        known = self._said.get((who, kind))
        self._said[who, kind] = text
        return known != text

    def _over(self, done: Pass) -> Iterator[Entry]:
        """A cluster that answers again is said once, so that nobody looks for what is mended."""
        present = {
            *((cluster, "not seen") for cluster in done.blind),
            *((failure.unit, "failed") for failure in done.failures),
            *((str(unit), "left alone") for unit in done.left_alone),
        }
        for who, kind in [key for key in self._said if key[1] in _TROUBLES and key not in present]:
            del self._said[who, kind]
            if kind == "not seen":
                yield Entry(who, "", "", "seen", "it answers again", "green")


def _alike(version: str, sentence: str) -> str:
    """Numbers change from look to look: what is said of the same version and differs in nothing else is no news."""
    return f"{version} {_NUMBERS.sub('', sentence)}"


_TROUBLES = ("left alone", "not seen", "failed")
