"""Images that the files of a spec name by a tag: whoever may push to the registry decides what it means tomorrow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gitops.spec.documents import Document, Documents
from gitops.spec.images import DEFAULTS
from gitops.spec.problems import Path

_PLACES = frozenset(
    {
        ("serve", "image"),
        ("serve", "fetchImage"),
        ("job", "image"),
        ("gpu", "image"),
        ("gitlab", "image"),
        *(("images", field) for field in DEFAULTS),
    }
)
"""Where images stand that run, by the last two keys. What `package` builds is named by its commit."""


def tagged(documents: Documents) -> dict[str, str]:
    """Each image without a digest, with the file and line where it stands first."""
    found: dict[str, str] = {}
    for document in (documents.pipeline, *documents.environments.values()):
        if document:
            for image, place in _in(document):
                found.setdefault(image, place)
    return found


def _in(document: Document) -> Iterator[tuple[str, str]]:
    named = list(_named((), document.data))
    if not named:
        return
    document.look_up(path for path, _ in named)
    for path, image in named:
        line, _ = document.place(path).value
        yield image, f"{document.source.path}:{line}"


def _named(path: Path, data: Any) -> Iterator[tuple[Path, str]]:
    if isinstance(data, dict):
        for name, value in data.items():
            yield from _named((*path, name), value)
    elif isinstance(data, str) and path[-2:] in _PLACES and "@" not in data:
        yield path, data
