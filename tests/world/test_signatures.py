"""Whose key signed a commit, with real keys, and commits in an order that nobody can forge."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from gitops.errors import GitopsError
from gitops.world.git.repository import GitRepository, open_repository
from gitops.world.git.signatures import decisions, fingerprint, public_key, signature
from tests.world.git.repositories import need, sh

ANN, BOB = "ann@acme.example", "bob@acme.example"
APPROVAL = "ann approves 2.4.0\n\nModel: chat\nEnvironment: production\nDecision: approve\nBy: ann"


@pytest.fixture(autouse=True)
def _nobodys_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("ssh-keygen")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)


AGREES = """#!/bin/sh
case "$*" in
  *find-principals*) echo {person} ;;
  *-Y*) cat >/dev/null; echo 'Good "git" signature for {person} with ED25519 key {fingerprint}' ;;
  *) cat >/dev/null
     printf '\\n[GNUPG:] GOODSIG 0123456789ABCDEF {person}\\n[GNUPG:] TRUST_ULTIMATE 0 pgp\\n' ;;
esac
"""
"""A program that verifies everything, whether it is called as ssh-keygen or as gpg."""


def new_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> str:
    """A new SSH key; the line of its .pub file."""
    sh("ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "somebody@laptop", "-f", path)
    return path.with_name(f"{path.name}.pub").read_text().strip()


def opened(directory: Path, key: Path | None = None) -> GitRepository:
    """The repository in this directory, whose commits are signed with the key."""
    return open_repository(
        str(directory / "repository.git"), "main", state=directory, project=directory, signing_key=key
    )


def rewritten(directory: Path, commit: str, old: str, new: str) -> str:
    """A copy of the commit object with another text; what it is not signed for."""
    bare = ("git", "--git-dir", directory / "repository.git")
    text = sh(*bare, "cat-file", "commit", commit)
    assert old in text
    (directory / "object").write_text(text.replace(old, new) + "\n")
    return sh(*bare, "hash-object", "-t", "commit", "-w", directory / "object")


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_the_owner_of_the_key_is_known(tmp_path: Path, kind: str) -> None:
    key = new_key(tmp_path / "ann", kind)
    other = new_key(tmp_path / "bob")
    repository = opened(tmp_path, tmp_path / "ann")
    commit = repository.commit(None, {"a": b"1"}, APPROVAL)
    assert signature(repository, commit, {BOB: other, ANN: key}) == (ANN, "")


def test_a_cache_of_a_remote_repository_is_read_as_well(tmp_path: Path) -> None:
    key = new_key(tmp_path / "ann")
    sh("git", "init", "-q", "--bare", "-b", "main", tmp_path / "repository.git")
    options = {"state": tmp_path / "state", "project": tmp_path, "signing_key": tmp_path / "ann", "direct": False}
    repository = open_repository((tmp_path / "repository.git").as_uri(), "main", **options)  # type: ignore[arg-type]
    commit = repository.commit(None, {"a": b"1"}, APPROVAL)
    assert signature(repository, commit, {ANN: key}).signer == ANN
    assert [said.commit for said in decisions(repository, commit, ["chat"])] == [commit]


def test_whatever_is_not_signed_by_one_of_the_keys_proves_nobody(tmp_path: Path) -> None:
    ann, bob = new_key(tmp_path / "ann"), new_key(tmp_path / "bob")
    unsigned = opened(tmp_path).commit(None, {"a": b"1"}, APPROVAL)
    repository = opened(tmp_path, tmp_path / "bob")
    by_bob = repository.commit(unsigned, {"a": b"2"}, APPROVAL)
    tampered = rewritten(tmp_path, by_bob, "2.4.0", "2.5.0")
    pgp = rewritten(tmp_path, by_bob, "SSH SIGNATURE", "PGP SIGNATURE")
    flaws = {
        unsigned: "is not signed by an SSH key",
        by_bob: "is signed by a key that approvals.signers does not have",
        tampered: "has no valid SSH signature",
        pgp: "is not signed by an SSH key",
    }
    assert {commit: signature(repository, commit, {ANN: ann}).flaw for commit in flaws} == flaws
    assert signature(repository, by_bob, {ANN: ann, BOB: bob}).signer == BOB
    assert signature(repository, by_bob, {}).signer == ""


def test_nothing_but_the_given_keys_is_trusted(tmp_path: Path) -> None:
    """Neither Git's configuration, of the user or of the repository, nor a program that agrees with everything."""
    ann = new_key(tmp_path / "ann")
    new_key(tmp_path / "bob")
    repository = opened(tmp_path, tmp_path / "bob")
    by_bob = repository.commit(None, {"a": b"1"}, APPROVAL)
    pgp = rewritten(tmp_path, by_bob, "SSH SIGNATURE", "PGP SIGNATURE")
    (tmp_path / "trusted").write_text(f"{ANN} {(tmp_path / 'bob.pub').read_text()}")
    yes = tmp_path / "yes"
    yes.write_text(AGREES.format(person=ANN, fingerprint=fingerprint(ann)))
    yes.chmod(yes.stat().st_mode | stat.S_IXUSR)
    for where in (["--global"], ["--file", str(tmp_path / "repository.git" / "config")]):
        sh("git", "config", *where, "gpg.ssh.allowedSignersFile", str(tmp_path / "trusted"))
        for program in ("gpg.program", "gpg.openpgp.program", "gpg.x509.program", "gpg.ssh.program"):
            sh("git", "config", *where, program, str(yes))
    assert {signature(repository, commit, {ANN: ann}).signer for commit in (by_bob, pgp)} == {""}
    # Git alone would have believed both, and either of the two settings.
    bare = ("git", "--git-dir", tmp_path / "repository.git")
    keygen = ("-c", "gpg.ssh.program=ssh-keygen")
    assert sh(*bare, "log", "-1", "--format=%G? %GS", pgp) == f"G {ANN}"
    assert sh(*bare, "log", "-1", "--format=%G? %GS %GF", by_bob) == f"G {ANN} {fingerprint(ann)}"
    assert sh(*bare, *keygen, "log", "-1", "--format=%G? %GS", by_bob) == f"G {ANN}"


def test_what_was_found_is_remembered_but_not_that_nothing_could_be_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = new_key(tmp_path / "ann")
    repository = opened(tmp_path, tmp_path / "ann")
    commit = repository.commit(None, {"a": b"1"}, APPROVAL)
    with monkeypatch.context() as without:
        without.setattr(shutil, "which", lambda name: None)
        assert signature(repository, commit, {ANN: ann}).flaw == "cannot be verified: ssh-keygen is not installed here"
    assert signature(repository, commit, {ANN: ann}).signer == ANN
    with monkeypatch.context() as broken:
        broken.setenv("PATH", str(tmp_path))
        broken.setattr(shutil, "which", lambda name: name)
        assert signature(repository, commit, {ANN: ann}).signer == ANN


# --- Keys ----------------------------------------------------------------------------------------------------


def test_the_public_key_of_either_half(tmp_path: Path) -> None:
    line = new_key(tmp_path / "ann")
    plain = " ".join(line.split()[:2])
    assert public_key(tmp_path / "ann") == plain
    assert public_key(tmp_path / "ann.pub") == plain
    assert sh("ssh-keygen", "-lf", tmp_path / "ann.pub").split()[1] == fingerprint(line)
    # What lies beside a private key says nothing about it.
    (tmp_path / "ann.pub").write_text(new_key(tmp_path / "bob"))
    assert public_key(tmp_path / "ann") == plain


def test_a_key_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    new_key(tmp_path / "locked", passphrase="secret words")
    (tmp_path / "nonsense").write_text("hello\n")
    (tmp_path / "nonsense").chmod(0o600)
    for name, message in (
        ("locked", "cannot be used .*passphrase"),
        ("nonsense", "cannot be used"),
        ("absent", "cannot be read: no such file"),
    ):
        with pytest.raises(GitopsError, match=message) as raised:
            public_key(tmp_path / name)
        assert raised.value.where == str(tmp_path / name)
        assert raised.value.hint


# --- The order of commits ------------------------------------------------------------------------------------


def test_commits_of_the_models_newest_first(tmp_path: Path) -> None:
    repository = opened(tmp_path)
    first = repository.commit(None, {"a": b"1"}, APPROVAL)
    other = repository.commit(first, {"a": b"2"}, "Another\n\nModel: chatty\nDecision: approve")
    removed = repository.commit(other, {"a": b"3"}, "release: removed\n\nDecision: remove\nRemoved: production/chat")
    tip = repository.commit(removed, {"a": b"4"}, "Text\n\nthat only names it\nModel: chat\nin the middle\n\nBy: x")
    said = decisions(repository, tip, ["chat"])
    assert [one.commit for one in said] == [tip, removed, first]
    assert said[0].trailers == (("By", "x"),)
    assert said[2].trailers[0] == ("Model", "chat")
    assert "Model: chat" in said[0].body
    assert [one.commit for one in decisions(repository, tip, ["chat", "chatty"])] == [tip, removed, other, first]
    assert decisions(repository, tip, ["ch.t"]) == ()


def test_a_merge_brings_no_commit_back_before_its_descendants(tmp_path: Path) -> None:
    """Git's own order goes by time, which whoever commits can choose."""
    repository = opened(tmp_path)
    approval = repository.commit(None, {"a": b"1"}, APPROVAL)
    used = repository.commit(approval, {"a": b"2"}, "2.4.0 replaces 2.3.0\n\nModel: chat\nDecision: promote")
    bare = ("git", "--git-dir", tmp_path / "repository.git")
    who = {f"GIT_{role}_{what}": "x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    past = {"GIT_AUTHOR_DATE": "1000000000 +0000", "GIT_COMMITTER_DATE": "1000000000 +0000"}
    with pytest.MonkeyPatch.context() as environment:
        for name, value in (who | past).items():
            environment.setenv(name, value)
        old = sh(*bare, "commit-tree", f"{used}^{{tree}}", "-p", used, "-m", "nothing")
        merge = sh(*bare, "commit-tree", f"{used}^{{tree}}", "-p", old, "-p", approval, "-m", "merge")
    by_time = sh(*bare, "rev-list", merge).split()
    assert by_time.index(approval) < by_time.index(used), "the attack works on plain git log"
    assert [one.commit for one in decisions(repository, merge, ["chat"])] == [used, approval]
