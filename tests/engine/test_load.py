"""Rollouts beside an autoscaler that moves: what is held, and what a roll-back finds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from hypothesis import given, settings
from hypothesis import strategies as st

from gitops.engine.reconciling import _observed
from gitops.engine.watching import Sight
from gitops.plan.chain import recorded
from gitops.plan.lives import lives_of, waves_of
from gitops.plan.observed import Survey, Workload
from gitops.plan.rollouts import Standing, standing
from gitops.plan.room import Room
from gitops.plan.settled import Sighting
from gitops.plan.stored import Stored
from gitops.render.live import lives_in, replicas_of
from gitops.rollout.machine import Decision, step
from gitops.rollout.release import Release
from gitops.rollout.verdicts import Verdict
from gitops.spec.pipeline import Model
from gitops.spec.resolved import Spec
from tests.plan.repository import CHAT, START, Tree, write_spec

CLUSTER = "dev-cluster"
GATES = [{"metric": "error-rate", "rollback": "1%"}]
STEPS = [{"weight": 10, "bake": "2m"}, {"weight": 25, "bake": "2m"}, {"weight": 50, "bake": "2m"}, {"weight": 100}]
ROLLOUT = {"strategy": "canary", "steps": STEPS, "gates": GATES, "warmUp": "0s", "readyTimeout": "24h"}
GATEWAY = {"gateway": {"name": "models", "namespace": "gateway"}}


@lru_cache(maxsize=400)
def begun(least: int, most: int) -> tuple[Spec, Release]:
    """1.0.0 runs, autoscaled, and the spec names 2.0.0."""

    def spec(version: str, letter: str) -> Spec:
        bounds = {"replicas": {"min": least, "max": most}}
        return write_spec({"chat": (version, letter)}, {"dev": GATEWAY}, rollout=ROLLOUT, serve=bounds, routed=True)

    tree = Tree()
    tree.release_spec(spec("1.0.0", "a"))
    return spec("2.0.0", "b"), tree.release(CHAT)


class World:
    """One model on one cluster: an autoscaler for each version, which has what its share of the load takes, or gets
    there pod by pod, and never has fewer than the commit says."""

    def __init__(self, least: int, most: int, load: int) -> None:
        self.spec, self.release = begun(least, most)
        self.least, self.most, self.need, self.now = least, most, load, START
        self.pods: dict[str, int] = {}
        self.decisions: list[Decision] = []
        self.settle()

    @property
    def here(self) -> Standing:
        stored = Stored("0" * 40, {CHAT: self.release})
        return standing(self.spec, stored, CHAT, "", self.sight.census)

    @property
    def models(self) -> Mapping[str, Model]:
        return standing(self.spec, Stored("0" * 40, {CHAT: self.release}), CHAT, "").models()

    @property
    def sight(self) -> Sight:
        found = {
            (CHAT, version): Workload("dev", "chat", version, "acme-dev", f"chat-{version}", count, count)
            for version, count in self.pods.items()
        }
        return Sight({CLUSTER: Sighting(found, Survey(), {})}, {}, {})

    def held(self) -> dict[str, tuple[int, int]]:
        """By version, what the commit holds it at, and its percent of the requests."""
        state, models = self.release.state, self.models
        environment = self.spec.environments["dev"]
        lives = lives_in(
            CLUSTER, lives_of(self.release, state, models), waves_of(self.release, state, models, environment)
        )
        if len(lives) == 1:
            return {lives[0].model.version: (self.least, 100)}
        sizes = replicas_of(lives, routed=True)
        return {live.model.version: (size, live.weight) for live, size in zip(lives, sizes, strict=True)}

    def settle(self, reaction: int = 99) -> None:
        """Autoscalers react: each moves up to so many pods."""
        for version, (least, weight) in self.held().items():
            wanted = min(self.most, max(least, math.ceil(self.need * weight / 100)))
            before = self.pods.get(version, 0)
            moved = max(before - reaction, min(before + reaction, wanted))
            self.pods[version] = max(moved, min(before, least)) if before else min(wanted, reaction)
        self.pods = {version: count for version, count in self.pods.items() if version in self.held()}

    def look(self, verdict: str = "pass") -> Decision:
        """One pass, with its commit."""
        here, sight = self.here, self.sight
        stored = Stored("0" * 40, {CHAT: self.release})
        gates = (Verdict("error-rate", verdict, verdict),)  # type: ignore[arg-type]
        seen = here.observe(self.now, Room(self.spec, stored, sight.census))
        decision = step(here.policy, here.state, _observed(seen, here, sight, gates, None, False))
        models = here.models()
        self.release = recorded(self.release, decision.state, models)
        if decision.state.stable:
            version, digest = decision.state.stable
            self.release = replace(self.release, stable=replace(self.release.stable, version=version, digest=digest))
        self.decisions.append(decision)
        self.now += 60
        return decision


def test_min_two_max_four_and_four_running() -> None:
    """What the issue saw: a canary sized for the declared two, and a stable that shrinks under it."""
    world = World(2, 4, load=4)
    assert world.look().kind == "start"
    sizes = {}
    while (decision := world.look()).kind != "promote":
        world.settle()
        held = world.held()
        sizes[decision.state.weights(1)[0].candidate] = held["2.0.0"][0]
        assert held["1.0.0"][0] == world.pods["1.0.0"] == 4, "stable stays what it was"
    assert sizes[50] >= 2
    assert sizes[100] == 4
    assert world.held() == {"2.0.0": (4, 100), "1.0.0": (4, 0)}, "and what is warm can take everything back"
    while world.look().kind != "retire":
        world.settle()
    assert world.held() == {"2.0.0": (2, 100)}, "and then it is lowered"


moves = st.lists(
    st.tuples(st.integers(1, 12), st.integers(0, 3), st.sampled_from(("pass",) * 30 + ("fail",))),
    min_size=5,
    max_size=60,
)


@settings(max_examples=150)
@given(st.integers(1, 4), st.integers(1, 8), st.integers(1, 12), moves)
def test_nothing_is_ever_moved_to_less_than_it_takes(
    least: int, more: int, load: int, moves: list[tuple[int, int, str]]
) -> None:
    world = World(least, least + more, load)
    at_start, known = 0, 0
    for need, reaction, verdict in moves:
        world.need = need
        world.settle(reaction)
        before, running = world.release.state, dict(world.pods)
        shown = _shown(world)
        decision = world.look(verdict)
        held = world.held()
        if decision.kind == "start":
            at_start = known = running["1.0.0"]
        several = len(held) > 1
        known = max(known, shown) if several else 0
        if several and before.candidate:
            full = min(world.most, max(known, at_start))
            stable = before.stable.version if before.stable else ""
            assert held[stable][0] >= full, "stable is held at what carried the load, and at more when that grew"
        if decision.kind == "roll-back":
            assert running["1.0.0"] >= min(at_start, world.most), "it lands on what it took over from"
        if decision.kind == "advance" and decision.state.candidate:
            weight = decision.state.candidate.weight
            assert running["2.0.0"] * 100 >= weight * min(world.most, at_start), "traffic never exceeds what carries it"
        if decision.kind == "promote":
            assert running["2.0.0"] >= min(world.most, at_start)
            return


def _shown(world: World) -> int:
    """What all requests take, once autoscalers have followed and one of them runs more than it is held at."""
    held = world.held()
    wanted = {
        version: min(world.most, max(least, math.ceil(world.need * weight / 100)))
        for version, (least, weight) in held.items()
    }
    more = any(world.pods[version] > least for version, (least, weight) in held.items() if weight)
    return min(world.need, world.most) if world.pods == wanted and more and len(held) > 1 else 0
