"""What people do with rollouts, each a commit that says who: pause, resume, abort, promote, approve, roll back."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.consistency import check_consistent, live_of
from tests.cli.small import commits, repository
from tests.cli.staged import (
    acted,
    append,
    clock,
    reconcile,
    record,
    refused,
    release,
    steps_of,
    trailers,
    turn_bad,
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


@pytest.fixture
def promoted(staged: Project) -> Project:
    """1.1.0 of search is stable everywhere, 2.0.0 is still warm."""
    release(staged, "2.1.0", model="search", before="2.0.0")
    staged.gitops("apply", "--yes", "--wait")
    return staged


def changed_files(project: Project) -> set[str]:
    """The files that the last commit changed, without their directories."""
    paths = run_git(repository(project), "show", "--name-only", "--format=", "main").split()
    return {path.rpartition("/")[2] for path in paths}


# --- A rollout under way ---------------------------------------------------------------------------------------------


def test_pause_and_resume(at_ten: Project) -> None:
    paused = acted(at_ten, "pause", "dev/chat")
    assert (paused["Decision"], paused["Cause"], paused["Weight"]) == ("pause", "person", "10")
    check_consistent(at_ten)
    waiting = at_ten.gitops("apply", "--yes", "--wait", expect=2)
    assert "dev/chat" in waiting.err
    reconcile(at_ten, 4, step=1800)
    assert weight(at_ten, "dev/chat") == 10, "nobody but a person ends it"
    refused(at_ten, "pause", "dev/chat", says="paused already")

    at = clock(at_ten).now()
    assert acted(at_ten, "resume", "dev/chat", by="eve@example.com")["Decision"] == "resume"
    refused(at_ten, "resume", "dev/chat", says="the rollout is not paused")
    at_ten.gitops("apply", "--yes", "--wait")
    next_step = run_git(repository(at_ten), "log", "--grep=1.1.0 to 50 %", "--format=%(trailers:key=Time,valueonly)")
    times = sorted(datetime.fromisoformat(line).timestamp() for line in next_step.split())
    assert times[0] - int(at) >= 180, "a full bake again"
    check_consistent(at_ten)


def test_a_pause_that_nobody_ends_goes_back(at_ten: Project) -> None:
    acted(at_ten, "pause", "dev/chat")
    clock(at_ten).sleep(24 * 3600 + 60)
    at_ten.gitops("reconcile")
    assert steps_of(at_ten, "dev/chat")[-1] == "roll-back"
    assert "paused for longer than 86400 s" in trailers(at_ten)["Reason"]
    check_consistent(at_ten)


def test_abort(at_ten: Project) -> None:
    said = acted(at_ten, "abort", "dev/chat")
    assert said["Decision"] == "roll-back"
    assert "Rejects" in said
    check_consistent(at_ten)
    refused(at_ten, "abort", "dev/chat", says="no rollout is under way")
    failed = at_ten.gitops("apply", "--yes", "--wait", expect=1)
    assert "aborted by bob@example.com" in failed.err


def test_rollback_of_what_is_under_way(at_ten: Project) -> None:
    said = acted(at_ten, "rollback", "dev/chat")
    assert said["Decision"] == "roll-back"
    assert said["Previous-Version"] == "1.0.0"
    assert record(at_ten, "dev/chat").rejected
    check_consistent(at_ten)


def test_promote_skips_the_steps_that_are_left(at_ten: Project) -> None:
    """It needs pods for all traffic first, and takes it then."""
    assert acted(at_ten, "promote", "dev/chat")["Phase"] == "promoting"
    check_consistent(at_ten)
    until(at_ten, lambda done: done.moved, passes=5)
    assert steps_of(at_ten, "dev/chat") == ["start", "advance 10", "scale", "promote"]
    assert record(at_ten, "dev/chat").stable.version == "1.1.0"
    check_consistent(at_ten)


def test_a_freeze_stops_growth_and_lets_everything_go_back(at_ten: Project) -> None:
    now = datetime.fromtimestamp(clock(at_ten).now(), UTC)
    begin, end = (f"{now + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}" for hours in (-1, 2))
    append(at_ten, "environments/dev.yaml", f"freeze: [{{reason: sale, from: {begin}, until: {end}}}]\n")
    said = reconcile(at_ten, 8, step=600)
    assert weight(at_ten, "dev/chat") == 10
    assert "sale" in str(said[-1]["decisions"])
    refused(at_ten, "promote", "dev/chat", says="frozen: sale")
    reconcile(at_ten, 8, step=600)
    assert weight(at_ten, "dev/chat") > 10, "it goes on by itself"
    check_consistent(at_ten)


def test_what_is_bad_goes_back_in_a_freeze(at_ten: Project) -> None:
    append(
        at_ten,
        "environments/dev.yaml",
        "freeze: [{reason: sale, from: 2020-01-01T00:00:00Z, until: 2099-01-01T00:00:00Z}]\n",
    )
    turn_bad(at_ten, "1.1.0", after="2m")
    reconcile(at_ten, 10)
    assert "roll-back" in steps_of(at_ten, "dev/chat")
    assert record(at_ten, "dev/chat").stable.version == "1.0.0"
    check_consistent(at_ten)
    release(at_ten, "1.2.0", before="1.1.0")
    waiting = at_ten.gitops("apply", "--yes", "--wait", expect=2)
    assert "frozen" in waiting.err
    assert record(at_ten, "dev/chat").candidate is None


# --- Going back from stable ------------------------------------------------------------------------------------------


def test_a_warm_version_is_back_by_one_change_of_the_route(promoted: Project) -> None:
    said = acted(promoted, "rollback", "production/search")
    assert (said["Decision"], said["Version"], said["Previous-Version"]) == ("roll-back", "2.1.0", "2.0.0")
    assert changed_files(promoted) == {"service.yaml", "search.yaml"}, "no pod is made or changed"
    held = record(promoted, "production/search")
    assert held.stable.version == "2.0.0"
    assert record(promoted, "dev/search").stable.version == "2.1.0", "elsewhere nothing happens"
    check_consistent(promoted)
    failed = promoted.gitops("apply", "--yes", "--wait", expect=1)
    assert "2.1.0 is rejected: rolled back by bob@example.com" in failed.err


def test_a_warm_version_behind_a_gateway(at_ten: Project) -> None:
    at_ten.gitops("apply", "--yes", "--wait")
    acted(at_ten, "rollback", "production/chat", "--to", "1.0.0")
    assert changed_files(at_ten) == {"httproute.yaml", "service.yaml", "chat.yaml"}
    (rule,) = live_of(at_ten, "production")["HTTPRoute acme-production/chat"]["spec"]["rules"]
    assert [(one["name"], one["weight"]) for one in rule["backendRefs"]] == [("chat-1-0-0", 100)]
    check_consistent(at_ten)


def test_a_version_that_is_cold_or_unknown_cannot_be_had(promoted: Project) -> None:
    refused(promoted, "rollback", "dev/search", "--to", "1.9.0", says="1.9.0 is not warm any more")
    refused(promoted, "rollback", "dev/search", "--to", "2.1.0", says="2.1.0 has all traffic already")
    clock(promoted).sleep(3700)
    reconcile(promoted)
    refused(promoted, "rollback", "dev/search", says="not warm any more")
    refused(promoted, "rollback", "dev/chat", says="not warm any more")


# --- From environment to environment ---------------------------------------------------------------------------------


def test_approvals_by_different_people(staged: Project) -> None:
    append(staged, "environments/production.yaml", "approvals: {required: 2, identity: any}\n")
    release(staged, "1.1.0")
    waiting = staged.gitops("apply", "--yes", "--wait", expect=2)
    assert "waits for approval: 0 of 2" in waiting.err
    assert record(staged, "dev/chat").stable.version == "1.1.0"
    assert acted(staged, "approve", "production/chat", by="bob@example.com")["Decision"] == "approve"
    once = Project(staged.path, {**staged.env, "GIT_AUTHOR_EMAIL": "bob@example.com"})
    refused(once, "approve", "production/chat", says="bob@example.com cannot approve 1.1.0 (again)")
    assert "1 of 2 (bob@example.com)" in staged.gitops("apply", "--yes", "--wait", expect=2).err
    check_consistent(staged)
    acted(staged, "approve", "production/chat", by="eve@example.com")
    staged.gitops("apply", "--yes", "--wait")
    assert record(staged, "production/chat").stable.version == "1.1.0"
    assert not record(staged, "production/chat").approvals
    check_consistent(staged)


def test_an_approval_is_of_one_artifact(staged: Project) -> None:
    append(staged, "environments/production.yaml", "approvals: {required: 1, identity: any}\n")
    release(staged, "1.1.0")
    staged.gitops("apply", "--yes", "--wait", expect=2)
    acted(staged, "approve", "production/chat")
    release(staged, "1.2.0", before="1.1.0")
    waiting = staged.gitops("apply", "--yes", "--wait", expect=2)
    assert "1.2.0 waits for approval: 0 of 1" in waiting.err
    assert record(staged, "production/chat").stable.version == "1.0.0"
    check_consistent(staged)


def test_manual_promotion(staged: Project) -> None:
    append(staged, "environments/production.yaml", "promotion: manual\n")
    release(staged, "1.1.0")
    refused(staged, "promote", "production/chat", says="not verified in dev")
    waiting = staged.gitops("apply", "--yes", "--wait", expect=2)
    assert "waits for a person to promote it" in waiting.err
    assert steps_of(staged, "production/chat") == []
    said = acted(staged, "promote", "production/chat")
    assert said["Decision"] == "start"
    check_consistent(staged)
    staged.gitops("apply", "--yes", "--wait")
    assert record(staged, "production/chat").stable.version == "1.1.0"
    check_consistent(staged)


def test_a_hotfix_goes_first_where_that_is_allowed(at_ten: Project) -> None:
    refused(at_ten, "promote", "production/chat", "--hotfix", says="production takes no hotfixes")
    append(at_ten, "environments/production.yaml", "hotfix: allowed\n")
    refused(at_ten, "promote", "production/chat", says="not verified in dev")
    said = acted(at_ten, "promote", "production/chat", "--hotfix")
    assert (said["Decision"], said["Hotfix"]) == ("start", "yes")
    assert "not verified in dev" in said["Reason"]
    check_consistent(at_ten)
    at_ten.gitops("apply", "--yes", "--wait")
    for name in ("dev", "production"):
        assert record(at_ten, f"{name}/chat").stable.version == "1.1.0"
    check_consistent(at_ten)


# --- What cannot be done ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["pause", "resume", "approve", "promote", "rollback", "abort", "retry"])
def test_commands_with_nothing_to_do(staged: Project, command: str) -> None:
    refused(staged, command, "dev/chat", says=f"{command} was not done: ")
    refused(staged, command, "dev/nobody", says="dev/nobody has no release")
    refused(staged, command, "chat", says="'chat' names no release")


def test_commands_before_the_first_release(staged: Project) -> None:
    """An environment of the spec that nothing was released to yet."""
    staging = (staged.path / "environments" / "dev.yaml").read_text().replace("dev:", "staging:")
    (staged.path / "environments" / "staging.yaml").write_text(staging)
    staged.edit("pipeline.yaml", "[dev, production]", "[dev, staging, production]")
    refused(staged, "promote", "staging/chat", says="staging/chat has no release")
    assert commits(staged) == 1
