"""Who a commit is from, its signature, and settings of others that must not matter."""

from __future__ import annotations

from pathlib import Path

import pytest

from gitops.errors import GitopsError
from gitops.world.git.repository import open_repository
from tests.world.git.repositories import FILES, Open, contents, need, pending_refs, sh


def test_identity(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = opened()
    head = repository.commit(None, {"a": b"1"}, "first")
    sh("git", "config", "--global", "user.name", "Ada <Lovelace>")
    sh("git", "config", "--global", "user.email", "ada@example.com")
    head = repository.commit(head, {"a": b"2"}, "second")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Grace Hopper")
    repository.commit(head, {"a": b"3"}, "third")
    assert [commit.author for commit in repository.log()] == [
        "Grace Hopper <ada@example.com>",
        "Ada Lovelace <ada@example.com>",
        "gitops <gitops@localhost>",
    ]


def test_signed_commits_verify(opened: Open, bare: Path, tmp_path: Path) -> None:
    need("ssh-keygen")
    key = tmp_path / "key"
    sh("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
    signers = tmp_path / "signers"
    signers.write_text(f"* {key.with_suffix('.pub').read_text()}")
    repository = opened(signing_key=Path("key"))
    head = repository.commit(None, {"a": b"1"}, "first\n\nModel: m")
    head = repository.commit(head, {"a": b"2"}, "second\n\nbody\n\nModel: m\n")
    for commit in (head, f"{head}~1"):
        sh("git", "--git-dir", bare, "-c", f"gpg.ssh.allowedSignersFile={signers}", "verify-commit", commit)
    assert next(repository.log()).trailers == (("Model", "m"),)
    assert not pending_refs(bare)
    with pytest.raises(GitopsError, match="cannot be signed"):
        opened(signing_key=tmp_path / "absent").commit(head, {"a": b"3"}, "third")
    assert repository.head() == head
    assert not pending_refs(bare)


HOSTILE = """
[core]
	autocrlf = true
	hooksPath = {hooks}
	ignoreCase = true
	quotePath = true
	commentChar = R
	logAllRefUpdates = always
	pager = false
[commit]
	gpgSign = true
[tag]
	gpgSign = true
[push]
	gpgSign = true
	followTags = true
	default = nothing
[gpg]
	program = /bin/false
[init]
	defaultBranch = trunk
	templateDir = {hooks}
	defaultObjectFormat = sha256
[i18n]
	commitEncoding = ISO-8859-1
	logOutputEncoding = ISO-8859-1
[log]
	showSignature = true
	decorate = full
	date = relative
[color]
	ui = always
[protocol]
	allow = never
[protocol "file"]
	allow = never
[fetch]
	prune = true
	recurseSubmodules = true
[trailer]
	separators = "="
[grep]
	patternType = perl
[format]
	pretty = oneline
[gc]
	auto = 1
	pruneExpire = now
[user]
	useConfigOnly = true
"""


def test_hostile_settings(opened: Open, bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-push", "reference-transaction", "pre-commit", "commit-msg", "post-commit", "pre-receive"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran-{name}\nexit 1\n")
        (hooks / name).chmod(0o755)
    repository = opened()
    first = repository.commit(None, {"README": b"1\r\n"}, "first")
    (tmp_path / "gitconfig").write_text(HOSTILE.format(hooks=hooks))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere/index"))
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    files = {"readme": b"2\r\n", "Zürich": b"x"}
    if repository._git.directory == bare:
        second = repository.commit(first, files, "Zürich\n\nRelease: dev/m 1\nModel: m")
    else:
        # receive-pack at the other end is the server's own business, so there its settings are harmless ones.
        (tmp_path / "gitconfig").write_text(HOSTILE.format(hooks=hooks).replace("hooksPath", "nothing"))
        second = repository.commit(first, files, "Zürich\n\nRelease: dev/m 1\nModel: m")
    assert contents(repository, second) == {"README": b"1\r\n", **files}
    (found,) = repository.log(models=["m"])
    assert (found.subject, found.trailers) == ("Zürich", (("Release", "dev/m 1"), ("Model", "m")))
    assert not list(tmp_path.glob("ran-*"))
    fresh = open_repository("fresh.git", "main", state=tmp_path / "state", project=tmp_path)
    assert len(fresh.commit(None, FILES, "first")) == 40


def test_a_repository_on_this_disk_names_no_program_that_runs(tmp_path: Path) -> None:
    bare, ran = tmp_path / "theirs.git", tmp_path / "ran"
    repository = open_repository("theirs.git", "main", state=tmp_path / "state", project=tmp_path)
    head = repository.commit(None, FILES, "first")
    program = f"touch {ran};"
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    (hooks / "reference-transaction").write_text(f"#!/bin/sh\n{program}\n")
    (hooks / "reference-transaction").chmod(0o755)
    for name, value in {
        "core.hooksPath": str(hooks),
        "core.fsmonitor": program,
        "core.alternateRefsCommand": program,
        "gc.recentObjectsHook": program,
        "gc.auto": "1",
        "extensions.partialClone": "theirs",
        "remote.theirs.url": str(bare),
        "remote.theirs.promisor": "true",
        "remote.theirs.uploadpack": program,
    }.items():
        sh("git", "--git-dir", bare, "config", name, value)
    sh("git", "--git-dir", bare, "config", "core.repositoryFormatVersion", "1")
    head = repository.commit(head, {"new": b"1"}, "second")
    assert contents(repository, head)["new"] == b"1"
    with pytest.raises(GitopsError):
        repository.read(["1" * 40])
    assert not ran.exists()
