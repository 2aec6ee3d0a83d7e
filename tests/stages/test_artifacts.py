"""Artifacts by URI: on disk, in memory through fsspec, and in S3 (moto), digested and fetched, with faults."""

import fcntl
import hashlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from gitops.errors import GitopsError
from gitops.spec.build import OutputUri
from gitops.stages import artifacts, stores
from gitops.stages.artifacts import digest_of, digest_stored, fetch, read_beside, write_beside
from gitops.stages.digest import FileDigest, combined, digest_path
from gitops.stages.stores import FsspecStore, Transient, open_store
from tests.support.moto_aws import AwsServer

fsspec = pytest.importorskip("fsspec", reason="remote stores are extras: pip install s3fs")

FILES = {"model.safetensors": b"w" * 2_000_000, "config.json": b"{}", "a/b c": b"", "tokenizer.json": b"t" * 700_000}
EXPECTED = combined(FileDigest(name, hashlib.sha256(data).hexdigest(), len(data)) for name, data in FILES.items())


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "PAUSE", 0.001)
    monkeypatch.setattr(stores, "BLOCK", 300_000)


def write(root: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


# --- On disk -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["file://models/chat", "models/chat", "models/chat/", "file://{}/models/chat"])
def test_local_paths_are_relative_to_the_project(tmp_path: Path, form: str) -> None:
    write(tmp_path / "models" / "chat")
    uri = form.format(tmp_path)
    assert digest_of(uri, project=tmp_path) == EXPECTED
    write_beside(uri, ".intoto.jsonl", b"{}", project=tmp_path)
    assert (tmp_path / "models" / "chat.intoto.jsonl").read_bytes() == b"{}"
    assert read_beside(uri, ".intoto.jsonl", project=tmp_path) == b"{}"
    assert read_beside(uri, ".sig", project=tmp_path) is None
    assert digest_of(uri, project=tmp_path) == EXPECTED


def test_fetching_a_directory_and_a_file(tmp_path: Path) -> None:
    write(tmp_path / "m")
    told: list[tuple[int, int]] = []
    found = fetch("m", tmp_path / "copy", EXPECTED.digest, project=tmp_path, progress=lambda *step: told.append(step))
    assert found == EXPECTED == digest_path(tmp_path / "copy")
    assert told[-1] == (EXPECTED.size, EXPECTED.size)
    one = digest_of("m/config.json", project=tmp_path)
    assert fetch("m/config.json", tmp_path / "out" / "c.json", one.digest, project=tmp_path) == one
    assert (tmp_path / "out" / "c.json").read_bytes() == b"{}"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["c.json"]


def test_what_is_there_already(tmp_path: Path) -> None:
    write(tmp_path / "m")
    write(tmp_path / "copy")
    assert fetch("m", tmp_path / "copy", EXPECTED.digest, project=tmp_path) == EXPECTED
    (tmp_path / "copy" / "config.json").write_bytes(b"[]")
    with pytest.raises(GitopsError, match="something else lies there"):
        fetch("m", tmp_path / "copy", EXPECTED.digest, project=tmp_path)
    assert (tmp_path / "copy" / "config.json").read_bytes() == b"[]"


def test_another_digest_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path / "m")
    with pytest.raises(GitopsError, match=f"has digest {EXPECTED.digest}, expected sha256:00"):
        fetch("m", tmp_path / "copy", "sha256:" + "0" * 64, project=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_two_fetches_at_the_same_place(tmp_path: Path) -> None:
    write(tmp_path / "m")
    with (tmp_path / ".copy.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(GitopsError, match="another fetch"):
            fetch("m", tmp_path / "copy", EXPECTED.digest, project=tmp_path)


def test_unknown_schemes_and_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GitopsError, match="ftp:// is no place") as caught:
        digest_of("ftp://host/x")
    assert "s3, gs, az, hf, oci and file" in caught.value.hint
    for scheme, (package, extra) in stores.REMOTE.items():
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(GitopsError, match=f"{scheme}:// needs the package {package}") as caught:
            digest_of(f"{scheme}://bucket/x")
        assert caught.value.hint == f"pip install 'gitops-models[{extra}]'"


# --- In memory, through fsspec -------------------------------------------------------------------------------


class Flaky:
    """A file system that fails at times, as those behind a network do."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.faults: list[Exception] = []
        self.short: list[int] = []
        self.reads: list[tuple[str, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def cat_file(self, key: str, start: int, end: int) -> bytes:
        self.reads.append((key, start))
        if self.faults:
            raise self.faults.pop(0)
        data: bytes = self.inner.cat_file(key, start=start, end=end)
        return data[: self.short.pop(0)] if self.short else data


@pytest.fixture
def memory() -> Iterator[Flaky]:
    inner = fsspec.filesystem("memory", skip_instance_cache=True)
    inner.store.clear()
    for name, data in FILES.items():
        inner.pipe_file(f"/bucket/chat/{name}", data)
    inner.pipe_file("/bucket/chat-2/other", b"neighbour")
    yield Flaky(inner)
    inner.store.clear()


def stored(memory: Any, path: str = "/bucket/chat") -> FsspecStore:
    return FsspecStore(f"memory:/{path}", memory, path)


@pytest.mark.parametrize(
    "uri", ["s3://AKIAX:wJalr@bucket/a", "gs://t0ken@bucket/a", "oci://ada:wJalr@registry.acme.ai/a:1"]
)
def test_an_address_holds_no_password_and_none_is_repeated(uri: str) -> None:
    with pytest.raises(GitopsError, match="must not hold a user or a password") as caught:
        digest_of(uri)
    assert not {"wJalr", "AKIAX", "t0ken"} & set(re.split(r"\W", str(caught.value)))
    with pytest.raises(ValidationError):
        TypeAdapter(OutputUri).validate_python(uri)


def test_a_store_without_a_copy(memory: Flaky) -> None:
    told: list[tuple[int, int]] = []
    assert digest_stored(stored(memory), progress=lambda *step: told.append(step)) == EXPECTED
    assert told[-1] == (EXPECTED.size, EXPECTED.size)
    one = digest_stored(stored(memory, "/bucket/chat/config.json"))
    assert (one.digest, one.directory) == ("sha256:" + hashlib.sha256(b"{}").hexdigest(), False)


def test_faults_that_pass_and_faults_that_stay(memory: Flaky) -> None:
    memory.faults = [OSError("reset"), TimeoutError(), OSError("reset")]
    memory.short = [0, 100]
    assert digest_stored(stored(memory)) == EXPECTED
    memory.faults = [OSError("503 slow down")] * 100
    with pytest.raises(GitopsError, match="does not answer: OSError: 503 slow down"):
        digest_stored(stored(memory))
    memory.faults = [PermissionError("Access Denied")]
    with pytest.raises(GitopsError, match="Access Denied"):
        digest_stored(stored(memory))


def test_nothing_at_a_prefix(memory: Flaky) -> None:
    with pytest.raises(GitopsError, match=r"no files|nothing there"):
        digest_stored(stored(memory, "/bucket/cha"))


def test_an_object_that_changes_meanwhile(memory: Flaky) -> None:
    def change(done: int, total: int) -> None:
        if done > 1_000_000:
            memory.inner.pipe_file("/bucket/chat/config.json", b"[]")

    with pytest.raises(GitopsError, match="changed while it was read"):
        digest_stored(stored(memory), progress=change)


@pytest.fixture
def opened(memory: Flaky, monkeypatch: pytest.MonkeyPatch) -> Flaky:
    monkeypatch.setattr(artifacts, "open_store", lambda uri, project: stored(memory))
    return memory


def test_an_interrupted_fetch_goes_on_where_it_was(opened: Flaky, tmp_path: Path) -> None:
    opened.faults = []
    original = opened.cat_file

    def failing(key: str, start: int, end: int) -> bytes:
        if key.endswith("safetensors") and start >= 1_200_000:
            raise Transient("gone")
        return original(key, start, end)

    opened.cat_file = failing  # type: ignore[method-assign]
    with pytest.raises(GitopsError, match="does not answer"):
        fetch("memory://", tmp_path / "m", EXPECTED.digest)
    assert (tmp_path / ".m.part" / "model.safetensors").stat().st_size == 1_200_000
    assert not (tmp_path / "m").exists()
    opened.cat_file = original  # type: ignore[method-assign]
    opened.reads.clear()
    assert fetch("memory://", tmp_path / "m", EXPECTED.digest) == EXPECTED
    assert min(start for key, start in opened.reads if key.endswith("safetensors")) == 1_200_000
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_parts_of_another_content_are_not_built_upon(opened: Flaky, tmp_path: Path) -> None:
    opened.faults = [PermissionError()] * 100
    with pytest.raises(GitopsError):
        fetch("memory://", tmp_path / "m", EXPECTED.digest)
    opened.faults = []
    part = tmp_path / ".m.part"
    write(part, {"model.safetensors": b"w" * 10, "config.json": b"{}longer than it is", "stray": b"1"})
    opened.inner.pipe_file("/bucket/chat/tokenizer.json", b"u" * 700_000)
    write(part, {"tokenizer.json": b"t" * 700_000})
    changed = digest_stored(stored(opened))
    assert fetch("memory://", tmp_path / "m", changed.digest) == changed == digest_path(tmp_path / "m")


def test_a_damaged_part_costs_a_fetch_and_is_never_kept(opened: Flaky, tmp_path: Path) -> None:
    opened.faults = [PermissionError()] * 100
    with pytest.raises(GitopsError):
        fetch("memory://", tmp_path / "m", EXPECTED.digest)
    opened.faults = []
    write(tmp_path / ".m.part", {"model.safetensors": b"X" * 10})
    with pytest.raises(GitopsError, match="expected"):
        fetch("memory://", tmp_path / "m", EXPECTED.digest)
    assert not (tmp_path / "m").exists()
    assert fetch("memory://", tmp_path / "m", EXPECTED.digest) == EXPECTED


# --- S3 ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def aws() -> Iterator[AwsServer]:
    pytest.importorskip("s3fs", reason="s3:// is an extra: pip install s3fs")
    with AwsServer() as server:
        client = server.client("s3")
        client.create_bucket(Bucket="acme", CreateBucketConfiguration={"LocationConstraint": server.region})
        for name, data in FILES.items():
            client.put_object(Bucket="acme", Key=f"chat/1.0/{name}", Body=data)
        client.put_object(Bucket="acme", Key="chat/1.0/", Body=b"")
        client.put_object(Bucket="acme", Key="chat/1.0-rc/other", Body=b"neighbour")
        yield server


@pytest.fixture
def s3(aws: AwsServer, monkeypatch: pytest.MonkeyPatch) -> AwsServer:
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.delenv("AWS_SESSION_TOKEN")
    return aws


def test_s3(s3: AwsServer, tmp_path: Path) -> None:
    assert digest_of("s3://acme/chat/1.0") == EXPECTED
    assert digest_of("s3://acme/chat/1.0/") == EXPECTED
    one = digest_of("s3://acme/chat/1.0/config.json")
    assert (one.digest, one.directory) == ("sha256:" + hashlib.sha256(b"{}").hexdigest(), False)
    assert fetch("s3://acme/chat/1.0", tmp_path / "m", EXPECTED.digest) == digest_path(tmp_path / "m")


def test_s3_beside(s3: AwsServer) -> None:
    assert read_beside("s3://acme/chat/1.0", ".intoto.jsonl") is None
    write_beside("s3://acme/chat/1.0/", ".intoto.jsonl", b"{}")
    assert read_beside("s3://acme/chat/1.0", ".intoto.jsonl") == b"{}"
    assert digest_of("s3://acme/chat/1.0") == EXPECTED


@pytest.mark.parametrize("uri", ["s3://acme/absent", "s3://absent/x", "s3://acme/chat/1"])
def test_s3_without_anything_there(s3: AwsServer, uri: str) -> None:
    with pytest.raises(GitopsError, match=r"no files|nothing there|does not answer"):
        digest_of(uri)


def test_s3_without_credentials(s3: AwsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = open_store("s3://acme/chat/1.0", Path())
    assert isinstance(store, FsspecStore)
    fresh = type(store.filesystem)(skip_instance_cache=True)
    with pytest.raises(GitopsError, match="redentials"):
        digest_stored(FsspecStore(store.uri, fresh, store.path))
