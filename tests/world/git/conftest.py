"""Every repository in two ways: directly on disk, and as a remote behind a cache."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitops.world.git.repository import GitRepository, open_repository
from tests.world.git.repositories import Open, descendants, sh


@pytest.fixture(autouse=True)
def _nobodys_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own settings must not decide about these tests."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    for name in [name for name in os.environ if name.startswith(("GIT_AUTHOR", "GIT_COMMITTER"))] + ["EMAIL"]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["direct", "remote"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    return tmp_path / "repository.git"


@pytest.fixture
def opened(kind: str, tmp_path: Path, bare: Path) -> Open:
    def opener(**options: object) -> GitRepository:
        if kind == "remote" and not bare.exists():
            sh("git", "init", "-q", "--bare", "-b", "main", bare)
        url = bare.as_uri() if kind == "remote" else str(bare)
        options = {"state": tmp_path / "state", "project": tmp_path, "direct": kind == "direct"} | options
        return open_repository(url, "main", **options)  # type: ignore[arg-type]

    return opener


def git_children() -> list[int]:
    """Our descendants that are git; servers of other tests may run in this process as well."""
    return [child for child in descendants(os.getpid()) if _program(child).startswith("git")]


def _program(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text()
    except OSError:
        return ""


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    yield
    if Path("/proc/self/stat").exists():
        deadline = time.monotonic() + 5
        while git_children() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not git_children()
