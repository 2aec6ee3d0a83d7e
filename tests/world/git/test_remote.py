"""Repositories elsewhere, their caches, and the ways in which they fail."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from gitops.errors import GitopsError, Moved
from gitops.world.git.repository import GitRepository, open_repository
from tests.world.git.repositories import FILES, contents, sh


@pytest.fixture
def remote(tmp_path: Path, bare: Path) -> GitRepository:
    sh("git", "init", "-q", "--bare", "-b", "main", bare)
    return open_repository(bare.as_uri(), "main", state=tmp_path / "state", project=tmp_path, direct=False)


def test_git_protocol(bare: Path, tmp_path: Path) -> None:
    sh("git", "init", "-q", "--bare", "-b", "main", bare)
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    options = ("--reuseaddr", "--export-all", "--enable=receive-pack", f"--base-path={tmp_path}", "--listen=127.0.0.1")
    daemon = subprocess.Popen(["git", "daemon", *options, f"--port={port}"], start_new_session=True)
    try:
        url = f"git://127.0.0.1:{port}/{bare.name}"
        repository = open_repository(url, "main", state=tmp_path / "state", project=tmp_path)
        for _ in range(100):
            try:
                assert repository.head() is None
                break
            except GitopsError:
                time.sleep(0.05)
        first = repository.commit(None, FILES, "first")
        other = open_repository(url, "main", state=tmp_path / "other", project=tmp_path)
        assert contents(other, other.head()) == FILES
        second = other.commit(first, {"a.yaml": None}, "second")
        with pytest.raises(Moved):
            repository.commit(first, {"a.yaml": b"3"}, "third")
        assert repository.head() == second
        absent = open_repository(url + "x", "main", state=tmp_path / "state", project=tmp_path)
        with pytest.raises(GitopsError, match="repository not found"):
            absent.head()
    finally:
        os.killpg(daemon.pid, signal.SIGTERM)
        daemon.wait()


def test_only_the_one_branch_is_fetched(remote: GitRepository, bare: Path, tmp_path: Path) -> None:
    first = remote.commit(None, FILES, "first")
    sh("git", "--git-dir", bare, "update-ref", "refs/heads/other", first)
    sh("git", "--git-dir", bare, "update-ref", "refs/tags/t", first)
    fresh = open_repository(bare.as_uri(), "main", state=tmp_path / "fresh", project=tmp_path, direct=False)
    assert fresh.head() == first
    assert fresh._git.directory
    refs = sh("git", "--git-dir", fresh._git.directory, "for-each-ref", "--format=%(refname)")
    assert refs == "refs/heads/main"
    assert open_repository(bare.as_uri(), "b", state=tmp_path, project=tmp_path, direct=False).head() is None


@pytest.mark.parametrize("damage", ["objects", "HEAD", "refs", "config", "everything"])
def test_a_damaged_cache_is_rebuilt(damage: str, bare: Path, tmp_path: Path, remote: GitRepository) -> None:
    notes: list[str] = []
    cached = open_repository(
        bare.as_uri(), "main", state=tmp_path / "state", project=tmp_path, direct=False, progress=notes.append
    )
    head = cached.commit(None, {f"f{number}": b"x%d" % number for number in range(5)}, "first")
    own = cached._git.directory
    assert own
    if damage == "objects":
        for thing in list((own / "objects").rglob("*")):
            if thing.is_file():
                thing.chmod(0o644)
                thing.write_bytes(b"")
    elif damage == "everything":
        shutil.rmtree(own)
    elif damage == "refs":
        (own / "refs/heads/main").write_text("garbage\n")
    else:
        (own / damage).write_text("[[[ garbage\n")
    assert cached.head() == head
    assert contents(cached, head)["f3"] == b"x3"
    second = cached.commit(head, {"f1": b"new"}, "second")
    assert cached.head() == second
    assert bool(notes) == (damage != "everything")
    assert not list(own.parent.glob("*broken*"))


def test_a_lock_at_the_server_is_an_error_and_no_endless_race(remote: GitRepository, bare: Path) -> None:
    head = remote.commit(None, FILES, "first")
    (bare / "refs/heads/main.lock").touch()
    with pytest.raises(GitopsError, match="cannot lock ref") as caught:
        remote.commit(head, {"a.yaml": b"2"}, "second")
    assert not isinstance(caught.value, Moved)
    (bare / "refs/heads/main.lock").unlink()
    assert remote.head() == head


def test_declined_by_a_hook(remote: GitRepository, bare: Path) -> None:
    hook = bare / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'GH006: Protected branch update failed for main.' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(GitopsError, match=r"declined the push: GH006: Protected branch") as caught:
        remote.commit(None, FILES, "first")
    assert not isinstance(caught.value, Moved)
    assert remote.head() is None


def test_a_checkout_with_the_branch(tmp_path: Path) -> None:
    sh("git", "init", "-q", "-b", "main", tmp_path / "work")
    sh(
        "git",
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b",
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "x",
        cwd=tmp_path / "work",
    )
    repository = open_repository("work", "main", state=tmp_path / "state", project=tmp_path)
    head = repository.head()
    assert head
    with pytest.raises(GitopsError, match="checked out"):
        repository.commit(head, FILES, "first")


def test_no_repository_there(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").touch()
    repository = open_repository("folder", "main", state=tmp_path / "state", project=tmp_path)
    with pytest.raises(GitopsError, match="repository not found"):
        repository.head()
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == ["file"]


def test_unreachable(tmp_path: Path) -> None:
    for url in ("https://user:s3cret@nowhere.invalid/x.git", "git@nowhere.invalid:x.git"):
        repository = open_repository(url, "main", state=tmp_path / "state", project=tmp_path)
        with pytest.raises(GitopsError) as caught:
            repository.head()
        assert "s3cret" not in str(caught.value)
        assert "nowhere.invalid" in caught.value.where
        assert caught.value.hint
        assert "\n" not in str(caught.value)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/x.git"
        with pytest.raises(GitopsError, match="cannot connect"):
            open_repository(url, "main", state=tmp_path / "state", project=tmp_path).head()


@pytest.mark.parametrize(
    "url", ["", "-uxyz", "--upload-pack=touch x", "ext::sh -c date", "foo::bar", "gopher://x/y", "https://x/\ny"]
)
def test_urls_that_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(GitopsError, match="not a URL"):
        open_repository(url, "main", state=tmp_path, project=tmp_path)


@pytest.mark.parametrize(
    "branch", ["", "-x", "a..b", "a b", "x.lock", "a//b", "/a", "a/", ".a", "a/.b", "a~1", "@{u}", "a\n"]
)
def test_branches_that_are_refused(branch: str, tmp_path: Path) -> None:
    with pytest.raises(GitopsError, match="not a name for a branch"):
        open_repository("r.git", branch, state=tmp_path, project=tmp_path)


def test_which_way_is_taken(tmp_path: Path) -> None:
    sh("git", "init", "-q", "--bare", tmp_path / "bare.git")
    sh("git", "init", "-q", tmp_path / "work")
    ways = {
        "bare.git": True,
        "absent.git": True,
        f"file://{tmp_path}/bare.git": True,
        "work": False,
        "work/.git": False,
    }
    ways |= {"https://x/y": False, "git@x:y/bare.git": False, "ssh://x/y": False}
    for url, direct in ways.items():
        repository = open_repository(url, "main", state=tmp_path / "state", project=tmp_path)
        assert (type(repository._origin).__name__ == "LocalOrigin") == direct, url


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_permission_denied(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    repository = open_repository("locked/r.git", "main", state=tmp_path, project=tmp_path)
    with pytest.raises(GitopsError, match="no permission"):
        repository.commit(None, FILES, "first")
