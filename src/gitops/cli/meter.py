"""Progress of what takes minutes: one line in its place on a terminal, a line now and then in CI."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gitops.cli.console import note
from gitops.view.terminal import visible


@dataclass(slots=True)
class Meter:
    """How far reading an artifact is: in its place on a terminal, else a line every half minute."""

    what: str
    clock: Callable[[], float] = time.monotonic
    terminal: bool = field(default_factory=sys.stderr.isatty)
    every: float = 30.0
    _told: float = 0.0
    _drawn: bool = False

    def __enter__(self) -> Meter:
        self._told = self.clock()
        return self

    def __exit__(self, *ending: object) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def step(self, done: int, total: int) -> None:
        """Told by whoever reads, very often."""
        now = self.clock()
        if now - self._told < (0.2 if self.terminal else self.every):
            return
        self._told = now
        share = f", {100 * done // total} %" if total else ""
        line = f"reading {visible(self.what)}: {done / 1e9:.1f} of {total / 1e9:.1f} GB{share}"
        if not self.terminal:
            note(line)
            return
        self._drawn = True
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()
