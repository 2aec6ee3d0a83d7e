"""The content digest of a file or a directory: what `sha256sum` gives, read in parallel and in little memory.

Of a file it is the SHA-256 of its bytes. Of a directory it is the SHA-256 of the text with one line
`<hex>  <path>` for each regular file, sorted by the bytes of the path, which is what coreutils give:

    find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum -- | sha256sum

in-toto calls the latter `dirHash`. Empty directories leave no trace in it, as they leave none in an object store.
What that definition would pass over in silence is refused: symbolic links, sockets, pipes and devices. So are names
with a backslash or a control character (versions of sha256sum differ in how they escape them) and names that are not
UTF-8 (no store and no JSON can hold them).
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import NamedTuple

from gitops.errors import GitopsError
from gitops.stages.finished import Finished, Stamp

CHUNK = 1024 * 1024
"""Bytes read at once by each thread; more than the processor's cache holds is slower, not faster."""
MAX_FILES = 1_000_000
MOST_THREADS = 16
SETTLED = 2.0
"""Seconds since its last change after which a file's times can be trusted to tell the next change."""

Progress = Callable[[int, int], None]
"""Called with the bytes done and the bytes in total, from any thread, but never twice at a time."""

_UNNAMEABLE = re.compile("[\x00-\x1f\x7f\\\\]")


class FileDigest(NamedTuple):
    """One file of an artifact. `path` is relative and `/`-separated, `sha256` in hex, `size` in bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Digested:
    """The content digest (`sha256:…`), the bytes in total, and every file, sorted by the bytes of its path.

    An artifact that is a single file, and no directory, has the one entry with the file's name, and `directory` is
    False.
    """

    digest: str
    size: int
    files: tuple[FileDigest, ...]
    directory: bool = True


def combined(files: Iterable[FileDigest]) -> Digested:
    """The digest of a directory from those of its files, in any order.

    Raises GitopsError for none at all, for a name that cannot be digested, and for a name that is there twice or is
    also the name of a directory.
    """
    ordered = tuple(sorted(files, key=lambda file: file.path.encode()))
    if not ordered:
        raise GitopsError("there are no files in it", hint="name the directory that holds the model's files")
    check_names([file.path for file in ordered])
    total = hashlib.sha256()
    for file in ordered:
        total.update(f"{file.sha256}  {file.path}\n".encode())
    return Digested(f"sha256:{total.hexdigest()}", sum(file.size for file in ordered), ordered)


def check_names(paths: Sequence[str], where: str = "") -> None:
    """Raises GitopsError unless the names can lie in one directory, and nowhere else, and can be digested."""
    hint = "rename it where the artifact is made"
    seen = set(paths)
    for path in paths:
        if _UNNAMEABLE.search(path) or not _encodable(path):
            raise GitopsError(f"the file name {path!r} is not plain UTF-8 text", where=where, hint=hint)
        parts = path.split("/")
        if not all(parts) or {".", ".."} & set(parts):
            raise GitopsError(f"the file name {path!r} leads elsewhere", where=where, hint=hint)
        if any("/".join(parts[:end]) in seen for end in range(1, len(parts))):
            raise GitopsError(f"{path!r} lies below something that is a file itself", where=where, hint=hint)
    if len(seen) < len(paths):
        raise GitopsError("two files have the same name", where=where, hint=hint)


def _encodable(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def digest_path(
    path: Path, *, progress: Progress | None = None, threads: int | None = None, cache: Path | None = None
) -> Digested:
    """The digest of a file or directory on disk.

    `cache` is a small file for what is finished of a digest that takes long: when it is interrupted, the next one
    goes on with the files that have not changed since, by size, time and inode. It is removed at the end.

    Raises GitopsError when something is refused, cannot be read, or changes while it is read.
    """
    try:
        top = path.stat()
        whole = stat.S_ISREG(top.st_mode)
        found = [_Found(path.name, str(path), Stamp.of(top))] if whole else scan(path)
        reading = _Reading(found, progress, Finished.load(cache, path) if cache else None)
        files = reading.run(threads or min(os.cpu_count() or 1, MOST_THREADS))
        if not whole and scan(path) != found:
            raise _changed(str(path))
    except OSError as error:
        raise _unreadable(error, path) from error
    if whole:
        return Digested(f"sha256:{files[0].sha256}", files[0].size, tuple(files), directory=False)
    return combined(files)


class _Found(NamedTuple):
    path: str
    place: str
    stamp: Stamp


def scan(directory: Path) -> list[_Found]:
    """Every regular file below, sorted; GitopsError for what is no file or directory."""
    found: list[_Found] = []
    open_ones = [(str(directory), "")]
    while open_ones:
        place, prefix = open_ones.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    open_ones.append((entry.path, f"{prefix}{entry.name}/"))
                elif entry.is_file(follow_symlinks=False):
                    found.append(_Found(prefix + entry.name, entry.path, Stamp.of(entry.stat(follow_symlinks=False))))
                else:
                    raise _no_file(entry)
        if len(found) > MAX_FILES:
            raise GitopsError(f"more than {MAX_FILES:,} files", where=str(directory), hint="name the model's directory")
    check_names([file.path for file in found], str(directory))
    found.sort(key=lambda file: file.path.encode())
    return found


def _no_file(entry: os.DirEntry[str]) -> GitopsError:
    if entry.is_symlink():
        hint = "put the file itself in its place: cp -rL follows links"
        return GitopsError("a symbolic link is not part of the digest", where=entry.path, hint=hint)
    return GitopsError("this is neither a file nor a directory", where=entry.path, hint="remove it")


def _changed(where: str) -> GitopsError:
    return GitopsError("it changed while it was read", where=where, hint="wait until nobody writes there any more")


def _unreadable(error: OSError, path: Path) -> GitopsError:
    where = os.fsdecode(error.filename) if error.filename is not None else str(path)
    if isinstance(error, FileNotFoundError):
        return GitopsError("there is no such file or directory", where=where, hint="check the path")
    return GitopsError(f"cannot be read: {error.strerror or error}", where=where, hint="check its owner and mode")


@dataclass(slots=True)
class _Reading:
    """The files of one digest, read by several threads. Hashing needs no interpreter lock, and neither does reading."""

    found: Sequence[_Found]
    progress: Progress | None
    finished: Finished | None
    stop: Event = field(default_factory=Event)
    lock: Lock = field(default_factory=Lock)
    done: int = 0
    total: int = 0

    def run(self, threads: int) -> list[FileDigest]:
        self.total = sum(file.stamp.size for file in self.found)
        self._tell(0)
        # The largest first, so that no thread starts on a large file when the others have nothing left.
        order = sorted(range(len(self.found)), key=lambda index: -self.found[index].stamp.size)
        results: dict[int, FileDigest] = {}
        with ThreadPoolExecutor(max(1, min(threads, len(order)))) as pool:
            try:
                for future, index in _as_they_end(pool, self._one, order):
                    results[index] = future.result()
            except BaseException:
                self.stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                if self.finished:
                    self.finished.save()
                raise
        if self.finished:
            self.finished.remove()
        return [results[index] for index in range(len(self.found))]

    def _one(self, index: int) -> FileDigest:
        file = self.found[index]
        known = self.finished.get(file.path, file.stamp) if self.finished else None
        if known:
            self._tell(file.stamp.size)
            return FileDigest(file.path, known, file.stamp.size)
        before = time.time()
        digest = self._read(file)
        if self.finished and before - file.stamp.mtime_ns / 1e9 > SETTLED:
            self.finished.put(file.path, file.stamp, digest)
        return FileDigest(file.path, digest, file.stamp.size)

    def _read(self, file: _Found) -> str:
        state, buffer = hashlib.sha256(), memoryview(bytearray(min(CHUNK, max(file.stamp.size, 1))))
        # A link or a pipe that took the file's place since is not followed, and not waited for.
        handle = os.open(file.place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(handle, "rb", buffering=0) as opened:  # noqa: PTH123 by its handle
            if Stamp.of(os.fstat(handle)) != file.stamp:
                raise _changed(file.place)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            size = 0
            while count := opened.readinto(buffer):
                if self.stop.is_set():
                    break
                state.update(buffer[:count])
                size += count
                self._tell(count)
            if size != file.stamp.size or Stamp.of(os.fstat(handle)) != file.stamp:
                raise _changed(file.place)
        return state.hexdigest()

    def _tell(self, count: int) -> None:
        if self.progress:
            with self.lock:
                self.done += count
                self.progress(self.done, self.total)


def _as_they_end(
    pool: ThreadPoolExecutor, work: Callable[[int], FileDigest], order: Sequence[int]
) -> Iterator[tuple[Future[FileDigest], int]]:
    """Few tasks at a time are in the pool's queue: an interrupt leaves little behind, and a million files no crowd."""
    left = iter(order)
    running: dict[Future[FileDigest], int] = {}
    while True:
        while len(running) < 4 * MOST_THREADS and (index := next(left, None)) is not None:
            running[pool.submit(work, index)] = index
        if not running:
            return
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            yield future, running.pop(future)
