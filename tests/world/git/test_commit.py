"""Reading and writing by commit, against real Git."""

from __future__ import annotations

import time
from pathlib import Path

import git as gitpython
import pytest

from gitops.errors import GitopsError, Moved
from gitops.render.tree import blob_id
from gitops.world import effects
from gitops.world.git.changes import check_paths
from gitops.world.git.repository import open_repository
from tests.world.git.repositories import FILES, Open, contents, pending_refs, report, sh


def test_first_commit_and_reading_it_back(opened: Open, bare: Path) -> None:
    repository = opened()
    assert repository.head() is None
    first = repository.commit(None, FILES, "first")
    assert opened().head() == first == sh("git", "--git-dir", bare, "rev-parse", "main")
    assert contents(repository, first) == FILES
    second = repository.commit(first, {"a.yaml": None, "b.yaml": b""}, "second")
    assert set(contents(repository, second)) == {*FILES, "b.yaml"} - {"a.yaml"}
    assert contents(repository, first) == FILES
    assert not pending_refs(bare)
    with gitpython.Repo(bare) as judge:
        assert [str(commit.message) for commit in judge.iter_commits("main")] == ["second\n", "first\n"]


def test_entries_below_a_prefix(opened: Open) -> None:
    repository = opened()
    commit = repository.commit(None, {**FILES, "clusters/c/dev/mm/z": b"z"}, "first")
    entries = repository.entries(commit, "clusters/c/dev/m")
    assert sorted(entries) == ["clusters/c/dev/m/x.yaml", "clusters/c/dev/m/y.yaml"]
    assert entries["clusters/c/dev/m/x.yaml"].id == blob_id(b"x: 1\n")
    children = repository.entries(commit, "clusters/c/dev", recursive=False)
    assert {path: entry.kind for path, entry in children.items()} == {
        "clusters/c/dev/m": "tree",
        "clusters/c/dev/mm": "tree",
    }
    assert repository.entries(commit, "absent") == repository.entries(commit, "a.yaml") == {}
    assert repository.entries(commit)["clusters/c/dev/m"] == children["clusters/c/dev/m"]


def test_plan_before_the_first_apply_creates_nothing(tmp_path: Path) -> None:
    repository = open_repository(".gitops/r.git", "main", state=tmp_path / ".gitops", project=tmp_path)
    assert repository.head() is None
    assert list(repository.log()) == []
    assert not (tmp_path / ".gitops").exists()
    repository.commit(None, FILES, "first")
    assert sh("git", "--git-dir", tmp_path / ".gitops/r.git", "symbolic-ref", "HEAD") == "refs/heads/main"
    reader = open_repository("absent.git", "main", state=tmp_path, project=tmp_path, create=False)
    with pytest.raises(GitopsError, match="no repository"):
        reader.commit(None, FILES, "first")


def test_moved(opened: Open, bare: Path) -> None:
    one, other = opened(), opened()
    first = one.commit(None, {"a": b"1"}, "first")
    with pytest.raises(Moved):
        other.commit(None, {"a": b"2"}, "another first")
    second = one.commit(first, {"a": b"3"}, "second")
    with pytest.raises(Moved):
        other.commit(first, {"a": b"4"}, "another second")
    with pytest.raises(Moved):
        other.commit(first, {"a": b"1"}, "no difference, but stale")
    # Set back by force: a plain fast-forward would bring the removed commit back.
    sh("git", "--git-dir", bare, "update-ref", "refs/heads/main", first)
    with pytest.raises(Moved):
        other.commit(second, {"a": b"5"}, "third")
    assert other.head() == first
    assert not pending_refs(bare)


def test_no_difference_is_no_commit(opened: Open) -> None:
    repository = opened()
    first = repository.commit(None, FILES, "first")
    assert repository.commit(first, {**FILES, "absent": None}, "same") == first
    assert len(list(repository.log())) == 1
    with pytest.raises(ValueError, match="at least one file"):
        repository.commit(None, {"absent": None}, "nothing")


def test_effects_are_told_after_the_branch_moved(opened: Open, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    look = lambda what: told.append((what, sh("git", "--git-dir", bare, "rev-parse", "main")))  # noqa: E731
    monkeypatch.setattr(effects, "observers", [look])
    commit = opened().commit(None, FILES, "first")
    assert told == [(f"push {commit[:10]}", commit)]


@pytest.mark.parametrize(
    "path",
    [
        *("", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", "a\nb", "a\0b", "a\x7f"),
        *(".git/config", "a/.GIT/hooks/x", "a/.git. /x", "GIT~1/config", ".git::$INDEX_ALLOCATION/x"),
    ],
)
def test_paths_that_escape_are_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a path"):
        check_paths({path: b""})
    with pytest.raises(ValueError, match="not a path"):
        check_paths({path: None})


def test_odd_but_lawful_names(opened: Open) -> None:
    odd = {
        name: name.encode()
        for name in ('say "hi"', "back\\slash", "Zürich/東京", "-rf", ":(glob)*", " x", ".gitignore")
    }
    repository = opened()
    first = repository.commit(None, odd, "first")
    assert contents(repository, first) == odd
    second = repository.commit(first, {'say "hi"': None, ":(glob)*": None}, "second")
    assert len(contents(repository, second)) == len(odd) - 2


@pytest.mark.parametrize("many", [False, True])
def test_what_is_not_ours_is_not_replaced(opened: Open, many: bool) -> None:
    repository = opened()
    more = {f"more/{number}": b"" for number in range(200 if many else 1)}
    first = repository.commit(None, {"foreign/file": b"1", "taken": b"2"}, "first")
    for changes in ({"foreign": b""}, {"foreign": None}, {"taken/below": b""}, {"taken/far/below": b""}):
        with pytest.raises(GitopsError, match="expected"):
            repository.commit(first, {**changes, **more}, "bad")
    second = repository.commit(first, {"taken/below": b"3", "taken": None, **more}, "makes room itself")
    assert contents(repository, second) == {"foreign/file": b"1", "taken/below": b"3", **more}
    with pytest.raises(ValueError, match="lies below"):
        repository.commit(second, {"x": b"", "x/y": b""}, "both")


@pytest.mark.slow
def test_a_large_first_commit(opened: Open) -> None:
    lines = "\n".join(f"  key{number}: some value {number}" for number in range(35))
    files = {
        f"clusters/c{number % 3}/production/m{number // 24}/f{number}.yaml": f"name: m{number}\n{lines}\n".encode()
        for number in range(24_000)
    }
    repository = opened()
    started = time.perf_counter()
    head = repository.commit(None, files, "first")
    first = time.perf_counter() - started
    started = time.perf_counter()
    repository.commit(head, dict.fromkeys(list(files)[:8], b"changed"), "second")
    report(f"\n24,000 files: {first:.2f} s, 8 files: {time.perf_counter() - started:.3f} s")
    assert len(contents(repository, head)) == 24_000
