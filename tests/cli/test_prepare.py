"""From a checkpoint to what runs, in one `gitops apply`: built, validated, registered, released."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gitops.stages import provenance
from gitops.stages.digest import digest_path
from tests.cli.small import commits, repository
from tests.cli.staged import record
from tests.support.live import live_objects
from tests.support.project import ROOT, Project, run_git
from tests.support.signing import save_key
from tests.support.tools.torch import BUILD_PYTHON

pytestmark = pytest.mark.slow

EMBEDDED = {"GITOPS_EMBEDDED": "1"}
PIPELINE = """\
apiVersion: gitops/v1
name: acme
promotion: [dev]
signatures: {keys: [release.pub]}
rollouts:
  plain: {strategy: canary, steps: [{weight: 100}]}
models:
  iris:
    version: 1.0.0
    build:
      source: {uri: file://checkpoints/iris.pt, digest: "DIGEST", format: pytorch, dataset: clouds-2026-10}
      python: PYTHON
      stages:
        - stage: convert
          module: nets:Iris
          code: training
          inputs: {petals: {shape: [batch, 2]}, sepals: {shape: [batch, 2]}}
          outputs: [scores]
        - {stage: quantize, method: dynamic-int8, labelled: samples/iris.npz, maxAccuracyDrop: 3%}
        - {stage: package, as: triton, maxBatchSize: 8, instances: {device: cpu}}
      output: {uri: file://artifacts/iris/1.0.0}
    validate:
      server: {command: [PYTHON, SERVER, "{artifact}", "{port}"], readyTimeout: 60s}
      golden: validation/iris.yaml
      benchmark: {warmUp: 1s, duration: 1s, concurrency: 2, maxErrorRate: 0%}
    serve: {runtime: triton, gpu: {type: L4}}
    rollout: plain
"""
DEV = """\
apiVersion: gitops/v1
clusters:
  laptop: {provider: embedded, nodePools: {l4: {gpu: {type: L4}, max: 4}}}
"""
ANSWERS = """\
import json, sys
sys.path.insert(0, "training")
import numpy as np, torch, nets
model = nets.Iris()
model.load_state_dict(torch.load("checkpoints/iris.pt", weights_only=True))
samples = np.load("samples/iris.npz")
scores = model(torch.from_numpy(samples["petals"]), torch.from_numpy(samples["sepals"])).detach().numpy()
margin = np.sort(scores)[:, -1] - np.sort(scores)[:, -2]
for kind in range(3):
    at = max(np.flatnonzero(scores.argmax(1) == kind), key=lambda i: margin[i])
    print(json.dumps([[samples[name][at].tolist()] for name in ("petals", "sepals")] + [[scores[at].tolist()]]))
"""
FORGET = """\
import torch
state = torch.load("checkpoints/iris.pt", weights_only=True)
state["second.weight"] = state["second.weight"].flip(0)
state["second.bias"] = state["second.bias"].flip(0)
torch.save(state, "checkpoints/iris.pt")
"""


@pytest.fixture(scope="module")
def python() -> Path:
    return BUILD_PYTHON.path_or_skip()


@pytest.fixture
def project(tmp_path: Path, python: Path) -> Project:
    """A trained classifier with golden answers of its own; nothing built, nothing released."""
    path = tmp_path / "project"
    subprocess.run([python, ROOT / "tests/stages/build/iris.py", path], check=True)
    lines = subprocess.run([python, "-c", ANSWERS], cwd=path, capture_output=True, text=True, check=True).stdout
    cases = ["apiVersion: gitops/v1", "cases:"]
    for number, line in enumerate(lines.splitlines()):
        petals, sepals, scores = json.loads(line)
        cases += [f"  flower-{number}:", f"    inputs: {{petals: {petals}, sepals: {sepals}}}"]
        cases += [f"    expect: {{close: {{scores: {{to: {scores}, absolute: 0.5, relative: 0.1}}}}}}"]
    (path / "validation").mkdir()
    (path / "validation" / "iris.yaml").write_text("\n".join(cases) + "\n")
    (path / "environments").mkdir()
    (path / "environments" / "dev.yaml").write_text(DEV)
    made = PIPELINE.replace("PYTHON", str(python)).replace("SERVER", str(ROOT / "tests/support/triton_server.py"))
    (path / "pipeline.yaml").write_text(made.replace("DIGEST", digest_path(path / "checkpoints" / "iris.pt").digest))
    return Project(path, EMBEDDED | {"GITOPS_SIGNING_KEY": str(save_key(path, "release"))})


def registration(project: Project, version: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run_git(repository(project), "show", f"main:artifacts/iris/{version}.json"))
    return found


def next_version(project: Project, python: Path) -> str:
    """A checkpoint whose classes are mixed up, as version 1.1.0."""
    path = project.path / "pipeline.yaml"
    before = digest_path(project.path / "checkpoints" / "iris.pt").digest
    subprocess.run([python, "-c", FORGET], cwd=project.path, check=True)
    after = digest_path(project.path / "checkpoints" / "iris.pt").digest
    path.write_text(path.read_text().replace("1.0.0", "1.1.0").replace(before, after))
    return after


def test_a_checkpoint_is_built_validated_and_released_in_one_apply(project: Project, python: Path) -> None:
    shown = project.gitops("plan", expect=2).out
    assert "Before any release: 1 version to register" in shown
    assert (
        "iris 1.0.0: build: convert, quantize, package; gates: loads, golden, benchmark, served-accuracy; "
        "signature: by release.pub" in " ".join(shown.split())
    )
    assert "dev/iris  1.0.0 is not built and validated yet" in shown

    done = project.gitops("apply", "--yes")
    assert "Registered iris 1.0.0: sha256:" in done.out
    assert "  golden: pass (3 of 3)" in done.out
    assert record(project, "dev/iris").stable.version == "1.0.0"
    artifact = project.path / "artifacts" / "iris" / "1.0.0"
    digest = digest_path(artifact).digest
    assert record(project, "dev/iris").stable.digest == digest
    live = live_objects(project.path / ".gitops" / "embedded" / "clusters" / "laptop.db")
    deployment = live["Deployment acme-dev/iris-1-0-0"]
    assert digest in json.dumps(deployment["spec"]["template"]["metadata"]["annotations"])

    said = registration(project, "1.0.0")
    assert said["artifact"] == {"uri": "file://artifacts/iris/1.0.0", "digest": digest, "format": "triton"}
    message = run_git(repository(project), "log", "--reverse", "-1", "--format=%B", "--grep=^artifact(iris)", "main")
    assert message.startswith("artifact(iris): 1.0.0 is built, validated and signed\n")
    assert re.search(r"^quantize: .*accuracy", message, re.MULTILINE)
    assert "golden: pass (3 of 3)" in message
    assert "served-accuracy: pass (1 of 1)" in message
    assert "quantize: the accuracy was measured on " in message
    assert "clouds-2026-10" in message
    assert f"Artifact: {digest}" in message
    report = run_git(repository(project), "show", "main:artifacts/iris/1.0.0.report.json")
    assert json.loads(report)["passed"] is True
    (signer,) = [one["by"] for one in said["signatures"]]
    assert f"signed by {signer}" in message
    (statement,) = provenance.read((artifact.parent / "1.0.0.intoto.jsonl").read_bytes())
    assert statement.line, "it is an envelope"
    assert statement.content == digest
    released = run_git(repository(project), "log", "-1", "--format=%B", "--grep=^release(dev/iris)", "main")
    assert f"iris 1.0.0: signed by {signer}" in released
    assert "golden: pass (3 of 3)" in released
    assert re.search(r"validation report: artifacts/iris/1.0.0.report.json sha256:[0-9a-f]{64}", released)

    project.gitops("plan", expect=0)
    before = commits(project)
    project.gitops("apply", "--yes")
    assert commits(project) == before
    (first, *_) = reversed(project.gitops("history", "iris", "--format", "json").json)
    assert (first["decision"], first["version"]) == ("register", "1.0.0")

    # A worse one is stopped at the gate that knows the answers, and what runs goes on.
    worse = next_version(project, python)
    refused = project.gitops("apply", "--yes", expect=1)
    assert "error: iris 1.1.0: refused by golden" in refused.err
    assert re.search(r"flower-[02]: expected .*scores", refused.err)
    assert "nothing runs this one" in refused.err
    assert commits(project) == before
    assert record(project, "dev/iris").stable.version == "1.0.0"
    assert not (project.path / "artifacts" / "iris" / "1.1.0").exists()
    waiting = project.gitops("plan", "--format", "json", expect=2).json
    assert waiting["waiting"] == [{"unit": "dev/iris", "reason": "1.1.0 is not built and validated yet"}]
    assert not waiting["changes"]
    project.gitops("reconcile")
    assert record(project, "dev/iris").candidate is None

    # The same version with another checkpoint is no version at all.
    path = project.path / "pipeline.yaml"
    path.write_text(path.read_text().replace("1.1.0", "1.0.0"))
    contradicted = project.gitops("apply", "--yes", expect=1)
    assert f"and the spec says {worse[:19]}…" in " ".join(contradicted.out.split())
    assert "artifact-changed" in contradicted.out
    assert commits(project) == before
