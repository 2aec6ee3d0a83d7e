"""Versions whose gates ask an endpoint that somebody else serves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.small import DEV, PIPELINE, repository
from tests.cli.staged import record
from tests.stages.endpoint import Server
from tests.support.project import Project, run_git

CASES = """apiVersion: gitops/v1
cases:
  capital: {prompt: the capital, expect: {contains: [Paris]}}
"""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(answers={"capital": "It is Paris."}, models=("chat",)) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """chat has to know its capital; search has nothing to show."""
    project = Project(tmp_path / "project", {"GITOPS_EMBEDDED": "1"})
    for folder in ("environments", "validation"):
        (project.path / folder).mkdir(parents=True)
    text = PIPELINE.replace("promotion: [dev, production]", "promotion: [dev]")
    text = text.replace("  chat:\n", "  chat:\n    validate: {golden: validation/chat.yaml}\n")
    (project.path / "pipeline.yaml").write_text(text)
    (project.path / "environments" / "dev.yaml").write_text(DEV)
    (project.path / "validation" / "chat.yaml").write_text(CASES)
    return project


def test_a_version_is_registered_by_what_serves_it(project: Project, server: Server) -> None:
    nowhere = project.gitops("apply", "--yes", expect=1)
    assert "chat 1.0.0: loads and golden need an endpoint" in nowhere.err
    assert "next: add `validate.server`, or serve it: gitops build chat --register --endpoint URL" in nowhere.err

    done = project.gitops("build", "chat", "--register", "--endpoint", server.url)
    assert "Registered chat 1.0.0: sha256:aaaa" in done.out
    assert "  golden: pass (1 of 1)" in done.out
    report = json.loads(run_git(repository(project), "show", "main:artifacts/chat/1.0.0.report.json"))
    assert report["subject"]["endpoint"] == server.url
    again = project.gitops("build", "chat", "--register", "--endpoint", server.url)
    assert "Every version of chat is registered" in again.out

    project.gitops("apply", "--yes")
    assert record(project, "dev/chat").stable.version == "1.0.0"


def test_a_wrong_answer_registers_nothing(project: Project, server: Server) -> None:
    server.answers["capital"] = "It is Rome."
    refused = project.gitops("build", "chat", "--register", "--endpoint", server.url, expect=1)
    assert "chat 1.0.0: refused by golden" in refused.err
    assert 'capital: expected "Paris", got "It is Rome."' in refused.err
    assert not repository(project).exists() or not run_git(repository(project), "branch", "--list")


def test_an_endpoint_serves_one_model(project: Project) -> None:
    both = project.gitops("build", "--register", "--endpoint", "http://127.0.0.1:1", expect=1)
    assert "an endpoint serves one model" in both.err
    typo = project.gitops("build", "chatt", "--register", expect=1)
    assert "there is no such model in the spec" in typo.err
    assert "did you mean chat?" in typo.err
