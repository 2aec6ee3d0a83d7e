"""GPUs that versions take by their records, and whether there is room for one more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gitops.plan.census import Census
from gitops.plan.observed import Workload
from gitops.plan.room import Pools, Room
from gitops.plan.stored import Stored
from gitops.render.live import Live
from gitops.render.renderer import unit_directory
from gitops.rollout.release import Release
from gitops.rollout.state import Kept, ModelVersion
from gitops.spec.resolved import Spec
from gitops.values import UnitKey
from tests.plan.repository import CANARY, CHAT, Tree, digest_of, renderer_of, write_spec

L4 = {"gpu": {"type": "L4"}, "max": 12, "hourlyPrice": 0.8}
GATEWAY = {"gateway": {"name": "models", "namespace": "gateway"}}
PLACE = ("dev-cluster", "l4")


def place(pools: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"dev": {"clusters": {"dev-cluster": {"provider": "embedded", "nodePools": pools}}, **more}}


def spec(
    version: tuple[str, str] = ("1.0.0", "a"), replicas: int = 4, *, routed: bool = True, most: int = 0, **more: Any
) -> Spec:
    serve = {"gpu": {"type": "L4"}, "replicas": {"min": replicas, "max": most or replicas}} | more
    places = place({"l4": L4}, **(GATEWAY if routed else {}))
    return write_spec({"chat": version}, places, rollout=CANARY, serve=serve, routed=routed)


def stored(*releases: Release) -> Stored:
    return Stored("0" * 40, MappingProxyType({release.unit: release for release in releases}))


def released(wanted: Spec) -> Release:
    tree = Tree()
    tree.release_spec(wanted)
    return tree.release(CHAT)


def on_its_way(
    scale: int, weight: int = 0, kept: tuple[Kept, ...] = (), *, routed: bool = True
) -> tuple[Spec, Release]:
    """4 replicas of 1.0.0, and 2.0.0 sized and weighed so."""
    wanted = spec(("2.0.0", "b"), routed=routed)
    tree = Tree()
    tree.release_spec(spec(routed=routed))
    tree.release_spec(wanted)
    release = tree.release(CHAT)
    assert release.candidate
    return wanted, replace(release, candidate=replace(release.candidate, scale=scale, weight=weight), kept=kept)


# --- What runs -----------------------------------------------------------------------------------------------


def test_a_settled_unit_takes_what_its_record_says_whatever_the_spec_says_now() -> None:
    assert Pools(spec(replicas=9)).recorded(released(spec())) == {PLACE: 4}


def test_everything_that_runs_counts() -> None:
    wanted, release = on_its_way(50)
    assert Pools(wanted).recorded(release) == {PLACE: 4 + 2}
    old = (Kept(ModelVersion("1.0.0", digest_of("a")), 0, 0),)
    assert Pools(wanted).recorded(replace(release, candidate=None, kept=old))[PLACE] == 4 + 4


def test_what_waits_for_room_takes_none() -> None:
    wanted, release = on_its_way(0)
    assert Pools(wanted).recorded(release) == {PLACE: 4}


def test_without_a_gateway_replicas_are_the_weights() -> None:
    wanted, release = on_its_way(10, 50, routed=False)
    assert Pools(wanted).recorded(release) == {PLACE: 4 + 4}


def test_records_of_an_older_version_count_by_their_head() -> None:
    wanted, release = on_its_way(50)
    assert Pools(wanted).recorded(replace(release, models=MappingProxyType({}))) == {PLACE: 4}


def test_a_unit_that_left_the_spec_still_takes_its_place() -> None:
    other = write_spec({"rank": ("1.0.0", "a")}, place({"l4": L4}))
    assert Pools(other).recorded(released(spec())) == {PLACE: 4}


def test_a_cluster_that_left_the_spec_is_no_place() -> None:
    other = write_spec({"rank": ("1.0.0", "a")}, {"dev": {"clusters": {"new": {"provider": "embedded"}}}})
    assert Pools(other).recorded(released(spec())) == {}


def test_the_pool_follows_the_gpu_that_was_released() -> None:
    """The spec asks for another GPU meanwhile."""
    pools = {"h100": {"gpu": {"type": "H100", "count": 8}, "max": 1}, "l4": L4}
    serve = {"gpu": {"type": "H100"}, "replicas": {"min": 2, "max": 2}}
    other = write_spec({"chat": ("1.0.0", "a")}, place(pools), serve=serve)
    assert Pools(other).recorded(released(spec())) == {PLACE: 4}
    assert Pools(other).wanted(CHAT, other.models[CHAT]) == {("dev-cluster", "h100"): 2}


@given(st.integers(1, 9), st.integers(0, 100), st.integers(0, 100), st.booleans())
def test_it_is_what_the_manifests_ask_for(minimum: int, weight: int, scale: int, routed: bool) -> None:
    one, two = spec(replicas=minimum, routed=routed), spec(("2.0.0", "b"), minimum, routed=routed)
    lives = (Live(one.models[CHAT], 100 - weight), Live(two.models[CHAT], weight, scale=scale))
    files = renderer_of(two).unit(CHAT, lives)
    asked = 0
    for version in ("1.0.0", "2.0.0"):
        text = files.get(f"{unit_directory('dev-cluster', CHAT)}/{version}/deployment.yaml", b"").decode()
        asked += next((int(line.split(":")[1]) for line in text.splitlines() if line.startswith("  replicas:")), 0)
    assert Pools(two).taken(CHAT, lives, None) == Counter({PLACE: asked} if asked else {})


# --- Room ----------------------------------------------------------------------------------------------------


def test_what_the_candidate_has_already_counts_as_free() -> None:
    wanted, release = on_its_way(100)
    model = wanted.models[CHAT]
    # 4 of stable, 4 of others, 4 of the candidate: the pool of 12 is full.
    other = replace(released(spec()), unit=UnitKey("dev", "rank"))
    for scale in (10, 100):
        assert Room(wanted, stored(release, other)).fits(CHAT, model, {"dev-cluster": scale})
    third = replace(other, unit=UnitKey("dev", "embed"))
    assert not Room(wanted, stored(release, other, third)).fits(CHAT, model, {"dev-cluster": 100})


def test_a_cluster_where_nothing_is_needed_is_not_asked() -> None:
    """A later wave: its pool is full, and the version does not come there yet."""
    wanted, release = on_its_way(10)
    crowd = [replace(released(spec()), unit=UnitKey("dev", f"m{n}")) for n in range(4)]
    assert Room(wanted, stored(release, *crowd)).fits(CHAT, wanted.models[CHAT], {"dev-cluster": 0})


def test_versions_without_a_gpu_always_fit() -> None:
    wanted = write_spec({"chat": ("1.0.0", "a")}, place({"l4": L4}))
    assert Room(wanted, stored()).fits(CHAT, wanted.models[CHAT], {"dev-cluster": 100})


def test_without_a_gateway_room_is_for_the_replicas_that_make_the_weight() -> None:
    """50 % beside 4 replicas are 4 more, not 2."""
    wanted, release = on_its_way(10, 10, routed=False)
    fit = replace(released(spec(routed=False)), unit=UnitKey("dev", "rank"))
    assert Room(wanted, stored(release, fit)).fits(CHAT, wanted.models[CHAT], {"dev-cluster": 50})
    tight = replace(fit, stable=replace(fit.stable, replicas=6))
    assert not Room(wanted, stored(release, tight)).fits(CHAT, wanted.models[CHAT], {"dev-cluster": 50})


def test_what_autoscalers_run_takes_room_too() -> None:
    """Four are declared at least; eight run, and the pool ends at twelve."""
    release = released(spec(most=10))
    running = Workload("dev", "chat", "1.0.0", "acme-dev", "chat-1-0-0", 8, 6)
    census = Census({"dev-cluster": {(CHAT, "1.0.0"): running}})
    pools = Pools(spec(most=10))
    assert (pools.recorded(release), pools.recorded(release, census)) == ({PLACE: 4}, {PLACE: 8})
    model = spec(("2.0.0", "b"), most=10).models[CHAT]
    load = (("dev-cluster", Fraction(2)),)
    for scale, declared, live in ((10, True, True), (50, True, True), (100, True, False)):
        assert Room(spec(most=10), stored(release)).fits(CHAT, model, {"dev-cluster": scale}) is declared
        assert Room(spec(most=10), stored(release), census).fits(CHAT, model, {"dev-cluster": scale}, load) is live
