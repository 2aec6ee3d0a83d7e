"""The process of a stage: started, listened to, watched for time and memory, ended."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from gitops.errors import GitopsError

CHILD = Path(__file__).with_name("child.py")
_TOLD = 3
_POLL = 0.1  # seconds
_QUOTED = 3
"""Lines of the log that an error quotes."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds and bytes that a process may take."""

    seconds: float
    memory: int


@dataclass(slots=True)
class StageProcess:
    """How stages are run: by which Python, who hears what they say."""

    python: str
    say: Callable[[str], None]
    peak: int = field(default=0, init=False)
    """The most memory of the last run, in bytes, where the system tells it."""

    def run(self, arguments: Sequence[str], result: Path, log: Path, bounds: Bounds, title: str) -> dict[str, Any]:
        """What the process wrote to `result`. What its tools print goes to `log`.

        Raises GitopsError for what the stage says, and when it dies or takes too much.
        """
        self.peak = 0
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as errors:
            process = self._start(arguments, errors)
            try:
                self._follow(process, bounds, title)
            finally:
                _end(process)
        if process.returncode not in (0, _TOLD):
            raise GitopsError(_death(process.returncode, log), where=title, hint=f"its log is {log}")
        document: dict[str, Any] = json.loads(result.read_text())
        if told := document.get("error"):
            where = f"{title}: {told['where']}" if told["where"] else title
            hint = told["hint"].replace("see the log", f"see {log}")
            raise GitopsError(told["what"], where=where, hint=hint)
        return document

    def _start(self, arguments: Sequence[str], errors: IO[bytes]) -> subprocess.Popen[bytes]:
        # Our own PYTHONPATH would put our packages before those of the build's Python.
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        environment |= {"PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}
        command = [self.python, str(CHILD), str(os.getpid()), *arguments]
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                process_group=0,
            )
        except OSError as error:
            what = f"{self.python} cannot be started: {error.strerror}"
            raise GitopsError(what, hint="let `build.python` name a Python that has the tools of the stages") from None

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


def _death(code: int, log: Path) -> str:
    with suppress(OSError):
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        if lines:
            quoted = " / ".join(lines[-_QUOTED:])
            return f"the stage died: {quoted}"
    how = f"of signal {-code}" if code < 0 else f"with exit code {code}"
    return f"the stage died {how} and said nothing"
