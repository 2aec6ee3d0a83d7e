"""`gitops models` on a small project with artifacts on disk: what it prints, what it changes, how it ends."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gitops.cli import models
from gitops.cli.console import ERROR, OK, PENDING
from gitops.cli.meter import Meter
from gitops.cli.models import Adding, add, changed_lines, list_models, show, verify
from gitops.errors import GitopsError, Refused
from gitops.spec.problems import SpecError
from gitops.stages import registry
from gitops.stages.artifacts import write_beside
from gitops.stages.digest import digest_path
from gitops.stages.provenance import Build, Dependency, statement, written
from gitops.stages.signature import sign_digest
from tests.cli.small import PIPELINE, small_project
from tests.support.project import ROOT

URI = "file://models/chat-1.1.0"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = small_project(tmp_path / "project", production=False).path
    for name, content in {"w.safetensors": b"weights", "config.json": b"{}"}.items():
        place = path / "models" / "chat-1.1.0" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return path


@pytest.fixture
def digest(project: Path) -> str:
    return digest_path(project / "models" / "chat-1.1.0").digest


def pipeline(project: Path) -> str:
    return (project / "pipeline.yaml").read_text()


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


# --- list and show -------------------------------------------------------------------------------------------


def test_list(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (project / "environments" / "dev.yaml").read_text()
    override = "models: {search: {version: 2.1.0, artifact: {uri: 's3://a/b', digest: 'sha256:" + "c" * 64 + "'}}}\n"
    (project / "environments" / "dev.yaml").write_text(text + override)
    assert list_models(project) == OK
    assert capsys.readouterr().out.splitlines() == [
        "MODEL   VERSION  DIGEST               FORMAT       RELEASED IN",
        "chat    1.0.0    sha256:aaaaaaaaaaaa  safetensors  dev",
        "search  2.0.0    sha256:bbbbbbbbbbbb  onnx         dev (2.1.0)",
    ]
    list_models(project, "json")
    found = printed(capsys)["models"]
    assert [model["environments"] for model in found] == [{"dev": "1.0.0"}, {"dev": "2.1.0"}]
    assert found[0]["digest"] == "sha256:" + "a" * 64


def test_show_with_provenance(project: Path, digest: str, capsys: pytest.CaptureFixture[str]) -> None:
    add(project, Adding("chat", "1.1.0", URI))
    build = Build("https://ci.example", {}, (Dependency("base-model", "hf://a/b"),), invoked_by="ada")
    write_beside(
        URI,
        ".intoto.jsonl",
        written(statement("chat", digest_path(project / "models/chat-1.1.0"), build)),
        project=project,
    )
    capsys.readouterr()
    assert show(project, "chat") == OK
    lines = capsys.readouterr().out.splitlines()
    assert "digest       " + digest in lines
    assert lines[-2:] == ["provenance   built by https://ci.example for ada", "             from base-model: hf://a/b"]
    show(project, "chat", "json")
    assert printed(capsys)["provenance"] == ["built by https://ci.example for ada", "from base-model: hf://a/b"]


def test_show_without_provenance_and_without_the_store(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert show(project, "chat") == OK
    assert "provenance   s3:// needs the package s3fs" in capsys.readouterr().out
    add(project, Adding("chat", "1.1.0", URI))
    capsys.readouterr()
    show(project, "chat")
    assert capsys.readouterr().out.splitlines()[-1] == "provenance   none"
    with pytest.raises(GitopsError, match="no such model") as caught:
        show(project, "caht")
    assert "did you mean chat?" in caught.value.hint


# --- add -----------------------------------------------------------------------------------------------------


def test_add_changes_three_values(project: Path, digest: str, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "pipeline.yaml").chmod(0o640)
    before = pipeline(project)
    assert add(project, Adding("chat", "1.1.0", URI)) == OK
    out = capsys.readouterr().out
    assert f"chat 1.1.0 is {digest}\n3 lines changed in pipeline.yaml." in out
    assert "gitops plan" in out
    expected = before.replace("1.0.0\n    artifact", "1.1.0\n    artifact").replace("s3://acme-models/chat/1.0.0", URI)
    assert pipeline(project) == expected.replace("sha256:" + "a" * 64, digest)
    assert (project / "pipeline.yaml").stat().st_mode & 0o777 == 0o640
    assert add(project, Adding("chat", "1.1.0", URI)) == OK
    assert "nothing to do" in capsys.readouterr().out


def test_add_in_json(project: Path, digest: str, capsys: pytest.CaptureFixture[str]) -> None:
    add(project, Adding("chat", "1.1.0", URI, digest, "pytorch"), "json")
    told = {"model": "chat", "version": "1.1.0", "uri": URI, "digest": digest, "changedLines": 4}
    assert printed(capsys) == told
    assert "format: pytorch" in pipeline(project)


def test_a_version_never_changes_its_artifact(project: Path) -> None:
    before = pipeline(project)
    with pytest.raises(Refused, match=r"version 1.0.0 is sha256:aaaaaaaaaaaa… already") as caught:
        add(project, Adding("chat", "1.0.0", URI))
    assert "new version" in caught.value.hint
    text = (project / "environments" / "dev.yaml").read_text()
    override = "models: {chat: {version: 1.1.0, artifact: {uri: 's3://a/b', digest: 'sha256:" + "c" * 64 + "'}}}\n"
    (project / "environments" / "dev.yaml").write_text(text + override)
    with pytest.raises(Refused, match=r"version 1.1.0 is sha256:cccccccccccc… already"):
        add(project, Adding("chat", "1.1.0", URI))
    assert pipeline(project) == before


def test_a_digest_that_is_not_that_of_the_artifact(project: Path) -> None:
    with pytest.raises(Refused, match="--digest says sha256:dd"):
        add(project, Adding("chat", "1.1.0", URI, "sha256:" + "d" * 64))
    assert pipeline(project) == PIPELINE.replace("[dev, production]", "[dev]")


@pytest.mark.parametrize(
    ("wanted", "error", "said"),
    [
        (Adding("chta", "1.1.0", URI), GitopsError, "no such model"),
        (Adding("chat", "1.1.0"), GitopsError, "name one place"),
        (Adding("chat", "1.1.0", URI, from_mlflow="chat"), GitopsError, "name one place"),
        (Adding("chat", "Not A Version", URI), SpecError, "version"),
        (Adding("chat", "1.1.0", URI, format="tensorrt"), SpecError, "builtFor"),
        (Adding("chat", "1.1.0", "ftp://x/y"), SpecError, "uri"),
        (Adding("chat", "1.1.0", "file://models/absent"), GitopsError, "no such file"),
    ],
)
def test_add_refuses_before_it_changes_anything(
    project: Path, wanted: Adding, error: type[Exception], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(error, match=said):
        add(project, wanted)
    assert pipeline(project) == PIPELINE.replace("[dev, production]", "[dev]")


def test_an_edit_meanwhile_is_kept(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = models._digest

    def slow(*arguments: Any) -> str:
        (project / "pipeline.yaml").write_text(pipeline(project) + "# somebody was here\n")
        return original(*arguments)

    monkeypatch.setattr(models, "_digest", slow)
    add(project, Adding("chat", "1.1.0", URI))
    assert pipeline(project).endswith("# somebody was here\n")
    assert URI in pipeline(project)


def test_add_from_mlflow(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(registry, "resolve", lambda reference: registry.Registered("chat", "7", URI))
    assert add(project, Adding("chat", "1.1.0", from_mlflow="chat@champion")) == OK
    assert "MLflow: chat version 7 lies at file://models/chat-1.1.0" in capsys.readouterr().err
    assert URI in pipeline(project)


# --- verify --------------------------------------------------------------------------------------------------


@pytest.fixture
def added(project: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    add(project, Adding("chat", "1.1.0", URI))
    capsys.readouterr()
    return project


def state(project: Path, key: Path | None = None) -> None:
    found = digest_path(project / "models" / "chat-1.1.0")
    write_beside(URI, ".intoto.jsonl", written(statement("chat", found, Build("https://ci", {})), key), project=project)


def keys(folder: Path, name: str = "key") -> tuple[Path, Path]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    private = Ed25519PrivateKey.generate()
    secret, public = folder / name, folder / f"{name}.pub"
    secret.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return secret, public


def test_verify_what_holds(added: Path, digest: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(added, "chat") == OK
    assert capsys.readouterr().out == "chat: pass (1 of 1)\n  file://models/chat-1.1.0; no provenance\n"
    secret, public = keys(tmp_path)
    state(added, secret)
    write_beside(URI, ".sig", sign_digest(digest, secret), project=added)
    assert verify(added, "chat") == OK
    assert "was not checked: no key was named" in capsys.readouterr().out
    assert verify(added, "chat", [public], form="json") == OK
    (gate,) = printed(capsys)["gates"]
    assert [check["name"] for check in gate["checks"]] == ["digest", "provenance", "provenance signature", "signature"]
    assert gate["figures"] == {"size-bytes": 9.0, "files": 2.0}


def test_verify_names_the_files_that_differ(added: Path, digest: str, capsys: pytest.CaptureFixture[str]) -> None:
    state(added)
    folder = added / "models" / "chat-1.1.0"
    (folder / "config.json").write_bytes(b"[]")
    (folder / "w.safetensors").rename(folder / "x.safetensors")
    assert verify(added, "chat") == PENDING
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "chat: fail (1 of 5)"
    assert lines[1].startswith(f"  digest: expected {digest}, got sha256:")
    assert lines[2].startswith("  file config.json: expected sha256:")
    assert lines[3].endswith("got no such file")
    assert "expected no such file" in lines[4]


def test_verify_wants_the_signatures_that_keys_ask_for(
    added: Path, digest: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret, public = keys(tmp_path)
    stranger, _ = keys(tmp_path, "stranger")

    def failed() -> list[str]:
        assert verify(added, "chat", [public], form="json") == PENDING
        return [check["name"] for check in printed(capsys)["gates"][0]["checks"] if not check["passed"]]

    assert failed() == ["signature"]
    state(added)
    assert failed() == ["signature"]
    state(added, stranger)
    assert failed() == ["provenance signature"]
    state(added, secret)
    write_beside(URI, ".sig", sign_digest(digest, stranger), project=added)
    assert failed() == ["signature"]
    write_beside(URI, ".intoto.jsonl", b"{", project=added)
    assert failed() == ["provenance", "signature"]


def test_verify_a_statement_about_something_else(added: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = digest_path(added / "environments")
    write_beside(URI, ".intoto.jsonl", written(statement("chat", other, Build("https://ci", {}))), project=added)
    assert verify(added, "chat") == PENDING
    assert f"got {other.digest}" in capsys.readouterr().out


def test_verify_all_goes_on_where_one_cannot_be_read(
    added: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert verify(added) == ERROR
    told = capsys.readouterr()
    assert told.out.startswith("chat: pass")
    assert "error: search: s3:// needs the package s3fs" in told.err
    with pytest.raises(GitopsError, match="needs the package"):
        verify(added, "search")


def test_verify_with_sigstore_options(added: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(GitopsError, match="belong together"):
        verify(added, "chat", identity="ada@acme.example")
    assert verify(added, "chat", identity="ada@acme.example", issuer="https://accounts.example") == PENDING
    assert "sigstore: expected one by ada@acme.example, got none" in capsys.readouterr().out
    write_beside(URI, ".sigstore.json", b"{}", project=added)
    assert verify(added, "chat") == OK
    assert "bundle was not checked: no identity was named" in capsys.readouterr().out


# --- The small parts -----------------------------------------------------------------------------------------


def test_the_meter_on_a_terminal_and_in_ci(capsys: pytest.CaptureFixture[str]) -> None:
    time = [0.0]
    for terminal, expected in ((False, ["reading m: 1.0 of 4.0 GB, 25 %"]), (True, None)):
        with Meter("m", lambda: time[0], terminal) as meter:
            for second in range(40):
                time[0] += 1
                meter.step(1_000_000_000 if second == 29 else 0, 4_000_000_000)
        told = capsys.readouterr().err
        if expected:
            assert told.splitlines() == expected
        else:
            assert told.count("\r\x1b[K") == 41
            assert told.endswith("\r\x1b[K")


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [(b"a\nb\nc", b"a\nb\nc", 0), (b"a\nb\nc", b"a\nx\nc", 1), (b"a\nb", b"a\nb\nc", 1), (b"", b"a", 1)],
)
def test_lines_that_changed(before: bytes, after: bytes, lines: int) -> None:
    assert changed_lines(before, after) == lines


# --- The documentation ---------------------------------------------------------------------------------------


def blocks(language: str) -> list[str]:
    text = (ROOT / "docs" / "artifacts.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_documentation_holds(project: Path, digest: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its lines of shell give the digest and a signature, and its Python writes a statement, that verify takes."""
    coreutils, _, _, openssl = blocks("sh")
    model = project / "models" / "chat-1.1.0"
    done = subprocess.run(["sh", "-c", coreutils], cwd=model, capture_output=True, text=True, check=True)
    assert f"sha256:{done.stdout.split()[0]}" == digest
    env = {**os.environ, "DIGEST": digest}
    subprocess.run(["sh", "-e", "-c", openssl], cwd=project, env=env, capture_output=True, check=True)
    (project / "digest.txt.sig").rename(project / "models" / "chat-1.1.0.sig")
    (code,) = blocks("python")
    monkeypatch.chdir(project)
    exec(compile(code.replace("models/support-chat-2.5.0", "models/chat-1.1.0"), "docs/artifacts.md", "exec"), {})
    add(project, Adding("chat", "1.1.0", URI))
    assert verify(project, "chat", [project / "release.pub"]) == OK
    written_there = json.loads((project / "models" / "chat-1.1.0.intoto.jsonl").read_bytes())
    assert written_there["payloadType"] == "application/vnd.in-toto+json"
