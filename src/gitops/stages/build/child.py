"""Started by path in the Python of the build: makes `gitops` importable, and nothing beside it, and does the work.

Our own site-packages must not be on that Python's path: its torch would meet our numpy.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def _end_with_parent(parent: int) -> None:
    """On Linux, a stage ends when the build is killed; elsewhere it works on for nothing.

    One in a room of its own, whose `parent` is 0, is ended by what made the room.
    """
    if not parent:
        return
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the build ended before its stage began")


def _import_gitops(package: Path) -> None:
    # Our directory would hide modules of the tools that have the same names.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent]
    locations = [str(package)]
    spec = importlib.util.spec_from_file_location(
        "gitops", package / "__init__.py", submodule_search_locations=locations
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["gitops"] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    _end_with_parent(int(sys.argv[1]))
    _import_gitops(Path(__file__).resolve().parents[2])
    from gitops.stages.build.work import main

    sys.exit(main(sys.argv[2:]))
