"""The GitOps repository, at any URL: read by commit, written by whole commits that arrive entirely or not at all."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

from ulid import ULID

from gitops.errors import GitopsError
from gitops.world.git.changes import Files, are_nested, chain, check_paths, with_parents
from gitops.world.git.commit import Draft, identity, sign_commits, write_commits
from gitops.world.git.failure import Damaged, mask
from gitops.world.git.log import read_log
from gitops.world.git.origin import (
    PENDING,
    LocalOrigin,
    Origin,
    RemoteOrigin,
    looks_like_repository,
    moved,
    new_pending,
)
from gitops.world.git.process import Git
from gitops.world.ports import Commit, Entry, Progress

ABANDONED_SECONDS = 3600
"""A pending ref this old was left by a process that died: no command of ours runs that long."""

_FEW_PATHS = 100
"""Up to here Git is asked for the very paths; looking at the whole tree takes longer."""

_IDENTITY_LENGTH = 20
"""Digits of a commit's id that are kept as the repository's: as good as all of them, and short enough for a label."""

_NOTHING_FIRST = "a first commit needs at least one file"
_T = TypeVar("_T")
_ID = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_SCHEMES = ("ssh", "git", "http", "https", "file", "git+ssh", "ssh+git")
_BAD_BRANCH = re.compile(r"^$|^[-/.]|[/.]$|\.lock$|\.lock/|/\.|//|\.\.|@\{|^@$|[\x00-\x20\x7f~^:?*\[\\]")


def open_repository(
    url: str,
    branch: str,
    *,
    state: Path,
    project: Path,
    signing_key: Path | None = None,
    create: bool = True,
    progress: Progress | None = None,
    direct: bool | None = None,
) -> GitRepository:
    """The repository at `url` (relative paths start at `project`); nothing is created or contacted yet.

    A path (or file: URL) to a bare repository, or to nothing, is written directly, and created by the first commit
    if `create`. Everything else is reached through a cache below `state`. `progress` hears of a rebuilt cache.
    `direct` overrules the choice, for tests. Raises GitopsError for a URL or branch that cannot be one.
    """
    if _BAD_BRANCH.search(branch):
        raise GitopsError(f"{branch!r} is not a name for a branch", where="repository.branch")
    path = _local_path(url, project)
    where = str(path) if path else mask(url)
    if direct is None:
        direct = path is not None and _may_be_written_directly(path)
    if direct:
        assert path is not None
        origin: Origin = LocalOrigin(path, branch, where, create=create)
    else:
        target = url if path is None else path.as_uri() if url.startswith("file:") else str(path)
        origin = RemoteOrigin(target, branch, state / "cache", progress or _ignore)
    key = None if signing_key is None else project / signing_key.expanduser()
    return GitRepository(origin, branch, where, project, key)


def _ignore(line: str) -> None:
    del line


def _local_path(url: str, project: Path) -> Path | None:
    """Where on this disk the URL points; None when it points elsewhere. Refuses what Git could take for an option."""
    scheme, separator, rest = url.partition("://")
    unusable = not url.strip() or url.startswith("-") or any(ord(letter) < 32 for letter in url)
    if unusable or "::" in url.split("/", 1)[0] or (separator and scheme.lower() not in _SCHEMES):
        raise GitopsError(
            "this is not a URL for a repository",
            where=mask(url) or "repository.url",
            hint="use a path, ssh://, https:// or user@host:path",
        )
    if separator:
        return Path(unquote(rest)) if scheme.lower() == "file" and rest.startswith("/") else None
    if ":" in url.split("/", 1)[0]:
        return None
    return (project / Path(url).expanduser()).absolute()


def _may_be_written_directly(path: Path) -> bool:
    if looks_like_repository(path):
        return Git(str(path), directory=path).line("rev-parse", "--is-bare-repository") == "true"
    try:
        return not any(path.iterdir())
    except FileNotFoundError:
        return True
    except OSError:
        return False


class GitRepository:
    """ports.Repository by plumbing commands: no checkout, no index, no hooks."""

    def __init__(self, origin: Origin, branch: str, where: str, project: Path, signing_key: Path | None) -> None:
        self._origin, self._git = origin, origin.git
        self._branch, self._where, self._project, self._key = branch, where, project, signing_key
        self._roots: dict[str, str] = {}

    def head(self) -> str | None:
        """See ports.Repository. Raises GitopsError when the origin cannot be reached or read."""
        return self._healing(self._origin.head)

    def entries(self, commit: str, *prefixes: str, recursive: bool = True) -> dict[str, Entry]:
        """See ports.Repository. Trees are among the entries too; without `recursive` only direct children."""
        _check_ids([commit])
        options = ("-r", "-t") if recursive else ()
        # Git compares paths in the manner of a file system: the slash asks for what lies below.
        below = tuple(f"{prefix}/" for prefix in prefixes)
        arguments = ("--full-tree", "-z", *options, commit, "--", *below)
        found = _entries(self._healing(lambda: self._git.output("ls-tree", *arguments)))
        # With -t Git names the way to the prefix as well.
        return {path: entry for path, entry in found.items() if path.startswith(below)} if below else found

    def read(self, ids: Sequence[str]) -> list[bytes]:
        """See ports.Repository. Raises GitopsError when one of them is not there."""
        if not ids:
            return []
        _check_ids(ids)
        asked = "\n".join(ids).encode() + b"\n"
        return self._healing(lambda: self._contents(self._git.output("cat-file", "--batch", data=asked)))

    def commit(self, base: str | None, changes: Mapping[str, bytes | None], message: str) -> str:
        """See ports.Repository. When the changes make no difference, nothing is committed and `base` is returned.

        Removing a path that is not there is no difference. Raises ValueError for a path or message that could never
        be committed, or when there is neither base nor change; GitopsError when a path is taken by something that is
        not ours, or when the origin refuses.
        """
        return self.commit_all(base, [(changes, message)])[0]

    def commit_all(self, base: str | None, commits: Sequence[tuple[Files, str]]) -> list[str]:
        """See ports.Repository. Without commits nothing is asked of the origin; raises as `commit` does."""
        if base is not None:
            _check_ids([base])
        drafts = [_draft(changes, message) for changes, message in commits]
        return self._healing(lambda: self._commit_all(base, drafts)) if drafts else []

    def identity(self, commit: str) -> str:
        """See ports.Repository."""
        return self.root(commit)[:_IDENTITY_LENGTH]

    def root(self, commit: str) -> str:
        """See ports.Repository. A merge of another history leaves the root that the first parents lead to."""
        _check_ids([commit])
        if commit not in self._roots:
            self._roots = {commit: self._healing(lambda: self._root(commit))}
        return self._roots[commit]

    def past(self, commit: str, paths: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """See ports.Repository."""
        _check_ids([commit])
        if not paths:
            return {}
        raw = ("log", "--raw", "--no-abbrev", "--no-renames", "--root", "-m", "-z", "--format=", commit, "--")
        return _pasts(self._healing(lambda: self._git.output(*raw, *paths)))

    def objects(self) -> Git:
        """Git where the repository's objects are, for reading beside it what `head` has brought there."""
        return self._git

    def _root(self, commit: str) -> str:
        if self._git.line("rev-parse", "--is-shallow-repository") == "true":
            raise GitopsError(
                "this is a shallow clone, and its first commit is what tells it from other repositories",
                where=self._where,
                hint="fetch the whole history: git fetch --unshallow",
            )
        return self._git.line("rev-list", "--first-parent", "--max-parents=0", commit)

    def log(
        self, *, models: Sequence[str] = (), clusters: Sequence[str] = (), limit: int | None = None
    ) -> Iterator[Commit]:
        """See ports.Repository. `body` is the text without the trailers; the order is that of the branch."""
        tip = self.head()
        if tip:
            yield from read_log(self._git, tip, models, clusters, limit)

    def _commit_all(self, base: str | None, drafts: Sequence[Draft]) -> list[str]:
        self._origin.prepare()
        paths = dict.fromkeys(path for draft in drafts for path in draft.changes)
        wanted = chain([draft.changes for draft in drafts], self._present(base, list(paths)), self._where)
        if not any(wanted):
            return [self._unchanged(base)] * len(drafts)
        if base is None and not wanted[0]:
            raise ValueError(_NOTHING_FIRST)
        drafts = [Draft(some, draft.message) for some, draft in zip(wanted, drafts, strict=True) if some]
        made = iter(self._publish(base, drafts))
        ids = [base or ""]
        for changes in wanted:
            ids.append(next(made) if changes else ids[-1])
        return ids[1:]

    def _publish(self, base: str | None, drafts: Sequence[Draft]) -> list[str]:
        """Write the chain and move the branch to its end."""
        pending = new_pending()
        try:
            who = identity(self._project)
            made = write_commits(self._git, pending, base, drafts, who)
            if self._key:
                made = sign_commits(self._git, made, base, drafts, who, self._key)
            self._origin.publish(base, made[-1], pending)
        except BaseException:
            with suppress(GitopsError, OSError):
                self._git.run("update-ref", "-d", pending)
            raise
        self._tidy()
        return made

    def _present(self, base: str | None, paths: Sequence[str]) -> dict[str, Entry]:
        """What `base` has at these paths and above them; all of it when they are many, or one lies below another."""
        if base is None:
            return {}
        if len(paths) > _FEW_PATHS or are_nested(paths):
            return self.entries(base)
        listed = ("ls-tree", "--full-tree", "-z", "-t", base, "--")
        present = _entries(self._git.output(*listed, *paths))
        # Git lists the directories on the way to a path, but not a file that stands where one should be.
        unseen = [step for step in with_parents(paths) if step not in present and step not in paths]
        return {**present, **_entries(self._git.output(*listed, *unseen))} if unseen else present

    def _unchanged(self, base: str | None) -> str:
        if base is None:
            raise ValueError(_NOTHING_FIRST)
        if self._origin.head() != base:
            raise moved(self._where, self._branch)
        return base

    def _tidy(self) -> None:
        """Drop what killed processes left behind, and let Git pack when many objects have gathered."""
        with suppress(GitopsError):
            listed = self._git.output("for-each-ref", "--format=%(refname)", PENDING).decode().split()
            abandoned = [ref for ref in listed if _age(ref) > ABANDONED_SECONDS]
            if abandoned:
                deletions = "".join(f"delete {ref}\n" for ref in abandoned)
                self._git.run("update-ref", "--stdin", data=deletions.encode())
            if self._git.run("config", "--local", "--get-all", "gc.recentObjectsHook").out:
                return  # a program of whoever configured a repository on this disk
            packing = ("gc.auto=6700", "gc.autoDetach=false", "gc.pruneExpire=2.weeks.ago")
            self._git.run(*(word for setting in packing for word in ("-c", setting)), "gc", "--auto", "--quiet")

    def _contents(self, batch: bytes) -> list[bytes]:
        found, position = [], 0
        while position < len(batch):
            end = batch.index(b"\n", position)
            header = batch[position:end].split()
            if len(header) != 3:
                raise Damaged(f"object {header[0].decode()} is missing", where=self._where, hint="git fsck says more")
            size = int(header[2])
            found.append(batch[end + 1 : end + 1 + size])
            position = end + size + 2
        return found

    def _healing(self, work: Callable[[], _T]) -> _T:
        """Do the work; when a cache turns out to be damaged, fetch it afresh and do it once more."""
        try:
            return work()
        except Damaged:
            if not self._origin.rebuild():
                raise
        self._origin.head()
        return work()


def _draft(changes: Files, message: str) -> Draft:
    check_paths(changes)
    if not message.strip() or "\0" in message:
        raise ValueError("a commit needs a message, without NUL")
    return Draft(changes, message.strip("\n") + "\n")


def _check_ids(ids: Sequence[str]) -> None:
    for identifier in ids:
        if not _ID.fullmatch(identifier):
            raise ValueError(f"not an object id: {identifier!r}")


def _entries(listed: bytes) -> dict[str, Entry]:
    return dict(_entry(line) for line in listed.decode(errors="surrogateescape").split("\0") if line)


def _entry(line: str) -> tuple[str, Entry]:
    fields, _, path = line.partition("\t")
    mode, kind, identifier = fields.split(" ")
    return path, Entry(mode, kind, identifier)


def _pasts(listed: bytes) -> dict[str, tuple[str, ...]]:
    """By path the ids of `git log --raw -z`: `:modes old new status`, then the path."""
    found: dict[str, dict[str, None]] = {}
    parts = [part.lstrip("\n") for part in listed.decode(errors="surrogateescape").split("\0")]
    for said, path in pairwise(parts):
        if said.startswith(":"):
            ids = (each for each in said.split(" ")[2:4] if each.strip("0"))
            found.setdefault(path, {}).update(dict.fromkeys(ids))
    return {path: tuple(ids) for path, ids in found.items()}


def _age(pending: str) -> float:
    try:
        return time.time() - ULID.from_str(pending.removeprefix(PENDING)).timestamp
    except ValueError:
        return 0.0
