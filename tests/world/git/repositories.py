"""What the tests of the GitOps repository share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gitops.world.git.repository import GitRepository

FILES = {"a.yaml": b"a: 1\n", "clusters/c/dev/m/x.yaml": b"x: 1\n", "clusters/c/dev/m/y.yaml": b"y\0\xff"}

Open = Callable[..., GitRepository]


def sh(*arguments: str | Path, cwd: Path | None = None) -> str:
    return subprocess.run(arguments, cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


def report(line: str) -> None:
    """Shown by pytest -s."""
    sys.stdout.write(f"{line}\n")


def need(program: str) -> None:
    if shutil.which(program):
        return
    if os.environ.get("CI"):
        pytest.fail(f"{program} is not installed")
    pytest.skip(f"{program} is not installed")


def contents(repository: GitRepository, commit: str | None) -> dict[str, bytes]:
    assert commit
    found = {path: entry.id for path, entry in repository.entries(commit).items() if entry.kind == "blob"}
    return dict(zip(found, repository.read(list(found.values())), strict=True))


def pending_refs(path: Path) -> str:
    return sh("git", "--git-dir", path, "for-each-ref", "refs/gitops")


def descendants(process: int) -> list[int]:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    children = [child for child, parent in parents.items() if parent == process]
    return children + [one for child in children for one in descendants(child)]
