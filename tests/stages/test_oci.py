"""Artifacts in an OCI registry: digested and fetched from a real HTTP server, through logins, faults and lies."""

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gitops.errors import GitopsError
from gitops.stages import artifacts, oci
from gitops.stages.answers import stay_encrypted
from gitops.stages.artifacts import digest_of, fetch, read_beside, write_beside
from gitops.stages.digest import FileDigest, combined
from tests.support.oci_registry import INDEX, Registry

FILES = {"model.safetensors": b"w" * 3_000_000, "config.json": b"{}", "sub/merges.txt": b"m"}
EXPECTED = combined(FileDigest(name, hashlib.sha256(data).hexdigest(), len(data)) for name, data in FILES.items())


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(artifacts, "PAUSE", 0.001)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        yield server


def log_in(tmp_path: Path, registry: Registry, login: str) -> None:
    (tmp_path / "docker").mkdir()
    auth = base64.b64encode(login.encode()).decode()
    config = {"auths": {f"127.0.0.1:{registry.port}": {"auth": auth}}}
    (tmp_path / "docker" / "config.json").write_text(json.dumps(config))


def test_the_digest_is_that_of_the_files(registry: Registry) -> None:
    manifest = registry.push(FILES)
    assert digest_of(registry.uri()) == EXPECTED
    assert digest_of(registry.uri(manifest)) == EXPECTED


def test_fetching_gives_the_files(registry: Registry, tmp_path: Path) -> None:
    registry.push(FILES)
    fetch(registry.uri(), tmp_path / "model", EXPECTED.digest)
    assert {name: (tmp_path / "model" / name).read_bytes() for name in FILES} == FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


@pytest.mark.parametrize("basic", [False, True])
def test_a_login_as_docker_keeps_it(registry: Registry, tmp_path: Path, basic: bool) -> None:
    registry.push(FILES)
    registry.login, registry.tokens, registry.basic = "ada:secret", True, basic
    with pytest.raises(GitopsError, match=r"login|refuses") as caught:
        digest_of(registry.uri())
    assert caught.value.hint == f"docker login 127.0.0.1:{registry.port}"
    log_in(tmp_path, registry, "ada:secret")
    assert digest_of(registry.uri()) == EXPECTED


def test_a_token_without_a_login_and_no_token_for_other_hosts(registry: Registry) -> None:
    registry.push(FILES)
    registry.tokens = registry.redirect = True
    assert digest_of(registry.uri()) == EXPECTED
    at_bucket = [headers for path, headers in registry.asked if path.startswith("/bucket/")]
    assert len(at_bucket) == len(FILES)
    assert not any("Authorization" in headers for headers in at_bucket)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_blob_that_breaks_off_goes_on_where_it_was(registry: Registry, tmp_path: Path, ranges: bool) -> None:
    registry.push(FILES)
    registry.ranges, registry.cut = ranges, [1_500_000, 600_000]
    done: list[int] = []
    found = fetch(registry.uri(), tmp_path / "m", EXPECTED.digest, progress=lambda count, total: done.append(count))
    assert found == EXPECTED
    assert done[-1] == EXPECTED.size
    assert any("Range" in headers for _, headers in registry.asked)


def test_faults_that_pass(registry: Registry) -> None:
    registry.push(FILES)
    registry.fail = [503, 429, 500]
    assert digest_of(registry.uri()) == EXPECTED


def test_faults_that_stay(registry: Registry) -> None:
    registry.push(FILES)
    registry.fail = [503] * 100
    with pytest.raises(GitopsError, match="does not answer: HTTP 503"):
        digest_of(registry.uri())


def test_a_damaged_blob_is_found_and_not_built_upon(registry: Registry, tmp_path: Path) -> None:
    registry.push(FILES)
    name = next(name for name, data in registry.blobs.items() if data == FILES["model.safetensors"])
    good = registry.blobs[name]
    registry.blobs[name] = b"x" + good[1:]
    with pytest.raises(GitopsError, match="not what its manifest says"):
        fetch(registry.uri(), tmp_path / "m", EXPECTED.digest)
    assert not (tmp_path / "m").exists()
    registry.blobs[name] = good
    assert fetch(registry.uri(), tmp_path / "m", EXPECTED.digest) == EXPECTED


def test_a_manifest_that_is_not_what_its_digest_says(registry: Registry) -> None:
    manifest = registry.push(FILES)
    registry.manifests[manifest] += b" "
    with pytest.raises(GitopsError, match="other content than its digest"):
        digest_of(registry.uri(manifest))


def test_a_tag_that_moves_is_the_same_for_one_digest(registry: Registry) -> None:
    registry.push(FILES)

    def move(done: int, total: int) -> None:
        if done == 0:
            registry.push({"other": b"1"})

    assert digest_of(registry.uri(), progress=move) == EXPECTED
    assert digest_of(registry.uri()) != EXPECTED


def test_what_is_no_artifact_of_files(registry: Registry) -> None:
    registry.put({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}, "index")
    registry.put({"schemaVersion": 2, "layers": [registry._blob(b"1")]}, "image")
    registry.put({"schemaVersion": 2, "layers": [{"digest": "sha256:1", "size": 1}]}, "strange")
    registry.put({"schemaVersion": 2, "layers": [{}] * 200_000}, "large")
    unpack = {"org.opencontainers.image.title": "d", "io.deis.oras.content.unpack": "true"}
    registry.put({"schemaVersion": 2, "layers": [registry._blob(b"1", unpack)]}, "packed")
    registry.push({"../escape": b"1"}, "escape")
    registry.manifests[registry.push({}, "text")] = b"no JSON"
    registry.push({}, "empty")
    expected = {
        "index": "index of several",
        "image": "no file name",
        "strange": "without digest or size",
        "packed": "packed directory",
        "escape": "leads elsewhere",
        "empty": "lists no files",
        "absent": "does not have it",
        "large": "without digest|larger than",
    }
    for tag, said in expected.items():
        with pytest.raises(GitopsError, match=said):
            digest_of(registry.uri(tag))


@pytest.mark.parametrize("uri", ["oci://host/name", "oci://host", "oci://host/UPPER:1", "oci://host/a:1@sha256:12"])
def test_references_that_name_nothing(uri: str) -> None:
    with pytest.raises(GitopsError, match="names no artifact"):
        digest_of(uri)


@pytest.mark.parametrize("referrers", [True, False])
def test_what_is_attached_is_found(registry: Registry, referrers: bool) -> None:
    registry.referrers = referrers
    manifest = registry.push(FILES)
    assert read_beside(registry.uri(), ".intoto.jsonl") is None
    registry.attach("application/vnd.in-toto.bundle", b"statement", manifest)
    assert read_beside(registry.uri(), ".intoto.jsonl") == b"statement"
    assert read_beside(registry.uri(), ".sig") is None
    with pytest.raises(GitopsError, match="nothing is pushed") as caught:
        write_beside(registry.uri(), ".intoto.jsonl", b"")
    assert "oras attach --artifact-type application/vnd.in-toto.bundle" in caught.value.hint


def test_the_answer_to_a_login_is_bounded(registry: Registry) -> None:
    """Found by use: three gigabytes of a token were read into memory."""
    registry.push(FILES)
    registry.tokens, registry.token_padding = True, oci.MAX_TOKEN
    with pytest.raises(GitopsError, match="the answer to the login is packed, or larger than 1048576 bytes"):
        digest_of(registry.uri())


def test_a_packed_answer_is_not_unpacked(registry: Registry) -> None:
    registry.push(FILES)
    registry.packed = True
    with pytest.raises(GitopsError, match=r"manifests/1\.0 is packed"):
        digest_of(registry.uri())
    assert {headers["Accept-Encoding"] for _, headers in registry.asked} == {"identity"}


@pytest.mark.parametrize(
    ("start", "location", "refused"),
    [
        ("https://registry.acme.ai/v2/a", "http://bucket.acme.ai/a?token=x", True),
        ("https://registry.acme.ai/v2/a", "https://bucket.acme.ai/a", False),
        ("https://registry.acme.ai/v2/a", "/v2/b", False),
        ("http://127.0.0.1:5000/v2/a", "http://127.0.0.1:5001/a", False),
    ],
)
def test_redirects_stay_encrypted(start: str, location: str, refused: bool) -> None:
    def answers(request: httpx.Request) -> httpx.Response:
        return httpx.Response(302, headers={"Location": location}) if str(request.url) == start else httpx.Response(200)

    hooks: dict[str, list[Any]] = {"response": [stay_encrypted]}
    client = httpx.Client(transport=httpx.MockTransport(answers), follow_redirects=True, event_hooks=hooks)
    if not refused:
        assert client.get(start).status_code == 200
        return
    with pytest.raises(GitopsError, match="leads from https to http://bucket") as caught:
        client.get(start)
    assert "token" not in str(caught.value)


def test_a_registry_that_is_not_there() -> None:
    with pytest.raises(GitopsError, match="does not answer: ConnectError"):
        digest_of("oci://127.0.0.1:1/a:1")
