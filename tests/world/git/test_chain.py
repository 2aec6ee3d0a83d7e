"""Chains of commits: written and pushed at once, and in Git as if made one by one."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gitops.errors import GitopsError, Moved
from gitops.world import effects
from tests.world.git.repositories import FILES, Open, contents, need, pending_refs, report, sh

Commits = list[tuple[dict[str, bytes | None], str]]


def subjects(bare: Path) -> list[str]:
    """Oldest first."""
    return sh("git", "--git-dir", bare, "log", "--reverse", "--format=%s", "main").split("\n")


@pytest.mark.parametrize("base", ["empty", "filled"])
def test_a_chain_is_its_commits_one_after_the_other(opened: Open, bare: Path, base: str) -> None:
    repository = opened()
    head = None if base == "empty" else repository.commit(None, FILES, "before")
    commits: Commits = [
        ({"a.yaml": b"1", "x/one": b"1", "x/two": b"2"}, "first"),
        ({"a.yaml": b"2"}, "second: touches what the first did"),
        ({"x/one": None, "x/two": None}, "third: removes it"),
        ({"x": b"now a file"}, "fourth: the directory is gone, so its name is free"),
        ({"x": None, "x/one": b"1"}, "fifth: and back"),
    ]
    ids = repository.commit_all(head, commits)
    assert len(set(ids)) == 5
    assert repository.head() == ids[-1]
    expected = {} if head is None else dict(FILES)
    for commit, (changes, _) in zip(ids, commits, strict=True):
        expected = {path: data for path, data in {**expected, **changes}.items() if data is not None}
        assert contents(repository, commit) == expected
    assert subjects(bare)[-5:] == [message for _, message in commits]
    assert sh("git", "--git-dir", bare, "rev-list", "--count", "--min-parents=2", "main") == "0"
    assert not pending_refs(bare)
    sh("git", "--git-dir", bare, "fsck", "--strict")


def test_commits_without_difference_are_left_out(opened: Open, bare: Path) -> None:
    repository = opened()
    head = repository.commit(None, {"a": b"1"}, "before")
    ids = repository.commit_all(
        head,
        [
            ({"a": b"1"}, "as it is"),
            ({"a": b"2", "b": b"1"}, "new"),
            ({"a": b"2", "absent": None}, "again"),
            ({"b": None}, "gone"),
            ({"b": b"1"}, "back"),
        ],
    )
    assert ids[0] == head
    assert ids[1] == ids[2]
    assert len({*ids}) == 4
    assert subjects(bare) == ["before", "new", "gone", "back"]
    assert repository.commit_all(ids[-1], [({"a": b"2"}, "x"), ({}, "y")]) == [ids[-1]] * 2
    assert repository.commit_all(ids[-1], []) == []
    with pytest.raises(Moved):
        repository.commit_all(head, [({"a": b"1"}, "no difference, but stale")])


def test_a_first_chain_begins_with_a_file(opened: Open) -> None:
    repository = opened()
    with pytest.raises(ValueError, match="at least one file"):
        repository.commit_all(None, [({"a": None}, "nothing"), ({"a": b"1"}, "something")])
    assert repository.head() is None


def test_all_or_nothing(opened: Open, bare: Path) -> None:
    repository = opened()
    head = repository.commit(None, FILES, "before")
    good: tuple[dict[str, bytes | None], str] = ({"a.yaml": b"2"}, "good")
    with pytest.raises(GitopsError, match="a directory there"):
        repository.commit_all(head, [good, ({"clusters": b""}, "bad")])
    for bad in ({"../x": b""}, "bad"), ({"a.yaml": b"3"}, " \n"):
        with pytest.raises(ValueError, match=r"not a path|needs a message"):
            repository.commit_all(head, [good, bad])
    other = opened().commit(head, {"b.yaml": b"1"}, "somebody else")
    with pytest.raises(Moved):
        repository.commit_all(head, [good, ({"a.yaml": b"3"}, "late")])
    assert repository.head() == other
    assert subjects(bare) == ["before", "somebody else"]
    assert not pending_refs(bare)


def test_a_chain_is_one_effect(opened: Open, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    look = lambda what: told.append((what, sh("git", "--git-dir", bare, "rev-parse", "main")))  # noqa: E731
    monkeypatch.setattr(effects, "observers", [look])
    ids = opened().commit_all(None, [({"a": b"%d" % number}, f"{number}") for number in range(3)])
    assert told == [(f"push {ids[-1][:10]}", ids[-1])]


def test_each_commit_of_a_chain_is_signed(opened: Open, bare: Path, tmp_path: Path) -> None:
    need("ssh-keygen")
    key = tmp_path / "key"
    sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    signers = tmp_path / "signers"
    signers.write_text(f"* {key.with_suffix('.pub').read_text()}")
    repository = opened(signing_key=Path("key"))
    ids = repository.commit_all(None, [({"a": b"%d" % number}, f"{number}\n\nModel: m") for number in range(4)])
    assert sh("git", "--git-dir", bare, "rev-list", "--reverse", "main").split() == ids
    for number, commit in enumerate(ids):
        sh("git", "--git-dir", bare, "-c", f"gpg.ssh.allowedSignersFile={signers}", "verify-commit", commit)
        assert contents(repository, commit) == {"a": b"%d" % number}
    assert [commit.trailers for commit in repository.log()] == [(("Model", "m"),)] * 4
    assert not pending_refs(bare)


def test_a_chain_costs_little_more_than_a_commit(opened: Open) -> None:
    repository = opened()
    head = repository.commit(None, FILES, "before")
    commits: Commits = [
        (
            {f"releases/dev/m{n}.yaml": b"version: 2\n" * 50, f"clusters/c/dev/m{n}/route.yaml": b"weight: 1\n" * 50},
            f"{n}",
        )
        for n in range(50)
    ]
    started = time.perf_counter()
    ids = repository.commit_all(head, commits)
    report(f"\n50 commits of 2 files: {time.perf_counter() - started:.3f} s")
    assert len(set(ids)) == len(list(repository.log())) - 1 == 50
