"""Where a project keeps its state, and which repository it means. Imports nothing heavy: `gitops history` uses it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

from gitops.errors import GitopsError
from gitops.world.git.checkout import tracked
from gitops.world.git.repository import open_repository
from gitops.world.ports import Progress, Repository

STATE = ".gitops"
"""Directory below the project that holds caches, local Terraform state and the embedded world."""

Kind = Literal["real", "embedded"]


def state_directory(project: Path, kind: Kind) -> Path:
    """The embedded world has a directory of its own below that of the project."""
    return project / STATE / "embedded" if kind == "embedded" else project / STATE


_IGNORED = "# What gitops keeps on this machine; none of it belongs into a commit.\n*\n"


def use_state(project: Path) -> None:
    """Keep the state of this machine out of commits, and refuse one that came with a commit.

    Caches, plugins of Terraform and configuration of Git lie there, so whoever put it into a commit would choose what
    runs here.
    """
    if files := tracked(project, STATE):
        raise GitopsError(
            f"{files} file{'' if files == 1 else 's'} below {STATE}/ came with a commit, and may decide what runs here",
            where=str(project / STATE),
            hint=f"remove the directory from the commit (git rm -r {STATE}), then run again",
        )
    with suppress(OSError):  # where nothing can be written, no state is kept
        (project / STATE).mkdir(exist_ok=True)
        with (project / STATE / ".gitignore").open("x", encoding="utf-8") as file:
            file.write(_IGNORED)


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
    use_state(project)
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
