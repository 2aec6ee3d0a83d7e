"""Checkpoints in and artifacts out: paths, and S3 as moto has it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gitops.errors import GitopsError
from gitops.stages.build.transfer import fetch, local_path, publish
from gitops.stages.digest import digest_path
from tests.support.moto_aws import AwsServer

pytest.importorskip("s3fs", reason="remote stores are extras: pip install s3fs")


@pytest.fixture(scope="module")
def aws() -> Iterator[AwsServer]:
    with AwsServer() as server:
        server.client("s3").create_bucket(
            Bucket="acme", CreateBucketConfiguration={"LocationConstraint": server.region}
        )
        yield server


@pytest.fixture
def s3(aws: AwsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE")
    monkeypatch.delenv("AWS_SESSION_TOKEN")


def artifact(path: Path, content: bytes = b"weights") -> tuple[Path, str]:
    (path / "iris" / "1").mkdir(parents=True)
    (path / "iris" / "1" / "model.onnx").write_bytes(content)
    (path / "iris" / "config.pbtxt").write_text("name: 'iris'\n")
    return path, digest_path(path).digest


def test_addresses_of_files(tmp_path: Path) -> None:
    assert local_path("file://checkpoints/iris.pt", tmp_path) == tmp_path / "checkpoints" / "iris.pt"
    assert local_path("file:///data/iris.pt", tmp_path) == Path("/data/iris.pt")
    assert local_path("s3://acme/iris", tmp_path) is None


def test_publishing_to_a_path(tmp_path: Path) -> None:
    source, digest = artifact(tmp_path / "made")
    said: list[str] = []
    publish(source, digest, "file://out/iris/1", tmp_path, said.append)
    assert digest_path(tmp_path / "out" / "iris" / "1").digest == digest
    publish(source, digest, "file://out/iris/1", tmp_path, said.append)
    assert len(said) == 1
    other, changed = artifact(tmp_path / "other", b"Weights")
    with pytest.raises(GitopsError, match="there is something else already"):
        publish(other, changed, "file://out/iris/1", tmp_path, said.append)
    assert digest_path(tmp_path / "out" / "iris" / "1").digest == digest


@pytest.mark.usefixtures("s3")
def test_there_and_back_through_s3(tmp_path: Path) -> None:
    source, digest = artifact(tmp_path / "made")
    said: list[str] = []
    publish(source, digest, "s3://acme/iris/1", tmp_path, said.append)
    publish(source, digest, "s3://acme/iris/1", tmp_path, said.append)
    assert said == ["publishing s3://acme/iris/1"]
    (tmp_path / "cache").mkdir()
    found = fetch("s3://acme/iris/1", digest, tmp_path, tmp_path / "cache", said.append)
    assert digest_path(found).digest == digest
    assert fetch("s3://acme/iris/1", digest, tmp_path, tmp_path / "cache", said.append) == found
    assert said[1:] == ["fetching s3://acme/iris/1"]


@pytest.mark.usefixtures("s3")
def test_an_upload_goes_on_and_never_replaces(tmp_path: Path) -> None:
    import fsspec  # type: ignore[import-untyped]

    source, digest = artifact(tmp_path / "made")
    fsspec.filesystem("s3").pipe_file("acme/half/iris/config.pbtxt", b"name: 'iris'\n")
    publish(source, digest, "s3://acme/half", tmp_path, lambda _: None)
    assert fsspec.filesystem("s3").cat_file("acme/half/iris/1/model.onnx") == b"weights"
    other, changed = artifact(tmp_path / "other", b"longer weights")
    with pytest.raises(GitopsError, match="there is something else already"):
        publish(other, changed, "s3://acme/half", tmp_path, lambda _: None)
    assert fsspec.filesystem("s3").cat_file("acme/half/iris/1/model.onnx") == b"weights"


@pytest.mark.usefixtures("s3")
def test_an_upload_that_fails_says_so(tmp_path: Path) -> None:
    source, digest = artifact(tmp_path / "made")
    with pytest.raises(GitopsError, match=r"the upload failed: .*bucket"):
        publish(source, digest, "s3://no-such-bucket/iris", tmp_path, lambda _: None)
