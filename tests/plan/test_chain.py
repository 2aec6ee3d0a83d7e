"""The commits of a course: each holds a record and exactly the files that were rendered from it."""

from __future__ import annotations

from typing import Any

import pytest

from gitops.plan.chain import OUTDATED
from gitops.plan.rollouts import course
from gitops.render.live import Live
from gitops.render.tree import blob_id
from gitops.rollout.observation import Command
from gitops.rollout.release import record_path, time_of
from gitops.spec.frozen import load_model
from gitops.spec.resolved import Spec
from tests.plan.repository import CANARY, CHAT, Tree, renderer_of, write_spec

HERE = "clusters/dev-cluster/dev/chat/"
GATEWAY = {"dev": {"gateway": {"name": "models", "namespace": "gateway"}}}
STEPS: dict[str, Any] = {**CANARY, "steps": [{"weight": 10, "bake": "10m"}, {"weight": 50}, {"weight": 100}]}


def spec(version: tuple[str, str], replicas: int = 4, **more: Any) -> Spec:
    serve = {"replicas": {"min": replicas, "max": replicas}}
    return write_spec({"chat": version}, GATEWAY, rollout=STEPS, serve=serve, routed=True, **more)


ONE, TWO = spec(("1.0.0", "a")), spec(("2.0.0", "b"))


@pytest.fixture
def tree() -> Tree:
    made = Tree()
    made.release_spec(ONE)
    return made


def ours(tree: Tree) -> dict[str, bytes]:
    return {path: data for path, data in tree.files.items() if path.startswith(HERE)}


def rendered(wanted: Spec, *lives: Live) -> dict[str, bytes]:
    return renderer_of(wanted).unit(CHAT, lives)


def test_a_start_renders_the_candidate_for_its_first_weight(tree: Tree) -> None:
    found = tree.release_spec(TWO)
    old, new = ONE.models[CHAT], TWO.models[CHAT]
    assert ours(tree) == rendered(TWO, Live(old, 100), Live(new, 0, scale=10))
    (step,) = found.steps
    assert record_path(CHAT) in step.files
    # Stable's own files are not touched.
    assert not [path for path in step.files if "/1.0.0/" in path]


def test_each_step_is_rendered_from_its_state(tree: Tree) -> None:
    tree.release_spec(TWO)
    old, new = ONE.models[CHAT], TWO.models[CHAT]
    tree.look(TWO, CHAT, ready=25)
    assert ours(tree) == rendered(TWO, Live(old, 90), Live(new, 10, scale=10))
    tree.now += 700
    tree.look(TWO, CHAT, ready=25)
    assert ours(tree) == rendered(TWO, Live(old, 90), Live(new, 10, scale=50))
    tree.look(TWO, CHAT, ready=50)
    assert ours(tree) == rendered(TWO, Live(old, 50), Live(new, 50, scale=50))
    for ready in (50, 100, 100):
        tree.look(TWO, CHAT, ready=ready)
    assert tree.release(CHAT).stable.version == "2.0.0"
    assert ours(tree) == rendered(TWO, Live(new, 100), Live(old, 0))
    tree.now += 3601
    tree.look(TWO, CHAT)
    assert ours(tree) == rendered(TWO, Live(new, 100))
    fresh = Tree()
    fresh.release_spec(TWO)
    assert ours(tree) == ours(fresh)


def test_every_commit_of_a_rollout_names_it(tree: Tree) -> None:
    tree.release_spec(TWO)
    for _ in range(3):
        tree.look(TWO, CHAT, ready=100)
        tree.now += 700
    names = {dict(commit.trailers)["Rollout"] for commit in tree.log[1:]}
    assert len(tree.log) == 5
    assert names == {tree.release(CHAT).rollout_id}
    tree.look(TWO, CHAT, commands=(Command("abort", "ada"),))
    tree.release_spec(spec(("3.0.0", "c")))
    assert tree.release(CHAT).rollout_id not in names


def test_the_record_follows_a_promotion(tree: Tree) -> None:
    tree.release_spec(TWO)
    tree.look(TWO, CHAT, ready=100, commands=(Command("promote", "ada"),))
    release = tree.release(CHAT)
    assert (release.stable.version, release.previous, release.stable.since) == ("2.0.0", "1.0.0", time_of(tree.now))
    assert release.models.keys() == {"1.0.0", "2.0.0"}


def test_without_room_a_start_is_a_record_and_nothing_else() -> None:
    pools = {"l4": {"gpu": {"type": "L4"}, "max": 3}}
    places = {"dev": {"clusters": {"dev-cluster": {"provider": "embedded", "nodePools": pools}}}}

    def both(chat: tuple[str, str], rank: tuple[str, str]) -> Spec:
        return write_spec({"chat": chat, "rank": rank}, places, rollout=CANARY, serve={"gpu": {"type": "L4"}})

    tree = Tree()
    tree.release_spec(both(("1.0.0", "a"), ("1.0.0", "b")))
    # 1.0.0 of both and 2.0.0 of rank fill the pool.
    tree.release_spec(both(("1.0.0", "a"), ("2.0.0", "c")))
    found = tree.release_spec(both(("2.0.0", "d"), ("2.0.0", "c")))
    (step,) = found.steps
    assert set(step.files) == {record_path(CHAT)}
    assert step.message.splitlines()[0] == "rollout(dev/chat): start 2.0.0 beside 1.0.0, waits for room"
    candidate = tree.release(CHAT).candidate
    assert candidate
    assert (candidate.stage, candidate.scale) == ("waiting-for-capacity", 0)
    assert "2.0.0" in tree.release(CHAT).models


def test_a_step_leaves_an_edit_alone_that_nobody_applied(tree: Tree) -> None:
    """`gitops reconcile` from a checkout with an edit: its steps change what they are about, nothing else."""
    tree.release_spec(TWO)
    edited = spec(("2.0.0", "b"), replicas=6, owner="somebody")
    before = ours(tree)
    tree.look(edited, CHAT, ready=100)
    changed = {path for path, data in ours(tree).items() if before.get(path) != data}
    assert not [path for path in changed if "/1.0.0/" in path]
    release = tree.release(CHAT)
    assert release.rendered.inputs == OUTDATED
    assert {load_model(text).serve.replicas.min for text in release.models.values()} == {4}
    # Applying it brings everything to where the edit says, and does not start anything again.
    found = tree.release_spec(edited)
    assert found.steps == ()
    assert tree.release(CHAT).state == release.state
    assert tree.plan(edited).files == ()
    models = {version: load_model(text) for version, text in tree.release(CHAT).models.items()}
    assert models["2.0.0"].serve.replicas.min == 6
    assert models["1.0.0"].serve.replicas.min == 4


def test_stable_stays_as_it_was_released_when_the_spec_has_moved_on(tree: Tree) -> None:
    moved = spec(("2.0.0", "b"), replicas=6)
    stable = {path: data for path, data in ours(tree).items() if "/1.0.0/" in path}
    tree.release_spec(moved)
    assert tree.release(CHAT).stable.replicas == 4
    assert stable.items() <= ours(tree).items()
    tree.look(moved, CHAT, commands=(Command("abort", "ada"),))
    tree.now += 200
    tree.look(moved, CHAT)
    # Only what belongs to no version follows the spec.
    assert ours(tree) == rendered(moved, Live(ONE.models[CHAT], 100))
    assert stable.items() <= ours(tree).items()


def test_files_of_others_count_in_the_tree_and_stay(tree: Tree) -> None:
    tree.files[f"{HERE}NOTES.md"] = b"by hand\n"
    tree.release_spec(TWO)
    tree.look(TWO, CHAT, ready=100)
    assert tree.files[f"{HERE}NOTES.md"] == b"by hand\n"
    assert tree.release(CHAT).rendered.trees["dev-cluster"] == tree.trees()[HERE.rstrip("/")]


def test_a_step_changes_only_what_differs(tree: Tree) -> None:
    tree.release_spec(TWO)
    before = {path: blob_id(data) for path, data in tree.files.items()}
    here = tree.standings(TWO)[CHAT]
    decision = tree.look(TWO, CHAT, ready=100)
    assert decision
    assert decision.kind == "advance"
    changed = {path for path, data in tree.files.items() if before.get(path) != blob_id(data)}
    assert changed == {f"{HERE}httproute.yaml", record_path(CHAT)}
    assert course(here, [decision]).lives[1].weight == 10
