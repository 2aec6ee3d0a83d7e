"""Where finished stages are kept: `.gitops/builds/<key>/` with `output/` and `done.json`.

A stage works in a directory beside, which becomes `<key>` by one rename when everything is in it and on the disk: what
has that name is finished. The lock of a key is held while it is looked for and made, so that two builds make it once.
Nothing is ever changed in a finished directory, and each can be deleted at any time.

What lies there is believed only with a seal: an HMAC over `done.json`, by a key that whoever else can write there does
not have. So a job for pull requests that shares a runner with the job of releases puts nothing into a release.
"""

from __future__ import annotations

import fcntl
import hmac
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from hmac import compare_digest
from pathlib import Path
from typing import Any

from gitops.errors import GitopsError
from gitops.stages.digest import digest_path

_LEAST = 32
"""Characters or bytes of a key."""
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
    key: bytes = field(repr=False)
    """Of the seals; see `seal_key`."""

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
        """The finished stage, if its seal is ours and its output is still what it was; else it is put away."""
        place = self.root / key
        if not place.is_dir():
            return None
        try:
            document = json.loads((place / "done.json").read_text())
            seal = str(document.pop("seal"))
            done = Done(**{**document, "notes": tuple(document["notes"])})
            if compare_digest(seal, self._seal(key, done)) and digest_path(self.output(key)).digest == done.digest:
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
        with (work.root / "done.json").open("x") as file:
            json.dump({**asdict(done), "seal": self._seal(key, done)}, file, indent=2, sort_keys=True)
        for path in (*work.output.rglob("*"), work.root / "done.json", work.root):
            _sync(path)
        work.root.rename(self.root / key)
        _sync(self.root)
        return self.output(key)

    def _seal(self, key: str, done: Done) -> str:
        content = json.dumps({"key": key, **asdict(done)}, sort_keys=True).encode()
        return hmac.new(self.key, content, "sha256").hexdigest()


@cache
def seal_key() -> bytes:
    """The key of the seals: GITOPS_CACHE_KEY, else one that this user keeps, made at first need.

    In CI users are shared, so without that variable it is a new one each time: nothing of an earlier run is believed.
    Raises GitopsError for one that is easily guessed, and where the user's cannot be kept.
    """
    if given := os.environ.get("GITOPS_CACHE_KEY", ""):
        if len(given) < _LEAST:
            hint = "set it to `openssl rand -hex 32`"
            raise GitopsError(f"a key has at least {_LEAST} characters", where="GITOPS_CACHE_KEY", hint=hint)
        return given.encode()
    if os.environ.get("CI", "").lower() in ("true", "1"):
        return secrets.token_bytes(_LEAST)
    place = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "gitops" / "cache.key"
    try:
        return _kept_key(place)
    except OSError as error:
        hint = "set GITOPS_CACHE_KEY to `openssl rand -hex 32`"
        raise GitopsError(f"the key of the build cache cannot be kept: {error}", where=str(place), hint=hint) from error


def _kept_key(place: Path) -> bytes:
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = place.with_name(f".{place.name}.{os.getpid()}")
    if not place.exists():
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_LEAST))
        with suppress(FileExistsError):  # another build was first
            os.link(made, place)
        made.unlink()
    return place.read_bytes()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
