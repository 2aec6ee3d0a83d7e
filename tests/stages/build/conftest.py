"""The tools of the build, a project with a trained model, and what the main build makes of it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitops.stages.build.runner import BuildResult
from tests.stages.build.projects import CONVERT, INT8, TRITON, Project
from tests.support.tools.torch import BUILD_PYTHON

HERE = Path(__file__).parent


@pytest.fixture(scope="session", autouse=True)
def one_cache() -> Iterator[None]:
    """In CI too, what one build finished another finds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GITOPS_CACHE_KEY", "the tests share one cache, and one key")
        yield


@pytest.fixture(scope="session")
def build_tools() -> Path:
    """The Python with torch, ONNX and the rest."""
    return BUILD_PYTHON.path_or_skip()


@pytest.fixture(scope="session")
def trained(build_tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a checkpoint, which nobody has built. Not to be changed."""
    path = tmp_path_factory.mktemp("trained")
    subprocess.run([build_tools, HERE / "iris.py", path], check=True)
    return Project(path, build_tools)


@pytest.fixture(scope="session")
def built(trained: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, BuildResult]:
    """A project in which the main build has been run. Not to be changed: copy it."""
    project = trained.copy(tmp_path_factory.mktemp("built") / "project")
    return project, project.build(CONVERT, {"stage": "prune", "sparsity": 0.2}, INT8, TRITON)
