"""Whose key signed an approval, with real keys, and commits in an order that nobody can forge."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from gitops.errors import GitopsError
from gitops.rollout.approvals import Subject, words_of
from gitops.rollout.events import one_line
from gitops.values import UnitKey
from gitops.world.git.repository import GitRepository, open_repository
from gitops.world.git.signatures import decisions, public_key, sign, signature
from tests.world.git.repositories import need, sh

ANN, BOB = "ann@acme.example", "bob@acme.example"
APPROVAL = "ann approves 2.4.0\n\nModel: chat\nEnvironment: production\nDecision: approve\nBy: ann"


@pytest.fixture(autouse=True)
def _nobodys_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("ssh-keygen")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)


def new_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> str:
    """A new SSH key; the line of its .pub file."""
    sh("ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "somebody@laptop", "-f", path)
    return path.with_name(f"{path.name}.pub").read_text().strip()


def opened(directory: Path) -> GitRepository:
    return open_repository(str(directory / "repository.git"), "main", state=directory, project=directory)


def subject(repository: str = "f" * 40, **other: str) -> Subject:
    about = {"pipeline": "acme", "version": "2.4.0", "digest": "sha256:d", "runs": "sha256:r", **other}
    return Subject(repository, about["pipeline"], UnitKey("production", "chat"), *list(about.values())[1:])


WORDS = words_of(subject(), ANN, "n1")


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_the_owner_of_the_key_is_known(tmp_path: Path, kind: str) -> None:
    key, other = new_key(tmp_path / "ann", kind), new_key(tmp_path / "bob")
    signed = sign(WORDS, tmp_path / "ann")
    assert "\n" not in signed
    assert signature(WORDS, signed, {BOB: other, ANN: key}) == (ANN, "")
    assert one_line(signed) == signed, "a trailer carries it"


def test_a_cache_of_a_remote_repository_is_read_as_well(tmp_path: Path) -> None:
    sh("git", "init", "-q", "--bare", "-b", "main", tmp_path / "repository.git")
    options = {"state": tmp_path / "state", "project": tmp_path, "direct": False}
    repository = open_repository((tmp_path / "repository.git").as_uri(), "main", **options)  # type: ignore[arg-type]
    commit = repository.commit(None, {"a": b"1"}, APPROVAL)
    assert [said.commit for said in decisions(repository, commit, ["chat"])] == [commit]


def test_whatever_is_not_signed_by_one_of_the_keys_proves_nobody(tmp_path: Path) -> None:
    ann, bob = new_key(tmp_path / "ann"), new_key(tmp_path / "bob")
    by_bob = sign(WORDS, tmp_path / "bob")
    unknown = "is signed by a key that approvals.signers does not have"
    assert signature(WORDS, "", {ANN: ann}).flaw == "carries no signed approval"
    for signed in (by_bob, "nonsense", by_bob[:-8]):
        assert signature(WORDS, signed, {ANN: ann}).flaw == unknown
    assert signature(WORDS, by_bob, {ANN: ann, BOB: bob}).signer == BOB
    assert signature(WORDS, by_bob, {}).signer == ""


@pytest.mark.parametrize(
    "words",
    [
        words_of(subject("0" * 40), ANN, "n1"),
        words_of(subject(pipeline="other"), ANN, "n1"),
        words_of(subject(version="2.5.0"), ANN, "n1"),
        words_of(subject(digest="sha256:e"), ANN, "n1"),
        words_of(subject(runs="sha256:x"), ANN, "n1"),
        words_of(subject(), BOB, "n1"),
        words_of(subject(), ANN, "n2"),
        words_of(subject()._replace(unit=UnitKey("dev", "chat")), ANN, "n1"),
    ],
)
def test_a_signature_is_of_one_approval_and_of_no_other(tmp_path: Path, words: str) -> None:
    """Not of another repository, pipeline, unit, version, artifact, configuration or person, nor of another time."""
    ann = new_key(tmp_path / "ann")
    assert signature(words, sign(WORDS, tmp_path / "ann"), {ANN: ann}).flaw == "is signed for something else"


def test_what_the_same_key_signs_for_other_purposes_is_no_approval(tmp_path: Path) -> None:
    """Commits (`git`), artifacts (`gitops`), files."""
    ann = new_key(tmp_path / "ann")
    (tmp_path / "words").write_text(WORDS)
    for namespace in ("git", "gitops", "file"):
        sh("ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", tmp_path / "ann", tmp_path / "words")
        armored = (tmp_path / "words.sig").read_text().splitlines()
        (tmp_path / "words.sig").unlink()
        assert signature(WORDS, "".join(armored[1:-1]), {ANN: ann}).signer == ""


def test_what_was_found_is_remembered_but_not_that_nothing_could_be_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = new_key(tmp_path / "ann")
    signed = sign(WORDS, tmp_path / "ann")
    with monkeypatch.context() as without:
        without.setattr(shutil, "which", lambda name: None)
        assert signature(WORDS, signed, {ANN: ann}).flaw == "cannot be verified: ssh-keygen is not installed here"
    assert signature(WORDS, signed, {ANN: ann}).signer == ANN
    with monkeypatch.context() as broken:
        broken.setenv("PATH", str(tmp_path))
        broken.setattr(shutil, "which", lambda name: name)
        assert signature(WORDS, signed, {ANN: ann}).signer == ANN


def test_a_key_with_a_passphrase_signs_nothing(tmp_path: Path) -> None:
    new_key(tmp_path / "locked", passphrase="secret words")
    with pytest.raises(GitopsError, match="cannot be signed"):
        sign(WORDS, tmp_path / "locked")


# --- Keys ----------------------------------------------------------------------------------------------------


def test_the_public_key_of_either_half(tmp_path: Path) -> None:
    line = new_key(tmp_path / "ann")
    plain = " ".join(line.split()[:2])
    assert public_key(tmp_path / "ann") == plain
    assert public_key(tmp_path / "ann.pub") == plain
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
