"""Fixtures that several tests of the command line start from."""

import shutil
from pathlib import Path

import pytest

from tests.cli.staged import EMBEDDED, staged_project
from tests.support.project import Project


@pytest.fixture(scope="session")
def released_once(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The staged project after its first apply; to be copied."""
    project = staged_project(tmp_path_factory.mktemp("staged") / "project")
    project.gitops("apply", "--yes")
    return project


@pytest.fixture
def staged(released_once: Project, tmp_path: Path) -> Project:
    """A copy of it: chat 1.0.0 and search 2.0.0 in dev and production."""
    shutil.copytree(released_once.path, tmp_path / "project")
    return Project(tmp_path / "project", EMBEDDED)
