"""What still works when something else is broken: the safety path depends on nothing that it does not need."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gitops.cli.main import app
from gitops.engine import contention
from gitops.engine.reconciling import Pass
from gitops.engine.running import Settings, keep_running
from gitops.engine.session import Options
from gitops.values import UnitKey
from gitops.world.git.repository import GitRepository
from gitops.world.prometheus import PrometheusSource
from gitops.world.worlds import World
from tests.cli.small import commits, repository
from tests.cli.staged import EMBEDDED, append, clock, record, release, staged_project, turn_bad, until_weight, weight
from tests.support.project import ROOT, Project, run_git

CHAT = UnitKey("dev", "chat")
OTHER_ARTIFACT = f"""\
models:
  search:
    version: 2.0.0
    artifact: {{uri: s3://acme-models/search/2.0.0, digest: "sha256:{"d" * 64}", format: onnx}}
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


def break_template(project: Project) -> None:
    """One of the project's own."""
    path = project.path / "templates/kubernetes/model/service.yaml.j2"
    path.parent.mkdir(parents=True)
    path.write_text("{% if %}")


BROKEN: dict[str, Callable[[Project], object]] = {
    "misspelt": misspell,
    "conflict": lambda project: project.edit("pipeline.yaml", "apiVersion", "<<<<<<< HEAD\napiVersion"),
    "gone": lambda project: (project.path / "pipeline.yaml").unlink(),
    "template": break_template,
    "no environments": lambda project: shutil.rmtree(project.path / "environments"),
}


@pytest.mark.parametrize("break_it", BROKEN.values(), ids=BROKEN)
def test_going_back_needs_no_valid_spec(walking: Project, break_it: Callable[[Project], object]) -> None:
    break_it(walking)
    walking.gitops("status", "--offline")
    walking.gitops("history", "dev/chat")
    said = walking.gitops("rollback", "dev/chat").err
    assert "is not valid" in said
    assert "go on by spec commit" in said
    assert weight(walking, "dev/chat") == 0
    source = record(walking, "dev/chat").source.commit
    assert source == walking.git("rev-parse", "HEAD").strip()


RAISES = "{% if version == '1.1.0' %}{{ nowhere.to_be_found }}{% endif %}"
"""A template that compiles, and fails for a single version of a single model."""
NO_YAML = "{% if version == '1.1.0' %}: [{% endif %}"


@pytest.mark.parametrize("broken", [RAISES, NO_YAML], ids=["raises", "no yaml"])
def test_a_template_that_fails_for_one_model_stops_that_one_alone(walking: Project, broken: str) -> None:
    """What goes back takes the route that Git has, so that it needs no template."""
    theirs = walking.path / "templates/kubernetes/version/deployment.yaml.j2"
    theirs.parent.mkdir(parents=True)
    ours = (ROOT / "templates/kubernetes/version/deployment.yaml.j2").read_text()
    theirs.write_text(ours + broken)
    release(walking, "2.1.0", model="search", before="2.0.0")
    walking.commit_spec("Release search with a template of our own")

    refused = walking.gitops("apply", "--yes", expect=1).err
    assert "left alone: dev/chat: refused by the rule does-not-render" in refused
    assert record(walking, "dev/search").candidate, "all else is done"
    stuck = walking.gitops("promote", "dev/chat", expect=1).err
    assert "templates/kubernetes/version/deployment.yaml.j2" in stuck or "valid YAML" in stuck
    walking.gitops("pause", "dev/chat")
    assert (phase(walking, "dev/chat"), weight(walking, "dev/chat")) == ("paused", 10)
    goes_back(walking, expect=0)
    assert weight(walking, "dev/chat") == 0
    walking.gitops("diff")
    assert walking.gitops("rollback", "dev/search").out


def test_a_template_that_fails_for_what_models_share(walking: Project) -> None:
    """The environments of which it fails stay as they are."""
    path = walking.path / "templates/kubernetes/environment/namespace.yaml.j2"
    path.parent.mkdir(parents=True)
    ours = (ROOT / "templates/kubernetes/environment/namespace.yaml.j2").read_text()
    path.write_text(ours + "{% if environment == 'dev' %}{{ nowhere.to_be_found }}{% endif %}")
    append(walking, "environments/production.yaml", "models: {chat: {owner: team}}\n")
    before = commits(walking)
    assert "environment dev: templates/kubernetes/environment" in walking.gitops("apply", "--yes", expect=1).out
    assert commits(walking) == before + 1, "production goes on"
    walking.gitops("rollback", "dev/chat")
    assert weight(walking, "dev/chat") == 0
    walking.gitops("diff")


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


def test_a_metric_source_that_cannot_be_opened_is_no_answer(walking: Project) -> None:
    (walking.path / "simulation.yaml").write_text("<<<<<<< HEAD\n")
    seen = json.loads(walking.gitops("reconcile", "--format", "json").out)["decisions"]
    [chat] = [one for one in seen if one["unit"] == "dev/chat"]
    assert chat["decision"] == "hold"
    assert {gate["verdict"] for gate in chat["gates"]} == {"query failed"}


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
    assert any('"cpu":"2"' in text for text in record(walking, "dev/search").models.values())
    assert all('"cpu":"1"' in text for text in record(walking, "production/search").models.values())


# --- Every command, with each of five things broken ------------------------------------------------------------------

FAULTS = ("spec", "record", "cluster", "prometheus", "moving")
COMMANDS: dict[str, tuple[int, int, int, int, int]] = {
    # With a spec that is not valid, the record of another unit damaged, another cluster dead, a Prometheus that does
    # not answer, and a GitOps repository that moves whenever something is pushed. 2: something is left alone.
    "validate": (1, 0, 0, 0, 0),
    "render --unit dev/chat": (1, 0, 0, 0, 0),
    "status": (0, 0, 0, 0, 0),
    "history": (0, 0, 0, 0, 0),
    "plan": (1, 2, 1, 2, 2),
    "apply --yes": (1, 2, 1, 0, 0),
    "diff": (0, 0, 1, 0, 0),
    "reconcile": (1, 1, 1, 0, 0),
    "pause dev/chat": (0, 0, 0, 0, 0),
    "resume dev/chat": (1, 0, 0, 0, 0),
    "rollback dev/chat": (0, 0, 0, 0, 0),
    "retry dev/chat": (1, 0, 0, 0, 0),
    "abort dev/search": (0, 0, 0, 0, 0),
}
EFFECTS: dict[str, Callable[[Project], bool]] = {
    "pause dev/chat": lambda project: phase(project, "dev/chat") == "paused",
    "rollback dev/chat": lambda project: phase(project, "dev/chat") == "idle",
    "abort dev/search": lambda project: phase(project, "dev/search") == "idle",
}


def phase(project: Project, unit: str) -> str:
    return record(project, unit).state.phase


@pytest.fixture(scope="module")
def two_walking(walking_once: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """search 2.1.0 has started in dev as well, and the owner of chat is an edit that nobody applied."""
    path = tmp_path_factory.mktemp("two") / "project"
    shutil.copytree(walking_once.path, path)
    project = Project(path, EMBEDDED)
    release(project, "2.1.0", model="search", before="2.0.0")
    project.commit_spec("Release search 2.1.0")
    project.gitops("apply", "--yes")
    project.edit("pipeline.yaml", "    route: {", "    owner: team\n    route: {")
    project.commit_spec("Name the owner of chat")
    return project


def dead_prometheus(world: World, environment: str) -> PrometheusSource:
    del world, environment
    return PrometheusSource("http://127.0.0.1:9", interval=15)


def moving(monkeypatch: pytest.MonkeyPatch, project: Project, times: int) -> None:
    """From now on somebody else pushes just before each of the next pushes."""
    left, commit_all = [times], GitRepository.commit_all

    def interrupted(self: GitRepository, base: str | None, commits: Any) -> list[str]:
        if left[0]:
            left[0] -= 1
            bare = repository(project)
            tree = run_git(bare, "rev-parse", "main^{tree}").strip()
            made = run_git(bare, "commit-tree", tree, "-p", "main", "-m", "elsewhere").strip()
            run_git(bare, "update-ref", "refs/heads/main", made)
        return commit_all(self, base, commits)

    monkeypatch.setattr(GitRepository, "commit_all", interrupted)


def break_by(fault: str, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    match fault:
        case "spec":
            misspell(project)
        case "record":
            by_hand(project, conflict_in("production/search"))
        case "cluster":
            kill(project, "production")
        case "prometheus":
            monkeypatch.setattr(World, "_measure", dead_prometheus)


@pytest.mark.parametrize("fault", FAULTS)
def test_what_must_still_work(
    two_walking: Project, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(two_walking.path, tmp_path / "project")
    project = Project(tmp_path / "project", EMBEDDED)
    for name, value in project.environment().items():
        monkeypatch.setenv(name, value)
    break_by(fault, project, monkeypatch)
    for command, codes in COMMANDS.items():
        with monkeypatch.context() as patch:
            if fault == "moving":
                moving(patch, project, 3)
            ended = CliRunner().invoke(app, [*command.split(), "--project", str(project.path)])
        assert ended.exit_code == codes[FAULTS.index(fault)], f"{command}: {ended.output}"
        assert "Traceback" not in ended.output
        assert "a bug in gitops" not in ended.output
        assert EFFECTS.get(command, lambda _: True)(project), command


@pytest.mark.parametrize("fault", FAULTS)
def test_run_makes_its_passes(
    two_walking: Project, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`gitops run` judges with whatever is left, also after it was started anew."""
    shutil.copytree(two_walking.path, tmp_path / "project")
    project = Project(tmp_path / "project", EMBEDDED)
    break_by(fault, project, monkeypatch)
    passes: list[Pass] = []
    if fault == "moving":
        moving(monkeypatch, project, 3)
    options = Options(project.path, kind="embedded", acts=True)
    keep_running(options, Settings(60, "", "", "me"), lambda: len(passes) == 2, passes.append)
    assert all(CHAT in done.standings for done in passes)


def test_a_repository_that_never_rests(walking: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends, says why, and has changed nothing."""
    for name, value in walking.environment().items():
        monkeypatch.setenv(name, value)
    moving(monkeypatch, walking, 1000)
    monkeypatch.setattr(contention, "PUSH_ATTEMPTS", 5)
    ended = CliRunner().invoke(app, ["rollback", "dev/chat", "--project", str(walking.path)])
    assert ended.exit_code == 1
    assert "moved 5 times" in ended.output
    assert weight(walking, "dev/chat") == 10
