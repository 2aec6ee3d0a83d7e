"""Statements of provenance: what is written is read again, what is misshapen is refused, with the place."""

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops.errors import GitopsError
from gitops.stages.digest import digest_path
from gitops.stages.provenance import PAYLOAD, Build, Dependency, now, read, statement, summary, written
from gitops.stages.signature import load_keys, sign, verify_envelope

BUILD = Build(
    builder="https://ci.example/acme/models/.github/workflows/build.yml@refs/heads/main",
    parameters={"version": "2.4.0", "stages": [{"stage": "quantize", "scheme": "awq"}]},
    dependencies=(
        Dependency("checkpoint", "s3://acme/runs/17", {"sha256": "cd" * 32}),
        Dependency("code", "git+https://git.example/acme/models", {"gitCommit": "12" * 20}),
        Dependency("training-data", "s3://acme/data/2025-11"),
    ),
    seed=0,
    training_data="2025-11",
    invoked_by="ada@acme.example",
    invocation="https://ci.example/runs/99",
    started="2025-11-20T10:00:00Z",
    finished="2025-11-20T10:05:00Z",
    tools={"gitops": "0.1.0"},
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "chat" / "sub").mkdir(parents=True)
    (tmp_path / "chat" / "sub" / "w").write_bytes(b"weights")
    (tmp_path / "chat" / "config.json").write_bytes(b"{}")
    return tmp_path / "chat"


@pytest.fixture
def document(model: Path) -> dict[str, Any]:
    return statement("chat", digest_path(model), BUILD)


def test_the_statement_as_the_specifications_name_its_parts(document: dict[str, Any], model: Path) -> None:
    digest = digest_path(model).digest.removeprefix("sha256:")
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert document["predicateType"] == "https://slsa.dev/provenance/v1"
    assert document["subject"][0] == {"name": "chat", "digest": {"sha256": digest, "dirHash": digest}}
    assert [subject["name"] for subject in document["subject"][1:]] == ["config.json", "sub/w"]
    definition, run = document["predicate"]["buildDefinition"], document["predicate"]["runDetails"]
    assert set(definition) == {"buildType", "externalParameters", "internalParameters", "resolvedDependencies"}
    assert definition["externalParameters"]["seed"] == 0
    assert definition["resolvedDependencies"][0] == {
        "name": "checkpoint",
        "uri": "s3://acme/runs/17",
        "digest": {"sha256": "cd" * 32},
    }
    assert run["builder"] == {"id": BUILD.builder, "version": {"gitops": "0.1.0"}}
    assert set(run["metadata"]) == {"invocationId", "startedOn", "finishedOn"}


def test_the_digest_is_in_totos_directory_hash(document: dict[str, Any], model: Path) -> None:
    command = "find . -type f | cut -c3- | LC_ALL=C sort | xargs -r sha256sum | sha256sum | cut -f1 -d' '"
    told = subprocess.run(["sh", "-c", command], cwd=model, capture_output=True, text=True, check=True).stdout.strip()
    assert document["subject"][0]["digest"]["dirHash"] == told


def test_what_is_written_is_read(document: dict[str, Any], model: Path) -> None:
    (found,) = read(written(document), "chat.intoto.jsonl")
    assert (found.statement, found.line) == (document, None)
    assert found.content == digest_path(model).digest
    assert found.files == {file.path: file.sha256 for file in digest_path(model).files}


def test_a_single_file_has_one_subject(model: Path) -> None:
    found = digest_path(model / "config.json")
    (one,) = read(written(statement("config.json", found, BUILD)))
    assert one.content == found.digest
    assert one.files == {}


def test_a_signed_statement(document: dict[str, Any], tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    private = Ed25519PrivateKey.generate()
    key, public = tmp_path / "key", tmp_path / "key.pub"
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    line = written(document, key)
    assert line.count(b"\n") == 1
    (found,) = read(line)
    assert found.statement == document
    assert found.line is not None
    assert json.loads(verify_envelope(found.line, load_keys([public]), PAYLOAD).payload) == document
    other = sign("application/vnd.other+json", b"{}", key) + b"\n"
    scan = b'{"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://spdx.dev/Document"}\n'
    assert read(other + scan + b"\n" + line) == (found,)


def test_the_summary_tells_a_release_commit(document: dict[str, Any]) -> None:
    assert summary(document) == (
        f"built by {BUILD.builder} for ada@acme.example at 2025-11-20T10:05:00Z",
        "run: https://ci.example/runs/99",
        "seed: 0",
        "training data: 2025-11",
        f"from checkpoint: s3://acme/runs/17 sha256:{'cd' * 32}",
        f"from code: git+https://git.example/acme/models gitCommit:{'12' * 20}",
        "from training-data: s3://acme/data/2025-11",
    )
    smallest = statement("m", digest_path(Path(__file__)), Build("https://b.example", {}))
    assert summary(read(written(smallest))[0].statement) == ("built by https://b.example",)


def test_a_summary_has_one_printable_line_for_each_thing(document: dict[str, Any]) -> None:
    document["predicate"]["runDetails"]["builder"]["id"] = "x\n\x1b[2JSigned-off-by: nobody" + "y" * 1000
    lines = summary(read(written(document))[0].statement)
    assert all(line.isprintable() and len(line) < 1000 for line in lines)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("_type",), "https://in-toto.io/Statement/v0.1"),
        (("subject",), []),
        (("subject",), {}),
        (("subject", 0), "chat"),
        (("subject", 0, "digest", "sha256"), "AB" * 32),
        (("subject", 0, "digest", "dirHash"), "00" * 32),
        (("subject", 1, "digest"), {"md5": "1"}),
        (("subject", 1, "name"), "sub/w"),
        (("subject", 1, "name"), 3),
        (("predicate",), []),
        (("predicate", "buildDefinition", "buildType"), None),
        (("predicate", "buildDefinition", "externalParameters"), []),
        (("predicate", "buildDefinition", "resolvedDependencies"), [1]),
        (("predicate", "buildDefinition", "resolvedDependencies", 0, "digest"), {"sha256": 1}),
        (("predicate", "runDetails", "builder"), {}),
        (("predicate", "runDetails", "metadata", "startedOn"), 3),
    ],
)
def test_misshapen_statements(document: dict[str, Any], path: tuple[str | int, ...], value: object) -> None:
    changed: Any = copy.deepcopy(document)
    here = changed
    for part in path[:-1]:
        here = here[part]
    here[path[-1]] = value
    with pytest.raises(GitopsError, match="no statement of provenance") as caught:
        read(written(changed), "chat.intoto.jsonl")
    assert caught.value.where == "chat.intoto.jsonl:1"


@pytest.mark.parametrize(
    "data", [b"{", b"\xff", b'"\\ud800"', b"[" * 100_000, b'{"payloadType": "application/vnd.in-toto+json"}']
)
def test_what_is_no_json(data: bytes) -> None:
    with pytest.raises(GitopsError, match="no statement of provenance"):
        read(data)


def test_bounds() -> None:
    with pytest.raises(GitopsError, match="more than 1000 lines"):
        read(b"{}\n" * 1001)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150)
@given(st.data())
def test_any_damage_is_refused_or_read(data: st.DataObject) -> None:
    document: Any = statement("m", digest_path(Path(__file__)), BUILD)
    here, key = document, data.draw(st.sampled_from(sorted(document)))
    while isinstance(here[key], dict | list) and here[key] and data.draw(st.booleans()):
        here = here[key]
        key = data.draw(st.sampled_from(sorted(here) if isinstance(here, dict) else list(range(len(here)))))
    here[key] = data.draw(JSON)
    try:
        found = read(written(document))
    except GitopsError:
        return
    for one in found:
        assert all(line.isprintable() for line in summary(one.statement))
        assert one.content.startswith("sha256:")


def test_now_is_a_time_in_utc() -> None:
    assert now().endswith("Z")
