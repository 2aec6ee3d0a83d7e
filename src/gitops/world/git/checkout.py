"""Facts about the checkout that holds pipeline.yaml: which commit it is, and whether the files still match it."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from gitops.errors import GitopsError
from gitops.rollout.release import SpecSource
from gitops.world.git.process import ISOLATED, Git, Result

MAX_BYTES = 8 * 1024 * 1024
"""Larger files are no part of a spec."""
_ID = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


def spec_source(project: Path, files: Sequence[Path]) -> SpecSource:
    """The commit that `project` has checked out, and whether any of `files` differs from it or is not in it.

    Relative files start at `project`. Empty where there is no Git repository, or no commit in it yet. Raises
    GitopsError when Git refuses to look (a checkout that belongs to another user).
    """
    git = _without_filters(_git(project))
    paths = [str(project / file) for file in files]
    options = ("--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--ignored=matching", "--no-renames")
    result = git.run("status", *options, "--ignore-submodules=all", "--", *(paths or [str(project)]))
    if result.status and "outside repository" in result.err:
        commit = _head(git)
        return SpecSource(commit, modified=bool(commit))
    if not _usable(git, "status", result):
        return SpecSource()
    records = result.out.decode(errors="replace").split("\0")
    commit = next((line.split(" ")[2] for line in records if line.startswith("# branch.oid ")), "")
    if not _ID.fullmatch(commit):
        return SpecSource()
    return SpecSource(commit, modified=bool(files) and any(line and line[0] != "#" for line in records))


def contains(project: Path, commits: Collection[str]) -> set[str]:
    """Those of these commits (full ids) that lie in the history of HEAD, itself included."""
    asked = [commit for commit in commits if _ID.fullmatch(commit)]
    if not asked:
        return set()
    git = _git(project)
    result = git.run("cat-file", "--batch-check=%(objectname) %(objecttype)", data=_lines(asked))
    if not _usable(git, "cat-file", result):
        return set()
    known = {line.split(" ")[0] for line in result.out.decode().splitlines() if line.endswith(" commit")}
    if not known:
        return set()
    outside = git.run("rev-list", "--stdin", data=_lines([*known, "^HEAD"]))
    if outside.status:
        if not _head(git):
            return set()
        raise git.failure("rev-list", outside)
    return known.difference(outside.out.decode().split())


def earlier_files(project: Path, names: Sequence[str], limit: int) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The commits of HEAD's first-parent history that changed any of these files or directories of the project, the
    newest first, at most `limit`; each with all their regular files, by path relative to the project.

    Nothing outside a repository. Files over MAX_BYTES and links are left out. Raises GitopsError when Git fails.
    """
    git = _git(project)
    result = git.run("log", "--first-parent", "--format=%H", f"--max-count={limit}", "HEAD", "--", *names)
    if not (_usable(git, "log", result) if "unknown revision" not in result.err else False):
        return
    for commit in result.out.decode().split():
        listed = git.output("ls-tree", "-r", "-l", "-z", commit, "--", *names).decode(errors="surrogateescape")
        found = dict(_regular(line, project) for line in listed.split("\0") if line.startswith("100"))
        kept = {path: identifier for path, (identifier, size) in found.items() if size <= MAX_BYTES}
        yield commit, {path: git.output("cat-file", "blob", identifier) for path, identifier in kept.items()}


def _regular(line: str, project: Path) -> tuple[str, tuple[str, int]]:
    fields, _, path = line.partition("\t")
    _, _, identifier, size = fields.split()
    if not size.isdecimal():
        hint = "fetch the whole history, without a filter"
        raise GitopsError(f"the checkout lacks an earlier {path}", where=str(project), hint=hint)
    return path, (identifier, int(size))


def tracked(project: Path, name: str) -> int:
    """How many files of this name, or below it, are in the index of the checkout; 0 outside a repository."""
    result = _git(project).run("ls-files", "-z", "--", name)
    return result.out.count(b"\0") if not result.status else 0


def project_commit(project: Path) -> tuple[str, int]:
    """The project's commit, with `-dirty` where files differ from it, and its time in seconds since 1970.

    `GITOPS_COMMIT` and `SOURCE_DATE_EPOCH` say it where there is no work tree. Raises GitopsError without either.
    """
    if given := os.environ.get("GITOPS_COMMIT"):
        return given, int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    git = _git(project)
    said = git.run("log", "-1", "--format=%H %ct").out.decode().split()
    if len(said) != 2:
        hint = "commit the project, or say which commit it is with GITOPS_COMMIT"
        raise GitopsError("an image is tagged by commit, and here is none", where=str(project), hint=hint)
    commit, when = said
    options = ("--porcelain", "--untracked-files=no", "--ignore-submodules=all")
    dirty = _without_filters(git).output("status", *options).strip()
    return commit + ("-dirty" if dirty else ""), int(when)


def is_shallow(project: Path) -> bool:
    """Whether the checkout has only part of its history, so that `contains` may miss commits. False without Git."""
    git = _git(project)
    result = git.run("rev-parse", "--is-shallow-repository")
    return _usable(git, "rev-parse", result) and result.out.strip() == b"true"


def _git(project: Path) -> Git:
    return Git(str(project), worktree=project, variables=ISOLATED)


_FILTER = r"^filter\..*\.(clean|smudge|process|required)$"


def _without_filters(git: Git) -> Git:
    """The same with the filters off that the checkout's own configuration defines.

    `git status` runs them on files that look changed, and whoever made the checkout chose the program. The user's own
    filters (Git LFS) stay.
    """
    result = git.run("config", "--show-scope", "-z", "--name-only", "--get-regexp", _FILTER)
    words = result.out.decode(errors="surrogateescape").split("\0")
    names = sorted(
        {name for scope, name in zip(words[::2], words[1::2], strict=False) if scope in ("local", "worktree")}
    )
    return git.configured([(name, "false" if name.endswith(".required") else "") for name in names])


def _head(git: Git) -> str:
    return git.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}").out.decode().strip()


def _usable(git: Git, command: str, result: Result) -> bool:
    """False outside a repository. Raises GitopsError for any other failure."""
    if not result.status:
        return True
    if "not a git repository" in result.err or "must be run in a work tree" in result.err:
        return False
    raise git.failure(command, result)


def _lines(words: Sequence[str]) -> bytes:
    return "\n".join(words).encode() + b"\n"
