"""Going away and coming back is no first release, and a first release waits where people approve."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gitops.errors import GitopsError
from gitops.plan.records import absent_paths, read_absent
from gitops.rollout.absent import approvals_path, dump_approvals, parse_approvals, removed_path
from gitops.rollout.audit import states_of
from gitops.rollout.observation import Command
from gitops.rollout.release import parse_release
from gitops.rollout.state import Approval
from gitops.spec.frozen import runs_of
from gitops.spec.resolved import Spec
from tests.plan.repository import CANARY, CHAT, Tree, digest_of, write_spec

ONE, TWO = ("1.0.0", "a"), ("2.0.0", "b")


def spec(version: tuple[str, str] = ONE, *, dev: dict[str, Any] | None = None, chat: bool = True, **serve: Any) -> Spec:
    """Without `chat` another model is left alone."""
    models = {"chat": version} if chat else {}
    return write_spec({**models, "other": ONE}, {"dev": dev or {}}, rollout=CANARY, serve=serve)


@pytest.fixture
def tree() -> Tree:
    made = Tree()
    made.release_spec(spec())
    return made


def remove(tree: Tree) -> None:
    tree.release_spec(spec(chat=False))
    assert CHAT not in tree.stored().releases


def check_audit(tree: Tree) -> None:
    """The history gives the state that the record has."""
    assert states_of(tree.log)[CHAT] == tree.release(CHAT).state


# --- Removed, and included again -----------------------------------------------------------------------------


def test_what_comes_back_is_what_was_there(tree: Tree) -> None:
    before = tree.release(CHAT)
    remove(tree)
    assert removed_path(CHAT) in tree.files
    (change,) = tree.plan(spec()).releases
    assert (change.action, change.version, change.decision) == ("create", "1.0.0", "")
    tree.release_spec(spec())
    after = tree.release(CHAT)
    assert (after.stable, after.models) == (before.stable, before.models)
    assert removed_path(CHAT) not in tree.files
    assert not tree.plan(spec()).releases
    check_audit(tree)


@pytest.mark.parametrize(("version", "serve"), [(TWO, {}), (ONE, {"image": "evil.example/chat:1"})])
def test_another_version_walks_beside_it(tree: Tree, version: tuple[str, str], serve: dict[str, Any]) -> None:
    """Excluding a model and including it again is no way past a rollout."""
    remove(tree)
    wanted = spec(version, **serve)
    change = next(one for one in tree.plan(wanted).releases if one.unit == CHAT)
    assert (change.decision, change.previous) == ("start", "1.0.0")
    tree.release_spec(wanted)
    release = tree.release(CHAT)
    assert release.stable.version == "1.0.0"
    assert release.candidate
    assert release.candidate.weight == 0
    assert any("/1.0.0/deployment.yaml" in path for path in tree.files)
    check_audit(tree)


def test_what_was_rejected_stays_rejected(tree: Tree) -> None:
    tree.release_spec(spec(TWO))
    tree.look(spec(TWO), CHAT, commands=(Command("abort", "ada"),))
    remove(tree)
    tree.release_spec(spec(TWO))
    release = tree.release(CHAT)
    assert (release.stable.version, release.candidate) == ("1.0.0", None)
    assert [one.version.version for one in release.rejected] == ["2.0.0"]
    assert "2.0.0 is rejected" in tree.waiting(spec(TWO))[CHAT]
    check_audit(tree)


def test_removed_twice_is_remembered_as_it_was_last(tree: Tree) -> None:
    remove(tree)
    tree.release_spec(spec())
    tree.release_spec(spec(TWO))
    for _ in range(10):
        tree.now += 600
        tree.look(spec(TWO), CHAT, ready=100)
    remove(tree)
    kept = parse_release(tree.files[removed_path(CHAT)], "x")
    assert (kept.stable.version, kept.kept, list(kept.models)) == ("2.0.0", (), ["2.0.0"])


def test_what_cannot_be_read_is_no_first_release(tree: Tree) -> None:
    remove(tree)
    tree.files[removed_path(CHAT)] = b"nonsense"
    assert not tree.plan(spec(TWO)).releases
    assert [one.unit for one in tree.plan(spec(TWO)).left_alone] == ["dev/chat"]


def test_files_of_others_say_nothing() -> None:
    paths = ("removed/notes.yaml", "removed/dev/chat.json", "approvals/dev/chat.yaml", "other/dev/chat.yaml")
    tree = Tree(dict.fromkeys(paths, b"x"))
    assert not absent_paths({path: tree.entry(path) for path in paths})


# --- Approved first releases ---------------------------------------------------------------------------------

ASKS = {"approvals": {"required": 2, "identity": "any"}}


def given(wanted: Spec, *people: str) -> bytes:
    runs = runs_of(wanted.models[CHAT])
    return dump_approvals(CHAT, [Approval(digest_of("a"), by, runs) for by in people])


def test_a_first_release_waits_where_people_approve() -> None:
    wanted = spec(dev=ASKS)
    tree = Tree()
    assert tree.plan(wanted).releases == ()
    assert tree.waiting(wanted)[CHAT] == "not approved yet, 0 of 2"
    tree.release_spec(wanted)
    tree.files[approvals_path(CHAT)] = given(wanted, "ann")
    assert tree.waiting(wanted)[CHAT] == "not approved yet, 1 of 2 (ann)"
    tree.files[approvals_path(CHAT)] = given(wanted, "ann", "Ann")
    assert tree.waiting(wanted)[CHAT].startswith("not approved yet, 1 of 2")
    tree.files[approvals_path(CHAT)] = given(wanted, "ann", "bob")
    tree.release_spec(wanted)
    assert tree.release(CHAT).stable.version == "1.0.0"
    assert approvals_path(CHAT) not in tree.files
    assert not tree.plan(wanted).releases


def test_it_is_approved_with_everything_that_its_pods_run() -> None:
    wanted, changed = spec(dev=ASKS), spec(dev=ASKS, image="evil.example/chat:1")
    tree = Tree()
    tree.release_spec(wanted)
    tree.files[approvals_path(CHAT)] = given(wanted, "ann", "bob")
    assert [str(change.unit) for change in tree.plan(wanted).releases] == ["dev/chat"]
    assert not tree.plan(changed).releases


def test_what_comes_back_is_approved_like_any_other_version(tree: Tree) -> None:
    remove(tree)
    wanted = spec(TWO, dev=ASKS)
    tree.release_spec(wanted)
    assert tree.release(CHAT).candidate is None
    assert "2.0.0 waits for approval: 0 of 2" in tree.waiting(wanted)[CHAT]


def test_approvals_are_read_back() -> None:
    one = Approval("d", "ann", "r")
    assert parse_approvals(dump_approvals(CHAT, [one]), "x") == (one,)
    for text in (b"", b"[]", b"{}", dump_approvals(CHAT, [replace_by(one, 7)])):
        with pytest.raises(GitopsError, match="no approvals") as refused:
            parse_approvals(text, "approvals/dev/chat.json")
        assert refused.value.where == "approvals/dev/chat.json"
    assert read_absent({approvals_path(CHAT): b"nonsense"}).consents == {}


def replace_by(one: Approval, by: Any) -> Approval:
    return one._replace(by=by)


def test_a_record_outranks_what_was_removed(tree: Tree) -> None:
    stored = tree.stored()
    past = replace(stored, removed={CHAT: replace(stored.releases[CHAT], previous="0.9.0")})
    assert past.returning([CHAT]) is past
