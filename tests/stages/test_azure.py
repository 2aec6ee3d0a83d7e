"""Artifacts in Azure Blob Storage: a container with and without its account, as adlfs reads them."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gitops.stages.artifacts import digest_of, read_beside, write_beside
from gitops.stages.digest import FileDigest, combined
from gitops.stages.stores import FsspecStore, open_store

fsspec = pytest.importorskip("fsspec", reason="remote stores are extras: pip install adlfs")
from fsspec.implementations.memory import MemoryFileSystem  # noqa: E402  # only where fsspec is

FILES = {"model.safetensors": b"w" * 100_000, "config.json": b"{}", "a/b c": b""}
EXPECTED = combined(FileDigest(name, hashlib.sha256(data).hexdigest(), len(data)) for name, data in FILES.items())
FORMS = ["az://models/chat/1.0", "az://models@acmestore.blob.core.windows.net/chat/1.0"]


class LikeAdlfs(MemoryFileSystem):  # type: ignore[misc]
    """What differs in adlfs: paths may name the account, and a single blob is found by its name alone."""

    protocol = "az"
    store: dict[str, Any] = {}
    pseudo_dirs = [""]

    def __init__(self, account_name: str = "from the environment", **more: Any) -> None:
        super().__init__(**more)
        self.account_name = account_name

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        place, _, rest = path.removeprefix("az://").strip("/").partition("/")
        return f"/{place.partition('@')[0]}/{rest}".rstrip("/")

    def find(self, path: str, **more: Any) -> Any:
        return [self._strip_protocol(path)] if self.isfile(path) else super().find(path, **more)


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known = sys.modules["fsspec.registry"]._registry
    monkeypatch.setitem(sys.modules, "adlfs", ModuleType("adlfs"))
    monkeypatch.setitem(known, "az", LikeAdlfs)
    files = LikeAdlfs()
    for name, data in FILES.items():
        files.pipe_file(f"models/chat/1.0/{name}", data)
    files.pipe_file("models/chat/1.0-rc1/config.json", b"neighbour")
    yield
    LikeAdlfs.store.clear()


@pytest.mark.usefixtures("azure")
@pytest.mark.parametrize("uri", FORMS)
def test_both_forms_name_the_same_files(uri: str) -> None:
    assert digest_of(uri) == EXPECTED
    assert digest_of(f"{uri}/") == EXPECTED
    one = digest_of(f"{uri}/config.json")
    assert (one.digest, one.directory) == ("sha256:" + hashlib.sha256(b"{}").hexdigest(), False)


@pytest.mark.usefixtures("azure")
@pytest.mark.parametrize("uri", FORMS)
def test_what_lies_beside(uri: str) -> None:
    assert read_beside(uri, ".intoto.jsonl") is None
    write_beside(uri, ".intoto.jsonl", b"{}")
    assert read_beside(FORMS[0], ".intoto.jsonl") == b"{}"
    assert digest_of(uri) == EXPECTED


@pytest.mark.usefixtures("azure")
def test_the_account_is_that_of_the_uri_before_that_of_the_environment() -> None:
    accounts = [open_store(uri, Path()).filesystem.account_name for uri in FORMS]  # type: ignore[attr-defined]
    assert accounts == ["from the environment", "acmestore"]


def test_adlfs_takes_both_forms_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("adlfs", reason="az:// is an extra: pip install adlfs")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "other")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    for uri, account in zip(FORMS, ("other", "acmestore"), strict=True):
        store = open_store(uri, Path())
        assert isinstance(store, FsspecStore)
        assert store.filesystem.account_url == f"https://{account}.blob.core.windows.net"
        assert store.filesystem._strip_protocol(store.path) == "models/chat/1.0"
