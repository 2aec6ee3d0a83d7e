"""What else happens while a rollout is under way: edits of the spec, drift, other releases, and what programs read."""

from __future__ import annotations

import json
import shutil

import pytest

from gitops.values import version_slug
from tests.cli.consistency import check_consistent, live_of
from tests.cli.small import commits, live, repository
from tests.cli.staged import (
    append,
    clock,
    reconcile,
    record,
    release,
    staged_project,
    steps_of,
    trailers,
    until,
    until_weight,
    weight,
)
from tests.support.project import Project, run_git


@pytest.fixture
def at_ten(staged: Project) -> Project:
    """1.1.0 of chat has 10 % in dev."""
    release(staged, "1.1.0")
    staged.gitops("apply", "--yes")
    until_weight(staged, "dev/chat", 10)
    return staged


def deployed(project: Project, cluster: str, version: str) -> str:
    """The live Deployment of a version of chat, as text."""
    return json.dumps(live_of(project, cluster)[f"Deployment acme-{cluster}/chat-{version}"])


def largest(project: Project, version: str) -> int:
    """To how many replicas a version of chat may grow in dev."""
    spec = live_of(project, "dev")[f"ScaledObject acme-dev/chat-{version}"]["spec"]
    return int(spec["maxReplicaCount"])


# --- plan, diff, apply -----------------------------------------------------------------------------------------------


def test_a_rollout_under_way_is_nothing_to_plan(at_ten: Project) -> None:
    """`plan` says what apply would do: nothing, and what goes on by itself."""
    document = at_ten.gitops("plan", "--format", "json", expect=0).json
    assert document["pending"] is False
    assert document["changes"] == []
    assert [entry["unit"] for entry in document["waiting"]] == ["production/chat"]
    at_ten.gitops("diff", expect=0)
    before = commits(at_ten)
    assert "No changes" in at_ten.gitops("apply", "--yes").out
    assert commits(at_ten) == before
    board = at_ten.gitops("status", "--format", "json").out
    assert "1.1.0" in board
    assert "1.0.0" in board


def test_another_release_does_not_disturb_it(at_ten: Project) -> None:
    before = record(at_ten, "dev/chat")
    release(at_ten, "2.1.0", model="search", before="2.0.0")
    shown = at_ten.gitops("plan", "--format", "json", expect=2).json
    assert {change["unit"] for change in shown["changes"]} == {"dev/search"}
    at_ten.gitops("apply", "--yes")
    assert record(at_ten, "dev/chat") == before
    check_consistent(at_ten)
    at_ten.gitops("apply", "--yes", "--wait")
    for name in ("dev", "production"):
        assert record(at_ten, f"{name}/chat").stable.version == "1.1.0"
        assert record(at_ten, f"{name}/search").stable.version == "2.1.0"
    check_consistent(at_ten)


def test_a_saved_plan_knows_a_rollout_that_has_moved_since(at_ten: Project) -> None:
    release(at_ten, "2.1.0", model="search", before="2.0.0")
    saved = at_ten.path / "plan.json"
    at_ten.gitops("plan", "--out", str(saved), expect=2)
    at_ten.gitops("pause", "dev/chat")
    assert "stale" in at_ten.gitops("apply", str(saved), "--yes", expect=1).err


# --- Edits of what is under way --------------------------------------------------------------------------------------


def test_another_configuration_of_the_candidate_starts_anew(at_ten: Project) -> None:
    """What is judged is what was started: nothing changes under it, and what was changed walks from the beginning."""
    at_ten.edit("pipeline.yaml", "gpu: {type: L4}, rep", "gpu: {type: L4}, args: {max-model-len: 4096}, rep")
    shown = at_ten.gitops("plan", "--format", "json", expect=2).json
    assert {change["unit"] for change in shown["changes"]} == {"dev/chat"}
    back, start = (step["message"].splitlines()[0] for step in shown["steps"])
    assert back == "rollout(dev/chat): roll back 1.1.0 to 1.0.0"
    assert start.startswith("rollout(dev/chat): start 1.1.0 (revision ")
    at_ten.gitops("apply", "--yes")
    candidate = record(at_ten, "dev/chat").candidate
    assert candidate
    assert candidate.weight == 0
    assert "4096" in deployed(at_ten, "dev", version_slug(candidate.version.version))
    for version in ("1-0-0", "1-1-0"):
        assert "4096" not in deployed(at_ten, "dev", version)
    check_consistent(at_ten)
    at_ten.gitops("plan", expect=0)
    at_ten.gitops("apply", "--yes", "--wait")
    # There it is the first one of its version.
    assert "4096" in deployed(at_ten, "production", "1-1-0")
    assert "1.1.0 (revision " in at_ten.gitops("status").out
    check_consistent(at_ten)


def test_what_belongs_to_no_version_changes_everywhere(at_ten: Project) -> None:
    at_ten.edit("pipeline.yaml", "hostnames: [chat.acme.example]", "hostnames: [talk.acme.example]")
    at_ten.gitops("apply", "--yes")
    for name in ("dev", "production"):
        route = live_of(at_ten, name)[f"HTTPRoute acme-{name}/chat"]
        assert route["spec"]["hostnames"] == ["talk.acme.example"]
    assert weight(at_ten, "dev/chat") == 10
    check_consistent(at_ten)
    at_ten.gitops("plan", expect=0)


def test_a_step_takes_no_edit_along_that_nobody_applied(at_ten: Project) -> None:
    """`gitops run` goes on with a rollout; what else the spec has changed meanwhile is for `apply`, with its plan."""
    at_ten.edit("pipeline.yaml", "replicas: {min: 2, max: 4}", "replicas: {min: 2, max: 3}")
    at_ten.edit("pipeline.yaml", "hostnames: [chat.acme.example]", "hostnames: [talk.acme.example]")
    until_weight(at_ten, "dev/chat", 50)
    at_ten.gitops("diff", expect=0)
    assert largest(at_ten, "1-1-0") == 4
    assert "talk" not in json.dumps(live_of(at_ten, "production")["HTTPRoute acme-production/chat"])
    pending = at_ten.gitops("plan", "--format", "json", expect=2).json
    assert {change["unit"] for change in pending["changes"]} == {"dev/chat", "production/chat"}
    at_ten.gitops("apply", "--yes")
    assert largest(at_ten, "1-1-0") == 3
    check_consistent(at_ten)
    at_ten.gitops("plan", expect=0)


def test_other_steps_in_the_policy_hold_from_the_next_step_on(at_ten: Project) -> None:
    at_ten.edit(
        "pipeline.yaml", "{weight: 10, bake: 3m}, {weight: 50, bake: 3m}", "{weight: 10}, {weight: 30, bake: 1m}"
    )
    at_ten.gitops("apply", "--yes", "--wait")
    assert [step for step in steps_of(at_ten, "dev/chat") if "advance" in step] == [
        "advance 10",
        "advance 30",
        "advance 100",
    ]
    check_consistent(at_ten)


def test_a_model_that_leaves_takes_its_rollout_along(at_ten: Project) -> None:
    append(at_ten, "environments/dev.yaml", "exclude: [chat]\n")
    at_ten.gitops("apply", "--yes", "--wait", expect=(0, 2))
    assert not [name for name in live_of(at_ten, "dev") if "chat" in name]
    files = run_git(repository(at_ten), "ls-tree", "-r", "--name-only", "main").split()
    # That it was here is remembered: when it comes back, it comes as a version that was judged, or rejected, before.
    assert [path for path in files if "dev/chat" in path] == ["removed/dev/chat.yaml"]
    at_ten.gitops("plan", expect=0)
    at_ten.gitops("diff", expect=0)
    # Production is the first environment that runs it now.
    assert record(at_ten, "production/chat").stable.version == "1.1.0"


def test_a_pinned_environment_keeps_its_version(at_ten: Project) -> None:
    pin = 'models: {chat: {version: 1.0.0, artifact: {uri: "s3://acme-models/chat/1.0.0", digest: "sha256:'
    append(at_ten, "environments/production.yaml", f'{pin}{"a" * 64}"}}}}}}\n')
    at_ten.gitops("apply", "--yes", "--wait")
    assert record(at_ten, "dev/chat").stable.version == "1.1.0"
    assert record(at_ten, "production/chat").stable.version == "1.0.0"
    assert steps_of(at_ten, "production/chat") == []
    check_consistent(at_ten)


def test_a_new_environment_gets_what_the_one_before_runs(at_ten: Project) -> None:
    """Its first release waits like every other: nothing goes there that is not verified before it."""
    staging = (at_ten.path / "environments" / "dev.yaml").read_text().replace("dev:", "staging:")
    (at_ten.path / "environments" / "staging.yaml").write_text(staging)
    at_ten.edit("pipeline.yaml", "[dev, production]", "[dev, staging, production]")
    at_ten.gitops("apply", "--yes")
    paths = run_git(repository(at_ten), "ls-tree", "-r", "--name-only", "main", "releases/staging").split()
    assert paths == ["releases/staging/search.yaml"]
    waiting = at_ten.gitops("plan", "--format", "json").json["waiting"]
    assert "staging/chat" in [entry["unit"] for entry in waiting]
    at_ten.gitops("apply", "--yes", "--wait", expect=2)
    assert record(at_ten, "dev/chat").stable.version == "1.1.0"
    at_ten.gitops("apply", "--yes", "--wait")
    for name in ("staging", "production"):
        assert record(at_ten, f"{name}/chat").stable.version == "1.1.0"
    check_consistent(at_ten)


# --- Drift -----------------------------------------------------------------------------------------------------------


def test_drift_during_a_rollout_is_put_back_and_counts_for_nothing(at_ten: Project) -> None:
    with live(at_ten, "dev") as cluster:
        cluster.delete("Deployment", "acme-dev", "chat-1-1-0")
    assert "Deployment chat-1-1-0" in at_ten.gitops("diff", expect=2).out
    (said,) = reconcile(at_ten)
    assert said["settled"] == {"dev/chat": ["dev"]}
    assert steps_of(at_ten, "dev/chat") == ["start", "advance 10"], "what is missing is no lost capacity yet"
    check_consistent(at_ten)

    with live(at_ten, "dev") as cluster:
        route = cluster.get("HTTPRoute", "acme-dev", "chat")
        (manager,) = {entry["manager"] for entry in route["metadata"]["managedFields"] if entry["operation"] == "Apply"}
        (rule,) = route["spec"]["rules"]
        rule["backendRefs"] = [backend | {"weight": 50} for backend in rule["backendRefs"]]
        route["metadata"] = {key: route["metadata"][key] for key in ("name", "namespace", "labels")}
        cluster.apply(route, manager=manager)
    at_ten.gitops("diff", expect=2)
    (said,) = reconcile(at_ten)
    assert said["settled"] == {"dev/chat": ["dev"]}
    check_consistent(at_ten)
    at_ten.gitops("apply", "--yes", "--wait")
    check_consistent(at_ten)


def test_a_cluster_that_was_lost_is_built_again(at_ten: Project) -> None:
    """Nothing but Git is needed."""
    (at_ten.path / ".gitops" / "embedded" / "clusters" / "dev.db").unlink()
    at_ten.gitops("apply", "--yes")
    until(at_ten, lambda done: not done.settled)
    assert record(at_ten, "dev/chat").stable.version == "1.0.0"
    check_consistent(at_ten)


def test_the_repository_is_all_that_is_remembered(at_ten: Project) -> None:
    """Another machine goes on from a clone of the spec and of the GitOps repository: here, a copy of both."""
    elsewhere = Project(at_ten.path.parent / "elsewhere", at_ten.env)
    shutil.copytree(at_ten.path, elsewhere.path)
    shutil.rmtree(at_ten.path)
    elsewhere.gitops("apply", "--yes", "--wait")
    assert steps_of(elsewhere, "dev/chat")[:2] == ["start", "advance 10"]
    assert record(elsewhere, "production/chat").stable.version == "1.1.0"
    check_consistent(elsewhere)


# --- For programs ----------------------------------------------------------------------------------------------------


def test_a_pass_as_json(at_ten: Project) -> None:
    (said,) = reconcile(at_ten)
    assert said["schema"] == "gitops/pass/v1"
    assert (said["notSeen"], said["failures"], said["settled"], said["leftAlone"]) == ({}, [], {}, {})
    dev, production = said["decisions"]
    assert (dev["unit"], dev["decision"], dev["phase"]) == ("dev/chat", "hold", "baking")
    assert (dev["stable"], dev["candidate"], dev["weight"], dev["mirror"]) == ("1.0.0", "1.1.0", 10, 0)
    assert (production["unit"], production["decision"], production["phase"]) == ("production/chat", "hold", "idle")
    clock(at_ten).sleep(300)
    (said,) = reconcile(at_ten)
    (dev, _) = said["decisions"]
    assert (dev["decision"], dev["weight"]) == ("advance", 50)
    assert any("error-rate" in line for line in dev["evidence"])
    assert trailers(at_ten)["Decision"] == "advance"


def test_passes_with_nothing_to_do_leave_no_trace(tmp_path_factory: pytest.TempPathFactory) -> None:
    project = staged_project(tmp_path_factory.mktemp("quiet") / "project")
    assert "No rollout is under way" in project.gitops("reconcile").out, "before the first apply"
    project.gitops("apply", "--yes")
    before = commits(project)
    for said in reconcile(project, 3):
        assert said["decisions"] == []
        assert said["settled"] == {}
    assert commits(project) == before
    project.gitops("apply", "--yes", "--wait")
    assert commits(project) == before
