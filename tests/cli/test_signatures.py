"""A policy of signatures: what nobody who is trusted has signed waits, and what runs already stays."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gitops.rollout.registration import Registration, dump_registration, registration_path
from gitops.stages.digest import digest_path
from gitops.stages.provenance import Build, Dependency, statement, written
from tests.cli.small import repository
from tests.cli.staged import record
from tests.support.project import Project, run_git
from tests.support.signing import save_key

PIPELINE = """\
apiVersion: gitops/v1
name: acme
promotion: [dev, production]
rollouts:
  plain: {strategy: rolling}
models:
  search:
    version: 1.0.0
    artifact: {uri: file://models/search-1.0.0, digest: "DIGEST", format: onnx}
    serve: {runtime: custom, image: "registry.acme.ai/search:2.0.0", resources: {cpu: 1, memory: 1Gi}}
    rollout: plain
"""
ENVIRONMENT = """\
apiVersion: gitops/v1
clusters:
  NAME: {provider: embedded, speed: 1000}
"""
POLICY = "signatures: {keys: [keys/release.pub], environments: [production]}\n"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return save_key(tmp_path, "release")


@pytest.fixture
def project(tmp_path: Path, key: Path) -> Project:
    project = Project(tmp_path / "project", {"GITOPS_EMBEDDED": "1"})
    for version in ("1.0.0", "1.1.0"):
        place = project.path / "models" / f"search-{version}"
        place.mkdir(parents=True)
        (place / "model.onnx").write_text(f"weights of {version}")
    for folder in ("environments", "keys"):
        (project.path / folder).mkdir()
    (project.path / "keys" / "release.pub").write_bytes(key.with_suffix(".pub").read_bytes())
    for name in ("dev", "production"):
        (project.path / "environments" / f"{name}.yaml").write_text(ENVIRONMENT.replace("NAME", name))
    (project.path / "pipeline.yaml").write_text(PIPELINE.replace("DIGEST", digest_of(project, "1.0.0")))
    (project.path / ".gitignore").write_text("models/\n")
    project.commit_spec("Describe search")
    return project


def digest_of(project: Project, version: str) -> str:
    return digest_path(project.path / "models" / f"search-{version}").digest


def trust(project: Project, policy: str = POLICY) -> None:
    with (project.path / "pipeline.yaml").open("a") as file:
        file.write(policy)
    project.commit_spec("Ask for signatures")


def bump(project: Project) -> None:
    for before, after in (
        (digest_of(project, "1.0.0"), digest_of(project, "1.1.0")),
        ("search-1.0.0", "search-1.1.0"),
        ("version: 1.0.0", "version: 1.1.0"),
    ):
        project.edit("pipeline.yaml", before, after)
    project.commit_spec("Release search 1.1.0")


def test_production_waits_for_a_signature(project: Project, key: Path) -> None:
    project.gitops("apply", "--yes", "--wait")
    trust(project)
    assert project.gitops("plan").code == 0, "a new policy stops nothing that runs"

    bump(project)
    planned = project.gitops("plan", expect=2).out
    assert "signature: by keys/release.pub" in planned
    assert "1.1.0 has no verified signature yet" in planned

    waits = project.gitops("apply", "--yes")
    assert "search 1.1.0 waits: file://models/search-1.1.0: no signature lies beside it" in waits.err
    assert "gitops models sign search --key KEY" in waits.err
    for _ in range(3):
        project.gitops("reconcile", expect=(0, 2))
    assert record(project, "dev/search").stable.version == "1.1.0"
    assert record(project, "production/search").stable.version == "1.0.0"
    assert record(project, "production/search").candidate is None
    board = project.gitops("status").out
    assert "1.1.0 has no verified signature yet (gitops models sign, then gitops apply); 1.0.0 serves" in board

    place = project.path / "models" / "search-1.1.0"
    build = Build("https://ci.example/train", {}, (Dependency("base-model", "hf://acme/base@v1"),), seed=17)
    beside = place.with_name("search-1.1.0.intoto.jsonl")
    beside.write_bytes(written(statement("search 1.1.0", digest_path(place), build)))
    signed = project.gitops("models", "sign", "search", "--key", str(key)).out
    assert digest_of(project, "1.1.0") in signed
    done = project.gitops("apply", "--yes", "--wait")
    assert f"Registered search 1.1.0: {digest_of(project, '1.1.0')}" in done.out
    assert record(project, "production/search").stable.version == "1.1.0"
    assert project.gitops("plan").code == 0

    where = repository(project)
    kept = json.loads(run_git(where, "show", "main:artifacts/search/1.1.0.json"))
    assert kept["artifact"]["digest"] == digest_of(project, "1.1.0")
    (signer,) = [one["by"] for one in kept["signatures"]]
    assert signer.startswith("SHA256:")
    start = run_git(where, "log", "--format=%B", "--grep=rollout(production/search): start 1.1.0")
    assert f"signed by {signer}" in start.replace("Signed", "signed")
    assert "seed: 17" in start.lower()
    assert "hf://acme/base@v1" in start
    assert re.search(r" search +register +1\.1\.0 .* is signed$", project.gitops("history", "search").out, re.MULTILINE)


def test_a_signature_by_somebody_else_is_none(project: Project, tmp_path: Path) -> None:
    trust(project, POLICY.replace(", environments: [production]", ""))
    project.gitops("models", "sign", "search", "--key", str(save_key(tmp_path, "other")))
    refused = project.gitops("apply", "--yes", expect=2)
    assert "search 1.0.0 waits: file://models/search-1.0.0: .sig: no trusted key has signed this" in refused.err
    assert "search" not in run_git(repository(project), "ls-tree", "-r", "--name-only", "main")
    project.gitops("models", "verify", "search", expect=2)


def test_a_changed_artifact_needs_a_signature_of_its_own(project: Project, key: Path) -> None:
    trust(project, POLICY.replace(", environments: [production]", ""))
    project.gitops("models", "sign", "search", "--key", str(key))
    project.gitops("apply", "--yes", "--wait")
    signature = project.path / "models" / "search-1.0.0.sig"
    signature.rename(project.path / "models" / "search-1.1.0.sig")
    bump(project)
    refused = project.gitops("apply", "--yes", expect=2)
    assert "no trusted key has signed this" in refused.err
    assert record(project, "dev/search").candidate is None


def test_keys_that_are_not_there(project: Project) -> None:
    trust(project)
    (project.path / "keys" / "release.pub").unlink()
    missing = project.gitops("apply", "--yes", expect=1)
    assert "keys/release.pub: cannot be read: No such file or directory" in missing.err
    assert "Traceback" not in missing.err
    nothing = project.gitops("models", "sign", "search", expect=1)
    assert "there is no key to sign with" in nothing.err


def test_what_a_build_made_is_signed_by_its_registration(project: Project, key: Path) -> None:
    trust(project, POLICY.replace(", environments: [production]", ""))
    project.edit(
        "pipeline.yaml",
        f'artifact: {{uri: file://models/search-1.0.0, digest: "{digest_of(project, "1.0.0")}", format: onnx}}',
        f"""build:
      source: {{uri: file://checkpoints/search.onnx, digest: "sha256:{"a" * 64}", format: onnx}}
      stages: [{{stage: quantize, method: dynamic-int8}}]
      output: {{uri: file://models/search-1.0.0}}""",
    )
    early = project.gitops("models", "sign", "search", "--key", str(key), expect=1)
    assert "version 1.0.0 is not built yet" in early.err

    made, source = digest_of(project, "1.0.0"), f"sha256:{'a' * 64}"
    one = Registration("search", "1.0.0", "file://models/search-1.0.0", made, "onnx", "2026-11-21T10:00:00Z", source)
    clone = project.path.parent / "clone"
    run_git(project.path.parent, "init", "--quiet", "--initial-branch=main", str(clone))
    place = clone / registration_path("search", "1.0.0")
    place.parent.mkdir(parents=True)
    place.write_bytes(dump_registration(one))
    run_git(clone, "add", ".")
    run_git(clone, "commit", "--quiet", "--message=Register search 1.0.0")
    run_git(project.path.parent, "clone", "--quiet", "--bare", str(clone), str(repository(project)))

    waits = project.gitops("apply", "--yes", expect=2)
    assert "search 1.0.0 waits" in waits.err
    assert made in project.gitops("models", "sign", "--key", str(key)).out
    done = project.gitops("apply", "--yes")
    assert f"Verified search 1.0.0: {made}" in done.out
    assert "Nothing waits for a signature" in project.gitops("models", "sign", "--key", str(key)).out
    assert record(project, "dev/search").stable.digest == made
    message = run_git(repository(project), "log", "--format=%B", "--grep=^artifact(search)", "main")
    assert message.startswith("artifact(search): 1.0.0 is signed\n\nsigned by SHA256:")
