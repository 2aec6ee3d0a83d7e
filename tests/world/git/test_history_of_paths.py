"""What tells a repository from others, and what its history ever held."""

from __future__ import annotations

from pathlib import Path

import pytest

from gitops.errors import GitopsError
from gitops.world.git.repository import open_repository
from tests.world.git.repositories import Open, sh


def test_every_clone_and_spelling_of_a_repository_is_the_same(opened: Open, bare: Path, tmp_path: Path) -> None:
    repository = opened()
    first = repository.commit(None, {"a": b"1"}, "first")
    assert repository.identity(first) == first[:20]
    head = repository.commit(first, {"a": b"2"}, "second")
    assert repository.root(head) == repository.root(first) == first
    sh("git", "clone", "-q", "--bare", bare, tmp_path / "clone.git")
    for url in (str(bare), bare.as_uri(), "./repository.git", str(tmp_path / "clone.git")):
        again = open_repository(url, "main", state=tmp_path / "other-state", project=tmp_path)
        assert again.head() == head
        assert again.identity(head) == first[:20]


def test_a_copy_of_the_files_is_another_repository(opened: Open, tmp_path: Path) -> None:
    repository = opened()
    first = repository.commit(None, {"a": b"1"}, "first")
    copy = open_repository(str(tmp_path / "copy.git"), "main", state=tmp_path, project=tmp_path)
    copied = copy.commit(None, {"a": b"1"}, "copied")
    assert copy.identity(copied) != repository.identity(first)


def test_a_history_that_is_merged_in_changes_nothing(opened: Open, bare: Path) -> None:
    repository = opened()
    first = repository.commit(None, {"a": b"1"}, "first")
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    tree = sh("git", "rev-parse", f"{first}^{{tree}}", cwd=bare)
    other = sh("git", *who, "commit-tree", "-m", "another root", tree, cwd=bare)
    merged = sh("git", *who, "commit-tree", "-m", "merge", "-p", first, "-p", other, tree, cwd=bare)
    sh("git", "update-ref", "refs/heads/main", merged, cwd=bare)
    head = repository.head()
    assert head == merged
    assert repository.identity(head) == first[:20]


def test_a_shallow_clone_cannot_tell(opened: Open, bare: Path, tmp_path: Path) -> None:
    repository = opened()
    head = repository.commit(repository.commit(None, {"a": b"1"}, "first"), {"a": b"2"}, "second")
    sh("git", "clone", "-q", "--bare", "--depth", "1", bare.as_uri(), tmp_path / "shallow.git")
    shallow = open_repository(str(tmp_path / "shallow.git"), "main", state=tmp_path, project=tmp_path)
    with pytest.raises(GitopsError, match=r"shallow clone.*git fetch --unshallow"):
        shallow.identity(head)


def test_the_past_of_a_path_has_all_that_ever_lay_there(opened: Open, bare: Path) -> None:
    repository = opened()
    head = repository.commit(None, {"c/m/x.yaml": b"1", "c/n/x.yaml": b"2", "c/[m]/x.yaml": b"3"}, "first")
    head = repository.commit(head, {"c/m/x.yaml": b"4", "c/m/é y.yaml": b"5"}, "second")
    head = repository.commit(head, {"c/m/x.yaml": None, "c/n/x.yaml": b"6"}, "third")
    past = repository.past(head, ["c/m", "c/[m]"])
    texts = {path: sorted(repository.read(ids)) for path, ids in past.items()}
    assert texts == {"c/m/x.yaml": [b"1", b"4"], "c/m/é y.yaml": [b"5"], "c/[m]/x.yaml": [b"3"]}
    assert repository.past(head, ["c/absent"]) == {}
    assert repository.past(head, []) == {}
