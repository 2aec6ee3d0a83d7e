"""SIGKILL after every externally visible effect of a rollout, one process after the other: it ends where it should.

No process here lives longer than one effect, so every state between two effects is a state that somebody starts from.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.consistency import check_consistent, live_of, records_at, spec_of, weights_shown, weights_wanted
from tests.cli.small import repository
from tests.cli.staged import EMBEDDED, PIPELINE, clock, reconcile, record, release, staged_project, steps_of, turn_bad
from tests.support.project import Outcome, Project, run_git

pytestmark = pytest.mark.slow

QUICK = PIPELINE.replace(
    "steps: [{weight: 10, bake: 3m}, {weight: 50, bake: 3m}, {weight: 100, bake: 2m}]",
    "steps: [{weight: 10, bake: 1m}, {weight: 100, bake: 1m}]",
)
CANARY = ["start", "advance 10", "scale", "advance 100", "promote"]
MOST = 120
"""So many processes are more than enough for any test here."""


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Released once; to be copied."""
    project = staged_project(tmp_path_factory.mktemp("quick") / "project", pipeline=QUICK)
    project.gitops("apply", "--yes")
    return project


@pytest.fixture
def project(quick: Project, tmp_path: Path) -> Project:
    """A copy whose spec names the next version of chat."""
    project = Project(Path(shutil.copytree(quick.path, tmp_path / "project")), EMBEDDED)
    release(project, "1.1.0")
    return project


def killed_often(project: Project, log: Path, *arguments: str) -> Iterator[Outcome]:
    """Run a command again and again, each time killed after its first effect, until one comes to its end."""
    for number in range(MOST):
        done = project.killed_after(1, log.with_suffix(f".{number}"), *arguments)
        yield done
        if done.code != -signal.SIGKILL:
            return
    raise AssertionError("no process comes to its end")


def check_traffic(project: Project) -> None:
    """Wherever somebody was killed: traffic goes where Git says, or said one commit ago, to what has its pods."""
    where, spec = repository(project), spec_of(project)
    parents = run_git(where, "rev-list", "--max-count=2", "main").split()
    for unit in {one.unit for one in records_at(where, "main")}:
        said = [one for commit in parents for one in records_at(where, commit) if one.unit == unit]
        for cluster in said[0].rendered.trees:
            objects, namespace = live_of(project, cluster), spec.namespace(unit.environment)
            shown = {"httproute": objects[f"HTTPRoute {namespace}/{unit.model}"]} if unit.model == "chat" else {}
            shown["service"] = objects[f"Service {namespace}/{unit.model}"]
            weights = weights_shown(said[0], shown)
            assert weights in [weights_wanted(spec, one, cluster) for one in said]
            assert all(f"Deployment {namespace}/{name}" in objects for name in weights)


def test_a_canary_survives_a_kill_after_every_effect(project: Project, tmp_path: Path) -> None:
    """As a job of CI that is killed and started again: `apply --wait`."""
    killed = 0
    for done in killed_often(project, tmp_path / "effects", "apply", "--yes", "--wait"):
        killed += done.code == -signal.SIGKILL
        check_traffic(project)
    assert done.code == 0, done.err
    assert killed >= 30
    for name in ("dev", "production"):
        assert steps_of(project, f"{name}/chat") == CANARY, "each decision once"
        assert record(project, f"{name}/chat").stable.version == "1.1.0"
    check_consistent(project)


def test_a_rollback_survives_a_kill_after_every_effect(project: Project, tmp_path: Path) -> None:
    turn_bad(project, "1.1.0", after="20s")
    killed = 0
    for done in killed_often(project, tmp_path / "effects", "apply", "--yes", "--wait"):
        killed += done.code == -signal.SIGKILL
        check_traffic(project)
    assert done.code == 1
    assert "1.1.0 is rejected" in done.err
    assert killed >= 8
    assert steps_of(project, "dev/chat") == ["start", "advance 10", "roll-back"]
    assert steps_of(project, "production/chat") == []
    check_consistent(project)
    reconcile(project, 3)
    assert not [name for name in live_of(project, "dev") if "chat-1-1-0" in name]
    check_consistent(project)


def test_passes_survive_a_kill_after_every_effect(project: Project, tmp_path: Path) -> None:
    """As a schedule of CI: one look at a time, each killed at its first effect, until nothing is left to do."""
    killed = 0
    project.gitops("apply", "--yes")
    for number in range(MOST):
        done = project.killed_after(1, tmp_path / f"effects.{number}", "reconcile")
        killed += done.code == -signal.SIGKILL
        check_traffic(project)
        if done.code == 0:
            if record(project, "production/chat").stable.version == "1.1.0":
                break
            clock(project).sleep(60)
    assert killed >= 20
    assert steps_of(project, "dev/chat") == steps_of(project, "production/chat") == CANARY
    project.gitops("reconcile")
    check_consistent(project)


def test_a_canary_survives_kills_at_any_moment(project: Project) -> None:
    """Not only between two effects: in the middle of a push, of a write to a cluster, of a look."""
    dice, killed = random.Random(7), 0
    for _ in range(15):
        process = subprocess.Popen(
            project.command("apply", "--yes", "--wait"),
            env=project.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(timeout=dice.uniform(0.3, 1.2))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
        check_traffic(project)
    assert killed >= 5
    project.gitops("apply", "--yes", "--wait")
    for name in ("dev", "production"):
        assert [step for step in steps_of(project, f"{name}/chat") if step != "retire"] == CANARY
        assert record(project, f"{name}/chat").stable.version == "1.1.0"
    project.gitops("reconcile")
    check_consistent(project)


@pytest.mark.parametrize("command", ["abort", "promote"])
def test_what_people_ask_for_survives_a_kill(project: Project, tmp_path: Path, command: str) -> None:
    """The commit is the decision: a pass brings the clusters to it, and asking twice does nothing twice."""
    project.gitops("apply", "--yes")
    reconcile(project, 2)
    assert steps_of(project, "dev/chat")[-1] == "advance 10"
    killed = project.killed_after(1, tmp_path / "effects", command, "dev/chat")
    assert killed.code == -signal.SIGKILL
    check_traffic(project)
    steps = steps_of(project, "dev/chat")
    assert steps[-1] == ("roll-back" if command == "abort" else "scale")
    project.gitops(command, "dev/chat", expect=(0, 1))
    project.gitops("apply", "--yes", "--wait", expect=1 if command == "abort" else 0)
    assert steps_of(project, "dev/chat")[: len(steps)] == steps
    check_consistent(project)
