"""Desired against stored files: what changes, what is left alone, and that doing it leaves nothing to do."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops.plan.desired import Changes
from gitops.render.renderer import HEADER
from gitops.rollout.release import SpecSource
from tests.plan.repository import CHAT, LATER, Tree, write_spec

BOTH = {"chat": ("1.0.0", "a"), "rank": ("1.0.0", "b")}


@pytest.fixture
def tree() -> Tree:
    made = Tree()
    made.release_spec(write_spec(BOTH))
    return made


def units(found: Changes) -> set[str]:
    return {change.unit for change in found.files}


def test_what_was_applied_leaves_nothing_to_do(tree: Tree) -> None:
    found = tree.plan(write_spec(BOTH))
    assert (found.releases, found.files, found.steps) == ((), (), ())


def test_first_releases_are_one_commit(tree: Tree) -> None:
    (commit,) = tree.log
    assert ("Decision", "release") in commit.trailers
    assert tree.release(CHAT).state.phase == "idle"


def test_a_new_configuration_is_no_rollout(tree: Tree) -> None:
    found = tree.release_spec(write_spec(BOTH, serve={"replicas": {"min": 2, "max": 2}}))
    assert found.steps == ()
    assert {(one.action, one.previous, one.version, one.decision) for one in found.releases} == {
        ("update", "1.0.0", "1.0.0", "")
    }
    assert '"min":2' in tree.release(CHAT).models["1.0.0"]
    assert tree.release(CHAT).stable.replicas == 2


def test_a_new_version_starts_beside_the_old_one(tree: Tree) -> None:
    found = tree.plan(write_spec({**BOTH, "chat": ("1.1.0", "c")}))
    assert units(found) == {"dev/chat"}
    (release,) = found.releases
    assert (release.action, release.previous, release.version, release.decision) == (
        "update",
        "1.0.0",
        "1.1.0",
        "start",
    )
    assert [step.message.splitlines()[0] for step in found.steps] == ["rollout(dev/chat): start 1.1.0 beside 1.0.0"]
    assert not [change.path for change in found.files if change.action == "delete"]


def test_a_model_that_left_is_removed_with_its_record(tree: Tree) -> None:
    tree.release_spec(write_spec({"rank": ("1.0.0", "b")}))
    assert [path for path in tree.files if "chat" in path] == ["removed/dev/chat.yaml"]


def test_a_model_that_left_in_the_middle_of_a_rollout_is_removed_too(tree: Tree) -> None:
    tree.release_spec(write_spec({**BOTH, "chat": ("1.1.0", "c")}))
    assert tree.release(CHAT).candidate
    tree.release_spec(write_spec({"rank": ("1.0.0", "b")}))
    assert [path for path in tree.files if "chat" in path] == ["removed/dev/chat.yaml"]


def test_files_of_others_stay_and_cost_no_change(tree: Tree) -> None:
    tree.files["clusters/dev-cluster/dev/chat/NOTES.md"] = b"by hand\n"
    tree.files["clusters/dev-cluster/dev/extra.yaml"] = b"kind: ConfigMap\n"
    tree.files["clusters/dev-cluster/dev/chat/1.0.0/theirs.yaml"] = b"kind: Secret\n"
    # Their record's tree is another now, so it is looked at, and nothing is found to do.
    assert tree.plan(write_spec(BOTH)).files == ()
    tree.release_spec(write_spec({"rank": ("1.0.0", "b")}))
    left = {path for path in tree.files if "/chat/" in path or "extra" in path}
    assert left == {
        "clusters/dev-cluster/dev/chat/NOTES.md",
        "clusters/dev-cluster/dev/chat/1.0.0/theirs.yaml",
        "clusters/dev-cluster/dev/extra.yaml",
    }


def test_an_edit_by_hand_is_taken_back(tree: Tree) -> None:
    path = "clusters/dev-cluster/dev/chat/service.yaml"
    tree.files[path] += b"# by hand\n"
    found = tree.plan(write_spec(BOTH))
    (change,) = [change for change in found.files if change.path == path]
    assert change.action == "update"
    assert "-# by hand" in change.diff


def test_a_diff_shows_no_secret_that_a_file_has(tree: Tree) -> None:
    path = "clusters/dev-cluster/dev/chat/service.yaml"
    tree.files[path] += b"# Authorization: Bearer Tr0ub4dor-horse-9\n- name: DB_PASSWORD\n  value: hunter2\n"
    found = tree.plan(write_spec(BOTH))
    (change,) = [change for change in found.files if change.path == path]
    assert "-- name: DB_PASSWORD" in change.diff
    assert "hunter2" not in change.diff
    assert "Tr0ub4dor" not in change.diff


def test_a_stale_file_of_ours_goes(tree: Tree) -> None:
    path = "clusters/dev-cluster/dev/chat/podmonitor.yaml"
    tree.files[path] = HEADER.encode() + b"kind: PodMonitor\n"
    found = tree.plan(write_spec(BOTH))
    assert ("delete", path) in [(change.action, change.path) for change in found.files]


def test_a_version_never_changes_its_artifact(tree: Tree) -> None:
    found = tree.plan(write_spec({**BOTH, "chat": ("1.0.0", "c")}))
    (refusal,) = found.refusals
    assert refusal.rule == "immutable-version"
    assert "dev/chat" in refusal.message


def test_a_version_on_its_way_never_changes_its_artifact_either(tree: Tree) -> None:
    tree.release_spec(write_spec({**BOTH, "chat": ("1.1.0", "c")}))
    found = tree.plan(write_spec({**BOTH, "chat": ("1.1.0", "d")}))
    assert [refusal.rule for refusal in found.refusals] == ["immutable-version"]


def test_a_newer_spec_commit_is_not_taken_back() -> None:
    tree, newer = Tree(), SpecSource("f" * 40)
    tree.apply(tree.plan(write_spec({"chat": ("2.0.0", "a")}), source=newer))
    older = SpecSource("e" * 40)
    for edited in (write_spec({"chat": ("1.0.0", "b")}), write_spec({"chat": ("2.0.0", "a")}, owner="somebody")):
        found = tree.plan(edited, foreign={newer.commit}, source=older)
        assert (found.releases, found.files, found.steps) == ((), (), ())
        assert [entry.unit for entry in found.left_alone] == ["dev/chat"]
    found = tree.plan(write_spec({"other": ("1.0.0", "b")}), foreign={newer.commit}, source=older)
    assert units(found) == {"dev/other"}


def test_a_model_enters_a_new_environment_when_the_one_before_runs_it() -> None:
    tree = Tree()
    tree.release_spec(write_spec({"chat": ("1.0.0", "a")}))
    tree.release_spec(write_spec({"chat": ("1.1.0", "b")}))
    wanted = write_spec({"chat": ("1.1.0", "b")}, ("dev", "prod"))
    tree.release_spec(wanted)
    assert record_exists(tree, "prod") is False
    assert tree.waiting(wanted)[LATER] == "not verified in dev yet"
    finish(tree, wanted)
    tree.release_spec(wanted)
    assert tree.release(LATER).stable.version == "1.1.0"


def record_exists(tree: Tree, environment: str) -> bool:
    return f"releases/{environment}/chat.yaml" in tree.files


def finish(tree: Tree, wanted: object) -> None:
    """Walk dev's rollout to its end."""
    for _ in range(20):
        tree.look(wanted, CHAT, ready=100)  # type: ignore[arg-type]
        tree.now += 3600


versions = st.tuples(st.sampled_from(["1.0.0", "1.1.0", "2.0.0"]), st.just("a"))
specs = st.dictionaries(st.sampled_from(["chat", "rank", "embed"]), versions, min_size=1)
places = st.sampled_from([("dev",), ("dev", "prod"), ("prod",)])


@given(st.lists(st.tuples(specs, places), min_size=1, max_size=4))
@settings(max_examples=25)
def test_any_sequence_of_specs_converges(sequence: list[tuple[dict[str, tuple[str, str]], tuple[str, ...]]]) -> None:
    tree = Tree({"README.md": b"ours\n", "clusters/dev-cluster/dev/chat/NOTES.md": b"by hand\n"})
    for models, environments in sequence:
        wanted = write_spec(models, environments)
        tree.release_spec(wanted)
        # What was released at once somewhere may start in the next environment.
        for _ in environments[1:]:
            tree.release_spec(wanted)
        again = tree.plan(wanted)
        assert (again.releases, again.files, again.steps) == ((), (), ())
    assert tree.files["clusters/dev-cluster/dev/chat/NOTES.md"] == b"by hand\n"
    # Every rollout to its end: then it is as if it had been released at once.
    for _ in range(8):
        tree.now += 3600
        for unit in list(tree.standings(wanted)):
            while (decision := tree.look(wanted, unit, ready=100)) and decision.event:
                pass
        tree.release_spec(wanted)
    fresh = Tree()
    fresh.release_spec(wanted)
    manifests = {path: data for path, data in tree.files.items() if path.startswith("clusters/")}
    manifests.pop("clusters/dev-cluster/dev/chat/NOTES.md")
    assert manifests == {path: data for path, data in fresh.files.items() if path.startswith("clusters/")}
