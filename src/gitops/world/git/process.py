"""Runs the git program: bounded in time, deaf to settings that would change what we do, and clean on Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from gitops.errors import GitopsError
from gitops.world.git.failure import explain, mask, plain

LOCAL_SECONDS = 600.0
NETWORK_SECONDS = 600.0
STALE_LOCK_SECONDS = 10
"""Git holds the lock of a ref for milliseconds, and we wait this long for it: then its holder is dead."""
STALE_LOCKS = 4
"""One killed update can leave as many: the branch, the pending ref, packed-refs, HEAD."""
OLDEST = (2, 34)
"""The oldest Git that signs commits by SSH and knows every option that we use."""

SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.commentChar": "#",
    "core.filesRefLockTimeout": str(STALE_LOCK_SECONDS * 1000),
    "core.packedRefsTimeout": str(STALE_LOCK_SECONDS * 1000),
    # The commit is the transaction: after a power failure the branch must not point to objects that are not there.
    "core.fsync": "committed",
    "commit.gpgSign": "false",
    "gc.auto": "0",
    "i18n.commitEncoding": "UTF-8",
    "i18n.logOutputEncoding": "UTF-8",
    "log.showSignature": "false",
    "trailer.separators": ":",
    "color.ui": "false",
    "protocol.ext.allow": "never",
    "protocol.file.allow": "always",
    "protocol.git.allow": "always",
    "protocol.http.allow": "always",
    "protocol.https.allow": "always",
    "protocol.ssh.allow": "always",
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": "60",
    "credential.interactive": "false",
}
_OPTIONS = tuple(word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}"))

# Set by Git around hooks, where a pipeline may well run; they would point us at another repository.
_FOREIGN_VARIABLES = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_SHALLOW_FILE",
    "GIT_GRAFT_FILE",
    "GIT_CONFIG",
    "GIT_DEFAULT_HASH",
    "GIT_DEFAULT_REF_FORMAT",
    "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "GIT_PUSH_OPTION_COUNT",
)
_OWN_VARIABLES = {
    "LC_ALL": "C",
    "LANGUAGE": "",
    "GIT_TERMINAL_PROMPT": "0",
    "GCM_INTERACTIVE": "never",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_PAGER": "cat",
    # fast-import frees and takes the top of its heap once for every object; with glibc that is half of its time.
    "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
}
ISOLATED = {"GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}
"""Variables for a repository that somebody else may have configured, and that is read where it lies: nothing is
fetched, since a remote's configuration can name a program."""
_LOCKED = re.compile(r"Unable to create '(.+?\.lock)': File exists", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Result:
    """How a git process ended: its exit status, what it printed, and what it complained about."""

    status: int
    out: bytes
    err: str


@dataclass(frozen=True)
class Git:
    """Git at one place: `directory` is a bare repository, or `worktree` a directory inside a checkout.

    `where` names the place in errors, without credentials. Without either the process runs where we run.
    """

    where: str
    directory: Path | None = None
    worktree: Path | None = None
    variables: Mapping[str, str] = field(default_factory=dict, hash=False)

    def run(
        self,
        *arguments: str,
        data: bytes | None = None,
        timeout: float = LOCAL_SECONDS,
        variables: Mapping[str, str] | None = None,
    ) -> Result:
        """Run to the end and return how it ended, whatever that was.

        Raises GitopsError when git is absent or takes longer than `timeout` seconds. On that and on any interruption
        the whole process group is ended before the exception goes on.
        """
        result = self._run(arguments, data, timeout, variables or {})
        for _ in range(STALE_LOCKS):
            if not (result.status and self._removed_stale_lock(result.err)):
                break
            result = self._run(arguments, data, timeout, variables or {})
        return result

    def output(
        self,
        *arguments: str,
        data: bytes | None = None,
        timeout: float = LOCAL_SECONDS,
        variables: Mapping[str, str] | None = None,
    ) -> bytes:
        """What a command prints. Raises GitopsError (Damaged for a broken repository) when it fails."""
        result = self.run(*arguments, data=data, timeout=timeout, variables=variables)
        if result.status:
            raise self.failure(_verb(arguments), result)
        return result.out

    def configured(self, settings: Sequence[tuple[str, str]]) -> Git:
        """The same with these settings, which reach git by its environment: no list of processes shows them."""
        given = {**os.environ, **self.variables}.get("GIT_CONFIG_COUNT", "0")
        first = int(given) if given.isdecimal() else 0
        pairs = {
            f"GIT_CONFIG_{part}_{number}": text
            for number, (name, value) in enumerate(settings, first)
            for part, text in (("KEY", name), ("VALUE", value))
        }
        count = {"GIT_CONFIG_COUNT": str(first + len(settings))}
        return replace(self, variables={**self.variables, **pairs, **count}) if settings else self

    def line(self, *arguments: str) -> str:
        """The one line that a command prints; empty when it fails without a word (rev-parse --quiet)."""
        result = self.run(*arguments)
        if result.status and result.err.strip():
            raise self.failure(_verb(arguments), result)
        return "" if result.status else result.out.decode().strip()

    def stream(self, *arguments: str) -> Generator[bytes, None, None]:
        """What a command prints, in chunks as they come. Closing the iterator ends the process."""
        with tempfile.TemporaryFile() as complaints:
            process = self._start(arguments, subprocess.DEVNULL, complaints, {})
            try:
                assert process.stdout is not None
                while chunk := os.read(process.stdout.fileno(), 1 << 16):
                    yield chunk
                process.wait(LOCAL_SECONDS)
            finally:
                _end(process)
            if process.returncode:
                raise self.failure(_verb(arguments), Result(process.returncode, b"", _text_of(complaints)))

    def failure(self, command: str, result: Result) -> GitopsError:
        """The error that tells about this result."""
        if result.status == 129 or "unknown option" in result.err or "unknown switch" in result.err:
            too_old = self._too_old()
            if too_old:
                return too_old
        if result.status < 0 and not result.err.strip():
            return GitopsError(f"git {command} was ended by signal {-result.status}", where=self.where)
        return explain(command, result.err, self.where)

    def _run(
        self, arguments: tuple[str, ...], data: bytes | None, timeout: float, variables: Mapping[str, str]
    ) -> Result:
        # Complaints go to a file: ssh may leave a master connection behind that keeps a pipe open for hours.
        with tempfile.TemporaryFile() as complaints:
            stdin = subprocess.DEVNULL if data is None else subprocess.PIPE
            process = self._start(arguments, stdin, complaints, variables)
            try:
                out, _ = process.communicate(data, timeout)
            except subprocess.TimeoutExpired:
                said = plain(_text_of(complaints)).strip().splitlines()
                raise GitopsError(
                    f"git {_verb(arguments)} did not finish within {timeout:.0f} s"
                    + (f" ({said[-1][:200]})" if said else ""),
                    where=self.where,
                    hint="check the network and the server, then run again: nothing is half done",
                ) from None
            finally:
                _end(process)
            return Result(process.returncode, out, _text_of(complaints))

    def _start(
        self, arguments: tuple[str, ...], stdin: int, complaints: IO[bytes], variables: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        if any("\0" in argument for argument in arguments):
            raise ValueError("a NUL character in an argument for git")
        try:
            return subprocess.Popen(
                ["git", *_OPTIONS, *arguments],
                cwd=self.worktree,
                env={**self._environment(), **variables},
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=complaints,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            if self.worktree and not self.worktree.is_dir():
                raise GitopsError("no such directory", where=str(self.worktree)) from error
            raise GitopsError(
                "git is not installed, or not on PATH", hint=f"install Git {_dotted(OLDEST)} or newer"
            ) from error
        except PermissionError as error:
            raise GitopsError("git cannot be started: permission denied", where=self.where) from error

    def _environment(self) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN_VARIABLES}
        environment.update(_OWN_VARIABLES)
        if self.directory:
            environment["GIT_DIR"] = str(self.directory)
        return {**environment, **self.variables}

    def _removed_stale_lock(self, complaint: str) -> bool:
        # Only below our own directory: a server may say what it likes.
        found = _LOCKED.search(complaint)
        lock = Path(found[1]) if found else None
        if not lock or not self.directory or not lock.resolve().is_relative_to(self.directory.resolve()):
            return False
        return _remove_stale_lock(lock)

    def _too_old(self) -> GitopsError | None:
        found = re.search(r"(\d+)\.(\d+)", self._run(("version",), None, 10, {}).out.decode())
        version = (int(found[1]), int(found[2])) if found else OLDEST
        if version >= OLDEST:
            return None
        return GitopsError(f"Git {_dotted(version)} is too old", hint=f"install Git {_dotted(OLDEST)} or newer")


def from_os_error(error: OSError, where: str) -> GitopsError:
    """A file-system failure beside git's own, told in the same way."""
    return explain("init", error.strerror or str(error), mask(where))


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _text_of(complaints: IO[bytes]) -> str:
    complaints.seek(0)
    return complaints.read().decode(errors="replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and its children, politely first, so that git removes its lock and temporary files."""
    try:
        if process.returncode is None and process.poll() is None:
            _signal(process, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(2)
    finally:
        if process.returncode is None:
            _signal(process, signal.SIGKILL)
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                with suppress(OSError):
                    pipe.close()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _remove_stale_lock(lock: Path) -> bool:
    """Remove a lock that was there all the while we waited for it; False when it is young, or cannot be removed."""
    try:
        age = time.time() - lock.stat().st_mtime
        if age < STALE_LOCK_SECONDS:
            return False
        lock.unlink()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _verb(arguments: tuple[str, ...]) -> str:
    rest = list(arguments)
    while rest[0] == "-c":
        del rest[:2]
    return rest[0]
