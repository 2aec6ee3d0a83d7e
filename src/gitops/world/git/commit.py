"""Builds a commit without a checkout: what differs from its base, the objects, who it is from, its signature."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gitops.errors import GitopsError
from gitops.render.tree import blob_id
from gitops.world.git.process import Git
from gitops.world.ports import Entry

_FILE_MODE = "100644"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_REFUSED_NAMES = re.compile(r"\.git|git~\d+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a commit is from, in a form that Git accepts."""

    name: str
    email: str


Files = Mapping[str, bytes | None]


def check_paths(changes: Files) -> None:
    """Raise ValueError unless each path is a plain file's path inside a repository, and none lies below another."""
    good: set[str] = set()
    for path in changes:
        if not path or _CONTROL.search(path):
            raise ValueError(f"not a path for a repository: {path!r}")
        for part in path.split("/"):
            if part in good:
                continue
            # Some file systems drop trailing dots and spaces, so those would be .git after a checkout.
            if part in ("", ".", "..") or _REFUSED_NAMES.fullmatch(part.split(":")[0].rstrip(". ")):
                raise ValueError(f"not a path for a repository: {path!r}")
            good.add(part)
    written = {path for path, content in changes.items() if content is not None}
    for path in written:
        if any(parent in written for parent in _parents(path)):
            raise ValueError(f"{path!r} lies below a path that is a file")


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def with_parents(paths: Iterable[str]) -> list[str]:
    """These paths and all directories on the way to them, each once."""
    return list(dict.fromkeys(step for path in paths for step in [*_parents(path), path]))


def differing(changes: Files, present: Mapping[str, Entry], where: str) -> Files:
    """Those of the changes that make a difference to the tree `present` (recursive, with trees).

    Raises GitopsError when a change would replace a directory, or a file that it does not itself remove: such
    things are not ours.
    """
    for path in changes:
        if path in present and present[path].kind != "blob":
            raise GitopsError(f"{path} is a directory there, and a file was expected", where=where)
    _check_parents(changes, present, where)
    return {path: content for path, content in changes.items() if _differs(content, present.get(path))}


def _check_parents(changes: Files, present: Mapping[str, Entry], where: str) -> None:
    checked: set[str] = set()
    for path, content in changes.items():
        for parent in _parents(path) if content is not None else ():
            if parent in checked:
                continue
            checked.add(parent)
            entry = present.get(parent)
            if entry and entry.kind != "tree" and changes.get(parent, b"") is not None:
                raise GitopsError(f"{parent} is a file there, and a directory was expected", where=where)


def _differs(content: bytes | None, entry: Entry | None) -> bool:
    if content is None or entry is None:
        return (content is None) != (entry is None)
    algorithm = "sha256" if len(entry.id) == 64 else "sha1"
    return entry.mode != _FILE_MODE or entry.id != blob_id(content, algorithm=algorithm)


def write_commit(git: Git, ref: str, base: str | None, changes: Files, message: str, who: Identity) -> str:
    """Write the commit and its objects under the new ref `ref`; its id."""
    stream = _stream(ref, base, changes, message, who)
    result = git.run("-c", "core.ignoreCase=false", "fast-import", "--quiet", "--done", data=stream)
    if result.status:
        _remove_crash_reports(git)
        raise git.failure("fast-import", result)
    return result.out.decode().strip()


def _stream(ref: str, base: str | None, changes: Files, message: str, who: Identity) -> bytes:
    text = message.encode(errors="replace")
    parts = [
        b"feature done\n",
        f"commit {ref}\nmark :1\n".encode(),
        f"committer {who.name} <{who.email}> {int(time.time())} +0000\n".encode(),
        b"data %d\n" % len(text),
        text,
        f"\nfrom {base}\n".encode() if base else b"\n",
    ]
    # Removals first: a file may make room for a directory.
    parts += [b"D %s\n" % _quoted(path) for path, content in changes.items() if content is None]
    for path, content in changes.items():
        if content is not None:
            parts += (b"M 100644 inline %s\ndata %d\n" % (_quoted(path), len(content)), content, b"\n")
    parts.append(b"get-mark :1\ndone\n")
    return b"".join(parts)


def _quoted(path: str) -> bytes:
    escaped = path.replace("\\", "\\\\").replace('"', '\\"')
    return b'"%s"' % escaped.encode(errors="surrogateescape")


def _remove_crash_reports(git: Git) -> None:
    if git.directory:
        for report in git.directory.glob("fast_import_crash_*"):
            report.unlink(missing_ok=True)


def sign_commit(git: Git, unsigned: str, base: str | None, message: str, who: Identity, key: Path) -> str:
    """The same commit signed with an SSH key (a private key without passphrase, or a public key of ssh-agent)."""
    options = ("gpg.format=ssh", "gpg.ssh.program=ssh-keygen", f"user.signingkey={key}")
    now = f"{int(time.time())} +0000"
    variables = {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", who.name), ("EMAIL", who.email), ("DATE", now))
    }
    parents = ("-p", base) if base else ()
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
    return re.sub(r"[<>\x00-\x1f\x7f]", "", text or "").strip(" .,:;\"\\'")
