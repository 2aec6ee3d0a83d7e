"""The time that the engine goes by, and how it waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

_BREATH = 0.1
"""Seconds after which a sleeper looks whether it is to stop."""


class Clock(Protocol):
    """Time as seconds of the epoch."""

    def now(self) -> float:
        """The present moment."""

    def sleep(self, seconds: float) -> None:
        """Wait until so many seconds have passed by this clock, or until the clock is told to stop."""


class RealClock:
    """The time of this machine.

    `stopped` is asked several times a second while it sleeps, and ends the sleep at once when it says so. Asking is
    safe where waiting on a lock is not: the handler of a signal may set a `threading.Event` whose `is_set` this is.
    """

    def __init__(self, stopped: Callable[[], bool] = lambda: False) -> None:
        self._stopped = stopped

    def now(self) -> float:
        """Seconds of the epoch."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait, unless it is to stop. What is left is counted by a clock that nobody sets back."""
        until = time.monotonic() + seconds
        while not self._stopped() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _BREATH))
