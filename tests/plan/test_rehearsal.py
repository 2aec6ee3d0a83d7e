"""The shortest way to the end: in which steps, when, and with which GPUs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gitops.plan.outlook import outlooks
from gitops.plan.rehearsal import Rehearsal, rehearse
from gitops.plan.rollouts import courses
from gitops.plan.room import Pools
from gitops.rollout.observation import Command
from gitops.spec.resolved import Spec
from gitops.values import UnitKey
from tests.plan.repository import CHAT, LATER, Tree, write_spec

PLACE = ("dev-cluster", "l4")
GATEWAY = {"name": "models", "namespace": "gateway"}
GATES = [{"metric": "error-rate", "rollback": "1%"}]
CAREFUL: dict[str, Any] = {
    "strategy": "canary",
    "steps": [{"weight": 1, "bake": "15m"}, {"weight": 50, "bake": "30m"}, {"weight": 100, "bake": "1h"}],
    "gates": GATES,
    "warmUp": "1m",
    "keepWarm": "1h",
}


def spec(version: str, rollout: dict[str, Any], replicas: int = 4, **environment: Any) -> Spec:
    pools = {"l4": {"gpu": {"type": "L4"}, "max": 40}}
    clusters = {"dev-cluster": {"provider": "embedded", "nodePools": pools}}
    place = {"clusters": clusters, "gateway": GATEWAY} | environment
    serve = {"gpu": {"type": "L4"}, "replicas": {"min": replicas, "max": replicas}, "loadTime": "5m"}
    letter = {"1.0.0": "a", "2.0.0": "b", "3.0.0": "c"}[version]
    return write_spec({"chat": (version, letter)}, {"dev": place}, rollout=rollout, serve=serve, routed=True)


def ahead(tree: Tree, wanted: Spec, unit: UnitKey = CHAT) -> Rehearsal:
    course = courses(wanted, tree.stored(), tree.now)[unit]
    return rehearse(Pools(wanted), course, tree.now)


def starting(rollout: dict[str, Any], replicas: int = 4, **environment: Any) -> tuple[Rehearsal, Tree, Spec]:
    tree, wanted = Tree(), spec("2.0.0", rollout, replicas, **environment)
    tree.release_spec(spec("1.0.0", rollout, replicas, **environment))
    return ahead(tree, wanted), tree, wanted


def minutes(rehearsal: Rehearsal) -> list[tuple[float, str, int]]:
    return [(one.at / 60, one.event.kind, one.gpus[PLACE]) for one in rehearsal.moments]


def test_a_deadline_before_the_model_is_loaded_ends_it() -> None:
    """`validate` refuses such a policy; a version that is on its way may be older than that rule."""
    good, tree, wanted = starting(CAREFUL)
    course = courses(wanted, tree.stored(), tree.now)[CHAT]
    policy = replace(course.standing.policy, ready_timeout=240)
    late = rehearse(Pools(wanted), replace(course, standing=replace(course.standing, policy=policy)), tree.now)
    assert [one.event.kind for one in late.moments][:2] == ["start", "roll-back"]
    assert late.end
    assert (late.end.at, good.end) == (240, None)
    traffic = {CHAT: late}
    assert outlooks(wanted, Pools(wanted), traffic, {}, tree.now)[0].lines[0] == (
        "2.0.0 cannot replace 1.0.0: after 4m it is rolled back, not ready to carry 1 % within 240 s"
    )


def test_a_canary_waits_for_replicas_and_bakes() -> None:
    rehearsal, _, _ = starting(CAREFUL)
    assert rehearsal.starts
    assert rehearsal.begins
    assert minutes(rehearsal) == [
        (0, "start", 5),
        (5, "advance", 5),
        (5 + 16, "scale", 6),
        (26, "advance", 6),
        (26 + 31, "scale", 8),
        (62, "advance", 8),
        (62 + 61, "promote", 8),
        (123 + 60, "retire", 4),
    ]
    assert rehearsal.duration == 123 * 60
    assert [moment.event.version.version for moment in rehearsal.moments[-2:]] == ["2.0.0", "1.0.0"]
    assert [rehearsal.goal(number) for number in (0, 1, 2, 6)] == [
        "step 1 (1 %)",
        "step 1 (1 %)",
        "step 2 (50 %)",
        "all traffic",
    ]


def test_replicas_that_are_ready_already_cost_no_time() -> None:
    rehearsal, _, _ = starting(CAREFUL, replicas=1)
    assert [one.event.kind for one in rehearsal.moments] == [
        "start",
        "advance",
        "advance",
        "advance",
        "promote",
        "retire",
    ]


def test_blue_green_needs_a_second_set_at_once() -> None:
    rehearsal, _, _ = starting({"strategy": "blue-green", "bake": "10m"})
    assert minutes(rehearsal) == [(0, "start", 8), (5, "advance", 8), (15, "promote", 8), (75, "retire", 4)]


def test_copies_reach_a_shadow_before_it_gets_everything() -> None:
    rehearsal, _, _ = starting({"strategy": "shadow", "steps": [{"weight": 25, "bake": "10m"}]})
    assert [(one.event.mirror, one.event.weight) for one in rehearsal.advances()] == [(25, 0)]
    assert [gpus for _, _, gpus in minutes(rehearsal)][:1] == [5]
    assert max(gpus for _, _, gpus in minutes(rehearsal)) == 8


def test_waves_come_one_after_the_other() -> None:
    clusters = {name: {"provider": "embedded", "nodePools": {"l4": {"gpu": {"type": "L4"}, "max": 9}}} for name in "ab"}
    rehearsal, _, _ = starting(CAREFUL, clusters=clusters, waves=[["a"], ["b"]])
    advances = list(rehearsal.advances())
    assert [(one.event.wave, one.event.weight) for one in advances] == [(w, p) for w in (0, 1) for p in (1, 50, 100)]
    assert [(one.gpus["a", "l4"], one.gpus["b", "l4"]) for one in advances] == [
        (5, 4),
        (6, 4),
        (8, 4),
        (8, 5),
        (8, 6),
        (8, 8),
    ]
    assert [one.event.wave for one in rehearsal.advances(1)] == [1, 1, 1]
    assert rehearsal.goal(0) == "wave 1 step 1 (1 %)"


def test_what_runs_beside_it_counts_as_long_as_it_is_kept() -> None:
    """2.0.0 leaves when the spec names 3.0.0; its pods drain."""
    _, tree, two = starting(CAREFUL)
    tree.release_spec(two)
    tree.look(two, CHAT, ready=100)
    rehearsal = ahead(tree, spec("3.0.0", CAREFUL))
    assert rehearsal.starts
    first, second = rehearsal.moments[:2]
    assert (first.event.kind, first.gpus[PLACE], first.needed[PLACE]) == ("start", 6, 5)
    assert (second.event.kind, second.at, second.gpus[PLACE]) == ("retire", 120, 5)


def test_a_rollout_under_way_goes_on_from_where_it_is() -> None:
    _, tree, wanted = starting(CAREFUL)
    tree.release_spec(wanted)
    tree.now += 300
    tree.look(wanted, CHAT, ready=25)
    tree.now += 60
    rehearsal = ahead(tree, wanted)
    assert not rehearsal.starts
    assert not rehearsal.begins
    assert [one[:2] for one in minutes(rehearsal)][:3] == [(15, "scale"), (20, "advance"), (51, "scale")]
    tree.look(wanted, CHAT, ready=25, commands=(Command("pause", "ada"),))
    assert [one.event.kind for one in ahead(tree, wanted).moments][-2:] == ["promote", "retire"]


def test_one_that_waits_is_rehearsed_as_if_it_did_not() -> None:
    both: dict[str, Any] = {"dev": {}, "prod": {}}
    tree = Tree()
    tree.release_spec(write_spec({"chat": ("1.0.0", "a")}, both, rollout=CAREFUL))
    wanted = write_spec({"chat": ("2.0.0", "b")}, both, rollout=CAREFUL)
    rehearsal = ahead(tree, wanted, LATER)
    assert rehearsal.begins
    assert not rehearsal.starts
    assert rehearsal.duration == ahead(tree, wanted).duration


def test_a_rejected_version_has_nothing_before_it() -> None:
    _, tree, wanted = starting(CAREFUL)
    tree.release_spec(wanted)
    tree.look(wanted, CHAT, commands=(Command("abort", "ada"),))
    assert not ahead(tree, wanted).begins
    tree.now += 1000
    tree.look(wanted, CHAT)
    assert ahead(tree, wanted).moments == ()


weights = st.lists(st.integers(1, 100), min_size=1, max_size=5, unique=True).map(sorted)


@given(weights, st.integers(1, 7), st.booleans())
@settings(max_examples=30)
def test_every_rehearsal_comes_to_its_end(steps: list[int], replicas: int, routed: bool) -> None:
    rollout = {"strategy": "canary", "steps": [{"weight": weight, "bake": "1m"} for weight in {*steps, 100}]}
    rollout["steps"] = sorted(rollout["steps"], key=lambda step: step["weight"])  # type: ignore[index]
    rehearsal, _, _ = starting(rollout, replicas, **({} if routed else {"gateway": None}))
    assert [one.event.weight for one in rehearsal.advances()] == sorted({*steps, 100})
    assert rehearsal.moments[-1].gpus[PLACE] == replicas
    assert all(one.needed[PLACE] <= one.gpus[PLACE] <= 2 * replicas for one in rehearsal.moments)
    assert [one.at for one in rehearsal.moments] == sorted(one.at for one in rehearsal.moments)
