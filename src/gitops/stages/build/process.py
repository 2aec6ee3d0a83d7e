"""The process of a stage: started, listened to, watched for time and memory, ended."""

from __future__ import annotations

import json
import os
import selectors
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from gitops.errors import GitopsError
from gitops.stages.confinement import Room, entered, environment, isolation

CHILD = Path(__file__).with_name("child.py")
_TOLD = 3
_POLL = 0.1  # seconds
_QUOTED = 3
"""Lines of the log that an error quotes."""
_MAX_RESULT = 64 * 1024 * 1024
"""Bytes of a result; it is written by a process in which code of others may run."""
_OF_SHELL = 128
"""A shell that waited for a process that died of a signal exits with this and the signal's number."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds and bytes that a process may take."""

    seconds: float
    memory: int


@dataclass(slots=True)
class StageProcess:
    """How stages are run: by which Python, where, who hears what they say."""

    python: str
    say: Callable[[str], None]
    room: Room
    """What the process sees of this machine, where that can be bounded; result and tasks lie in its home."""
    also: tuple[str, ...] = ()
    """Variables that it gets beside those that every stage gets."""
    confined: bool = True
    """Without it, nothing but the variables is kept from the process: it runs nothing that a checkpoint holds."""
    peak: int = field(default=0, init=False)
    """The most memory of the last run, in bytes, where the system tells it."""

    def run(self, arguments: Sequence[str], result: Path, log: Path, bounds: Bounds, title: str) -> dict[str, Any]:
        """What the process wrote to `result`. What its tools print goes to `log`.

        Raises GitopsError for what the stage says, and when it dies or takes too much.
        """
        self.peak = 0
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as errors, self._started(arguments, errors) as process:
            try:
                self._follow(process, bounds, title)
            finally:
                _end(process)
        if process.returncode not in (0, _TOLD):
            raise GitopsError(_death(process.returncode, log), where=title, hint=f"its log is {log}")
        document = _result(result, title, log)
        if told := document.get("error"):
            where = f"{title}: {told['where']}" if told["where"] else title
            hint = told["hint"].replace("see the log", f"see {log}")
            raise GitopsError(told["what"], where=where, hint=hint)
        return document

    @contextmanager
    def _started(self, arguments: Sequence[str], errors: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
        given = {"PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}
        variables = environment(self.room.home, self.also, given)
        # In a room of its own it sees no parent: what made the room ends it.
        alone = self.confined and not isolation()
        command = [self.python, str(CHILD), "0" if alone else str(os.getpid()), *arguments]
        with entered(command, self.room) if self.confined else nullcontext(command) as line:
            try:
                process = subprocess.Popen(
                    line,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=variables,
                    process_group=0,
                )
            except OSError as error:
                what = f"{self.python} cannot be started: {error.strerror}"
                hint = "let `build.python` name a Python that has the tools of the stages"
                raise GitopsError(what, hint=hint) from None
            yield process

    def _follow(self, process: subprocess.Popen[bytes], bounds: Bounds, title: str) -> None:
        """Tell what it says until it ends. Raises GitopsError when it takes too long or too much memory."""
        assert process.stdout
        deadline = time.monotonic() + bounds.seconds
        rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while process.poll() is None or selector.get_map():
                if not selector.get_map():
                    time.sleep(_POLL)
                elif selector.select(_POLL):
                    chunk = os.read(process.stdout.fileno(), 1 << 16)
                    if not chunk:
                        selector.unregister(process.stdout)
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        self.say(f"{title}: {line.decode('utf-8', 'replace')}")
                self._check(process.pid, bounds, deadline, title)

    def _check(self, group: int, bounds: Bounds, deadline: float, title: str) -> None:
        if time.monotonic() > deadline:
            hint = "give the stage a longer `timeout`"
            raise GitopsError(f"it took longer than {bounds.seconds:g} s and was ended", where=title, hint=hint)
        self.peak = max(self.peak, used := memory_of(group))
        if used > bounds.memory:
            what = f"it took more than {bounds.memory / 2**30:g} GiB of memory and was ended"
            raise GitopsError(what, where=title, hint="raise `build.memory`, or run it on a larger machine: --job")


def memory_of(group: int) -> int:
    """Bytes of memory that the processes of a group have in use (resident); 0 where the system does not tell."""
    if sys.platform != "linux":
        return 0
    page, total = os.sysconf("SC_PAGE_SIZE"), 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                # proc(5): after the name in parentheses, the process group is the 3rd field and rss the 22nd.
                fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
                if int(fields[2]) == group:
                    total += int(fields[21]) * page
    return total


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the whole group, children of tools included; nothing of it is worth keeping."""
    with suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()


def _result(path: Path, title: str, log: Path) -> dict[str, Any]:
    """What was written down, if that is a file of ours: code of others may have left anything there."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            regular = stat.S_ISREG(os.fstat(handle).st_mode)
            document = json.loads(file.read(_MAX_RESULT)) if regular else None
    except (OSError, ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise GitopsError("the stage wrote no result that can be read", where=title, hint=f"its log is {log}")
    return document


def _death(code: int, log: Path) -> str:
    with suppress(OSError):
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        if lines:
            quoted = " / ".join(lines[-_QUOTED:])
            return f"the stage died: {quoted}"
    signalled = -code if code < 0 else code - _OF_SHELL
    how = f"of signal {signalled}" if signalled > 0 else f"with exit code {code}"
    return f"the stage died {how} and said nothing"
