"""Eight applies at once on one repository: the history stays linear and no edit is lost."""

import subprocess
from pathlib import Path

import pytest

from tests.support.project import Project, run_git

PROCESSES = 8

MODEL = """\
  model-{number}:
    version: 1.0.0
    artifact: {{uri: s3://acme-models/model-{number}/1.0.0, digest: "sha256:{digest}", format: safetensors}}
    serve: {{runtime: custom, image: "registry.acme.ai/model-{number}:1.0.0", resources: {{cpu: 1, memory: 1Gi}}}}
    rollout: quick
"""
HEAD = """\
apiVersion: gitops/v1
name: acme
repository: {url: .gitops/repository.git}
promotion: [dev]
rollouts:
  quick: {strategy: rolling}
models:
"""
DEV = """\
apiVersion: gitops/v1
clusters:
  local: {provider: embedded}
"""


@pytest.fixture
def shared(tmp_path: Path) -> Project:
    """A spec in Git with eight models, released once."""
    project = Project(tmp_path / "spec")
    (project.path / "environments").mkdir(parents=True)
    models = "".join(MODEL.format(number=n, digest=f"{n:064x}") for n in range(PROCESSES))
    (project.path / "pipeline.yaml").write_text(HEAD + models)
    (project.path / "environments" / "dev.yaml").write_text(DEV)
    project.commit_spec("Describe eight models")
    project.gitops("apply", "--yes")
    return project


def checkout(shared: Project, path: Path) -> Project:
    """Somebody's clone of the spec, working on the same GitOps repository and cluster."""
    run_git(path.parent, "clone", "--quiet", str(shared.path), str(path))
    (path / ".gitops").symlink_to(shared.path / ".gitops")
    return Project(path)


def test_different_edits_at_once_are_all_kept(shared: Project, tmp_path: Path) -> None:
    clones = []
    for number in range(PROCESSES):
        clone = checkout(shared, tmp_path / f"clone-{number}")
        clone.edit("pipeline.yaml", f"acme-models/model-{number}/1.0.0", f"acme-models/model-{number}/1.1.0")
        clone.edit("pipeline.yaml", f"model-{number}:\n    version: 1.0.0", f"model-{number}:\n    version: 1.1.0")
        clone.edit("pipeline.yaml", f"{number:064x}", f"{number + 100:064x}")
        clone.commit_spec(f"Release model-{number} 1.1.0")
        clones.append(clone)

    running = [
        subprocess.Popen(
            clone.command("apply", "--yes"),
            env=clone.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for clone in clones
    ]
    for process in running:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, out + err

    repository = shared.path / ".gitops" / "repository.git"
    assert run_git(repository, "rev-list", "--merges", "--count", "main").strip() == "0"
    assert run_git(repository, "rev-list", "--count", "main").strip() == str(1 + PROCESSES)
    for number in range(PROCESSES):
        assert 'version: "1.1.0"' in run_git(repository, "show", f"main:releases/dev/model-{number}.yaml")
        files = run_git(repository, "ls-tree", "--name-only", f"main:clusters/local/dev/model-{number}")
        assert "1.1.0" in files.split()
        assert "1.0.0" not in files.split()
    drift = shared.gitops("diff", "--format", "json", expect=0)
    assert drift.json["changes"] == []


def test_an_older_checkout_leaves_newer_edits_alone(shared: Project, tmp_path: Path) -> None:
    clone = checkout(shared, tmp_path / "newer")
    clone.edit("pipeline.yaml", "model-3:\n    version: 1.0.0", "model-3:\n    version: 1.1.0")
    clone.edit("pipeline.yaml", f"{3:064x}", f"{103:064x}")
    clone.commit_spec("Release model-3 1.1.0")
    clone.gitops("apply", "--yes")

    left = shared.gitops("plan", "--format", "json", expect=0).json["leftAlone"]
    assert [entry["unit"] for entry in left] == ["dev/model-3"]
    back = shared.gitops("plan", "--format", "json", "--replace-newer", expect=2).json
    assert {change["unit"] for change in back["changes"]} == {"dev/model-3"}


def test_the_same_unit_released_by_two_is_refused(shared: Project, tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    first, second = checkout(shared, tmp_path / "first"), checkout(shared, tmp_path / "second")
    for clone, version in ((first, "1.1.0"), (second, "1.2.0")):
        clone.edit("pipeline.yaml", "model-0:\n    version: 1.0.0", f"model-0:\n    version: {version}")
        clone.edit("pipeline.yaml", f"{0:064x}", version.replace(".", "").ljust(64, "a"))
        clone.commit_spec(f"Release model-0 {version}")
    second.gitops("plan", "--out", str(saved), expect=2)
    first.gitops("apply", "--yes")
    refused = second.gitops("apply", str(saved), "--yes", expect=1)
    assert "stale" in refused.err
    assert "plan again" in refused.err


def test_an_older_checkout_leaves_newer_clusters_alone(shared: Project, tmp_path: Path) -> None:
    clone = checkout(shared, tmp_path / "newer")
    clone.edit("environments/dev.yaml", "apiVersion: gitops/v1\n", "apiVersion: gitops/v1\nnamespace: elsewhere\n")
    clone.commit_spec("Move to another namespace")
    clone.gitops("apply", "--yes")

    older = shared.gitops("plan", "--format", "json", expect=0).json
    assert "local" in {entry["unit"] for entry in older["leftAlone"]}
    assert older["changes"] == []
