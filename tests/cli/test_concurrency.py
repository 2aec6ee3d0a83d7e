"""Many processes at once on one repository: the history stays linear, no edit is lost, nothing is decided twice."""

import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from gitops.engine.applying import apply
from gitops.engine.planning import plan
from gitops.engine.session import Options, open_session
from gitops.errors import GitopsError
from tests.cli.consistency import check_consistent
from tests.cli.small import live, repository
from tests.cli.staged import EMBEDDED, PIPELINE, clock, record, release, staged_project, subjects
from tests.support.project import Outcome, Project, run_git

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
ROLLING = ("start 1.1.0 beside 1.0.0", "1.1.0 to 100 %", "1.1.0 replaces 1.0.0")
CANARY = (
    "start 1.1.0 beside 1.0.0",
    "1.1.0 to 20 %",
    "1.1.0 has to get ready to carry 100 %",
    "1.1.0 to 100 %",
    "1.1.0 replaces 1.0.0",
)


@pytest.fixture
def shared(tmp_path: Path) -> Project:
    """A spec in Git with eight models, released once."""
    project = Project(tmp_path / "spec", EMBEDDED)
    (project.path / "environments").mkdir(parents=True)
    models = "".join(MODEL.format(number=n, digest=f"{n + 1:064x}") for n in range(PROCESSES))
    (project.path / "pipeline.yaml").write_text(HEAD + models)
    (project.path / "environments" / "dev.yaml").write_text(DEV)
    project.commit_spec("Describe eight models")
    project.gitops("apply", "--yes")
    return project


def checkout(shared: Project, path: Path) -> Project:
    """Somebody's clone of the spec, working on the same GitOps repository and cluster."""
    run_git(path.parent, "clone", "--quiet", str(shared.path), str(path))
    (path / ".gitops").symlink_to(shared.path / ".gitops")
    with (path / ".git" / "info" / "exclude").open("a") as excluded:
        excluded.write(".gitops\n")
    return Project(path, EMBEDDED)


def edit(clone: Project, number: int, version: str = "1.1.0") -> None:
    """Release a model from a clone, without applying it."""
    clone.edit("pipeline.yaml", f"acme-models/model-{number}/1.0.0", f"acme-models/model-{number}/{version}")
    clone.edit("pipeline.yaml", f"model-{number}:\n    version: 1.0.0", f"model-{number}:\n    version: {version}")
    clone.edit("pipeline.yaml", f"{number + 1:064x}", version.replace(".", "").ljust(64, f"{number:x}"))
    clone.commit_spec(f"Release model-{number} {version}")


def started(project: Project, *arguments: str) -> subprocess.Popen[str]:
    """The command line, running."""
    return subprocess.Popen(
        project.command(*arguments),
        env=project.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(running: Iterable[subprocess.Popen[str]], *codes: int) -> list[Outcome]:
    """Wait for all of them; each ends with one of these exit codes."""
    outcomes = []
    for process in running:
        out, err = process.communicate(timeout=240)
        outcomes.append(Outcome(process.returncode, out, err))
    for outcome in outcomes:
        assert outcome.code in codes, outcome.out + outcome.err
        assert "Traceback" not in outcome.err, outcome.err
    return outcomes


# --- apply -------------------------------------------------------------------------------------------------------


def test_different_edits_at_once_are_all_kept(shared: Project, tmp_path: Path) -> None:
    """Each process starts its own model and walks it to the end, among seven others that do the same."""
    clones = []
    for number in range(PROCESSES):
        clone = checkout(shared, tmp_path / f"clone-{number}")
        edit(clone, number)
        clones.append(clone)
    # None of them has the edits of the others: each leaves those alone that it meets, and says so by exit code 2.
    outcomes = ended([started(clone, "apply", "--yes", "--wait") for clone in clones], 0, 2)
    for number, outcome in enumerate(outcomes):
        assert f"dev/model-{number}:" not in outcome.err

    where = repository(shared)
    assert run_git(where, "rev-list", "--merges", "--count", "main").strip() == "0"
    steps = [f"(dev/model-{n}): {what}" for n in range(PROCESSES) for what in ROLLING]
    assert sorted(subjects(shared)[1:]) == sorted(steps), "nothing is decided twice"
    for number in range(PROCESSES):
        assert record(shared, f"dev/model-{number}").stable.version == "1.1.0"
    shared.gitops("diff", expect=0)


def test_an_older_checkout_leaves_newer_edits_alone(shared: Project, tmp_path: Path) -> None:
    clone = checkout(shared, tmp_path / "newer")
    edit(clone, 3)
    clone.gitops("apply", "--yes")
    before = record(shared, "dev/model-3")
    assert before.candidate

    left = shared.gitops("plan", "--format", "json", expect=0).json["leftAlone"]
    assert [entry["unit"] for entry in left] == ["dev/model-3"]
    back = shared.gitops("plan", "--format", "json", "--replace-newer", expect=2).json
    assert {change["unit"] for change in back["changes"]} == {"dev/model-3"}

    # Neither a pass nor a walk from there takes it back, or waits for somebody else to finish it.
    assert list(shared.gitops("reconcile", "--format", "json").json["leftAlone"]) == ["dev/model-3"]
    waiting = shared.gitops("apply", "--yes", "--wait", expect=2)
    assert "dev/model-3" in waiting.err
    assert record(shared, "dev/model-3") == before

    clone.gitops("apply", "--yes", "--wait")
    after = record(shared, "dev/model-3")
    assert after.stable.version == "1.1.0"
    assert list(shared.gitops("reconcile", "--format", "json").json["leftAlone"]) == ["dev/model-3"]
    assert record(shared, "dev/model-3") == after


def test_the_same_unit_released_by_two_is_refused(shared: Project, tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    first, second = checkout(shared, tmp_path / "first"), checkout(shared, tmp_path / "second")
    for clone, version in ((first, "1.1.0"), (second, "1.2.0")):
        edit(clone, 0, version)
    second.gitops("plan", "--out", str(saved), expect=2)
    first.gitops("apply", "--yes")
    refused = second.gitops("apply", str(saved), "--yes", expect=1)
    assert "stale" in refused.err
    assert "plan again" in refused.err


@pytest.mark.parametrize("other", ["1.1.0", "1.2.0"])
def test_a_pass_that_starts_the_same_has_done_the_work(shared: Project, tmp_path: Path, other: str) -> None:
    """`gitops run` sees the merge as soon as CI does: each starts the version, and one of them comes second."""
    before = checkout(shared, tmp_path / "before")
    edit(shared, 1)
    passing = checkout(shared, tmp_path / "run")
    if other != "1.1.0":
        passing = before
        edit(passing, 1, other)
    with open_session(Options(shared.path, kind="embedded")) as session:
        wanted = plan(session)
        passing.gitops("reconcile")
        if other == "1.1.0":
            assert apply(session, wanted).failures == ()
        else:
            with pytest.raises(GitopsError, match=r"1\.2\.0 is there instead"):
                apply(session, wanted)
    candidate = record(shared, "dev/model-1").candidate
    assert candidate
    assert candidate.version.version == other


def test_what_a_newer_commit_created_is_no_deletion(shared: Project, tmp_path: Path) -> None:
    """A plan reads the repository, somebody pushes and applies, and the plan reads the cluster."""
    clone, said = checkout(shared, tmp_path / "newer"), list[str]()
    edit(clone, 3)

    def meanwhile(line: str) -> None:
        if "comparing" in line and not said:
            clone.gitops("apply", "--yes")
        said.append(line)

    with open_session(Options(shared.path, kind="embedded", progress=meanwhile)) as session:
        found = plan(session)
    assert record(shared, "dev/model-3").candidate
    assert "the repository moved; planning again" in said
    assert found.refusals == ()
    assert found.objects == ()


def test_an_apply_of_drift_alone_does_not_go_back_to_an_older_commit(shared: Project, tmp_path: Path) -> None:
    clone, said = checkout(shared, tmp_path / "newer"), list[str]()
    edit(clone, 3)
    with live(shared, "local") as cluster:
        cluster.delete("Service", "acme-dev", "model-3")
    with open_session(Options(shared.path, kind="embedded", progress=said.append)) as session:
        wanted = plan(session)
        assert [change.action for change in wanted.objects] == ["create"]
        assert wanted.files == ()
        clone.gitops("apply", "--yes")
        done = apply(session, wanted)
    assert "the repository moved; planning again" in said
    assert done.plan.base.head != wanted.base.head
    shared.gitops("diff", expect=0)


def test_an_older_checkout_leaves_newer_clusters_alone(shared: Project, tmp_path: Path) -> None:
    clone = checkout(shared, tmp_path / "newer")
    clone.edit("environments/dev.yaml", "apiVersion: gitops/v1\n", "apiVersion: gitops/v1\nnamespace: elsewhere\n")
    clone.commit_spec("Move to another namespace")
    clone.gitops("apply", "--yes")

    older = shared.gitops("plan", "--format", "json", expect=0).json
    assert "local" in {entry["unit"] for entry in older["leftAlone"]}
    assert older["changes"] == []


# --- Walking -----------------------------------------------------------------------------------------------------


@pytest.fixture
def staged(tmp_path: Path) -> Project:
    """Released once, with the next version of chat started in dev."""
    project = staged_project(tmp_path / "project", pipeline=PIPELINE.replace("rollout: careful", "rollout: plain"))
    project.gitops("apply", "--yes")
    release(project, "1.1.0")
    project.gitops("apply", "--yes")
    return project


def walked(project: Project) -> None:
    """The canary went through both environments, each step once and in order, and everything agrees."""
    said = subjects(project)[1:]
    assert not [subject for subject, times in Counter(said).items() if times > 1], "nothing is decided twice"
    for name in ("dev", "production"):
        unit = f"({name}/chat): "
        mine = [subject.removeprefix(unit) for subject in said if subject.startswith(unit)]
        assert tuple(mine[: len(CANARY)]) == CANARY
    check_consistent(project)


def test_passes_at_once_decide_everything_once(staged: Project) -> None:
    """Three schedules of CI that overlap, and no lease between them."""
    for _ in range(30):
        ended([started(staged, "reconcile") for _ in range(3)], 0)
        if record(staged, "production/chat").stable.version == "1.1.0":
            break
        clock(staged).sleep(60)
    # Without a lease a slow pass may bring what it saw after a faster one; the next pass sees that, and mends it.
    staged.gitops("reconcile")
    walked(staged)


def test_of_two_runs_one_leads(staged: Project) -> None:
    running = [started(staged, "run", "--interval", "30") for _ in range(2)]
    deadline = time.monotonic() + 120
    while record(staged, "production/chat").stable.version != "1.1.0":
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in running)
        time.sleep(0.5)
    for process in running:
        process.send_signal(signal.SIGTERM)
    outcomes = ended(running, 0)
    walked(staged)
    assert all("stopped" in outcome.err for outcome in outcomes)
    led = [bool(re.search(r"advance|promote", outcome.out)) for outcome in outcomes]
    assert led.count(True) >= 1
