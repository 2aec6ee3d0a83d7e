"""A model that autoscales, on the embedded world: at least two replicas, at most four, and four that carry the load."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml_rs

from gitops.engine.session import Options, open_session
from gitops.engine.watching import look
from gitops.values import UnitKey
from tests.cli.small import repository
from tests.cli.staged import clock, reconcile, record, release, staged_project, steps_of, until, until_weight
from tests.support.project import Project, run_git

pytestmark = pytest.mark.slow

SERVERS = "apiVersion: gitops/v1\nmodels:\n  chat:\n    replicas: 4\n"
FAULT = '    versions: {1.1.0: {faults: [{metric: error-rate, becomes: "9%", from: 30s}]}}\n'


@pytest.fixture
def busy(tmp_path: Path) -> Project:
    project = staged_project(tmp_path / "project")
    (project.path / "simulation.yaml").write_text(SERVERS)
    project.gitops("apply", "--yes", "--wait")
    clock(project).sleep(30)
    return project


def held(project: Project, version: str) -> int:
    """What the commit holds the version's autoscaler at."""
    text = run_git(repository(project), "show", f"main:clusters/dev/dev/chat/{version}/autoscaler.yaml")
    least: int = yaml_rs.loads(text)["spec"]["minReplicaCount"]
    return least


def ready(project: Project) -> dict[str, int | None]:
    """Ready replicas of chat in dev, by version."""
    with open_session(Options(project.path, kind="embedded")) as session:
        sight = look(session, session.world.stored())
        found = sight.clusters["dev"].workloads
        return {key[1]: one.ready for key, one in found.items() if key[0] == UnitKey("dev", "chat")}


def test_traffic_goes_by_the_replicas_that_carry_it(busy: Project) -> None:
    assert (held(busy, "1.0.0"), ready(busy)) == (2, {"1.0.0": 4})
    release(busy, "1.1.0")
    planned = json.loads(busy.gitops("plan", "--format", "json", expect=2).out)
    pool = next(one for one in planned["capacity"] if one["cluster"] == "dev")
    assert (pool["before"], pool["live"]) == (2, 4)
    assert "2 (4 live)" in busy.gitops("plan", expect=2).out
    assert "1.0.0 runs 4 replicas on dev (declared: 2 to 4)" in busy.gitops("status").out

    busy.gitops("apply", "--yes")
    until_weight(busy, "dev/chat", 50)
    assert (held(busy, "1.0.0"), held(busy, "1.1.0")) == (4, 2)
    assert ready(busy) == {"1.0.0": 4, "1.1.0": 2}, "what stable has not to carry now is there to go back to"
    until_weight(busy, "dev/chat", 100)
    assert ready(busy) == {"1.0.0": 4, "1.1.0": 4}

    (busy.path / "simulation.yaml").write_text(SERVERS + FAULT)
    until(busy, lambda _: record(busy, "dev/chat").candidate is None)
    assert steps_of(busy, "dev/chat")[-1] == "roll-back"
    assert ready(busy)["1.0.0"] == 4, "it lands on what it takes"
    reconcile(busy, 4)
    assert steps_of(busy, "dev/chat")[-1] == "retire"
    assert (held(busy, "1.0.0"), ready(busy)) == (2, {"1.0.0": 4}), "lowered after, and the load keeps four"
