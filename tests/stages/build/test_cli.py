"""`gitops build` as a command: which models, what is printed, which exit code."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops.cli.build import build
from gitops.cli.console import guarded
from gitops.stages.build.runner import BuildResult
from gitops.stages.digest import digest_path
from tests.stages.build.projects import CONVERT, INT8, TRITON, Project

PRUNE = {"stage": "prune", "sparsity": 0.2}
SERVE = {"runtime": "triton", "gpu": {"type": "L4"}}
DEV = {
    "apiVersion": "gitops/v1",
    "clusters": {"local": {"provider": "embedded", "nodePools": {"l4": {"gpu": {"type": "L4"}, "max": 4}}}},
}


def write(project: Project, builds: dict[str, dict[str, Any] | None]) -> None:
    """A pipeline with these models, in the order of their names."""
    plain = {"uri": "s3://acme/x/1", "digest": "sha256:" + "a" * 64, "format": "onnx"}
    models: dict[str, Any] = {}
    for name, made in builds.items():
        models[name] = {"version": "1.0.0", "serve": SERVE, "rollout": "quick"}
        models[name] |= {"build": made} if made else {"artifact": plain}
    rollouts = {"quick": {"strategy": "rolling"}}
    pipeline = {"apiVersion": "gitops/v1", "name": "acme", "promotion": ["dev"], "rollouts": rollouts, "models": models}
    without_aliases = json.loads(json.dumps(pipeline))
    (project.path / "pipeline.yaml").write_text(yaml.safe_dump(without_aliases))
    (project.path / "environments").mkdir(exist_ok=True)
    (project.path / "environments" / "dev.yaml").write_text(yaml.safe_dump(DEV))


@pytest.fixture
def project(built: tuple[Project, BuildResult], tmp_path: Path) -> Project:
    copy = built[0].copy(tmp_path / "project")
    write(copy, {"iris": copy.written(CONVERT, PRUNE, INT8, TRITON), "plain": None})
    return copy


def test_one_line_a_stage(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(project.path, "iris", publish=True) == 0
    out = capsys.readouterr().out
    assert out.startswith("iris 1.0.0: built, 4 of 4 stages from the cache\n  1 convert")
    assert digest_path(project.path / "artifacts" / "iris").digest in out


def test_the_report(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert build(project.path, form="json") == 0
    report = json.loads(capsys.readouterr().out)
    (one,) = report["builds"]
    assert (report["passed"], one["model"], one["published"]) == (True, "iris", None)
    assert [stage["stage"] for stage in one["stages"]] == ["convert", "prune", "quantize", "triton"]
    assert one["stages"][0]["tools"]["torch"]


def test_a_gate_that_says_no_is_told_and_the_others_are_built(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    lossy = {"stage": "prune", "sparsity": 0.97, "labelled": "samples/iris.npz", "maxAccuracyDrop": "1%"}
    write(project, {"bad": project.written(CONVERT, lossy), "iris": project.written(CONVERT, PRUNE)})
    assert build(project.path) == 2
    told = capsys.readouterr()
    assert "iris 1.0.0: built" in told.out
    assert "bad: 2 prune" in told.err
    assert "points lower" in told.err
    assert "Traceback" not in told.err
    assert build(project.path, "bad", form="json") == 2
    (one,) = json.loads(capsys.readouterr().out)["builds"]
    assert one["gates"][0]["gate"] == "accuracy"


def test_what_cannot_be_done_is_1(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    missing = {**CONVERT, "code": "elsewhere"}
    write(project, {"bad": project.written(missing), "iris": project.written(CONVERT)})
    assert build(project.path) == 1
    assert "there is no such file or directory" in capsys.readouterr().err
    assert guarded(lambda: build(project.path, "irsi")) == 1
    assert "did you mean" in capsys.readouterr().err
    write(project, {"plain": None})
    assert guarded(lambda: build(project.path, "plain")) == 1
    assert "this model has no `build`" in capsys.readouterr().err


def test_jobs_instead(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    job = {"image": "registry.acme.ai/builder:1", "queue": "gpu-queue", "cluster": "local"}
    write(project, {"iris": project.written(CONVERT, TRITON, job=job)})
    assert build(project.path, job=True) == 0
    (manifest,) = yaml.safe_load_all(capsys.readouterr().out)
    assert manifest["kind"] == "Job"
    assert manifest["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu-queue"
