"""Where a project keeps its state, and which repository it means. Imports nothing heavy: `gitops history` uses it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from gitops.errors import GitopsError
from gitops.world.git.repository import open_repository
from gitops.world.ports import Progress, Repository

STATE = ".gitops"
"""Directory below the project that holds caches, local Terraform state and the embedded world."""

Kind = Literal["real", "embedded"]


def state_directory(project: Path, kind: Kind) -> Path:
    """The embedded world has a directory of its own below that of the project."""
    return project / STATE / "embedded" if kind == "embedded" else project / STATE


def wants_embedded(flag: bool) -> bool:
    """`--embedded` or GITOPS_EMBEDDED. Raises GitopsError for a value that could mean either world."""
    value = os.environ.get("GITOPS_EMBEDDED", "")
    if flag or value.lower() in ("1", "true", "yes", "on"):
        return True
    if value.lower() in ("", "0", "false", "no", "off"):
        return False
    raise GitopsError(f"{value!r} is neither yes nor no", where="GITOPS_EMBEDDED", hint="set it to 1, or unset it")


def repository_at(
    url: str,
    branch: str,
    project: Path,
    kind: Kind,
    *,
    key: str = "",
    create: bool = False,
    progress: Progress | None = None,
) -> Repository:
    """The GitOps repository of a project; the embedded world has its own, unsigned, whatever `url` says."""
    state = state_directory(project, kind)
    embedded = kind == "embedded"
    return open_repository(
        str((state / "repository.git").absolute()) if embedded else url,
        branch,
        state=state,
        project=project,
        signing_key=Path(key) if key and not embedded else None,
        create=create,
        progress=progress,
    )
