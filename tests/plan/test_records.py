"""Release records that cannot be read: nothing is done to their units, and everything else goes on."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from gitops.plan.observed import Entry
from gitops.plan.records import candidates, read_records, with_sound_models
from gitops.plan.stored import foreign_records
from gitops.rollout.observation import Command
from gitops.rollout.release import dump_release
from gitops.values import UnitKey
from tests.plan.repository import CHAT, LATER, Tree, write_spec

BLOB, TREE = Entry("100644", "blob", "1"), Entry("040000", "tree", "2")
OTHER = UnitKey("dev", "other")
SPEC = write_spec({"chat": ("1.0.0", "a"), "other": ("1.0.0", "b")}, ("dev", "prod"))
NEXT = write_spec({"chat": ("1.1.0", "c"), "other": ("1.1.0", "d")}, ("dev", "prod"))


def released() -> Tree:
    tree = Tree()
    tree.release_spec(SPEC)
    return tree


def conflict(record: bytes) -> bytes:
    return b"<<<<<<< HEAD\n" + record + b"=======\n>>>>>>> theirs\n"


def walking(version: bytes, weight: bytes) -> Callable[[bytes], bytes]:
    """With a candidate written into the record by hand."""
    return lambda record: record.replace(
        b"rendered:",
        b'rollout:\n  id: ""\n  candidate: {version: "' + version + b'", digest: "d", stage: baking, step: 1, weight: '
        b"" + weight + b', mirror: 0, scale: 100, started: "2026-01-01T00:00:00Z", since: "2026-01-01T00:00:00Z", '
        b'entered: "2026-01-01T00:00:00Z"}\nrendered:',
    )


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "conflict": conflict,
    "empty": lambda record: b"",
    "binary": lambda record: b"\xff\xfe\0",
    "list": lambda record: b"- 1\n",
    "other unit": lambda record: record.replace(b"model: chat", b"model: other"),
    "number": lambda record: record.replace(b'version: "1.0.0"', b"version: 1.0"),
    "weight": walking(b"2", b"500"),
    "twice": walking(b"1.0.0", b"50"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_record_is_its_own_fault_alone(damage: Callable[[bytes], bytes]) -> None:
    tree = released()
    path = "releases/dev/chat.yaml"
    tree.files[path] = damage(tree.files[path])
    assert str(tree.stored().damage(CHAT)).startswith(path)

    found = tree.plan(NEXT)
    assert [item.unit for item in found.left_alone] == ["dev/chat"]
    assert {str(change.unit) for change in found.releases} == {"dev/other"}
    assert not [change.path for change in found.files if "/chat" in change.path]


def test_a_unit_that_left_the_spec_with_a_damaged_record_keeps_its_files() -> None:
    tree = released()
    tree.files["releases/dev/chat.yaml"] = b"?"
    found = tree.plan(write_spec({"other": ("1.0.0", "b")}, ("dev", "prod")))
    assert [item.unit for item in found.left_alone] == ["dev/chat"]
    assert {change.unit for change in found.files} == {"prod/chat"}, "the one whose record can be read goes"


def test_a_damaged_record_is_no_first_release() -> None:
    """What cannot be read may serve: neither it nor the next environment is released as if there were nothing."""
    tree = Tree()
    tree.release_spec(write_spec({"chat": ("1.0.0", "a")}))
    tree.files["releases/dev/chat.yaml"] = b"?"
    wanted = write_spec({"chat": ("1.1.0", "c")}, ("dev", "prod"))
    found = tree.plan(wanted)
    assert not [change for change in found.files if "/chat" in change.path]
    assert tree.waiting(wanted)[LATER] == "not verified in dev yet"


def test_what_lies_where_records_do() -> None:
    found = candidates(
        {
            "releases": TREE,
            "releases/dev": TREE,
            "releases/dev/chat.yaml": BLOB,
            "releases/dev/link.yaml": Entry("120000", "blob", "3"),
            "releases/dev/module.yaml": Entry("160000", "commit", "4"),
            "releases/dev/folder.yaml": TREE,
            "releases/dev/folder.yaml/x": BLOB,
            "releases/dev/README.md": BLOB,
            "releases/dev/deeper/chat.yaml": BLOB,
            "releases/notes.yaml": BLOB,
            "releases/dev/\udcff.yaml": BLOB,
            "releases/prod": BLOB,
        }
    )
    assert set(found.entries) == {CHAT}
    assert set(found.damaged) == {"dev/link", "dev/module", "dev/folder", "prod"}


def test_an_environment_whose_directory_is_gone_is_left_alone() -> None:
    tree = released()
    tree.files = {path: data for path, data in tree.files.items() if not path.startswith("releases/dev/")}
    tree.files["releases/dev"] = b"oops"
    found = tree.plan(NEXT)
    assert {item.unit for item in found.left_alone} == {"dev/chat", "dev/other"}
    assert not [change for change in found.files if "/dev/" in change.path]


def test_a_foreign_file_is_said_and_nothing_else() -> None:
    tree = released()
    tree.files["releases/dev/notes.yaml"] = b"buy: milk\n"
    assert tree.plan(SPEC).left_alone == ()
    assert [said.split(":")[0] for said in foreign_records(SPEC, tree.stored())] == ["releases/dev/notes.yaml"]


def test_frozen_models_that_cannot_be_read() -> None:
    """They are looked at where they are needed: for what does not simply run what the spec names."""
    tree = released()
    stored = tree.stored()
    broken = replace(stored.releases[CHAT], models={"1.0.0": '{"version": "1.0.0"}'})
    tree.files["releases/dev/chat.yaml"] = dump_release(broken)
    assert read_records({CHAT: dump_release(broken)}).releases[CHAT] == broken
    assert not with_sound_models(SPEC, tree.stored()).damaged
    found = with_sound_models(NEXT, tree.stored())
    assert set(found.damaged) == {"dev/chat"}
    assert "cannot be read" in found.damage(CHAT)
    assert OTHER in found.releases


def test_a_version_that_the_record_does_not_describe() -> None:
    tree = released()
    release = tree.release(CHAT)
    tree.files["releases/dev/chat.yaml"] = dump_release(replace(release, models={"0.9.0": release.models["1.0.0"]}))
    assert "does not say how 1.0.0 was released" in with_sound_models(NEXT, tree.stored()).damage(CHAT)


def test_what_an_earlier_gitops_released_can_be_gone_back_to() -> None:
    """Its image is no reference any more, and its CPU is spelt otherwise: that is what its pods run all the same."""
    tree = released()
    path = "releases/dev/chat.yaml"
    before = tree.files[path]
    of_old = before.replace(b"acme.example/chat:1", b"acme.example/Chat:1").replace(b'"cpu":"1"', b'"cpu":"1000m"')
    tree.files[path] = of_old.replace(b',"protocol":"TCP"', b"")
    assert tree.files[path] != before
    assert not tree.stored().damage(CHAT)

    tree.release_spec(NEXT)
    assert tree.release(CHAT).candidate
    deployment = "clusters/dev-cluster/dev/chat/1.0.0/deployment.yaml"
    assert b"acme.example/Chat:1" in tree.files[deployment]
    tree.look(NEXT, CHAT, commands=(Command("rollback", "ann"),))
    assert tree.release(CHAT).candidate is None
    assert with_sound_models(NEXT, tree.stored()).releases[CHAT] == tree.release(CHAT)
