"""Virtual time: the machine's time and a lead over it. Sleeping takes no time, it makes the lead longer.

The lead lies in one small file, so that all processes of an embedded world have the same time and the next command
goes on where the last one ended. It only grows. Deleting the file sets the time back to the present.
"""

from __future__ import annotations

import fcntl
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gitops.errors import GitopsError
from gitops.world.files import write_atomically

FILE = "clock"
"""Its name in the directory of an embedded world."""


class EmbeddedClock:
    """The time of the embedded world whose lead is kept in a file; safe in several threads and processes."""

    def __init__(self, path: Path, real: Callable[[], float] = time.time) -> None:
        self._path = path
        self._real = real

    def now(self) -> float:
        """Seconds of the epoch, in that world. Raises GitopsError when the file holds no lead."""
        return self._real() + self._lead()

    def sleep(self, seconds: float) -> None:
        """Let the world's time go on by so much, at once. Two who sleep at the same time wait together, not in turn."""
        if seconds <= 0:
            return
        until = self.now() + seconds
        with self._locked():
            lead = until - self._real()
            if lead > self._lead():
                write_atomically(self._path, f"{lead!r}\n".encode())

    def _lead(self) -> float:
        try:
            lead = float(self._path.read_text())
        except FileNotFoundError:
            return 0.0
        except ValueError:
            lead = math.nan
        if not 0 <= lead < math.inf:
            hint = "delete it: the embedded world then goes on at the present time"
            raise GitopsError("the embedded world's clock cannot be read", where=str(self._path), hint=hint)
        return lead

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time, by a lock on the directory: the file itself is replaced by every writer."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path.parent, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
