"""Output: results go to standard output, progress and errors to standard error."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gitops.errors import GitopsError

_MEND_SYSTEM = "check this path, its owner and mode, and free disk space; then run the same command again"

OK, ERROR, PENDING, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: nothing to do (or done), an error, changes pending (plan and diff), Ctrl-C."""


class Occupant(Protocol):
    """What draws on the terminal, and shows what others have to say there."""

    def above(self, text: str) -> None:
        """Say something for good."""

    def status(self, text: str) -> None:
        """Say what is being done at this moment."""

    def close(self) -> None:
        """Leave the terminal to others."""


_occupants: list[Occupant] = []


def occupy(occupant: Occupant) -> None:
    """From now on, until `restore`, everything goes through `occupant`."""
    _occupants.append(occupant)


def restore() -> None:
    """Give the terminal back to plain lines."""
    while _occupants:
        _occupants.pop().close()


def write(text: str) -> None:
    """A result, with one newline at its end. What would change how it is shown is written out, in JSON as well."""
    if not text.isascii():
        from gitops.values import without_acting

        text = without_acting(text)
    if _occupants:
        _occupants[-1].above(text)
        return
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """A line about work in progress."""
    shown = _harmless(text)
    if _occupants and sys.stderr.isatty():
        _occupants[-1].above(shown)
        return
    _say(shown)


def progress(line: str) -> None:
    """Progress of the world: dimmed on a terminal, plain in CI."""
    if _occupants and sys.stderr.isatty():
        _occupants[-1].status(line)
        return
    shown = _harmless(line)
    _say(f"\x1b[2m{shown}\x1b[0m" if colored(sys.stderr.isatty()) else shown)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _harmless(text: str) -> str:
    """Whatever a spec, a commit or a server put into it cannot drive the terminal."""
    if text.isprintable():
        return text
    from gitops.view.terminal import visible

    return "\n".join(map(visible, text.split("\n")))


def colored(terminal: bool) -> bool:
    """Whether to use colours: on a terminal, unless NO_COLOR is set or TERM is dumb."""
    return terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def drawable() -> bool:
    """Whether standard output is a terminal on which something can be drawn again in its place."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def fail(error: GitopsError) -> int:
    """Print what a person can act on, and give the exit code."""
    from gitops.errors import GitopsError as Base

    # An error that knows better how to be shown (several problems at once) overrides __str__.
    text = str(error)
    if type(error).__str__ is not Base.__str__:
        note(text)
        return ERROR
    what = f"{error.where}: {error.what}" if error.where else error.what
    note(f"error: {what}")
    if error.hint:
        note(f"  next: {error.hint}")
    return ERROR


def guarded(run: Callable[[], int]) -> int:
    """Run a command; every ending becomes an exit code and at most two lines."""
    from gitops.errors import GitopsError as Base

    gc.freeze()
    gc.enable()  # __main__ disabled it while loading
    try:
        return _restored(run)
    except Base as error:
        return fail(error)
    except KeyboardInterrupt:
        # Ctrl-C inside exec of a string (dataclasses are made so) is remembered by CPython, which would then die
        # of SIGINT instead of ending with our exit code; running another string clears that.
        exec("")  # noqa: S102
        note("interrupted; what was pushed stays, and the same command finishes it")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has seen enough; a second flush at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        return fail(Base(error.strerror or str(error), where=str(error.filename or ""), hint=_MEND_SYSTEM))
    except Exception as error:  # noqa: BLE001, RUF100  # a bug of ours: the user gets a place to look, not a traceback
        log = _crash_log()
        note(f"error: this is a bug in gitops: {type(error).__name__}: {error}")
        note(f"  next: report it with the log at {log}")
        return ERROR


def _restored(run: Callable[[], int]) -> int:
    try:
        return run()
    finally:
        restore()


def _crash_log() -> str:
    try:
        handle, name = tempfile.mkstemp(prefix="gitops-crash-", suffix=".log")
        with os.fdopen(handle, "w") as file:
            file.write(f"{' '.join(sys.argv)}\n{traceback.format_exc()}")
    except OSError as error:
        return f"… which could not be written ({error.strerror})"
    return name
