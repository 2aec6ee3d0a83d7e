"""What still works when something else is broken: the safety path depends on nothing that it does not need."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.small import commits, repository
from tests.cli.staged import EMBEDDED, record, release, staged_project, until_weight, weight
from tests.support.project import Project, run_git


@pytest.fixture(scope="module")
def walking_once(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """chat 1.1.0 has 10 % in dev; the spec is kept in Git, and every cluster is where Git says."""
    project = staged_project(tmp_path_factory.mktemp("isolation") / "project")
    project.commit_spec("First")
    project.gitops("apply", "--yes")
    release(project, "1.1.0")
    project.commit_spec("Release chat 1.1.0")
    project.gitops("apply", "--yes")
    until_weight(project, "dev/chat", 10)
    return project


@pytest.fixture
def walking(walking_once: Project, tmp_path: Path) -> Project:
    """A copy of it."""
    shutil.copytree(walking_once.path, tmp_path / "project")
    return Project(tmp_path / "project", EMBEDDED)


def by_hand(project: Project, change: Callable[[Path], None]) -> None:
    """A commit in the GitOps repository by somebody else."""
    checkout = project.path.parent / "by-hand"
    run_git(project.path.parent, "clone", "--quiet", str(repository(project)), str(checkout))
    change(checkout)
    run_git(checkout, "add", "--all")
    run_git(checkout, "commit", "--quiet", "--message", "by hand")
    run_git(checkout, "push", "--quiet")
    shutil.rmtree(checkout)


def conflict_in(unit: str) -> Callable[[Path], None]:
    def change(checkout: Path) -> None:
        path = checkout / f"releases/{unit}.yaml"
        path.write_text(f"<<<<<<< HEAD\n{path.read_text()}=======\n>>>>>>> theirs\n")

    return change


def test_a_damaged_record_of_another_unit(walking: Project) -> None:
    by_hand(walking, conflict_in("production/search"))
    release(walking, "2.1.0", model="search", before="2.0.0")
    damaged = "releases/production/search.yaml"

    board = walking.gitops("status", "--format", "json").json["models"]
    states = {(row["model"], cell["environment"]): cell["state"] for row in board for cell in row["environments"]}
    assert states["search", "production"] == "damaged"
    assert states["chat", "dev"] == "under-way"

    assert damaged in walking.gitops("plan", expect=2).out
    done = walking.gitops("apply", "--yes", expect=2)
    assert f"left alone: production/search: {damaged}" in done.err
    assert record(walking, "dev/search").candidate, "the other environment is not held up"

    seen = walking.gitops("reconcile", expect=1).out
    assert damaged in seen
    assert damaged in walking.gitops("rollback", "production/search", expect=1).err
    walking.gitops("history", "production/search")
    before = commits(walking)
    walking.gitops("rollback", "dev/chat")
    assert (commits(walking), weight(walking, "dev/chat")) == (before + 1, 0)
