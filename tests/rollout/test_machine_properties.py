"""What holds for every rollout, whatever is seen on the way."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gitops.errors import GitopsError
from gitops.rollout.load import grown as size_of
from gitops.rollout.machine import Decision, needed, step, trailers
from gitops.rollout.observation import CAUTION, Command, Objection, Observation
from gitops.rollout.phases import TRANSITIONS, Kind, Phase
from gitops.rollout.policy import Policy, PolicyStep, Strategy
from gitops.rollout.replay import replay
from gitops.rollout.state import RolloutState, Traffic
from gitops.rollout.verdicts import QueryFailure, Result, Status, Verdict
from tests.rollout.looks import NEW, NEXT, OLD, version

VERSIONS = (OLD, NEW, NEXT, version("2.5.0"))
GATES = ("latency-p99", "error-rate")
ARROWS = {one[:3] for one in TRANSITIONS}

weights = st.lists(st.integers(1, 100), max_size=4, unique=True).map(sorted)
seconds = st.sampled_from((0, 1, 30, 60, 300, 900))
deadlines = st.sampled_from((0, 60, 900, 3600, 3600))

policies = st.builds(
    Policy,
    strategy=st.sampled_from(("canary", "blue-green", "rolling", "shadow")),
    steps=st.tuples(weights, seconds).map(lambda drawn: tuple(PolicyStep(weight, drawn[1]) for weight in drawn[0])),
    gates=st.sampled_from(((), GATES)),
    ready_timeout=deadlines,
    capacity_timeout=deadlines,
    warm_up=seconds,
    no_data_deadline=seconds,
    no_data=st.sampled_from(("pause", "roll-back")),
    too_few_deadline=seconds,
    too_few=st.sampled_from(("pause", "roll-back", "advance")),
    pause_timeout=deadlines,
    lost_capacity=st.sampled_from(("roll-back", "pause")),
    keep_warm=seconds,
    drain=seconds,
    approvals=st.integers(0, 2),
    stride=st.integers(0, 60),
    waves=st.integers(1, 3),
)

results = st.lists(
    st.one_of(
        st.builds(
            Verdict,
            gate=st.sampled_from((*GATES, "other")),
            status=st.sampled_from(("pass", "pass", "pass", "warn", "fail", "no data", "too few samples")),
            sentence=st.text(max_size=20),
            lasting=seconds,
        ),
        st.builds(QueryFailure, gate=st.sampled_from(GATES), sentence=st.just("failed"), outage=st.booleans()),
    ),
    max_size=3,
)
good = st.just(tuple(Verdict(gate, "pass", "pass") for gate in GATES))
commands = st.builds(
    Command,
    kind=st.sampled_from(CAUTION),
    by=st.sampled_from(("ada", "bob", "", "a\nb")),
    version=st.sampled_from(("", *(one.version for one in VERSIONS), "0")),
    hotfix=st.booleans(),
)
percent = st.one_of(st.none(), st.just(100), st.integers(0, 100))
looks = st.builds(
    Observation,
    now=st.integers(0, 20_000),
    target=st.sampled_from((NEW, NEW, NEW, *VERSIONS)),
    entry=st.sampled_from(("", "", "", "not verified in staging yet")),
    manual=st.sampled_from((False, False, True)),
    ready=percent,
    ready_waves=st.one_of(st.just((100,) * 3), st.lists(percent, max_size=3).map(tuple)),
    stable_ready=st.one_of(st.none(), st.integers(0, 100)),
    lost_for=seconds,
    crashed=st.booleans(),
    room=st.booleans(),
    results=st.one_of(good, good, results.map(tuple)),
    commands=st.one_of(st.just(()), st.lists(commands, max_size=2).map(tuple)),
    approvals=st.sampled_from(((), ("ada", "bob"))),
    freeze=st.sampled_from(("", "", "", "holidays")),
    load=st.sampled_from(((), (), (("eu", Fraction(2)),), (("eu", Fraction(3, 2)), ("us", Fraction(2))))),
    held=st.one_of(st.just(()), st.lists(percent, min_size=1, max_size=3).map(tuple)),
    objections=st.sampled_from(((), (), (Objection("dev", "by ada", "1"),), (Objection("dev", "by ada", "2"),))),
    unseen=st.sampled_from(("", "", "eu-1: connection refused")),
)


def well(now: int) -> Observation:
    """A look at which nothing speaks against going on."""
    passes = tuple(Verdict(gate, "pass", "pass") for gate in GATES)
    return Observation(now, NEW, ready=100, ready_waves=(100,) * 3, results=passes, approvals=("ada", "bob"))


mishaps = st.one_of(
    st.fixed_dictionaries({"results": results.map(tuple)}),
    st.fixed_dictionaries({"ready": percent}),
    st.fixed_dictionaries({"ready": percent, "lost_for": seconds, "stable_ready": percent}),
    st.fixed_dictionaries({"load": st.just((("eu", Fraction(4)),)), "ready": percent, "held": st.just((100,) * 3)}),
    st.fixed_dictionaries({"ready_waves": st.lists(percent, min_size=2, max_size=3).map(tuple)}),
    st.fixed_dictionaries({"room": st.just(False), "ready": percent, "ready_waves": st.just((100, 0, 0))}),
    st.fixed_dictionaries({"commands": st.lists(commands, min_size=1, max_size=2).map(tuple)}),
    st.fixed_dictionaries({"freeze": st.just("holidays"), "commands": st.lists(commands, max_size=1).map(tuple)}),
    st.fixed_dictionaries({"entry": st.just("not verified in staging yet"), "manual": st.booleans()}),
    st.fixed_dictionaries({"target": st.sampled_from(VERSIONS)}),
    st.fixed_dictionaries({"approvals": st.just(()), "manual": st.booleans()}),
)
"""The one thing that is not as it should be, so that histories get far before and after it."""


def checked(policy: Policy, before: RolloutState, seen: Observation) -> Decision:
    """One step, and everything that must hold of every single one."""
    decision = step(policy, before, seen)
    after = decision.state
    assert decision == step(policy, before, seen), "deterministic"
    assert (decision.kind == "hold") == (after == before), "a hold changes nothing, and only a hold"
    if decision.kind != "hold":
        assert (before.phase, decision.kind, after.phase) in ARROWS
    assert replay([trailers(decision)], before) == after
    _weights(policy, before, seen, decision)
    _permission(policy, before, seen, decision)
    _people(before, seen, decision)
    _verdicts(before, seen, decision)
    return decision


def loads(weights: Sequence[Traffic]) -> list[int]:
    """Percentage of requests that reach the candidate in each wave."""
    return [max(one.candidate, one.mirror) for one in weights]


def known(policy: Policy, before: RolloutState, seen: Observation) -> list[int | None]:
    """What the candidate is known to be able to carry in each wave."""
    present = min(before.candidate.wave, policy.waves - 1) if before.candidate else 0
    told = [*seen.ready_waves, *(None,) * policy.waves][: policy.waves]
    return [seen.ready if wave == present else ready for wave, ready in enumerate(told)]


def _weights(policy: Policy, before: RolloutState, seen: Observation, decision: Decision) -> None:
    """Weights only grow, wave by wave, with capacity and after every gate has passed; going back is for all at once."""
    old, new = before.weights(policy.waves), decision.state.weights(policy.waves)
    had, has, ready = loads(old), loads(new), known(policy, before, seen)
    grown = [wave for wave in range(policy.waves) if has[wave] > had[wave] or new[wave].candidate > old[wave].candidate]
    assert bool(grown) == (decision.kind == "advance"), "traffic grows by an advance, and each of them is more traffic"
    gains = dict.fromkeys(grown, 0) | (dict.fromkeys(range(policy.waves), 100) if decision.kind == "promote" else {})
    for wave, most in gains.items():
        if had[wave] < 100 or wave in grown:
            assert (ready[wave] or 0) >= max(most, has[wave]), "traffic never exceeds ready capacity"
    if decision.kind == "advance" and before.candidate and decision.state.candidate:
        was, now = (min(one.wave, policy.waves - 1) for one in (before.candidate, decision.state.candidate))
        assert now - was in (0, 1)
        assert new[:now] == (Traffic(0, 100, 0),) * now, "earlier waves are done"
        assert new[now + 1 :] == old[now + 1 :], "later ones have not begun"
    if any(after.candidate < one.candidate for one, after in zip(old, new, strict=True)):
        assert decision.kind in ("roll-back", "promote"), "weights only grow until a rollback"
    if decision.kind in ("roll-back", "promote"):
        assert new == (Traffic(100 if decision.state.stable else 0, 0, 0),) * policy.waves, "everywhere at once"
    if grown and any(had):
        assert not [one for one in seen.results if _undone(policy, before, one)], "only passes go on"
        assert set(policy.gates) <= {one.gate for one in seen.results}, "no data never counts as a pass"
    held = [*seen.held, *(None,) * policy.waves][: policy.waves] if seen.held else ready
    lost = any(load > one for load, one in zip(had, held, strict=True) if one is not None)
    if lost and seen.lost_for >= policy.lost_after and before.candidate and not before.candidate.pause:
        assert decision.kind in ("roll-back", "pause"), "it is not left at a weight that it cannot carry"
    answered = max(one.candidate for one in old)
    if decision.kind == "roll-back" and decision.event and not decision.event.by and answered and before.stable:
        assert seen.stable_ready != 0, "nothing moves onto nothing by itself"
    several = decision.state.candidate or decision.state.kept
    assert not several or all(dict(decision.state.load)[cluster] >= load for cluster, load in before.load), "held"
    if grown or decision.kind == "scale":
        assert decision.state.load == size_of(before.load, seen.load), "sized for the load that there is"
    scales = decision.state.scales(policy.waves)
    assert all(scale >= load for scale, load in zip(scales, has, strict=True)), "rendered for what it gets"
    assert max(scales) <= (decision.state.candidate.scale if decision.state.candidate else 0)


def _undone(policy: Policy, before: RolloutState, result: Result) -> bool:
    if isinstance(result, QueryFailure):
        return True
    tolerated = before.candidate.tolerated if before.candidate else ()
    allowed = {"pass"} | ({"warn"} if result.gate in tolerated else set())
    allowed |= {"too few samples"} if f"{result.gate} (too few samples)" in tolerated else set()
    return result.status not in (allowed | {"too few samples"} if policy.too_few == "advance" else allowed)


def _permission(policy: Policy, before: RolloutState, seen: Observation, decision: Decision) -> None:
    """What holds a version back holds it back, and a hotfix goes past exactly two of these."""
    asked = [one for one in seen.commands if one.kind == "promote"]
    hotfix = before.candidate.hotfix if before.candidate else any(one.hotfix for one in asked)
    if decision.kind in ("start", "scale", "advance", "promote"):
        assert hotfix or not seen.freeze
    if decision.kind == "start" and decision.event:
        people = {one.by for one in before.approvals if one.digest == seen.target.digest} | set(seen.approvals)
        assert len(people) >= policy.approvals
        assert not before.rejection(seen.target.digest)
        assert hotfix or not seen.entry
        assert asked or policy.approvals or not seen.manual
        assert not decision.event.hotfix or hotfix


def _people(before: RolloutState, seen: Observation, decision: Decision) -> None:
    if decision.kind == "roll-back" and decision.state.stable != before.stable:
        (to,) = (one for one in before.kept if one.version == decision.state.stable)
        assert to.full, "all traffic goes back only to a version with pods for it"
        assert not before.rejection(to.version.digest)
    if before.candidate and any(one.kind in ("abort", "rollback") for one in seen.commands):
        assert decision.kind == "roll-back", "going back always wins"
        assert decision.state.candidate is None
        assert before.candidate.version.digest != seen.target.digest or decision.state.rejection(seen.target.digest)
    rejection = before.rejection(seen.target.digest)
    asked = {one.kind for one in seen.commands}
    if rejection and decision.kind != "retry":
        assert decision.kind not in ("start", "advance", "promote")
        assert decision.state.rejection(seen.target.digest) or decision.kind == "clear" or "retry" in asked


def _verdicts(before: RolloutState, seen: Observation, decision: Decision) -> None:
    """Nothing is rejected but by a person, or for what is seen at this very look; what is left waits or may start."""
    if decision.event and decision.event.rejects:
        beyond = [one for one in seen.results if isinstance(one, Verdict) and one.status in ("warn", "fail")]
        unready = [one for one in (seen.ready, *seen.ready_waves) if one is not None and one < 100]
        assert beyond or unready or any(one.kind in ("abort", "rollback") for one in seen.commands)
        assert not decision.event.waits
    if before.candidate and decision.kind in ("advance", "scale") and not seen.commands:
        assert {one.key for one in seen.objections} <= set(before.candidate.despite)
    back = before.returned_as(seen.target)
    if decision.kind == "start" and back and not seen.commands:
        assert back.waits == "sight"
        assert not seen.unseen


class Rollouts(RuleBasedStateMachine):
    """Random histories of one unit, kept as the trailers of its commits."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000_000
        self.history: list[tuple[tuple[str, str], ...]] = []
        self.states: list[RolloutState] = []
        self.banned: set[str] = set()

    @initialize(policy=policies, first=st.booleans())
    def begin(self, policy: Policy, first: bool) -> None:
        self.policy = policy
        self.state = RolloutState() if first else RolloutState(stable=OLD)
        self.states.append(self.state)

    @rule(policy=policies)
    def edit_policy(self, policy: Policy) -> None:
        self.policy = policy

    @rule(seen=looks, later=st.one_of(seconds, st.sampled_from((-3600, -60))))
    def look(self, seen: Observation, later: int) -> None:
        """The clock may step back."""
        self.now += later
        self._look(replace(seen, now=self.now))

    @rule(times=st.integers(1, 12), later=seconds)
    def all_is_well(self, times: int, later: int) -> None:
        for _ in range(times):
            self.now += later
            self._look(well(self.now))

    @rule(mishap=mishaps, times=st.integers(1, 3), later=seconds)
    def almost_all_is_well(self, mishap: dict[str, Any], times: int, later: int) -> None:
        for _ in range(times):
            self.now += later
            self._look(replace(well(self.now), **mishap))

    def _look(self, seen: Observation) -> None:
        before, decision = self.state, checked(self.policy, self.state, seen)
        self.state = decision.state
        if decision.event:
            self.history.append(trailers(decision))
            self.states.append(self.state)
        self.banned &= {seen.target.digest}
        if decision.kind == "retry":
            self.banned.discard(seen.target.digest)
        candidate, stable = self.state.candidate, self.state.stable
        assert candidate is None or candidate.version.digest not in self.banned
        assert stable is None or stable == before.stable or stable.digest not in self.banned
        if decision.event and decision.event.rejects:
            self.banned.add(decision.event.version.digest)

    @invariant()
    def names_are_of_one_workload_each(self) -> None:
        if hasattr(self, "state"):
            running = [one.version for one in self.state.kept]
            running += [self.state.stable] if self.state.stable else []
            running += [self.state.candidate.version] if self.state.candidate else []
            assert len(running) == len(set(running))

    def teardown(self) -> None:
        """The history gives the state, from its begin and from every point on the way."""
        for done in range(len(self.states)):
            assert replay(self.history[done:], self.states[done]) == self.state


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(max_examples=200, stateful_step_count=40)


def good_way(policy: Policy) -> list[tuple[int, RolloutState]]:
    """Every state of a rollout that nothing disturbs, and when it was reached."""
    way = [(0, RolloutState(stable=OLD))]
    while len(way) == 1 or way[-1][1].candidate:
        now, state = way[-1]
        way.append((now + 1000, checked(policy, state, well(now + 1000)).state))
    return way


@settings(max_examples=1500)
@given(policies, st.integers(0, 10_000), mishaps, seconds, st.one_of(st.none(), policies))
def test_one_mishap_anywhere_on_a_good_way(
    policy: Policy, place: int, mishap: dict[str, Any], later: int, edited: Policy | None
) -> None:
    """Also right after somebody edited the policy; and whatever it was, it comes to an end."""
    way = good_way(replace(policy, ready_timeout=3600, capacity_timeout=3600, pause_timeout=3600))
    now, state = way[place % len(way)]
    policy, begun = edited or policy, now + later
    state = checked(policy, state, replace(well(begun), **mishap)).state
    now, commits = begun, 0
    while state.candidate:
        now += 600
        decision = checked(policy, state, well(now))
        state, commits = decision.state, commits + (decision.kind != "hold")
        assert now - begun <= policy.longest + 600 * (commits + 1)
    checked(policy, state, replace(well(now), commands=(Command("promote", "ada", hotfix=True),)))


def reach(policy: Policy, history: list[Observation], start: RolloutState) -> tuple[RolloutState, int]:
    """Where these looks lead, and when."""
    state, now = start, 0
    for seen in history:
        now += seen.now % 600
        state = checked(policy, state, replace(seen, now=now)).state
    return state, now


def _somewhere_to_go(seen: Observation) -> Observation:
    """Without a single ready replica of stable a rollout waits for one as long as it takes, or for a person."""
    return replace(seen, stable_ready=1) if seen.stable_ready == 0 else seen


@settings(max_examples=300)
@given(policies, st.lists(looks, min_size=1, max_size=12), st.sampled_from((RolloutState(), RolloutState(stable=OLD))))
def test_an_observer_that_sees_the_same_for_ever_still_gets_to_an_end(
    policy: Policy, history: list[Observation], start: RolloutState
) -> None:
    """Within the sum of the declared deadlines; and one tick for each decision, since nobody looks in between."""
    state, begun = reach(policy, history, start)
    last, now, tick, commits = _somewhere_to_go(replace(history[-1], commands=())), begun, 60, 0
    while True:
        now += tick
        decision = checked(policy, state, replace(last, now=now))
        state, commits = decision.state, commits + (decision.kind != "hold")
        if state.phase == "idle":
            return
        assert now - begun <= policy.longest + tick * (commits + 1)
        assert commits <= 4 * 101 * policy.waves, "few for each of at most a hundred weights"


@settings(max_examples=200)
@given(policies, st.lists(looks, min_size=1, max_size=6), st.data())
def test_alternating_looks_cannot_hold_a_rollout_for_ever(
    policy: Policy, history: list[Observation], data: st.DataObject
) -> None:
    """The observer flutters between a few looks: a step's deadline counts on whatever happens in it."""
    state, now = reach(policy, [replace(one, target=NEW) for one in history], RolloutState(stable=OLD))
    flutter = [
        _somewhere_to_go(replace(one, commands=(), target=NEW))
        for one in data.draw(st.lists(looks, min_size=2, max_size=4))
    ]
    ends = now + policy.longest + 60 * 120
    turn = 0
    while state.candidate and now <= ends:
        now += 60
        state = checked(policy, state, replace(flutter[turn % len(flutter)], now=now)).state
        turn += 1
    assert state.phase == "idle"


@settings(max_examples=200)
@given(policies, st.integers(0, 3), st.sampled_from((30, 60, 600)))
def test_a_good_version_arrives_wave_by_wave_when_capacity_follows_what_is_rendered(
    policy: Policy, lag: int, tick: int
) -> None:
    """Nothing deadlocks between asking for capacity and waiting for it, and each wave walks the whole policy."""
    policy = replace(policy, ready_timeout=3600, capacity_timeout=3600, pause_timeout=3600)
    state, now, rendered = RolloutState(stable=OLD), 0, [(0,) * policy.waves] * (lag + 1)
    passed: list[tuple[int, int]] = []
    while state.stable == OLD:
        now += tick
        assert now <= policy.longest + tick * 5 * 101 * policy.waves
        ready = rendered[-lag - 1]
        seen = Observation(now, NEW, ready=ready[state.candidate.wave if state.candidate else 0], ready_waves=ready)
        seen = replace(seen, results=tuple(Verdict(gate, "pass", "pass") for gate in GATES), approvals=("ada", "bob"))
        asked = needed(policy, state, NEW)
        decision = checked(policy, state, seen)
        state = decision.state
        rendered.append(state.scales(policy.waves))
        if decision.kind in ("start", "scale"):
            assert state.scales(policy.waves) == asked
        if decision.kind == "advance" and state.candidate:
            passed.append((state.candidate.wave, state.candidate.load))
    steps = sorted({one.weight for one in policy.steps}) or [100]
    if policy.strategy != "rolling":
        assert passed == [(wave, weight) for wave in range(policy.waves) for weight in steps]
    else:
        assert {wave for wave, weight in passed if weight == 100} == set(range(policy.waves))


@settings(max_examples=200)
@given(policies, st.lists(looks, max_size=10), looks)
def test_step_is_total_for_any_moment(policy: Policy, history: list[Observation], last: Observation) -> None:
    state, _ = reach(policy, history, RolloutState(stable=OLD))
    for now in (-1, 0, 2**62):
        step(policy, state, replace(last, now=now))
        step(replace(policy, steps=(), stride=0, gates=("gone",)), state, replace(last, now=now))


@settings(max_examples=300)
@given(
    policies,
    st.lists(
        st.tuples(
            st.sampled_from((0, 60, 600, 3600, 86_400, 30 * 3600, -3600)),
            st.sampled_from(("passes", "outage", "no data", "too few samples", "nothing")),
            st.sampled_from((100, None)),
            st.sampled_from(("", "eu-1: connection refused")),
            st.booleans(),
        ),
        max_size=40,
    ),
)
def test_an_outage_is_no_verdict(policy: Policy, history: list[tuple[int, str, int | None, str, bool]]) -> None:
    """Clusters and metrics that do not answer, full pools and clocks that jump never reject a version."""
    state, now = RolloutState(stable=OLD), 1_000_000
    for later, said, ready, unseen, room in history:
        now += later
        results: tuple[Result, ...] = tuple(Verdict(gate, "pass", "pass") for gate in GATES)
        if said == "outage":
            results = tuple(QueryFailure(gate, "failed", outage=True) for gate in GATES)
        elif said != "passes":
            status: Status = "no data" if said == "no data" else "too few samples"
            results = () if said == "nothing" else tuple(Verdict(gate, status, said) for gate in GATES)
        seen = replace(well(now), results=results, ready=ready, ready_waves=(ready,) * 3, unseen=unseen, room=room)
        decision = checked(policy, state, seen)
        state = decision.state
        assert state.rejected == ()
        assert state.stable in (OLD, NEW)


def test_every_arrow_of_the_table_is_taken() -> None:
    """A seeded search, so that a row that the code cannot take is found out."""
    chance, missing = random.Random(7), set(ARROWS)
    for _ in range(4000):
        missing -= wander(chance)
        if not missing:
            return
    pytest.fail(f"never seen: {sorted(missing)}")


def wander(chance: random.Random) -> set[tuple[Phase, Kind, Phase]]:
    strategy: Strategy = chance.choice(("canary", "shadow"))
    policy = Policy(
        strategy, (PolicyStep(10, 60), PolicyStep(50, 60)), GATES, drain=60, approvals=chance.choice((0, 1))
    )
    policy = replace(policy, lost_capacity=chance.choice(("pause", "roll-back")), keep_warm=chance.choice((60, 4000)))
    policy = replace(policy, waves=chance.choice((1, 1, 2)))
    state, now = RolloutState(stable=OLD), 0
    taken: set[tuple[Phase, Kind, Phase]] = set()
    statuses: tuple[Status, ...] = (*("pass",) * 8, "warn", "fail")
    for _ in range(30):
        now += chance.choice((1, 60, 120, 120, 4000))
        status = chance.choice(statuses)
        seen = Observation(
            now,
            target=chance.choice((NEW,) * 12 + (NEXT,)),
            ready=chance.choice((0, 10, 10, 50, 100, 100)),
            ready_waves=(100, chance.choice((0, 100))),
            room=chance.random() < 0.6,
            results=tuple(Verdict(gate, status, status) for gate in GATES),
            commands=(Command(chance.choice(CAUTION), "ada"),) if chance.random() < 0.25 else (),
            approvals=("bob",) if chance.random() < 0.5 else (),
            load=(("eu", Fraction(chance.choice((2, 3, 4)))),) if chance.random() < 0.2 else (),
        )
        decision = checked(policy, state, seen)
        if decision.kind != "hold":
            taken.add((state.phase, decision.kind, decision.state.phase))
        state = decision.state
    return taken


@given(st.lists(st.tuples(st.sampled_from(("Decision", "Version", "Digest", "Time", "Phase", "Step", "x")), st.text())))
def test_a_broken_history_is_an_error_that_a_person_understands(broken: list[tuple[str, str]]) -> None:
    try:
        replay([broken, [("Decision", "advance"), *broken]])
    except GitopsError:
        return
