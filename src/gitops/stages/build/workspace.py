"""Where finished stages are kept: `.gitops/builds/<key>/` with `output/` and `done.json`.

A stage works in a directory beside, which becomes `<key>` by one rename when everything is in it and on the disk: what
has that name is finished. The lock of a key is held while it is looked for and made, so that two builds make it once.
Nothing is ever changed in a finished directory, and each can be deleted at any time.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gitops.errors import GitopsError
from gitops.stages.digest import digest_path

DIRECTORY = Path(".gitops", "builds")
"""In the project."""


@dataclass(frozen=True, slots=True)
class Done:
    """What `done.json` says of a finished stage."""

    stage: str
    digest: str
    """The content digest of `output/`."""
    seconds: float
    figures: Mapping[str, float]
    notes: tuple[str, ...]
    tools: Mapping[str, str]
    signature: Mapping[str, Any] | None
    """Inputs and outputs of the model, where the stage knows them."""


@dataclass(frozen=True, slots=True)
class Work:
    """The directory in which a stage works."""

    root: Path

    @property
    def output(self) -> Path:
        """What is kept."""
        return self.root / "output"

    @property
    def scratch(self) -> Path:
        """What is not."""
        return self.root / "scratch"


@dataclass(frozen=True, slots=True)
class Workspace:
    """The finished stages below a directory, which need not exist yet."""

    root: Path

    def output(self, key: str) -> Path:
        """Where what a finished stage made lies."""
        return self.root / key / "output"

    def log(self, key: str) -> Path:
        """What the tools of a stage printed, the last time that it ran."""
        return self.root / f"{key}.log"

    @contextmanager
    def locked(self, key: str) -> Iterator[None]:
        """No other process looks for this key, or makes it, meanwhile."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.root / f".{key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise GitopsError(f"cannot be written: {error.strerror}", where=str(self.root)) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def find(self, key: str) -> Done | None:
        """The finished stage, if its output is still what it was; else it is put away and None is given."""
        place = self.root / key
        if not place.is_dir():
            return None
        try:
            document = json.loads((place / "done.json").read_text())
            done = Done(**{**document, "notes": tuple(document["notes"])})
            if digest_path(self.output(key)).digest == done.digest:
                return done
        except (OSError, ValueError, TypeError, KeyError, GitopsError):
            pass
        shutil.rmtree(place)
        return None

    def begin(self, key: str) -> Work:
        """An empty place to work in. What a killed build left there is removed."""
        work = Work(self.root / f".{key}.work")
        shutil.rmtree(work.root, ignore_errors=True)
        work.output.mkdir(parents=True)
        work.scratch.mkdir()
        return work

    def finish(self, key: str, work: Work, done: Done) -> Path:
        """Make the work the finished stage of that key; from then on it is found. Returns its output."""
        shutil.rmtree(work.scratch)
        with (work.root / "done.json").open("w") as file:
            json.dump(asdict(done), file, indent=2, sort_keys=True)
        for path in (*work.output.rglob("*"), work.root / "done.json", work.root):
            _sync(path)
        work.root.rename(self.root / key)
        _sync(self.root)
        return self.output(key)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
