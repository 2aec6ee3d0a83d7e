"""Where artifacts lie: on disk, in S3, Cloud Storage, Azure and the Hugging Face hub, all read the same way.

Remote stores are reached through fsspec and the package of each; those are optional, and loaded when a URI asks for
them.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from gitops.errors import GitopsError
from gitops.spec.azure import azure_place
from gitops.spec.problems import listed, shorten
from gitops.stages.addresses import public
from gitops.stages.digest import check_names, scan
from gitops.stages.finished import Stamp

BLOCK = 8 * 1024 * 1024
"""Bytes of one ranged request to a remote store."""
MAX_BESIDE = 64 * 1024 * 1024
"""A statement or signature beside an artifact is never larger."""
DISTRIBUTION = "gitops-models"


class Transient(Exception):  # not for users: whoever reads tries again, and gives up with the message
    """The store did not answer as it should; asking again may help."""


class Item(NamedTuple):
    """One file of an artifact as its store lists it.

    `stamp` changes when the content does (an ETag, a revision, a time). `sha256` is what the store itself says of the
    content in hex, where its protocol is built on that (OCI), else empty.
    """

    path: str
    key: str
    size: int
    stamp: str
    sha256: str = ""


class Listing(NamedTuple):
    """All files of an artifact, sorted; `directory` is False when the artifact is one file itself."""

    items: tuple[Item, ...]
    directory: bool


class Store(Protocol):
    """One artifact where it lies."""

    @property
    def uri(self) -> str:
        """As it was written."""

    def listing(self) -> Listing:
        """Its files, asked anew each time. Raises GitopsError when there are none."""

    def read(self, item: Item, offset: int) -> Iterator[bytes]:
        """The content from a byte on, to its end. Raises GitopsError or Transient."""

    def beside(self, suffix: str) -> bytes | None:
        """A small file that belongs to the artifact, such as `<uri>.intoto.jsonl`; None where there is none."""

    def put_beside(self, suffix: str, data: bytes) -> None:
        """Write such a file. Raises GitopsError where the store has no place for one."""


class _Kind(NamedTuple):
    package: str
    extra: str


REMOTE: Mapping[str, _Kind] = MappingProxyType(
    {
        "s3": _Kind("s3fs", "s3"),
        "gs": _Kind("gcsfs", "gs"),
        "az": _Kind("adlfs", "az"),
        "hf": _Kind("huggingface_hub", "hf"),
        "oci": _Kind("httpx", "oci"),
    }
)
"""The package that each scheme needs, and the extra that installs it."""


def open_store(uri: str, project: Path) -> Store:
    """The store of an artifact; a path without a scheme, or with `file://`, is relative to the project.

    Raises GitopsError for a scheme that is not known and for a package that is not installed.
    """
    scheme, found, rest = uri.partition("://")
    if not found or scheme == "file":
        return LocalStore(uri, project / (rest if found else uri))
    if scheme != "az" and "@" in rest.partition("/")[0]:
        hint = "give them to the tools of the store in the environment, such as AWS_ACCESS_KEY_ID"
        raise GitopsError("an address must not hold a user or a password", where=public(uri), hint=hint)
    if scheme not in REMOTE:
        hint = f"valid: {listed([*REMOTE, 'file'])}, or a path in the project"
        raise GitopsError(f"{scheme}:// is no place for artifacts", where=shorten(uri, 80), hint=hint)
    if scheme == "oci":
        need(REMOTE[scheme].package, REMOTE[scheme].extra, f"{scheme}://")
        from gitops.stages.oci import OciStore

        return OciStore.of(uri)
    return FsspecStore(uri, filesystem_of(uri), rest.rstrip("/"))


def need(package: str, extra: str, purpose: str) -> None:
    """Raises GitopsError, saying what to install, unless an optional package is there."""
    try:
        importlib.import_module(package)
    except ImportError as error:
        hint = f"pip install '{DISTRIBUTION}[{extra}]'"
        raise GitopsError(f"{purpose} needs the package {package}", hint=hint) from error


def filesystem_of(uri: str) -> Any:
    """The file system of fsspec for a remote URI. Raises GitopsError when it is not installed or not to be reached."""
    scheme = uri.partition("://")[0]
    need(REMOTE[scheme].package, REMOTE[scheme].extra, f"{scheme}://")
    place = azure_place(uri)
    options = {"account_name": place.account} if place and place.account else {}
    try:
        return importlib.import_module("fsspec").filesystem(scheme, **options)
    except Exception as error:
        raise GitopsError(f"cannot be reached: {said(error)}", where=f"{scheme}://", hint=_CREDENTIALS) from error


_CREDENTIALS = "check the credentials and the endpoint in the environment"


def said(error: BaseException) -> str:
    """What a library says, in one short line."""
    text = " ".join(str(error).split())
    return shorten(f"{type(error).__name__}: {text}" if text else type(error).__name__, 200)


@dataclass(frozen=True, slots=True)
class LocalStore:
    """A file or directory on this machine."""

    uri: str
    path: Path

    def listing(self) -> Listing:
        """See Store."""
        try:
            if self.path.is_dir():
                return Listing(tuple(_local(f.path, f.place, f.stamp) for f in scan(self.path)), True)
            return Listing((_local(self.path.name, str(self.path), Stamp.of(self.path.stat())),), False)
        except OSError as error:
            raise self._failed(error) from error

    def read(self, item: Item, offset: int) -> Iterator[bytes]:
        """See Store."""
        try:
            with Path(item.key).open("rb") as file:
                file.seek(offset)
                while block := file.read(BLOCK):
                    yield block
        except OSError as error:
            raise self._failed(error) from error

    def beside(self, suffix: str) -> bytes | None:
        """See Store."""
        try:
            with self._sibling(suffix).open("rb") as file:
                return _small(file.read(MAX_BESIDE + 1), f"{self.uri}{suffix}")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed(error) from error

    def put_beside(self, suffix: str, data: bytes) -> None:
        """See Store."""
        place = self._sibling(suffix)
        temporary = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            temporary.write_bytes(data)
            temporary.replace(place)
        except OSError as error:
            raise GitopsError(
                f"cannot write: {error.strerror}", where=str(place), hint="check its directory"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _sibling(self, suffix: str) -> Path:
        whole = self.path.resolve()
        return whole.with_name(whole.name + suffix)

    def _failed(self, error: OSError) -> GitopsError:
        if isinstance(error, FileNotFoundError):
            return GitopsError("there is no such file or directory", where=str(self.path), hint="check the path")
        return GitopsError(f"cannot be read: {error.strerror or error}", where=str(self.path), hint="check its mode")


def _local(path: str, place: str, stamp: Stamp) -> Item:
    return Item(path, place, stamp.size, f"{stamp.mtime_ns}-{stamp.inode}")


def _small(data: bytes, where: str) -> bytes:
    if len(data) > MAX_BESIDE:
        raise GitopsError(f"larger than {MAX_BESIDE // 2**20} MiB", where=where, hint="a statement is never that large")
    return data


@dataclass(frozen=True, slots=True)
class FsspecStore:
    """A prefix, or a single object, of a store that fsspec knows; `path` has no `/` at its end."""

    uri: str
    filesystem: Any
    path: str

    def listing(self) -> Listing:
        """See Store."""
        found = self._asked(self._find)
        top = self.filesystem._strip_protocol(self.path)
        if not found:
            hint = "check the URI, and that the credentials may list it"
            raise GitopsError("there are no files", where=self.uri, hint=hint)
        if set(found) == {top}:
            return Listing((_item(top.rsplit("/", 1)[-1], top, found[top]),), False)
        items = [_item(key.removeprefix(f"{top}/"), key, info) for key, info in found.items() if key != top]
        check_names([item.path for item in items], self.uri)
        return Listing(tuple(sorted(items, key=lambda item: item.path.encode())), True)

    def _find(self) -> dict[str, Any]:
        self.filesystem.invalidate_cache()
        found: Any = self.filesystem.find(self.path, detail=True)
        if isinstance(found, list):  # adlfs gives a name alone where the path is a single blob
            found = {name: self.filesystem.info(name) for name in found}
        # Some tools put an empty object with a name that ends in a slash where a directory would be.
        return {key: info for key, info in found.items() if info["type"] == "file" and not key.endswith("/")}

    def read(self, item: Item, offset: int) -> Iterator[bytes]:
        """See Store."""
        while offset < item.size:
            end = min(offset + BLOCK, item.size)
            block = self._asked(lambda at=offset, to=end: self.filesystem.cat_file(item.key, start=at, end=to))
            if len(block) != end - offset:
                raise Transient(f"{len(block)} bytes came, {end - offset} were asked for")
            yield block
            offset = end

    def beside(self, suffix: str) -> bytes | None:
        """See Store."""
        place = f"{self.path}{suffix}"
        if self.uri.startswith("hf://"):
            return None  # a repository of the hub has nothing beside it
        try:
            return _small(self.filesystem.cat_file(place, start=0, end=MAX_BESIDE + 1), f"{self.uri}{suffix}")
        except FileNotFoundError:
            return None
        except GitopsError:
            raise
        except Exception as error:
            raise self._failed(error) from error

    def put_beside(self, suffix: str, data: bytes) -> None:
        """See Store."""
        if self.uri.startswith("hf://"):
            hint = "copy the model to a bucket of your own, or keep the statement in your project"
            raise GitopsError("the hub has no place beside a repository", where=self.uri, hint=hint)
        self._asked(lambda: self.filesystem.pipe_file(f"{self.path}{suffix}", data))

    def _asked(self, ask: Any) -> Any:
        try:
            return ask()
        except GitopsError:
            raise
        except (FileNotFoundError, PermissionError, NotImplementedError) as error:
            raise self._failed(error) from error
        except Exception as error:  # every store has errors of its own, and most of them pass
            if "Credential" in type(error).__name__:
                raise self._failed(error) from error
            raise Transient(said(error)) from error

    def _failed(self, error: Exception) -> GitopsError:
        if isinstance(error, FileNotFoundError):
            return GitopsError("there is nothing there", where=self.uri, hint="check the URI and the credentials")
        return GitopsError(f"cannot be read: {said(error)}", where=self.uri, hint=_CREDENTIALS)


_STAMPS = ("ETag", "etag", "md5Hash", "content_md5", "blob_id", "oid", "generation", "LastModified", "last_modified")


def _item(path: str, key: str, info: Mapping[str, Any]) -> Item:
    stamp = next((str(info[name]) for name in (*_STAMPS, "mtime", "created") if info.get(name)), "")
    return Item(path, key, int(info["size"]), stamp)
