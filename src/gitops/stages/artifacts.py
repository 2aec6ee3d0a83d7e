"""Artifacts by URI: their content digest without a local copy, and a verified local copy where one is wanted.

URIs: `s3://bucket/path`, `gs://bucket/path`, `az://container/path`, `hf://owner/name@revision`,
`oci://registry/name:tag`, `file://path`, or a plain path; local ones are relative to the project.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import Any

from gitops.errors import GitopsError
from gitops.stages.digest import Digested, FileDigest, Progress, combined, digest_path
from gitops.stages.stores import Item, Listing, LocalStore, Store, Transient, open_store

THREADS = 4
"""Files of a remote store that are read at the same time."""
TRIES = 5
"""How often a read is tried without a byte of progress in between."""
PAUSE = 0.5
"""Seconds before the second try; doubled for each further one."""
_MEND = "make room or choose another place, then fetch again: it goes on where it was"


def digest_of(
    uri: str, *, project: Path | None = None, progress: Progress | None = None, cache: Path | None = None
) -> Digested:
    """The content digest of what lies at a URI, read once from beginning to end and kept nowhere.

    `project` is what local paths are relative to (the working directory by default). `cache` makes the digest of a
    local path resumable, see `digest_path`. Raises GitopsError when it cannot be read or changes meanwhile.
    """
    store = open_store(uri, project or Path())
    if isinstance(store, LocalStore):
        return digest_path(store.path, progress=progress, cache=cache)
    return digest_stored(store, progress=progress)


def digest_stored(store: Store, *, progress: Progress | None = None, threads: int = THREADS) -> Digested:
    """The content digest of an artifact in a store; see `digest_of`."""
    listing = _listing(store)
    files = _Streams(store, progress, sum(item.size for item in listing.items)).run(listing, threads)
    if _listing(store) != listing:
        raise _changed(store.uri)
    return _digested(listing, files)


def fetch(
    uri: str, into: Path, expected: str, *, project: Path | None = None, progress: Progress | None = None
) -> Digested:
    """A copy of an artifact at `into` that has the expected digest, or GitopsError and nothing at `into`.

    What is there of an interrupted fetch (in `.<name>.part` beside it) is read again and continued. When `into` is
    already what it should be, nothing is fetched; when something else lies there, it is left alone and refused.
    """
    store = open_store(uri, project or Path())
    try:
        if into.exists():
            return _already_there(into, expected)
        into.parent.mkdir(parents=True, exist_ok=True)
        with _alone(into.parent / f".{into.name}.lock"):
            return _fetched(store, into, expected, progress)
    except OSError as error:
        raise GitopsError(f"cannot write: {error.strerror or error}", where=str(into), hint=_MEND) from error


def read_beside(uri: str, suffix: str, *, project: Path | None = None) -> bytes | None:
    """The small file `<uri><suffix>` that belongs to an artifact, or None; GitopsError when it cannot be read."""
    return open_store(uri.rstrip("/"), project or Path()).beside(suffix)


def write_beside(uri: str, suffix: str, data: bytes, *, project: Path | None = None) -> None:
    """Write `<uri><suffix>`. Raises GitopsError, for a store that has no such place too."""
    try:
        open_store(uri.rstrip("/"), project or Path()).put_beside(suffix, data)
    except Transient as error:
        raise GitopsError(f"cannot be written: {error}", where=f"{uri}{suffix}", hint="try again") from error


def _listing(store: Store) -> Listing:
    for attempt in range(TRIES):
        try:
            return store.listing()
        except Transient as error:
            _wait(attempt, error, store.uri)
    raise AssertionError("the last try raises")


def _wait(attempt: int, error: Transient, where: str) -> None:
    """Raises GitopsError after the last try."""
    if attempt == TRIES - 1:
        hint = "check the network, the credentials and the endpoint, then run it again"
        raise GitopsError(f"the store does not answer: {error}", where=where, hint=hint) from error
    time.sleep(PAUSE * 2**attempt)


def _changed(where: str) -> GitopsError:
    return GitopsError("it changed while it was read", where=where, hint="wait until nobody writes there any more")


def _digested(listing: Listing, files: list[FileDigest]) -> Digested:
    if listing.directory:
        return combined(files)
    return Digested(f"sha256:{files[0].sha256}", files[0].size, tuple(files), directory=False)


@dataclass(slots=True)
class _Streams:
    """Several files of a store at a time, each from its beginning, or from where a copy on disk ends."""

    store: Store
    progress: Progress | None
    total: int
    stop: Event = field(default_factory=Event)
    lock: Lock = field(default_factory=Lock)
    done: int = 0

    def run(self, listing: Listing, threads: int, copy: Callable[[Item], Path] | None = None) -> list[FileDigest]:
        """The digests of all files; with `copy`, each is appended to the file that it names."""
        self._tell(0)
        found: dict[str, FileDigest] = {}
        items = sorted(listing.items, key=lambda item: -item.size)
        with ThreadPoolExecutor(max(1, min(threads, len(items)))) as pool:
            futures = [pool.submit(self._one, item, copy(item) if copy else None) for item in items]
            try:
                for future in as_completed(futures):
                    file = future.result()
                    found[file.path] = file
            except BaseException:
                self.stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        return [found[item.path] for item in listing.items]

    def _one(self, item: Item, copy: Path | None) -> FileDigest:
        state, size = hashlib.sha256(), 0
        if copy is None:
            for block in self._blocks(item, 0):
                state.update(block)
                size += len(block)
        else:
            copy.parent.mkdir(parents=True, exist_ok=True)
            with copy.open("a+b") as file:
                size = self._there(file, item, state)
                for block in self._blocks(item, size):
                    file.write(block)
                    state.update(block)
                    size += len(block)
                file.flush()
                os.fsync(file.fileno())
        if size != item.size:
            raise _changed(f"{self.store.uri}/{item.path}")
        if item.sha256 and state.hexdigest() != item.sha256:
            if copy:
                copy.unlink()  # nothing good can follow what is damaged
            hint = "it was damaged on the way or in the store; try again, or push it again"
            raise GitopsError("the content is not what its manifest says", where=item.path, hint=hint)
        return FileDigest(item.path, state.hexdigest(), size)

    def _there(self, file: Any, item: Item, state: Any) -> int:
        """Hash what a copy already has; one that is too long begins anew."""
        file.seek(0, os.SEEK_END)
        if file.tell() > item.size:
            file.truncate(0)
        file.seek(0)
        size = 0
        while block := file.read(1024 * 1024):
            self._stop_if_asked()
            state.update(block)
            size += len(block)
            self._tell(len(block))
        return size

    def _blocks(self, item: Item, offset: int) -> Iterator[bytes]:
        """The rest of a file; after a fault it is asked again from where it broke off."""
        attempt = 0
        while offset < item.size:
            try:
                for block in self.store.read(item, offset):
                    self._stop_if_asked()
                    offset, attempt = offset + len(block), 0
                    self._tell(len(block))
                    yield block
                if offset < item.size:
                    raise Transient("the content ended too early")
            except Transient as error:
                _wait(attempt, error, f"{self.store.uri} ({item.path})")
                attempt += 1

    def _stop_if_asked(self) -> None:
        if self.stop.is_set():
            raise GitopsError("stopped", where=self.store.uri)

    def _tell(self, count: int) -> None:
        if self.progress:
            with self.lock:
                self.done += count
                self.progress(self.done, self.total)


# --- Fetching ------------------------------------------------------------------------------------------------


def _already_there(into: Path, expected: str) -> Digested:
    found = digest_path(into)
    if found.digest != expected:
        hint = "choose another place, or remove what lies there"
        raise GitopsError(f"something else lies there, with digest {found.digest}", where=str(into), hint=hint)
    return found


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    busy = GitopsError("another fetch is writing there", where=str(lock), hint="wait for it to end")
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = os.fstat(file.fileno()).st_ino == lock.stat().st_ino  # and not one that was removed just now
        except (BlockingIOError, FileNotFoundError) as error:
            raise busy from error
        if not mine:
            raise busy
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _fetched(store: Store, into: Path, expected: str, progress: Progress | None) -> Digested:
    part, state = into.parent / f".{into.name}.part", into.parent / f".{into.name}.part.json"
    listing = _listing(store)
    _keep_what_fits(store, listing, part, state)
    streams = _Streams(store, progress, sum(item.size for item in listing.items))
    found = _digested(listing, streams.run(listing, THREADS, lambda item: part / item.path))
    if found.digest != expected:
        shutil.rmtree(part)
        state.unlink(missing_ok=True)
        what = f"the artifact has digest {found.digest}, expected {expected}"
        raise GitopsError(what, where=store.uri, hint="somebody changed it: publish it again as a version of its own")
    (part if listing.directory else part / listing.items[0].path).rename(into)
    if not listing.directory:
        part.rmdir()
    state.unlink(missing_ok=True)
    return found


def _keep_what_fits(store: Store, listing: Listing, part: Path, state: Path) -> None:
    """Remove what is there of files that the store no longer has as they were, and write down what comes now."""
    wanted = {item.path: [item.size, item.stamp] for item in listing.items}
    try:
        known = json.loads(state.read_bytes())
    except (OSError, ValueError):
        known = None
    begun = known["files"] if isinstance(known, dict) and known.get("uri") == store.uri else {}
    part.mkdir(exist_ok=True)
    for place in [path for path in part.rglob("*") if path.is_symlink() or not path.is_dir()]:
        name = place.relative_to(part).as_posix()
        if place.is_symlink() or name not in wanted or begun.get(name) != wanted[name]:
            place.unlink()
    temporary = state.with_name(f"{state.name}.new")
    temporary.write_text(json.dumps({"uri": store.uri, "files": wanted}))
    temporary.replace(state)
