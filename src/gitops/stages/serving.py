"""Serve an artifact on this machine for as long as its gates ask it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO

from gitops.errors import GitopsError
from gitops.spec.validation import Server
from gitops.stages.confinement import Room, entered, environment, files_of_secrets, home_of

GRACE = 10.0
"""Seconds that a server has to end after SIGTERM."""
TOLD = 15
"""Last lines of its log that an error shows."""


@contextmanager
def served(server: Server, artifact: Path, project: Path, log: Path) -> Iterator[str]:
    """The URL of a server of the artifact, once its port takes connections.

    In its command `{artifact}` stands for the artifact's path and `{port}` for a free port on loopback. It runs in the
    project's directory, in a process group that ends with this context, with the variables that everything gets and
    its own; where it can be kept apart, it sees the project and the artifact, and changes nothing outside of its home.
    Raises GitopsError with the end of its log when it ends before, or is not there in time.
    """
    port = _free_port()
    said = {"{artifact}": str(artifact), "{port}": str(port)}
    command = [_filled(part, said) for part in server.command]
    log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gitops-server-") as home, log.open("wb") as output:
        room = _room(command, artifact, project, Path(home))
        with entered(command, room) if server.isolated else nullcontext(command) as arguments:
            process = _started(arguments, command[0], project, environment(room.home, given=server.env), output)
            try:
                _wait(process, port, log, server.ready_timeout)
                yield f"http://127.0.0.1:{port}"
            finally:
                _end(process)


def _filled(part: str, said: Mapping[str, str]) -> str:
    for name, value in said.items():
        part = part.replace(name, value)
    return part


def _room(command: Sequence[str], artifact: Path, project: Path, home: Path) -> Room:
    """The project without what gitops and Git keep in it, the artifact, and the programs and files of the command."""
    named = (Path(part) for part in command if Path(part).is_absolute())
    reads = (*home_of(command[0]), *named, artifact, project)
    hides = (project / ".git", project / ".gitops", *files_of_secrets(project))
    return Room(home, reads, hides=hides, network=True, start=project)


def _started(
    arguments: Sequence[str], program: str, project: Path, variables: Mapping[str, str], output: IO[bytes]
) -> subprocess.Popen[bytes]:
    hint = "validate.server.command names the program and its arguments"
    if not shutil.which(program, path=f"{variables.get('PATH', os.defpath)}"):
        raise GitopsError("the server cannot be started: there is no such program", where=program, hint=hint)
    try:
        return subprocess.Popen(
            arguments,
            cwd=project,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=variables,
            start_new_session=True,
        )
    except OSError as error:
        raise GitopsError(f"the server cannot be started: {error}", where=program, hint=hint) from None


_APART = (
    "if it misses files or variables: name them in `validate.server.env` and in its command, or set `isolated: false`"
)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise GitopsError(f"the server ended with {process.returncode}{_told(log)}", where=str(log), hint=_APART)
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
