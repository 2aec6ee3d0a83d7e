"""What still works when something else is broken: the safety path depends on nothing that it does not need."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.small import commits, repository
from tests.cli.staged import EMBEDDED, append, clock, record, release, staged_project, turn_bad, until_weight, weight
from tests.support.project import Project, run_git

OTHER_ARTIFACT = f"""\
models:
  search: {{version: 2.0.0, artifact: {{digest: "sha256:{"d" * 64}"}}}}
"""


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


def misspell(project: Project) -> None:
    """The strategy of a policy that nobody uses."""
    project.edit("pipeline.yaml", "models:\n", "  unused: {strategy: cannary}\nmodels:\n")


BROKEN: dict[str, Callable[[Project], object]] = {
    "misspelt": misspell,
    "conflict": lambda project: project.edit("pipeline.yaml", "apiVersion", "<<<<<<< HEAD\napiVersion"),
    "gone": lambda project: (project.path / "pipeline.yaml").unlink(),
    "no environments": lambda project: shutil.rmtree(project.path / "environments"),
}


@pytest.mark.parametrize("break_it", BROKEN.values(), ids=BROKEN)
def test_going_back_needs_no_valid_spec(walking: Project, break_it: Callable[[Project], object]) -> None:
    break_it(walking)
    walking.gitops("status", "--offline")
    walking.gitops("history", "dev/chat")
    said = walking.gitops("rollback", "dev/chat").err
    assert "the spec is not valid" in said
    assert "go on by spec commit" in said
    assert weight(walking, "dev/chat") == 0
    source = record(walking, "dev/chat").source.commit
    assert source == walking.git("rev-parse", "HEAD").strip()
    walking.gitops("diff")
    walking.gitops("resume", "dev/chat", expect=1)


def test_a_broken_spec_is_judged_by_the_last_valid_one(walking: Project) -> None:
    """Nothing that it asks for starts, and what does harm goes back."""
    release(walking, "2.1.0", model="search", before="2.0.0")
    release(walking, "1.2.0", before="1.1.0")
    walking.commit_spec("Not applied yet")
    misspell(walking)
    walking.commit_spec("Broken")
    goes_back(walking, expect=1, says="unused")
    assert record(walking, "dev/chat").candidate is None
    assert record(walking, "dev/search").candidate is None


def goes_back(project: Project, *, expect: int, says: str = "") -> None:
    """Passes find out that 1.1.0 does harm."""
    turn_bad(project, "1.1.0", after="0s")
    for _ in range(12):
        clock(project).sleep(60)
        done = project.gitops("reconcile", expect=expect)
        assert says in done.out + done.err
        if rejected := record(project, "dev/chat").rejected:
            break
    assert [one.version.version for one in rejected] == ["1.1.0"]
    assert "error-rate" in rejected[0].reason


def test_a_squashed_history_is_no_green_job(walking: Project) -> None:
    """What was asked for and not done is said, with the way out; what is under way is judged all the same."""
    release(walking, "1.2.0", before="1.1.0")
    shutil.rmtree(walking.path / ".git")
    walking.commit_spec("Everything in one commit")
    left = walking.gitops("apply", "--yes", expect=2)
    assert "left alone: dev/chat" in left.err
    assert "--replace-newer" in left.err
    goes_back(walking, expect=0)
    assert "dev/chat" in walking.gitops("reconcile").out


def test_a_shallow_clone_judges(walking: Project) -> None:
    release(walking, "2.1.0", model="search", before="2.0.0")
    walking.commit_spec("Not applied yet")
    shutil.move(walking.path / ".git", walking.path.parent / "whole")
    run_git(
        walking.path.parent, "clone", "--quiet", "--bare", "--depth=1", f"file://{walking.path.parent}/whole", "one"
    )
    shutil.move(walking.path.parent / "one", walking.path / ".git")
    walking.git("config", "core.bare", "false")
    walking.git("reset", "--quiet")
    assert "shallow" in walking.gitops("apply", "--yes", expect=1).err
    goes_back(walking, expect=0)


def test_without_git_it_is_the_spec_that_acted_last(walking: Project) -> None:
    shutil.rmtree(walking.path / ".git")
    walking.gitops("reconcile")
    misspell(walking)
    assert "the spec that acted here last" in walking.gitops("abort", "dev/chat").err
    assert weight(walking, "dev/chat") == 0
    (walking.path / ".gitops/embedded/last-valid-spec.json").unlink()
    assert "cannary" in walking.gitops("status", expect=1).err


def kill(project: Project, cluster: str) -> None:
    """Nothing answers there any more."""
    path = project.path / f".gitops/embedded/clusters/{cluster}.db"
    path.unlink()
    path.mkdir()


def test_a_dead_cluster(walking: Project) -> None:
    """It is named, at the end the exit code is 1, and the others are planned and applied."""
    kill(walking, "production")
    append(walking, "environments/production.yaml", "models: {chat: {owner: team}}\n")
    release(walking, "2.1.0", model="search", before="2.0.0")
    planned = walking.gitops("plan", "--format", "json", expect=1)
    assert [one["cluster"] for one in planned.json["unreachable"]] == ["production"]
    assert "production was not reached" in planned.err
    assert {change["unit"] for change in planned.json["changes"]} == {"dev/search"}
    done = walking.gitops("apply", "--yes", expect=1)
    assert "left alone: production/chat: production cannot be reached" in done.err
    assert record(walking, "dev/search").candidate
    assert "production was not reached" in walking.gitops("diff", expect=1).err
    assert "production" in walking.gitops("reconcile", expect=1).out
    walking.gitops("rollback", "dev/chat")
    assert weight(walking, "dev/chat") == 0


def test_no_cluster_at_all_is_an_error(walking: Project) -> None:
    before = commits(walking)
    for name in ("dev", "production"):
        kill(walking, name)
    release(walking, "2.1.0", model="search", before="2.0.0")
    walking.gitops("apply", "--yes", expect=1)
    assert commits(walking) == before, "with nothing in sight nothing is pushed"


def test_a_refused_unit_stops_only_itself(walking: Project) -> None:
    """The artifact of a version in production is another one; dev has nothing to do with that."""
    walking.edit("pipeline.yaml", "cpu: 1,", "cpu: 2,")
    append(walking, "environments/production.yaml", OTHER_ARTIFACT)
    refused = walking.gitops("apply", "--yes", expect=1)
    assert "left alone: production/search: refused by the rule immutable-version" in refused.err
    assert '"cpu":2' in record(walking, "dev/search").models["2.0.0"].replace('"2"', "2")
    assert '"cpu":1' in record(walking, "production/search").models["2.0.0"].replace('"1"', "1")
