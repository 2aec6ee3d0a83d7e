"""Inside the process of a stage: does the work, and writes down what came of it.

Progress goes to the original standard output, a line each; whatever the tools print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from gitops.errors import GitopsError
from gitops.stages.build.task import Outcome, Task

STAGES = {
    "convert": "convert",
    "quantize": "quantize",
    "prune": "prune",
    "optimize": "optimize",
    "triton": "package_triton",
    "image": "package_image",
}
"""The module of each stage; it has `run(task) -> Outcome`."""
TOLD = 3
"""The exit code when what is wrong was written down."""


def main(arguments: Sequence[str]) -> int:
    """`run RESULT TASK` does a task, `versions RESULT NAME…` says which of these tools this Python has.

    Both write JSON to the file RESULT; the exit code is 0, or 3 when it holds an error.
    """
    say = _progress()
    result = Path(arguments[1])
    try:
        if arguments[0] == "versions":
            document: dict[str, Any] = _versions(arguments[2:])
        else:
            document = _run(Task.parse(json.loads(Path(arguments[2]).read_text()), say)).document()
    except GitopsError as error:
        told = {"what": error.what, "where": error.where, "hint": error.hint}
        result.write_text(json.dumps({"error": told}))
        return TOLD
    result.write_text(json.dumps(document))
    return 0


def _run(task: Task) -> Outcome:
    tempfile.tempdir = str(task.scratch)
    stage: Any = import_module(f"gitops.stages.build.{STAGES[task.stage]}")
    outcome: Outcome = stage.run(task)
    return outcome


def _progress() -> Callable[[str], None]:
    told = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def say(line: str) -> None:
        told.write(line.replace("\n", " ") + "\n")

    return say


def _versions(names: Sequence[str]) -> dict[str, Any]:
    """The versions by name, and below `paths` where this Python and its packages lie."""
    found: dict[str, Any] = {"python": ".".join(map(str, sys.version_info[:3])), "paths": _paths()}
    for name in names:
        if name == "trtexec":
            module: Any = import_module("gitops.stages.build.trtexec")
            found |= module.machine()
            continue
        if name == "builder":
            images: Any = import_module("gitops.stages.build.package_image")
            found[name] = next(iter(images.present()), "none")
            continue
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _paths() -> list[str]:
    """Where this Python and its packages lie."""
    places = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, *sys.path]
    return sorted({place for place in places if Path(place).is_absolute() and Path(place).exists()})
