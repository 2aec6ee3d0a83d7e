"""Rollouts that share a pool get room in one order, and none of them stops half-way for another."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType

from hypothesis import given, settings
from hypothesis import strategies as st

from gitops.plan.chain import recorded, released
from gitops.plan.lives import lives_of, models_of, target_of
from gitops.plan.rollouts import queue, standings
from gitops.plan.room import Pools, Room
from gitops.plan.stored import Stored
from gitops.rollout.machine import Decision, step
from gitops.rollout.release import Release, time_of
from gitops.rollout.state import ModelVersion, RolloutState
from gitops.spec.resolved import Spec
from gitops.values import UnitKey
from tests.plan.repository import START, Tree, write_spec

NAMES = ("ann", "bob", "cid")
PLACE = ("dev-cluster", "l4")
ROLLOUT = {
    "strategy": "canary",
    "steps": [{"weight": 10, "bake": "10m"}, {"weight": 50, "bake": "10m"}, {"weight": 100, "bake": "10m"}],
    "keepWarm": "30m",
    "capacityTimeout": "20m",
}


@lru_cache(maxsize=200)
def begun(replicas: tuple[int, ...], limit: int) -> tuple[Spec, dict[UnitKey, Release]]:
    """So many replicas of each model, of a GPU each, and a new version of all of them."""

    def spec(version: tuple[str, str]) -> Spec:
        pool = {"l4": {"gpu": {"type": "L4"}, "max": limit}}
        places = {"dev": {"clusters": {"dev-cluster": {"provider": "embedded", "nodePools": pool}}}}
        places["dev"]["gateway"] = {"name": "models", "namespace": "gateway"}
        models = {name: version for name, _ in zip(NAMES, replicas, strict=False)}
        made = write_spec(models, places, rollout=ROLLOUT, serve={"gpu": {"type": "L4"}}, routed=True)
        return replace(made, models={unit: sized(made, unit) for unit in made.models})

    def sized(made: Spec, unit: UnitKey):  # type: ignore[no-untyped-def]
        model, count = made.models[unit], replicas[NAMES.index(unit.model)]
        bounds = model.serve.replicas.model_copy(update={"min": count, "max": count})
        return model.model_copy(update={"serve": model.serve.model_copy(update={"replicas": bounds})})

    tree = Tree()
    tree.release_spec(spec(("1.0.0", "a")))
    return spec(("2.0.0", "b")), dict(tree.stored().releases)


class Fleet:
    """Units that are looked at together; whatever is rendered is ready at the next look."""

    def __init__(self, replicas: tuple[int, ...], limit: int) -> None:
        self.spec, releases = begun(replicas, limit)
        self.releases, self.now = dict(releases), START

    def look(self) -> dict[str, Decision]:
        stored = Stored("0" * 40, MappingProxyType(dict(self.releases)))
        found = list(standings(self.spec, stored, self.now))
        room, decisions = Room(self.spec, stored, claims=queue(found, self.now)), {}
        for here in found:
            ready = max(here.state.scales(1))
            decision = step(here.policy, here.state, replace(here.observe(self.now, room), ready=ready))
            decisions[here.unit.model] = decision
            models = here.models()
            after = recorded(here.release, decision.state, models)
            assert decision.state.stable
            head = released(models[decision.state.stable.version], time_of(self.now))
            self.releases[here.unit] = replace(after, stable=head)
        self.now += 60
        return decisions

    @property
    def taken(self) -> int:
        pools, total = Pools(self.spec), 0
        for unit, release in self.releases.items():
            total += pools.taken(unit, lives_of(release, release.state, models_of(release, None)), None)[PLACE]
        return total

    @property
    def settled(self) -> bool:
        versions = {release.stable.version for release in self.releases.values()}
        return versions == {"2.0.0"} and all(release.settled for release in self.releases.values())

    def target(self, name: str) -> ModelVersion:
        return target_of(self.spec.models[UnitKey("dev", name)])

    def state(self, name: str) -> RolloutState:
        return self.releases[UnitKey("dev", name)].state


def test_the_later_one_waits_and_says_for_whom() -> None:
    """Two of four replicas each in a pool of twelve: at half-way each had what the other needed."""
    fleet = Fleet((4, 4), 12)
    first = fleet.look()
    assert (first["ann"].kind, fleet.state("ann").phase) == ("start", "starting")
    assert (first["bob"].kind, fleet.state("bob").phase) == ("start", "waiting-for-capacity")
    assert first["bob"].sentence == "2.0.0 to replace 1.0.0, after dev/ann"
    assert fleet.look()["bob"].sentence == "waits for room to carry 10 %, after dev/ann"
    while fleet.state("ann").candidate:
        fleet.look()
    warm = fleet.look()["bob"]
    assert warm.sentence == "waits for room to carry 10 %, after dev/ann", "what it keeps warm has an end"
    while not fleet.settled:
        fleet.look()
    for name in ("ann", "bob"):
        assert fleet.state(name) == RolloutState(stable=fleet.target(name))


def test_two_do_not_get_the_same_last_gpu_in_one_pass() -> None:
    fleet = Fleet((1, 1), 3)
    assert fleet.look()["ann"].state.phase == "starting"
    assert fleet.state("bob").phase == "waiting-for-capacity"
    assert fleet.taken == 3


@settings(max_examples=60)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=3).map(tuple), st.integers(0, 4))
def test_whoever_fits_alone_arrives(replicas: tuple[int, ...], spare: int) -> None:
    """In a pool that has room for the largest rollout at a time all of them get there, and it is never overfull."""
    limit = sum(replicas) + max(replicas) + spare
    fleet = Fleet(replicas, limit)
    for _ in range(1200):
        fleet.look()
        assert fleet.taken <= limit
        if fleet.settled:
            break
    for name, _ in zip(NAMES, replicas, strict=False):
        assert fleet.state(name) == RolloutState(stable=fleet.target(name))
