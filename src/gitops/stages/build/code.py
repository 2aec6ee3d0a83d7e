"""A directory of code of the project: which of its files count, and what must not be among them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from gitops.errors import GitopsError

LEFT_OUT = ("__pycache__", ".*", "*.pyc")
"""What running code leaves behind, and what hides: `.git`, `.env.production`, `.netrc`, `.venv`."""
_KEY = b"PRIVATE KEY-----"
_LOOKED_AT = 64 * 1024


def members(directory: Path, network: bool = False) -> list[Path]:
    """The files by their relative paths, sorted, without what is left out (`LEFT_OUT`).

    Of a `network` only the Python files count: whatever data lies beside them is not part of the model. Raises
    GitopsError for links, which could bring files from anywhere, for private keys, and where there is no code.
    """
    found = [path.relative_to(directory) for path in _walked(directory) if not network or path.suffix == ".py"]
    if not found:
        raise GitopsError("there is no code in it", where=str(directory), hint="check `code`")
    return sorted(found)


def _walked(directory: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(directory):
        folders[:] = [name for name in folders if not _is_left_out(name)]
        for name in (*folders, *files):
            path = Path(root, name)
            if _is_left_out(name):
                continue
            if path.is_symlink():
                raise GitopsError("this is a link", where=str(path), hint="put the file itself in its place")
            if name in files:
                _check(path)
                yield path


def _is_left_out(name: str) -> bool:
    return name == "__pycache__" or name.startswith(".") or name.endswith(".pyc")


def _check(path: Path) -> None:
    if not path.is_file():
        raise GitopsError("this is no regular file", where=str(path), hint="remove it from the directory of the code")
    with path.open("rb") as file:
        if _KEY in file.read(_LOOKED_AT):
            raise GitopsError("this holds a private key", where=str(path), hint="keep keys out of the code's directory")
