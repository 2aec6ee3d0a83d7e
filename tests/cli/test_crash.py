"""SIGKILL after every externally visible effect of apply: the next run ends where an undisturbed run ends.

`test_rollout_crash.py` does the same to rollouts.
"""

import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.live import live_objects
from tests.support.project import Project, run_git

pytestmark = pytest.mark.slow

PIPELINE = """\
apiVersion: gitops/v1
name: acme
promotion: [dev, production]
rollouts:
  quick: {strategy: rolling}
models:
  chat:
    version: 1.0.0
    artifact:
      uri: s3://acme-models/chat/1.0.0
      digest: "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      format: safetensors
    serve: {runtime: vllm, gpu: {type: L4}, loadTime: 30s}
    rollout: quick
  search:
    version: 2.0.0
    artifact:
      uri: s3://acme-models/search/2.0.0
      digest: "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
      format: onnx
    serve: {runtime: custom, image: "registry.acme.ai/search:2.0.0", resources: {cpu: 1, memory: 1Gi}}
    rollout: quick
"""
DEV = """\
apiVersion: gitops/v1
clusters:
  local: {provider: embedded, nodePools: {l4: {gpu: {type: L4, count: 1}, max: 4}}}
"""
PRODUCTION = """\
apiVersion: gitops/v1
clusters:
  aws:
    provider: aws
    region: us-east-1
    availabilityZones: [us-east-1a, us-east-1b]
    nodePools: {l4: {instance: g6.2xlarge, max: 4}}
"""


def new_project(path: Path) -> Project:
    project = Project(path)
    (path / "environments").mkdir(parents=True)
    (path / "pipeline.yaml").write_text(PIPELINE)
    (path / "environments" / "dev.yaml").write_text(DEV)
    (path / "environments" / "production.yaml").write_text(PRODUCTION)
    return project


def release_next(project: Project) -> None:
    """Start a version, reconfigure a model, remove one: the run to be killed creates, updates and deletes."""
    project.edit("pipeline.yaml", "version: 1.0.0", "version: 1.1.0")
    project.edit("pipeline.yaml", "chat/1.0.0", "chat/1.1.0")
    project.edit("pipeline.yaml", "a" * 64, "b" * 64)
    project.edit("pipeline.yaml", "memory: 1Gi", "memory: 2Gi")
    project.edit("environments/production.yaml", "max: 4", "max: 6")
    project.edit("environments/dev.yaml", "clusters:", "exclude: [search]\nclusters:")


def objects(path: Path) -> dict[str, Any]:
    """What a cluster holds but its memory of what was brought to it: where that lags, the next pass compares."""
    return {name: body for name, body in live_objects(path).items() if not name.endswith("/gitops-acme-applied")}


def end_state(project: Project) -> dict[str, object]:
    """Repository, clusters and infrastructure, without what differs between any two runs (times and ids)."""
    state = project.path / ".gitops" / "embedded"
    repository = state / "repository.git"
    paths = run_git(repository, "ls-tree", "-r", "--name-only", "main").split()
    shown = {path: run_git(repository, "show", f"main:{path}") for path in paths}
    files = {path: re.sub(r"\b(since|started|entered|id): .*", r"\1: …", text) for path, text in shown.items()}
    run_git(repository, "fsck", "--strict")
    return {
        "commits": run_git(repository, "rev-list", "--count", "main").strip(),
        "files": files,
        "objects": {path.name: objects(path) for path in sorted((state / "clusters").glob("*.db"))},
        "infrastructure": {p.name: p.read_text() for p in sorted((state / "infrastructure").glob("*.json"))},
    }


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a first release, and the next one written down: killed runs start from copies of it."""
    project = new_project(tmp_path_factory.mktemp("prepared") / "project")
    project.gitops("apply", "--yes", "--embedded")
    release_next(project)
    return project.path


@pytest.fixture(scope="module")
def undisturbed(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], dict[str, object]]:
    """The effects of the second release, and where they lead."""
    path = tmp_path_factory.mktemp("undisturbed")
    project, log = Project(Path(shutil.copytree(prepared, path / "project"))), path / "effects"
    assert project.killed_after(0, log, "apply", "--yes", "--embedded").code == 0
    project.gitops("plan", "--embedded", expect=0)
    return log.read_text().splitlines(), end_state(project)


def test_every_effect_is_survived(
    prepared: Path, undisturbed: tuple[list[str], dict[str, object]], tmp_path: Path
) -> None:
    effects, expected = undisturbed
    assert {effect.split()[0] for effect in effects} == {"push", "infrastructure", "apply", "delete", "stamp"}
    for number, effect in enumerate(effects, start=1):
        project = Project(Path(shutil.copytree(prepared, tmp_path / str(number))))
        killed = project.killed_after(number, tmp_path / f"{number}.log", "apply", "--yes", "--embedded")
        assert killed.code == -signal.SIGKILL, f"after {effect}: {killed.err}"
        project.gitops("apply", "--yes", "--embedded")
        reached = end_state(project)
        for part, value in expected.items():
            assert reached[part] == value, f"{part} differs; killed after {effect}"
