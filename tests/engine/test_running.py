"""What `gitops run` goes on with when the spec is broken, or the cluster that keeps its lease is away."""

from pathlib import Path

import pytest

from gitops.engine.running import Settings, _Leader, _may_lead, _Sessions
from gitops.engine.session import Options, Session
from gitops.errors import GitopsError
from tests.support.project import Project


def test_a_broken_spec_keeps_the_last_one_and_its_world(tmp_path: Path) -> None:
    said: list[str] = []
    project = Project.example(tmp_path / "project")
    with _Sessions(Options(project.path, kind="embedded", progress=said.append)) as sessions:
        valid = sessions.current()
        assert valid.broken is None

        project.edit("pipeline.yaml", "strategy: canary", "strategy: cannary")
        broken = sessions.current()
        assert broken.broken is not None
        assert "cannary" in broken.broken.why
        assert (broken.spec, broken.world) == (valid.spec, valid.world)
        assert "correct it" in said[-1]

        told = len(said)
        assert sessions.current() is broken
        (project.path / "pipeline.yaml").unlink()
        missing = sessions.current()
        assert missing.broken is not None
        assert "not found" in missing.broken.why
        assert len(said) == told + 1, "each state is said once"

        Project.example(tmp_path / "other")
        (tmp_path / "other/pipeline.yaml").rename(project.path / "pipeline.yaml")
        assert sessions.current().broken is None


def test_nothing_valid_at_all_is_an_error_at_the_start(tmp_path: Path) -> None:
    project = Project.example(tmp_path / "project")
    project.edit("pipeline.yaml", "strategy: canary", "strategy: cannary")
    with _Sessions(Options(project.path, kind="embedded")) as sessions, pytest.raises(GitopsError, match="cannary"):
        sessions.current()


class _Unreachable(_Leader):
    def leads(self, session: Session) -> bool:
        raise GitopsError("connection refused", where="dev")


def test_rollouts_do_not_wait_for_the_cluster_of_the_lease(tmp_path: Path) -> None:
    said: list[str] = []
    project = Project.example(tmp_path / "project")
    leader = _Unreachable(Settings(15, "", "", "me"))
    with _Sessions(Options(project.path, kind="embedded", progress=said.append)) as sessions:
        assert _may_lead(leader, sessions.current())
    assert "connection refused" in said[-1]
