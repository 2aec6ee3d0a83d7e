"""What is finished of a digest that was interrupted, in one small JSON file."""

from __future__ import annotations

import json
import os
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

MAX_BYTES = 512 * 1024 * 1024
SAVE_EVERY = 5.0
"""Seconds between two writes: what is lost at worst when the process is killed."""
_FORMAT = "gitops-digest-1"


class Stamp(NamedTuple):
    """By what a file is known to be unchanged: bytes, time of its last change in nanoseconds, and inode."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """The stamp of what `os.stat` said."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


@dataclass(slots=True)
class Finished:
    """Digests (hex) of whole files of one directory, by path and stamp. A file that cannot be read holds none."""

    place: Path
    root: str
    known: dict[str, tuple[Stamp, str]]
    saved_at: float = field(default_factory=time.monotonic)
    lock: Lock = field(default_factory=Lock)

    @classmethod
    def load(cls, place: Path, root: Path) -> Finished:
        """What an interrupted digest of `root` left at `place`."""
        where = str(root.resolve())
        return cls(place, where, _parse(place, where))

    def get(self, path: str, stamp: Stamp) -> str | None:
        """The digest of a file that is still the same."""
        known = self.known.get(path)
        return known[1] if known and known[0] == stamp else None

    def put(self, path: str, stamp: Stamp, digest: str) -> None:
        """Remember a file; written down every few seconds."""
        with self.lock:
            self.known[path] = (stamp, digest)
            due = time.monotonic() - self.saved_at >= SAVE_EVERY
            if due:
                self.saved_at = time.monotonic()
                self._write()

    def save(self) -> None:
        """Write down what is known now."""
        with self.lock:
            if self.known:
                self._write()

    def remove(self) -> None:
        """The digest is complete: the next one reads everything again."""
        with suppress(OSError):
            self.place.unlink(missing_ok=True)

    def _write(self) -> None:
        # Failing to remember costs time, not correctness: a full disk must not end the digest.
        files = {path: [*stamp, digest] for path, (stamp, digest) in self.known.items()}
        text = json.dumps({"format": _FORMAT, "root": self.root, "files": files})
        temporary = ""
        try:
            self.place.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self.place.parent, prefix=f".{self.place.name}.")
            with os.fdopen(handle, "w") as file:
                file.write(text)
            Path(temporary).replace(self.place)
        except OSError:
            if temporary:
                with suppress(OSError):
                    Path(temporary).unlink(missing_ok=True)


def _parse(place: Path, root: str) -> dict[str, tuple[Stamp, str]]:
    try:
        if place.stat().st_size > MAX_BYTES:
            return {}
        document = json.loads(place.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(document, dict) or (document.get("format"), document.get("root")) != (_FORMAT, root):
        return {}
    files = document.get("files")
    entries = files.items() if isinstance(files, dict) else ()
    return {path: (Stamp(*entry[:3]), entry[3]) for path, entry in entries if _is_entry(entry)}


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, list) or len(entry) != 4 or not all(type(part) is int for part in entry[:3]):
        return False
    digest = entry[3]
    return isinstance(digest, str) and len(digest) == 64 and set(digest) <= set("0123456789abcdef")
