"""Serve an artifact on this machine for as long as its gates ask it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from gitops.errors import GitopsError

GRACE = 10.0
"""Seconds that a server has to end after SIGTERM."""
TOLD = 15
"""Last lines of its log that an error shows."""


@contextmanager
def served(command: Sequence[str], artifact: Path, project: Path, log: Path, ready_timeout: float) -> Iterator[str]:
    """The URL of a server started by `command` for the artifact, once its port takes connections.

    In the command `{artifact}` stands for the artifact's path and `{port}` for a free port on loopback. It runs in
    the project's directory, in a process group that ends with this context. Raises GitopsError with the end of its
    log when it ends before, or is not there in time.
    """
    port = _free_port()
    arguments = [part.replace("{artifact}", str(artifact)).replace("{port}", str(port)) for part in command]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                arguments,
                cwd=project,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            hint = "validate.server.command names the program and its arguments"
            raise GitopsError(f"the server cannot be started: {error}", where=arguments[0], hint=hint) from None
        try:
            _wait(process, port, log, ready_timeout)
            yield f"http://127.0.0.1:{port}"
        finally:
            _end(process)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise GitopsError(f"the server ended with {process.returncode}{_told(log)}", where=str(log))
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    hint = "raise validate.server.readyTimeout, or look into its log"
    raise GitopsError(f"the server is not there after {timeout:.0f} s{_told(log)}", where=str(log), hint=hint)


def _told(log: Path) -> str:
    lines = log.read_bytes()[-16_384:].decode(errors="replace").splitlines()[-TOLD:]
    return ": " + "\n  ".join(("it said", *lines)) if lines else " and said nothing"


def _end(process: subprocess.Popen[bytes]) -> None:
    """The whole group: servers start workers."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
