"""What commits change, as plain values: which paths are lawful, and what really differs from the tree before."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from gitops.errors import GitopsError
from gitops.render.tree import blob_id
from gitops.world.ports import Entry

Files = Mapping[str, bytes | None]
"""By path its new content, or None for a file that goes."""

_FILE_MODE = "100644"
_DIRECTORY = Entry("040000", "tree", "")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_REFUSED_NAMES = re.compile(r"\.git|git~\d+", re.IGNORECASE)


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


def with_parents(paths: Iterable[str]) -> list[str]:
    """These paths and all directories on the way to them, each once."""
    return list(dict.fromkeys(step for path in paths for step in [*_parents(path), path]))


def are_nested(paths: Iterable[str]) -> bool:
    """Whether one of the paths lies below another."""
    known = set(paths)
    return any(parent in known for path in known for parent in _parents(path))


def chain(commits: Sequence[Files], present: Mapping[str, Entry], where: str) -> list[Files]:
    """What each of these commits makes different to what the one before it leaves; the first starts at `present`.

    `present` (with trees) holds the paths in question and what is above them, or everything where the paths
    `are_nested`: whether a directory is left without files, and thus gone, shows only there. Raises GitopsError as
    `differing` does.
    """
    tree, found = _Tree(present), []
    for number, changes in enumerate(commits, 1):
        found.append(differing(changes, tree.entries, where))
        if number < len(commits):
            tree.change(found[-1])
    return found


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


class _Tree:
    """The entries of a tree, carried on from commit to commit."""

    def __init__(self, present: Mapping[str, Entry]) -> None:
        self.entries = dict(present)
        self._algorithm = next((_algorithm(entry) for entry in present.values()), "sha1")
        self._children: Counter[str] | None = None

    def change(self, changes: Files) -> None:
        if self._children is None:
            self._children = Counter(map(_parent, self.entries))
        for path, content in changes.items():
            if content is None:
                self._remove(path, self._children)
        for path, content in changes.items():
            if content is not None:
                identifier = blob_id(content, algorithm=self._algorithm)
                self._put(path, Entry(_FILE_MODE, "blob", identifier), self._children)

    def _remove(self, path: str, children: Counter[str]) -> None:
        del self.entries[path]
        parent = _parent(path)
        children[parent] -= 1
        if parent in self.entries and not children[parent]:  # Git keeps no empty directories
            self._remove(parent, children)

    def _put(self, path: str, entry: Entry, children: Counter[str]) -> None:
        if path not in self.entries:
            parent = _parent(path)
            children[parent] += 1
            if parent:
                self._put(parent, _DIRECTORY, children)
        self.entries[path] = entry


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
    return entry.mode != _FILE_MODE or entry.id != blob_id(content, algorithm=_algorithm(entry))


def _algorithm(entry: Entry) -> str:
    return "sha256" if len(entry.id) == 64 else "sha1"


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]
