"""The main job as a user does it: init, validate, plan, apply, edit, history; then everything that can drift."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gitops.plan.model import FileChange
from gitops.plan.saved import dump_plan, load_plan
from tests.cli.consistency import check_consistent
from tests.cli.small import commits, live, release_chat, repository, small_project
from tests.cli.staged import clock, record
from tests.support.project import Project, run_git

pytestmark = pytest.mark.slow

MODELS = 6
ENVIRONMENTS = 3


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The small project, applied once; to be copied."""
    project = small_project(tmp_path_factory.mktemp("small") / "project")
    project.commit_spec("Describe two models")
    project.gitops("apply", "--yes", "--embedded")
    return project


@pytest.fixture
def applied(prepared: Project, tmp_path: Path) -> Project:
    """A copy of the small project in the state after its first apply."""
    shutil.copytree(prepared.path, tmp_path / "project")
    return Project(tmp_path / "project")


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """What `gitops init` makes of an empty directory."""
    project = Project(tmp_path_factory.mktemp("example"))
    assert "plan --embedded" in init(project, expect=0)
    return project


def init(project: Project, *, expect: int) -> str:
    """What `gitops init DIRECTORY` prints."""
    return bare(project, "init", str(project.path), expect=expect)


def schema_of(project: Project, *flags: str) -> Any:
    """What `gitops schema` prints."""
    return json.loads(bare(project, "schema", *flags))


def bare(project: Project, *arguments: str, expect: int = 0) -> str:
    """Run a command that knows no --project."""
    command = [sys.executable, "-m", "gitops", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=project.environment())
    assert done.returncode == expect, done.stderr
    return done.stdout + done.stderr


def plan(project: Project, *arguments: str, expect: int = 2) -> Any:
    """`gitops plan --format json`, its counts checked."""
    document = project.gitops("plan", "--format", "json", "--embedded", *arguments, expect=expect).json
    counted: dict[str, dict[str, int]] = {
        kind: {"create": 0, "update": 0, "delete": 0} for kind in ("release", "file", "object", "infrastructure")
    }
    for change in document["changes"]:
        counted[change["kind"]][change["action"]] += 1
    assert counted == document["summary"]
    assert document["pending"] is bool(document["changes"] or document["refusals"])
    return document


def drift(project: Project) -> list[tuple[str, str, str]]:
    """What `gitops diff` finds: name, reason, unit."""
    document = project.gitops("diff", "--format", "json", "--embedded", expect=2).json
    return [(change["name"], change["reason"], change["unit"]) for change in document["changes"]]


# --- The example, from an empty directory ----------------------------------------------------------------------


def test_the_main_job_from_an_empty_directory(example: Project, tmp_path: Path) -> None:
    """One story in steps, each going on from where the one before it ended."""
    what_init_wrote_is_valid_and_all_to_be_created(example)
    apply_makes_it_so(example)
    what_git_holds_is_what_render_writes(example, tmp_path)
    a_model_is_edited_and_the_plan_shows_just_that(example)
    it_walks_through_all_environments(example)
    history_tells_it_to_us_and_to_plain_git(example)
    status_shows_environment_by_model(example)
    documents_fit_their_schemas(example)


def what_init_wrote_is_valid_and_all_to_be_created(example: Project) -> None:
    assert example.gitops("validate").out.startswith("acme-inference: valid (6 models, 18 releases")
    example.commit_spec("Describe our models")
    document = plan(example)
    units = {change["unit"] for change in document["changes"] if change["kind"] == "release"}
    assert len(units) == MODELS * ENVIRONMENTS
    assert {change["action"] for change in document["changes"]} == {"create"}
    assert document["base"]["head"] is None
    assert commits(example) == 0, "a plan commits nothing"


def apply_makes_it_so(example: Project) -> None:
    done = example.gitops("apply", "--yes", "--embedded")
    assert re.search(r"^Applied: commit [0-9a-f]{10}, 150 objects, 14 infrastructure changes\.$", done.out, re.M)
    assert commits(example) == 1
    nothing = plan(example, expect=0)
    assert nothing["changes"] == []
    assert "No changes." in example.gitops("plan", "--embedded").out
    again = example.gitops("apply", "--yes", "--embedded")
    assert "No changes." in again.out
    assert commits(example) == 1


def what_git_holds_is_what_render_writes(example: Project, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    run_git(tmp_path, "clone", "--quiet", str(repository(example)), str(checkout))
    example.gitops("render", "--output", str(tmp_path / "out"))
    written = {p.relative_to(tmp_path / "out"): p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert len(written) > 150
    for path, content in written.items():
        assert (checkout / path).read_bytes() == content, path
    kept = {p.relative_to(checkout) for p in checkout.rglob("*") if p.is_file() and ".git" not in p.parts}
    assert {path.parts[0] for path in kept - set(written)} == {"releases", "terraform"}
    printed = example.gitops("render", "--unit", "dev/reranker").out
    assert printed.count("--- # clusters/laptop/dev/reranker/") == 6


def a_model_is_edited_and_the_plan_shows_just_that(example: Project) -> None:
    example.edit("pipeline.yaml", "support-chat/2.3.0", "support-chat/2.4.0")
    example.edit("pipeline.yaml", "version: 2.3.0", "version: 2.4.0")
    example.edit("pipeline.yaml", "4f0c7be1", "5f0c7be1")
    spec = example.commit_spec("Release support-chat 2.4.0")
    document = plan(example)
    assert {change["unit"] for change in document["changes"]} == {"dev/support-chat"}
    assert document["summary"]["release"] == {"create": 0, "update": 1, "delete": 0}
    assert document["summary"]["infrastructure"] == {"create": 0, "update": 0, "delete": 0}
    (change,) = [change for change in document["changes"] if change["kind"] == "release"]
    assert (change["previous"], change["version"], change["decision"]) == ("2.3.0", "2.4.0", "start")
    waiting = [(entry["unit"], entry["reason"]) for entry in document["waiting"]]
    assert [unit for unit, _ in waiting] == ["staging/support-chat", "production/support-chat"]
    assert "dev" in waiting[0][1]
    assert "staging" in waiting[1][1]
    assert document["base"]["specCommit"] == spec
    assert not document["base"]["specModified"]

    text = example.gitops("plan", "--embedded", expect=2).out
    assert "~ dev/support-chat  2.3.0 → 2.4.0" in text
    assert "assistant" not in text
    markdown = example.gitops("plan", "--embedded", "--format", "markdown", expect=2).out
    assert "<details>" in markdown
    assert "assistant" not in markdown
    assert len(markdown) < 60_000


def it_walks_through_all_environments(example: Project) -> None:
    walked = example.gitops("apply", "--yes", "--embedded", "--wait")
    steps = [line for line in walked.out.splitlines() if "support-chat" in line and "promote" in line]
    assert [step.split()[1].partition("/")[0] for step in steps] == ["dev", "staging", "production"]
    for name in ("dev", "staging", "production"):
        assert record(example, f"{name}/support-chat").stable.version == "2.4.0"
    plan(example, expect=0)
    check_consistent(example)


def history_tells_it_to_us_and_to_plain_git(example: Project) -> None:
    entries = example.gitops("history", "--format", "json", "--embedded").json
    steps = commits(example) - 1
    assert len(entries) == MODELS * ENVIRONMENTS + steps
    newest = entries[0]
    assert (newest["model"], newest["previous"], newest["version"]) == ("support-chat", "2.3.0", "2.4.0")
    assert (newest["environment"], newest["decision"]) == ("production", "promote")
    spec = example.git("rev-parse", "HEAD").strip()
    assert {entry["specCommit"] for entry in entries[:steps]} == {spec}

    def shown(*arguments: str) -> list[str]:
        return example.gitops("history", "--embedded", *arguments).out.splitlines()[1:]

    assert len(shown("support-chat")) == ENVIRONMENTS + steps
    by_environment = [len(shown(f"{name}/support-chat")) for name in ("dev", "staging", "production")]
    assert sum(by_environment) == ENVIRONMENTS + steps
    assert len(shown("staging/")) == MODELS + by_environment[1] - 1
    assert len(shown("-n", "4")) == 4
    assert any("2.3.0 -> 2.4.0" in line and "promote" in line for line in shown("dev/support-chat"))
    assert example.gitops("history", "--embedded", "chta").out == "No release of chta has been recorded.\n"

    where = repository(example)
    subject = run_git(where, "log", "-1", "--format=%s", "main").strip()
    assert subject == "rollout(production/support-chat): 2.4.0 replaces 2.3.0"
    message = run_git(where, "log", "-1", "--format=%B", "main")
    parsed = subprocess.run(
        ["git", "interpret-trailers", "--parse"], input=message, capture_output=True, text=True
    ).stdout
    trailers = [line.split(": ", 1) for line in parsed.splitlines()]
    assert ["Spec-Commit", spec] in trailers
    assert ["Decision", "promote"] in trailers
    rollout = dict(trailers)["Rollout"]
    theirs = run_git(where, "log", f"--grep=^Rollout: {rollout}$", "--format=%s", "main").splitlines()
    assert "rollout(production/support-chat): start 2.4.0 beside 2.3.0" in theirs
    assert len({line.partition(":")[0] for line in theirs}) == 1, "a rollout is of one unit"
    assert run_git(where, "log", "--format=%an", "-1", "main").strip() == "Ada"


def status_shows_environment_by_model(example: Project) -> None:
    lines = example.gitops("status", "--embedded").out.splitlines()
    assert lines[0].split() == ["MODEL", "dev", "staging", "production"]
    assert lines[1].split() == ["support-chat", *["2.4.0", "ready"] * 3]
    board = example.gitops("status", "--embedded", "--format", "json").json
    assert "2.4.0" in json.dumps(board)
    offline = example.gitops("status", "--embedded", "--offline").out
    assert "2.4.0" in offline
    assert "ready" not in offline


def documents_fit_their_schemas(example: Project) -> None:
    schema = schema_of(example, "--plan")
    jsonschema.Draft202012Validator.check_schema(schema)
    example.edit(
        "environments/production.yaml",
        "l4: {instance: g6.xlarge, min: 7, max: 16",
        "l4: {instance: g6.xlarge, min: 8, max: 16",
    )
    example.edit("environments/dev.yaml", "fraud-scoring: {serve", "fraud-scoring: {owner: risk, serve")
    with live(example, "laptop") as cluster:
        cluster.delete("Service", "acme-inference-dev", "reranker")
    document = plan(example)
    jsonschema.validate(document, schema)
    changed = [change for change in document["changes"] if change["kind"] == "infrastructure"]
    assert [(change["action"], change["cluster"]) for change in changed] == [("update", "acme-production")]
    assert "min" in json.dumps(changed[0]["attributes"])
    for flag in ((), ("--environment",), ("--simulation",)):
        jsonschema.Draft202012Validator.check_schema(schema_of(example, *flag))


# --- Drift -----------------------------------------------------------------------------------------------------


def test_drift_in_each_form_is_found_and_repaired(applied: Project) -> None:
    with live(applied, "local") as cluster:
        cluster.delete("NetworkPolicy", "acme-dev", "search")
        cluster.edit("Service", "acme-dev", "search-2-0-0", {"metadata": {"labels": {"gitops/version": None}}})
        stray = cluster.get("ServiceAccount", "acme-dev", "search")
        labels = stray["metadata"]["labels"]
        cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "left-over", "namespace": "acme-dev", "labels": labels},
                "data": {"a": "1"},
            }
        )
    expected = {
        ("NetworkPolicy search", "missing", "dev/search"),
        ("Service search-2-0-0", "changed", "dev/search"),
        ("ConfigMap left-over", "surplus", "dev/search"),
    }
    assert set(drift(applied)) == expected
    document = plan(applied)
    assert {(c["name"], c["reason"], c["unit"]) for c in document["changes"]} == expected
    assert document["summary"]["object"] == {"create": 1, "update": 1, "delete": 1}
    refused = applied.gitops("apply", "--yes", "--embedded", expect=1)
    assert "ConfigMap acme-dev/left-over would be deleted" in refused.out, "Git never had it"
    applied.gitops("apply", "--yes", "--embedded", "--allow-deletions")
    assert applied.gitops("diff", "--embedded", expect=0).out.startswith("No drift")
    plan(applied, expect=0)
    assert commits(applied) == 1, "repairing drift needs no commit"
    with live(applied, "local") as cluster:
        assert cluster.get("ConfigMap", "acme-dev", "left-over") is None
        assert cluster.get("NetworkPolicy", "acme-dev", "search")


def test_a_conflict_names_the_other_manager_and_is_forced_on_request(applied: Project) -> None:
    with live(applied, "local") as cluster:
        cluster.edit("Service", "acme-dev", "search", {"spec": {"selector": {"gitops/version": "6.6.6"}}})
    ((name, reason, unit),) = drift(applied)
    assert (name, reason, unit) == ("Service search", "taken-over", "dev/search")
    shown = applied.gitops("diff", "--embedded", expect=2).out
    assert "kubectl-edit" in shown
    assert "6.6.6" in shown

    refused = applied.gitops("apply", "--yes", "--embedded", expect=1)
    assert "conflict: local: Service acme-dev/search: spec.selector.gitops/version set by kubectl-edit" in re.sub(
        r"\s+", " ", refused.out
    )
    assert "--force-conflicts" in refused.err
    assert refused.err.splitlines()[-2] == "left alone: dev/search: refused by the rule conflict"
    applied.gitops("apply", "--yes", "--embedded", "--force-conflicts")
    assert applied.gitops("diff", "--embedded", expect=0)


# --- Removing things -------------------------------------------------------------------------------------------


def test_an_excluded_model_leaves_its_environment_alone(applied: Project) -> None:
    environment = applied.path / "environments" / "dev.yaml"
    environment.write_text(environment.read_text() + "exclude: [search]\n")
    document = plan(applied)
    assert {change["unit"] for change in document["changes"]} == {"dev/search"}
    kept = {change["name"] for change in document["changes"] if change["action"] != "delete"}
    assert kept == {"removed/dev/search.yaml"}
    applied.gitops("apply", "--yes", "--embedded")
    plan(applied, expect=0)
    files = run_git(repository(applied), "ls-tree", "-r", "--name-only", "main")
    assert [path for path in files.split() if "dev/search" in path] == ["removed/dev/search.yaml"]
    assert "production/search" in files
    with live(applied, "local") as cluster:
        assert cluster.get("Deployment", "acme-dev", "search-2-0-0") is None
        assert cluster.get("Deployment", "acme-dev", "chat-1-0-0")
    newest = applied.gitops("history", "--format", "json", "--embedded", "-n", "1").json[0]
    assert (newest["environment"], newest["model"], newest["decision"]) == ("dev", "search", "remove")


def test_when_every_model_would_leave_it_is_refused_until_allowed(applied: Project) -> None:
    environment = applied.path / "environments" / "dev.yaml"
    environment.write_text(environment.read_text() + "exclude: [search, chat]\n")
    document = plan(applied)
    assert [refusal["rule"] for refusal in document["refusals"]] == ["deletion-guard"]
    refused = applied.gitops("apply", "--yes", "--embedded", expect=1)
    assert "--allow-deletions" in refused.err
    assert commits(applied) == 1
    assert applied.gitops("diff", "--embedded", expect=0)
    applied.gitops("apply", "--yes", "--embedded", "--allow-deletions")
    plan(applied, expect=0)


def test_infrastructure_grows_at_once_and_shrinks_on_request(applied: Project) -> None:
    applied.edit("environments/production.yaml", "max: 4", "max: 6")
    document = plan(applied)
    assert [(c["action"], c["name"], c["cluster"]) for c in document["changes"] if c["kind"] == "infrastructure"] == [
        ("update", 'module.cluster.aws_eks_node_group.gpu["l4"]', "aws")
    ]
    applied.gitops("apply", "--yes", "--embedded")

    applied.edit("environments/production.yaml", "      spare: {instance: g6e.xlarge, max: 2}\n", "")
    refused = applied.gitops("apply", "--yes", "--embedded", expect=1)
    assert "destroy-guard" in refused.out
    assert "--allow-destroy" in refused.err
    applied.gitops("apply", "--yes", "--embedded", "--allow-destroy")
    plan(applied, expect=0)


# --- Rules -----------------------------------------------------------------------------------------------------


def test_a_version_never_changes_its_artifact(applied: Project) -> None:
    applied.edit("pipeline.yaml", "a" * 64, "d" * 64)
    refused = applied.gitops("apply", "--yes", "--embedded", expect=1)
    assert "immutable-version" in refused.out
    assert "give the new one a version of its own" in re.sub(r"\s+", " ", refused.out)
    assert commits(applied) == 1


def test_files_of_others_stay_and_edits_of_ours_are_put_back(applied: Project, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    run_git(tmp_path, "clone", "--quiet", str(repository(applied)), str(checkout))
    deployment = checkout / "clusters/local/dev/chat/1.0.0/deployment.yaml"
    wanted = deployment.read_text()
    deployment.write_text(wanted.replace("replicas: 1", "replicas: 3"))
    theirs = {"README.md": "hello\n", "clusters/local/dev/chat/notes.md": "mine\n", "apps/other.yaml": "a: 1\n"}
    for path, text in theirs.items():
        (checkout / path).parent.mkdir(exist_ok=True)
        (checkout / path).write_text(text)
    run_git(checkout, "add", "--all")
    run_git(checkout, "commit", "--quiet", "--message", "Edit by hand")
    run_git(checkout, "push", "--quiet")

    document = plan(applied)
    files = [c["name"] for c in document["changes"] if c["kind"] == "file" and not c["name"].startswith("releases/")]
    assert files == ["clusters/local/dev/chat/1.0.0/deployment.yaml"]
    applied.gitops("apply", "--yes", "--embedded")
    plan(applied, expect=0)
    run_git(checkout, "pull", "--quiet")
    assert deployment.read_text() == wanted
    for path, text in theirs.items():
        assert (checkout / path).read_text() == text
    by_hand = applied.gitops("history", "--embedded").out
    assert "by hand" in by_hand

    release_chat(applied)
    applied.gitops("apply", "--yes", "--embedded")
    run_git(checkout, "pull", "--quiet")
    assert (checkout / "clusters/local/dev/chat/notes.md").exists()


def served(project: Project, cluster: str, namespace: str) -> Any:
    """The version of chat that its Service selects."""
    with live(project, cluster) as there:
        return there.get("Service", namespace, "chat")["spec"]["selector"]["gitops/version"]


def test_a_version_without_room_waits_and_leaves_the_old_one_serving(applied: Project) -> None:
    """Its first replica would fit, says the spec; the second set that it needs for its first step does not."""
    applied.edit("pipeline.yaml", "strategy: rolling", "strategy: canary, steps: [{weight: 100}]")
    applied.edit("pipeline.yaml", "gpu: {type: L4}", "gpu: {type: L4}, replicas: {min: 2, max: 2}")
    applied.gitops("apply", "--yes", "--embedded")
    applied.edit("environments/dev.yaml", "max: 4", "max: 3")
    release_chat(applied)
    document = plan(applied)
    assert {change["unit"] for change in document["changes"]} == {"dev/chat"}
    assert document["summary"]["object"] == {"create": 0, "update": 0, "delete": 0}, "pods without room are not made"
    applied.gitops("apply", "--yes", "--embedded")
    assert record(applied, "dev/chat").state.phase == "waiting-for-capacity"

    began = clock(applied).now()
    failed = applied.gitops("apply", "--yes", "--embedded", "--wait", expect=1)
    assert 3600 <= clock(applied).now() - began < 4200, "capacityTimeout"
    assert "error: dev/chat: 1.1.0 waits for a person since it went back without a verdict: no room" in failed.err
    assert "gitops retry" in failed.err
    assert record(applied, "dev/chat").stable.version == "1.0.0"
    assert served(applied, "local", "acme-dev") == served(applied, "aws", "acme-production") == "1.0.0"
    with live(applied, "aws") as cluster:
        assert cluster.get("Deployment", "acme-production", "chat-1-1-0") is None
    check_consistent(applied)

    applied.edit("environments/dev.yaml", "max: 3", "max: 4")
    applied.gitops("apply", "--yes", "--embedded", "--wait", expect=1)
    assert record(applied, "dev/chat").stable.version == "1.0.0", "it waits until somebody says so"
    applied.gitops("retry", "dev/chat", "--embedded")
    applied.gitops("apply", "--yes", "--embedded", "--wait")
    assert served(applied, "local", "acme-dev") == served(applied, "aws", "acme-production") == "1.1.0"
    plan(applied, expect=0)
    check_consistent(applied)


def test_a_version_that_loads_for_too_long_is_rolled_back_until_it_gets_more_time(applied: Project) -> None:
    applied.edit("environments/dev.yaml", "speed: 1000", "speed: 0.003")  # 3 s are a quarter of an hour there
    release_chat(applied)
    began = clock(applied).now()
    failed = applied.gitops("apply", "--yes", "--embedded", "--wait", expect=1)
    assert clock(applied).now() - began < 300, "20 s, and a pass or two"
    assert re.search(r"error: dev/chat: 1.1.0 is rejected: not ready to carry 10 % within 20 s", failed.err)
    assert served(applied, "local", "acme-dev") == "1.0.0"
    with live(applied, "aws") as cluster:
        assert cluster.get("Deployment", "acme-production", "chat-1-1-0") is None
    check_consistent(applied)

    applied.edit("pipeline.yaml", "readyTimeout: 20s", "readyTimeout: 30m")
    applied.gitops("retry", "dev/chat", "--embedded")
    applied.gitops("apply", "--yes", "--embedded", "--wait")
    assert served(applied, "local", "acme-dev") == served(applied, "aws", "acme-production") == "1.1.0"
    plan(applied, expect=0)
    check_consistent(applied)


def test_going_back_after_a_failure_is_one_more_edit(applied: Project) -> None:
    applied.edit("environments/dev.yaml", "speed: 1000", "speed: 0.001")
    before = (applied.path / "pipeline.yaml").read_text()
    release_chat(applied)
    applied.gitops("apply", "--yes", "--embedded")
    with live(applied, "local") as cluster:
        assert cluster.get("Deployment", "acme-dev", "chat-1-1-0")
    (applied.path / "pipeline.yaml").write_text(before)
    assert [c["decision"] for c in plan(applied)["changes"] if c["kind"] == "release"] == ["roll-back"]
    applied.gitops("apply", "--yes", "--embedded", "--wait")
    plan(applied, expect=0)
    clock(applied).sleep(150)
    applied.gitops("reconcile", "--embedded")
    with live(applied, "local") as cluster:
        assert cluster.get("Deployment", "acme-dev", "chat-1-1-0") is None, "its requests are over"
    assert served(applied, "local", "acme-dev") == "1.0.0"
    assert not record(applied, "dev/chat").rejected, "it was not its fault"
    check_consistent(applied)


# --- Saved plans -----------------------------------------------------------------------------------------------


def test_a_saved_plan_is_applied_exactly(applied: Project, tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    release_chat(applied)
    noted = applied.gitops("plan", "--out", str(saved), "--embedded", expect=2).err
    assert f"gitops apply {saved}" in noted
    assert saved.stat().st_mode & 0o777 == 0o600
    assert commits(applied) == 1
    applied.gitops("apply", str(saved), "--yes", "--embedded")
    plan(applied, expect=0)
    stale = applied.gitops("apply", str(saved), "--yes", "--embedded", expect=1)
    assert "stale" in stale.err
    assert commits(applied) == 2


def test_a_saved_plan_is_refused_when_anything_is_not_as_it_was(applied: Project, tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    release_chat(applied)
    applied.gitops("plan", "--out", str(saved), "--embedded", expect=2)
    content = saved.read_bytes()

    def refused(*arguments: str, says: str, path: Path = saved) -> None:
        done = applied.gitops("apply", str(path), "--yes", *arguments, expect=1)
        error, hint = done.err.splitlines()
        assert says in error, done.err
        assert "plan" in hint, done.err
        assert commits(applied) == 1

    refused(says="made for the embedded world")
    saved.write_bytes(content.replace(b"chat-1-1-0", b"chat-6-6-6", 1))
    refused("--embedded", says="cut or edited")
    saved.write_bytes(content[: len(content) // 2])
    refused("--embedded", says="may be cut")
    saved.write_bytes(b"")
    refused("--embedded", says="may be cut")
    saved.write_bytes(b"[1]")
    refused("--embedded", says="no saved plan")
    saved.write_text(applied.gitops("plan", "--format", "json", "--embedded", expect=2).out)
    refused("--embedded", says="printed for reading")
    refused("--embedded", says="not found", path=tmp_path / "none.json")
    applied.gitops("plan", "--offline", "--out", str(saved), "--embedded", expect=2)
    refused("--embedded", says="made offline")

    saved.write_bytes(content)
    applied.edit("pipeline.yaml", "memory: 1Gi", "memory: 2Gi")
    refused("--embedded", says="the spec moved")
    applied.edit("pipeline.yaml", "memory: 2Gi", "memory: 1Gi")
    run_git(repository(applied), "update-ref", "refs/heads/main", empty_commit(applied))
    done = applied.gitops("apply", str(saved), "--yes", "--embedded", expect=1)
    assert "the GitOps repository moved" in done.err


def test_of_a_saved_plan_nothing_is_done_that_its_base_does_not_give(applied: Project, tmp_path: Path) -> None:
    """Whoever can edit the file can make its checksum anew."""
    saved = tmp_path / "plan.json"
    release_chat(applied)
    applied.gitops("plan", "--out", str(saved), "--embedded", expect=2)
    made = load_plan(saved.read_bytes(), "")
    step = made.steps[0]
    backdoor = {path: text and text.replace(b"vllm/vllm-openai", b"evil/vllm") for path, text in step.files.items()}
    workflow = FileChange("local", "create", ".github/workflows/steal.yml", b"on: push")
    doomed = replace(made.objects[0], action="delete", reason="surplus")
    for edited, what in (
        (replace(made, steps=(replace(step, files=backdoor),)), "step 1 of dev/chat"),
        (replace(made, files=(*made.files, workflow)), "file .github/workflows/steal.yml"),
        (replace(made, objects=(*made.objects, doomed)), "object "),
        (replace(made, steps=(), files=(), releases=()), "file "),
    ):
        saved.write_bytes(dump_plan(edited))
        done = applied.gitops("apply", str(saved), "--yes", "--embedded", expect=1)
        assert f"{what}" in done.err
        assert "was edited" in done.err
        assert "evil" not in done.out
    assert commits(applied) == 1
    saved.write_bytes(dump_plan(made))
    applied.gitops("apply", str(saved), "--yes", "--embedded")
    check_consistent(applied)


def empty_commit(project: Project) -> str:
    """A commit on top of main that changes nothing."""
    return run_git(repository(project), "commit-tree", "main^{tree}", "-p", "main", "-m", "Say hello").strip()


def test_a_refused_plan_is_saved_but_not_applied(applied: Project, tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    applied.edit("pipeline.yaml", "a" * 64, "d" * 64)
    applied.gitops("plan", "--out", str(saved), "--embedded", expect=2)
    done = applied.gitops("apply", str(saved), "--yes", "--embedded", expect=1)
    assert "immutable-version" in done.out
    assert commits(applied) == 1


# --- Output ----------------------------------------------------------------------------------------------------


def test_offline_looks_at_git_only(applied: Project) -> None:
    shutil.rmtree(applied.path / ".gitops/embedded/clusters")
    assert plan(applied, "--offline", expect=0)["base"]["live"] is False
    assert not (applied.path / ".gitops/embedded/clusters").exists()
    release_chat(applied)
    document = plan(applied, "--offline")
    assert {change["kind"] for change in document["changes"]} == {"release", "file"}


def test_results_and_progress_go_different_ways_and_colour_only_to_terminals(applied: Project) -> None:
    release_chat(applied)
    for name in ({}, {"NO_COLOR": "1"}, {"FORCE_COLOR": "1"}):
        outcome = Project(applied.path, name).gitops("plan", "--embedded", expect=2)
        assert "\x1b" not in outcome.out + outcome.err
        assert "planning infrastructure" in outcome.err
        assert "planning infrastructure" not in outcome.out


def test_the_environment_variable_chooses_the_embedded_world(applied: Project) -> None:
    assert Project(applied.path, {"GITOPS_EMBEDDED": "1"}).gitops("plan", expect=0)
    assert "2.0.0" in Project(applied.path, {"GITOPS_EMBEDDED": "yes"}).gitops("history").out


def test_init_never_overwrites(applied: Project) -> None:
    before = (applied.path / "pipeline.yaml").read_text()
    assert "already there" in init(applied, expect=1)
    assert (applied.path / "pipeline.yaml").read_text() == before
