"""What the tools have in common: where they are kept, how they are made once, and what is said when one is missing."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.guard import start_guard


class Unavailable(Exception):
    """A component that the tests need is missing; the message is one line: what, and how to get it."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A program of the tests.

    `find` gives its path where it is ready to use, else None, and takes no time. `make` builds or fetches it, or
    raises Unavailable; what it leaves behind when it fails or is killed is never taken for the whole.
    `takes` says how, and how long that is.
    """

    name: str
    takes: str
    find: Callable[[], Path | None]
    make: Callable[[], None]

    def path(self) -> Path:
        """Where it is. Raises Unavailable when it was not made yet: that takes too long inside a test."""
        if found := self.find():
            return found
        raise Unavailable(f"{self.name} is not set up: run `make tools`")

    def path_or_skip(self) -> Path:
        """The same for a fixture: what is missing is an error in CI, and a skip with the reason elsewhere."""
        try:
            return self.path()
        except Unavailable as missing:
            skip(missing)

    def prepare(self, say: Callable[[str], None]) -> None:
        """Make it unless it is there; of several processes that ask at the same time, one does."""
        if self.find():
            return
        with locked(
            cache() / f"{self.name.replace(' ', '-')}.lock", lambda: say(f"{self.name}: another process is at it")
        ):
            if not self.find():
                say(f"{self.name}: {self.takes}")
                self.make()


def skip(missing: Unavailable) -> NoReturn:
    """Skip the test with the reason; in CI that is an error."""
    if os.environ.get("CI"):
        raise missing
    pytest.skip(str(missing))


def cache() -> Path:
    """The directory in the user's cache under which all tools are kept."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(root) / "gitops-models"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@contextmanager
def locked(path: Path, waits: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold an exclusive lock on the file; `waits` is called when another process has it."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waits()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(
    command: Sequence[str], *, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a build or a download to its end, however long that takes.

    It ends, with everything that it started, when this process does, however that ends.
    """
    guard = start_guard()
    try:
        return subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            process_group=guard.pid,
        )
    finally:
        guard.communicate()


def last_line(text: str) -> str:
    """What a failed program said last."""
    return (text.strip() or "no output").splitlines()[-1].strip()
