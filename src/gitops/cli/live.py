"""Draws the live view on a terminal, and prints a line an event everywhere else."""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from threading import Event, RLock, Thread
from typing import TYPE_CHECKING, TextIO

from gitops.cli import console
from gitops.view.journal import Journal
from gitops.view.live import EVENTS_SHOWN, Size, frame
from gitops.view.terminal import Line, display_width, paint

if TYPE_CHECKING:
    from gitops.engine.reconciling import Pass

TICK = 1.0
"""Seconds between two drawings: what is left of a bake goes down."""

_ERASE_LINE, _ERASE_BELOW = "\x1b[K", "\x1b[J"


def reporter() -> Callable[[Pass], None]:
    """What takes passes and shows them; on a terminal until `console.restore`."""
    if not console.drawable():
        return _printer()
    live = Live(sys.stdout, color=console.colored(True))
    console.occupy(live)
    live.start()
    return live.report


def _printer() -> Callable[[Pass], None]:
    journal = Journal()

    def report(done: Pass) -> None:
        if lines := list(journal.lines(done, time.monotonic())):
            console.write(paint(lines, color=False))

    return report


def _terminal_size() -> Size:
    found = shutil.get_terminal_size()
    return Size(found.columns, found.lines)


class Live:
    """A frame at the lower end of the terminal that is drawn anew in its place; what is said for good scrolls above.

    Events move up out of the frame as others follow them, so that the terminal's history has them all, in order.
    No setting of the terminal is changed: a process that is killed leaves the last frame and nothing else.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        color: bool,
        size: Callable[[], Size] = _terminal_size,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._color, self._size, self._clock = stream, color, size, clock
        self._lock = RLock()
        # What stands in the frame need not be said again.
        self._journal = Journal(heartbeat=0)
        self._events: deque[Line] = deque()
        self._done: Pass | None = None
        self._seen = 0.0
        self._status = ""
        self._drawn: Sequence[Line] = ()
        self._over = Event()
        self._ticker = Thread(target=self._tick, name="live", daemon=True)

    def start(self) -> None:
        """Draw, and go on drawing every second."""
        self._draw()
        self._ticker.start()

    def report(self, done: Pass) -> None:
        """Show a pass."""
        with self._lock:
            self._done, self._seen, self._status = done, self._clock(), ""
            self._events.extend(self._journal.lines(done, self._seen))
            past = [self._events.popleft() for _ in range(len(self._events) - EVENTS_SHOWN)]
            self._draw(paint(past, color=self._color))

    def above(self, text: str) -> None:
        """Say something for good."""
        with self._lock:
            self._draw(text if text.endswith("\n") else f"{text}\n")

    def status(self, text: str) -> None:
        """Say what is being done at this moment."""
        with self._lock:
            self._status = text
            self._draw()

    def close(self) -> None:
        """Take the frame away; its events stay."""
        with self._lock:
            if self._over.is_set():
                return
            self._over.set()
            self._stream.write(f"{self._up()}{_ERASE_BELOW}{paint(self._events, color=self._color)}")
            self._stream.flush()

    def _tick(self) -> None:
        while not self._over.wait(TICK):
            try:
                self._draw()
            except (OSError, ValueError):  # the terminal is gone; whoever writes next says so
                return

    def _draw(self, above: str = "") -> None:
        with self._lock:
            if self._over.is_set():
                return
            # Old lines are written over and not erased first, which would flicker.
            erased = f"{_ERASE_BELOW}{above}" if above else ""
            start = self._up()
            self._drawn = self._lines()
            painted = paint(self._drawn, color=self._color).replace("\n", f"{_ERASE_LINE}\n")
            self._stream.write(f"{start}{erased}{painted}{_ERASE_BELOW}")
            self._stream.flush()

    def _lines(self) -> Sequence[Line]:
        elapsed = int(self._clock() - self._seen)
        now = self._done.now + elapsed if self._done else 0
        return frame(self._done, list(self._events), self._size(), now, self._status)

    def _up(self) -> str:
        """To the beginning of the frame. Lines that were drawn on a wider terminal take several of its lines now."""
        width = max(self._size().width, 1)
        rows = sum(max(1, -(-display_width(line.text) // width)) for line in self._drawn)
        return f"\r\x1b[{rows}A" if rows else "\r"
