"""One run of the terraform binary: python-terraform writes the command line, and this module owns the process.

python-terraform's own way of running has no timeout, inherits stdin, takes exit code 2 for a failure and streams
nothing, so only its `generate_cmd_string` is used.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from gitops.world.terraform.diagnostics import TerraformError

_POLL = 0.1  # seconds
_QUIET = frozenset({"version", "outputs", "diagnostic", "resource_drift", "refresh_complete", "log"})


@dataclass(frozen=True)
class Outcome:
    """How a run ended: exit code, the lines of a `-json` stream, everything on stdout and on stderr."""

    code: int
    messages: tuple[Mapping[str, Any], ...]
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Runner:
    """How to run: which binary, in which environment, for how long (seconds), who hears of progress.

    After `timeout`, or at Ctrl-C, Terraform gets SIGINT and `grace` seconds to bring the state in order.
    """

    binary: str
    environment: Mapping[str, str]
    timeout: float
    grace: float
    progress: Callable[[str], None]

    def run(self, directory: Path, verb: str, *arguments: str, stream: bool = True, **options: object) -> Outcome:
        """Run `terraform <verb>` to its end. An option True is a flag, False is `=false`, None is left out.

        Raises TerraformError when it cannot be started or takes too long, KeyboardInterrupt when interrupted; in
        both of the latter Terraform has ended before.
        """
        command = self._command(verb, *arguments, **options)
        # Files, not pipes: should we die, Terraform must not die of a broken pipe in the middle of an apply.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            reader = _Reader(out, self._tell if stream else None)
            process = self._start(command, directory, out, err)
            try:
                self._follow(process, reader)
            except subprocess.TimeoutExpired:
                raise self._late(verb, directory, self._interrupt(process)) from None
            except BaseException:
                self._interrupt(process)
                raise
            reader.read()
            return Outcome(process.returncode, tuple(reader.messages), _text(out), _text(err))

    def _command(self, verb: str, *arguments: str, **options: object) -> list[str]:
        from python_terraform import IsFlagged
        from python_terraform import Terraform as CommandLine

        # It reads a state file when it is made; this one does not exist.
        command_line = CommandLine(terraform_bin_path=self.binary, state=os.devnull + ".tfstate")
        given = {name: IsFlagged if value is True else value for name, value in options.items()}
        command: list[str] = command_line.generate_cmd_string(verb, *arguments, **given)
        return command

    def _start(self, command: Sequence[str], directory: Path, out: IO[bytes], err: IO[bytes]) -> _Process:
        try:
            return subprocess.Popen(
                command,
                cwd=directory,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                process_group=0,  # a Ctrl-C at the terminal reaches us alone, and we pass it on once
                umask=0o077,  # a local state holds secrets
            )
        except OSError as error:
            raise TerraformError(
                f"{self.binary} cannot be started: {error.strerror}", hint="install Terraform 1.11 or newer"
            ) from None

    def _follow(self, process: _Process, reader: _Reader) -> None:
        """Read along until the process ends; subprocess.TimeoutExpired when it takes too long."""
        deadline = time.monotonic() + self.timeout
        while process.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("terraform", self.timeout)
            try:
                process.wait(_POLL)
            except subprocess.TimeoutExpired:
                reader.read()

    def _interrupt(self, process: _Process) -> bool:
        """End the process; True if it ended by itself within the grace period. Further Ctrl-Cs change nothing.

        A second SIGINT would make Terraform drop everything, its state and lock included, so it gets only one.
        """
        if process.poll() is not None:
            return True
        process.send_signal(signal.SIGINT)
        with suppress(Exception):  # a broken listener must not keep us from waiting
            self.progress("interrupted: waiting for Terraform to finish what it began and save its state")
        deadline = time.monotonic() + self.grace
        while process.poll() is None and time.monotonic() < deadline:
            try:
                time.sleep(_POLL)
            except KeyboardInterrupt:
                continue
        ended = process.poll() is not None
        if not ended:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return ended

    def _late(self, verb: str, directory: Path, ended: bool) -> TerraformError:
        what = f"terraform {verb} took longer than {self.timeout:g} s and was"
        if ended:
            hint = "plan again to see what is left to do"
            return TerraformError(f"{what} interrupted", where=str(directory), hint=hint)
        hint = "check what exists; if the state is locked now, terraform force-unlock"
        return TerraformError(f"{what} killed", where=str(directory), hint=hint)

    def _tell(self, message: Mapping[str, Any]) -> None:
        if message.get("type") not in _QUIET and message.get("@message"):
            self.progress(str(message["@message"]))


_Process = subprocess.Popen[bytes]


class _Reader:
    """Reads the lines of a growing file. `tell` None means that it is one document: nothing is read along."""

    def __init__(self, file: IO[bytes], tell: Callable[[Mapping[str, Any]], None] | None) -> None:
        self._file, self._tell = file, tell
        self._offset, self._rest = 0, b""
        self.messages: list[Mapping[str, Any]] = []

    def read(self) -> None:
        """Take in what has been written since the last call."""
        if self._tell is None:
            return
        # pread, because the child writes through the same file offset.
        while chunk := os.pread(self._file.fileno(), 1 << 16, self._offset):
            self._offset += len(chunk)
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                self._take(line, self._tell)

    def _take(self, line: bytes, tell: Callable[[Mapping[str, Any]], None]) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            return
        if isinstance(message, dict):
            self.messages.append(message)
            tell(message)


def _text(file: IO[bytes]) -> str:
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), size, 0).decode("utf-8", "replace")
