"""Builds commits without a checkout: their objects, who they are from, their signatures."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gitops.errors import GitopsError
from gitops.values import ACTING, readable
from gitops.world.git.changes import Files
from gitops.world.git.process import Git


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a commit is from, in a form that Git accepts."""

    name: str
    email: str


class Draft(NamedTuple):
    """A commit to be: what differs from the one before it, and what it says."""

    changes: Files
    message: str


def write_commits(git: Git, ref: str, base: str | None, drafts: Sequence[Draft], who: Identity) -> list[str]:
    """Write a chain of commits and their objects on top of `base`, under the new ref `ref`; their ids."""
    stream = _stream(ref, base, drafts, who)
    result = git.run("-c", "core.ignoreCase=false", "fast-import", "--quiet", "--done", data=stream)
    if result.status:
        _remove_crash_reports(git)
        raise git.failure("fast-import", result)
    return result.out.decode().split()


def _stream(ref: str, base: str | None, drafts: Sequence[Draft], who: Identity) -> bytes:
    parts = [b"feature done\n"]
    now = int(time.time())
    for mark, draft in enumerate(drafts, 1):
        text = draft.message.encode(errors="replace")
        parent = base if mark == 1 else f":{mark - 1}"
        parts += (
            f"commit {ref}\nmark :{mark}\n".encode(),
            f"committer {who.name} <{who.email}> {now} +0000\n".encode(),
            b"data %d\n" % len(text),
            text,
            f"\nfrom {parent}\n".encode() if parent else b"\n",
            *_file_commands(draft.changes),
        )
    parts += [b"get-mark :%d\n" % mark for mark in range(1, len(drafts) + 1)]
    return b"".join([*parts, b"done\n"])


def _file_commands(changes: Files) -> list[bytes]:
    # Removals first: a file may make room for a directory.
    commands = [b"D %s\n" % _quoted(path) for path, content in changes.items() if content is None]
    for path, content in changes.items():
        if content is not None:
            commands += (b"M 100644 inline %s\ndata %d\n" % (_quoted(path), len(content)), content, b"\n")
    return commands


def _quoted(path: str) -> bytes:
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return b'"%s"' % escaped.encode(errors="surrogateescape")


def _remove_crash_reports(git: Git) -> None:
    if git.directory:
        for report in git.directory.glob("fast_import_crash_*"):
            report.unlink(missing_ok=True)


def sign_commits(
    git: Git, unsigned: Sequence[str], base: str | None, drafts: Sequence[Draft], who: Identity, key: Path
) -> list[str]:
    """The same chain signed with an SSH key (a private key without passphrase, or a public key of ssh-agent)."""
    signed: list[str] = []
    for commit, draft in zip(unsigned, drafts, strict=True):
        signed.append(_signed(git, commit, signed[-1] if signed else base, draft.message, who, key))
    return signed


def _signed(git: Git, unsigned: str, parent: str | None, message: str, who: Identity, key: Path) -> str:
    options = ("gpg.format=ssh", "gpg.ssh.program=ssh-keygen", f"user.signingkey={key}")
    now = f"{int(time.time())} +0000"
    variables = {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", who.name), ("EMAIL", who.email), ("DATE", now))
    }
    parents = ("-p", parent) if parent else ()
    result = git.run(
        *(word for option in options for word in ("-c", option)),
        *("commit-tree", "-S", f"{unsigned}^{{tree}}", *parents, "-F", "-"),
        data=message.encode(errors="replace"),
        variables=variables | {"SSH_ASKPASS_REQUIRE": "never"},
    )
    if result.status:
        said = result.err.strip().splitlines()
        raise GitopsError(
            f"the commit cannot be signed ({said[-1] if said else 'no message'})",
            where=str(key),
            hint="it must be an SSH key that ssh-keygen can use without asking",
        )
    return result.out.decode().strip()


_IDENTITY_KEYS = r"^(user|author)\.(name|email)$"


def identity(project: Path) -> Identity:
    """Who runs this, as Git would say it in the project's directory; `gitops <gitops@localhost>` when nobody said."""
    git = Git(where=str(project), worktree=project if project.is_dir() else None)
    result = git.run("config", "-z", "--get-regexp", _IDENTITY_KEYS)
    pairs = (item.partition("\n") for item in result.out.decode(errors="replace").split("\0") if item)
    configured = {key: value for key, _, value in pairs} if not result.status else {}
    name = os.environ.get("GIT_AUTHOR_NAME") or configured.get("author.name") or configured.get("user.name")
    email = (
        os.environ.get("GIT_AUTHOR_EMAIL")
        or configured.get("author.email")
        or configured.get("user.email")
        or os.environ.get("EMAIL")
    )
    return Identity(_plain(name) or "gitops", _plain(email) or "gitops@localhost")


def _plain(text: str | None) -> str:
    return re.sub(rf"[<>\x00-\x1f\x7f{ACTING}]", "", readable(text or "")).strip(" .,:;\"\\'")
