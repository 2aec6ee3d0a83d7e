"""Checkpoints in, artifacts out: paths of the project and of the machine, or object stores by fsspec."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gitops.errors import GitopsError
from gitops.stages import artifacts
from gitops.stages.digest import digest_path
from gitops.stages.stores import filesystem_of, said

Say = Callable[[str], None]


def local_path(uri: str, project: Path) -> Path | None:
    """The path of a `file://` URI: with two slashes in the project, with three on the machine. None for others."""
    if not uri.startswith("file://"):
        return None
    return project / uri.removeprefix("file://")


def fetch(uri: str, digest: str, project: Path, cache: Path, say: Say) -> Path:
    """The files of a URI, which have that content digest. What is remote is kept in `cache` by its digest.

    Raises GitopsError when they cannot be had, or are others.
    """
    place = local_path(uri, project)
    if place is None:
        kept = cache / f"source-{digest.removeprefix('sha256:')}"
        if not kept.exists():
            say(f"fetching {uri}")
        artifacts.fetch(uri, kept, digest, project=project)
        return kept
    found = digest_path(place).digest
    if found != digest:
        hint = f"if it is meant, write `digest: {found}`"
        raise GitopsError(f"the source has the digest {found}, the spec says {digest}", where=uri, hint=hint)
    return place


def publish(source: Path, digest: str, uri: str, project: Path, say: Say) -> None:
    """Copy an artifact (a directory) to its URI. What is there already is left alone, and has to be the same.

    Of a remote one, names and sizes are compared. Raises GitopsError when it is something else.
    """
    target = local_path(uri, project)
    if target is None:
        _upload(source, uri, say)
    elif target.exists():
        if digest_path(target).digest != digest:
            raise _taken(uri)
    else:
        say(f"publishing {uri}")
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    arriving = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, arriving)
        arriving.rename(target)
    except OSError as error:
        raise GitopsError(f"cannot be written: {error.strerror or error}", where=str(target)) from error
    finally:
        shutil.rmtree(arriving, ignore_errors=True)


def _upload(source: Path, uri: str, say: Say) -> None:
    path, store = uri.partition("://")[2], filesystem_of(uri)
    files = {file.relative_to(source).as_posix(): file.stat().st_size for file in source.rglob("*") if file.is_file()}
    try:
        present = _present(store, path.strip("/"))
        if present == files:
            return
        if present.items() - files.items():
            raise _taken(uri)
        say(f"publishing {uri}")
        for name in sorted(files.keys() - present.keys()):
            store.put_file(str(source / name), f"{path.strip('/')}/{name}")
    except GitopsError:
        raise
    except Exception as error:  # each store has its own
        hint = "check the address and the credentials; the same command goes on where it was"
        raise GitopsError(f"the upload failed: {said(error)}", where=uri, hint=hint) from error


def _present(store: Any, root: str) -> dict[str, int]:
    """The sizes of what lies below, by path; what an upload that was interrupted left is among it."""
    store.invalidate_cache()
    if not store.exists(root):
        return {}
    return {
        name.strip("/").removeprefix(f"{root}/"): info["size"] for name, info in store.find(root, detail=True).items()
    }


def _taken(uri: str) -> GitopsError:
    hint = "an artifact never changes: give the new one another version and another `output.uri`"
    return GitopsError("there is something else already", where=uri, hint=hint)
