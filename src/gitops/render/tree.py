"""Git's object ids, computed without Git: the id of a rendered directory tells whether it is in a commit already."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

_FILE, _DIRECTORY = "100644", "40000"

_Leaf = tuple[str, str]
_Directory = dict[str, "_Leaf | _Directory"]


def blob_id(data: bytes, *, algorithm: str = "sha1") -> str:
    """The id that `git hash-object` gives these contents; `algorithm` is the repository's (sha1 or sha256)."""
    return _object_id("blob", data, algorithm)


def tree_id(files: Mapping[str, bytes], *, algorithm: str = "sha1") -> str:
    """The id of the Git tree with these files (paths relative, `/` between parts), each of mode 100644.

    Raises ValueError for a path that Git could not hold or that is a file and a directory at once.
    """
    entries = {path: (_FILE, blob_id(data, algorithm=algorithm)) for path, data in files.items()}
    return tree_id_of(entries, algorithm=algorithm)


def tree_id_of(entries: Mapping[str, tuple[str, str]], *, algorithm: str = "sha1") -> str:
    """The id of the Git tree with these entries: by path the mode (`100644`) and the id of the object.

    Raises ValueError as `tree_id` does.
    """
    root: _Directory = {}
    for path, leaf in entries.items():
        _put(root, path, leaf)
    return _tree(root, algorithm)


def _put(root: _Directory, path: str, leaf: _Leaf) -> None:
    *parents, name = path.split("/")
    if any(part in ("", ".", "..", ".git") or "\0" in part for part in (*parents, name)):
        raise ValueError(f"{path!r} is no path inside a tree")
    directory = root
    for parent in parents:
        child = directory.setdefault(parent, {})
        if isinstance(child, tuple):
            raise ValueError(f"{path!r} lies below a file")
        directory = child
    if isinstance(directory.get(name), dict):
        raise ValueError(f"{path!r} is a directory too")
    directory[name] = leaf


def _tree(directory: _Directory, algorithm: str) -> str:
    rows = []
    for name, content in directory.items():
        mode, digest = content if isinstance(content, tuple) else (_DIRECTORY, _tree(content, algorithm))
        # Git sorts a directory as if its name ended in a slash.
        key = name.encode() + (b"/" if isinstance(content, dict) else b"")
        rows.append((key, b"%s %s\0%s" % (mode.encode(), name.encode(), bytes.fromhex(digest))))
    return _object_id("tree", b"".join(row for _, row in sorted(rows)), algorithm)


def _object_id(kind: str, data: bytes, algorithm: str) -> str:
    content = b"%s %d\0%s" % (kind.encode(), len(data), data)
    return hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
