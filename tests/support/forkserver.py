"""Processes of `gitops` that start fast: forked from one that has imported everything already.

    code, out, err = forked().run("gitops", ["plan"], env, timeout=300)

Each is a process of its own, with its own environment, streams and signals, as if started by `python -m`; only the
half second of imports is shared. What is about starting itself has to use `subprocess`.
"""

from __future__ import annotations

import functools
import gc
import importlib
import json
import os
import pkgutil
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
_WORD = 1 << 20
"""Bytes that a request may have."""


class ForkServer:
    """A server process and the socket that it answers; it ends with the process that started it."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="fork-", ignore_cleanup_errors=True)
        self._address = str(Path(self._directory.name) / "server")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(self._address)
        listener.listen(64)
        path = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
        command = [sys.executable, "-m", "tests.support.forkserver", str(listener.fileno())]
        # It ends when our end of its standard input is closed, however we end.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()], env=path)
        listener.close()

    def run(
        self, program: str, arguments: Sequence[str], env: Mapping[str, str], timeout: float
    ) -> tuple[int, str, str]:
        """Exit code (negative: the signal), standard output and standard error. Raises TimeoutExpired."""
        with (
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
            socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection,
        ):
            connection.connect(self._address)
            connection.settimeout(timeout)
            asked = {"program": program, "arguments": list(arguments), "env": dict(env), "cwd": str(Path.cwd())}
            socket.send_fds(connection, [json.dumps(asked).encode()], [out.fileno(), err.fileno()])
            pid = int(connection.recv(64))
            try:
                code = int(connection.recv(64))
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired([program, *arguments], timeout) from None
            return code, _read(out), _read(err)


@functools.cache
def forked() -> ForkServer:
    """The server of this process."""
    return ForkServer()


def _read(file: Any) -> str:
    file.seek(0)
    text: str = file.read().decode(errors="replace")
    return text


# --- The server --------------------------------------------------------------------------------------------------


def _programs() -> dict[str, Callable[[], None]]:
    from gitops.__main__ import run
    from tests.support import effects_kill

    return {"gitops": run, "tests.support.effects_kill": effects_kill.start}


def _import_everything() -> None:
    import gitops

    for module in pkgutil.walk_packages(gitops.__path__, "gitops."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def serve(listener: socket.socket) -> None:
    """Fork a process for each request, until standard input ends. Returns in the forked process alone."""
    _import_everything()
    programs = _programs()
    gc.freeze()
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            sys.exit(0)
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _attend(connection, programs)
            return
        connection.close()
        _reap()


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _attend(connection: socket.socket, programs: Mapping[str, Callable[[], None]]) -> None:
    """Start the program, say its process id and in the end its exit code."""
    message, streams, _, _ = socket.recv_fds(connection, _WORD, 2)
    asked = json.loads(message)
    pid = os.fork()
    if pid == 0:
        connection.close()
        _become(asked, streams)
        programs[asked["program"]]()
        sys.exit(0)
    connection.send(str(pid).encode())
    _, status = os.waitpid(pid, 0)
    connection.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _become(asked: Mapping[str, Any], streams: Sequence[int]) -> None:
    """Take over what a process of its own would have been started with."""
    for fd, target in zip(streams, (1, 2), strict=True):
        os.dup2(fd, target)
        os.close(fd)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    sys.argv = [asked["program"], *asked["arguments"]]
    random.seed()


def main() -> NoReturn:
    """Serve on the listening socket whose descriptor is the argument."""
    serve(socket.socket(fileno=int(sys.argv[1])))
    raise SystemExit(0)


if __name__ == "__main__":
    main()
