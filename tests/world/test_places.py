"""The directory in which a project keeps the state of this machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gitops.errors import GitopsError
from gitops.world.places import Kind, repository_at, use_state


def git(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout


def test_state_stays_out_of_commits(tmp_path: Path) -> None:
    git("init", "-q", cwd=tmp_path)
    (tmp_path / "pipeline.yaml").write_text("name: x\n")
    repository_at(".gitops/repository.git", "main", tmp_path, "real", create=True).commit(None, {"a": b"1"}, "first")
    assert git("status", "--porcelain", "--untracked-files=all", cwd=tmp_path) == "?? pipeline.yaml\n"
    git("add", "--all", cwd=tmp_path)
    assert git("ls-files", cwd=tmp_path) == "pipeline.yaml\n"


def test_a_gitignore_of_others_stays(tmp_path: Path) -> None:
    (tmp_path / ".gitops").mkdir()
    (tmp_path / ".gitops" / ".gitignore").write_text("cache\n")
    use_state(tmp_path)
    assert (tmp_path / ".gitops" / ".gitignore").read_text() == "cache\n"


@pytest.mark.parametrize("kind", ["real", "embedded"])
@pytest.mark.parametrize("planted", ["cache/config", "terraform/eu/.terraform/providers/x", "link"])
def test_state_that_came_with_a_commit_is_refused(tmp_path: Path, kind: Kind, planted: str) -> None:
    git("init", "-q", cwd=tmp_path)
    if planted == "link":
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / ".gitops").symlink_to("elsewhere")
    else:
        (tmp_path / ".gitops" / planted).parent.mkdir(parents=True)
        (tmp_path / ".gitops" / planted).write_text("[core]\n\tsshCommand = evil\n")
    git("add", "--force", ".gitops", cwd=tmp_path)
    with pytest.raises(GitopsError, match=r"1 file below .gitops/ came with a commit"):
        repository_at("https://git.acme.example/x.git", "main", tmp_path, kind)


def test_a_place_where_nothing_can_be_written_has_no_state(tmp_path: Path) -> None:
    (tmp_path / ".gitops").write_text("a file")
    use_state(tmp_path)
