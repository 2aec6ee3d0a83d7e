"""What holds for every rollout, whatever is seen on the way."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gitops.errors import GitopsError
from gitops.rollout.machine import Decision, step, trailers
from gitops.rollout.observation import CAUTION, Command, Observation
from gitops.rollout.phases import TRANSITIONS
from gitops.rollout.policy import Policy, PolicyStep
from gitops.rollout.replay import replay
from gitops.rollout.state import RolloutState
from gitops.rollout.verdicts import QueryFailure, Result, Verdict
from tests.rollout.looks import NEW, NEXT, OLD, version

VERSIONS = (OLD, NEW, NEXT, version("2.5.0"))
GATES = ("latency-p99", "error-rate")
ARROWS = {one[:3] for one in TRANSITIONS}

weights = st.lists(st.integers(1, 100), max_size=4, unique=True).map(sorted)
seconds = st.sampled_from((0, 1, 30, 60, 300, 900))

policies = st.builds(
    Policy,
    strategy=st.sampled_from(("canary", "blue-green", "rolling", "shadow")),
    steps=st.tuples(weights, seconds).map(lambda drawn: tuple(PolicyStep(weight, drawn[1]) for weight in drawn[0])),
    gates=st.sampled_from(((), GATES)),
    ready_timeout=seconds,
    capacity_timeout=seconds,
    warm_up=seconds,
    no_data_deadline=seconds,
    no_data=st.sampled_from(("pause", "roll-back")),
    too_few_deadline=seconds,
    too_few=st.sampled_from(("pause", "roll-back", "advance")),
    pause_timeout=seconds,
    lost_capacity=st.sampled_from(("roll-back", "pause")),
    keep_warm=seconds,
    drain=seconds,
    approvals=st.integers(0, 2),
    stride=st.integers(0, 60),
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
)
looks = st.builds(
    Observation,
    now=st.integers(0, 20_000),
    target=st.sampled_from((NEW, NEW, NEW, *VERSIONS)),
    ready=st.one_of(st.none(), st.just(100), st.integers(0, 100)),
    stable_ready=st.one_of(st.none(), st.integers(0, 100)),
    room=st.booleans(),
    results=st.one_of(good, good, results.map(tuple)),
    commands=st.one_of(st.just(()), st.lists(commands, max_size=2).map(tuple)),
    approvals=st.sampled_from(((), ("ada", "bob"))),
    freeze=st.sampled_from(("", "", "", "holidays")),
)


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
    _people(before, seen, decision)
    return decision


def _weights(policy: Policy, before: RolloutState, seen: Observation, decision: Decision) -> None:
    old, new = before.traffic, decision.state.traffic
    rose = new.candidate > old.candidate or new.mirror > old.mirror
    if rose:
        assert decision.kind == "advance"
        assert seen.ready is not None
        assert max(new.candidate, new.mirror) <= seen.ready, "traffic never exceeds ready capacity"
    assert rose or decision.kind != "advance", "weights only grow"
    if decision.kind == "promote":
        assert seen.ready is not None
        assert seen.ready >= 100
    if new.candidate < old.candidate:
        assert decision.kind in ("roll-back", "promote")
    if rose or decision.kind in ("promote", "start", "scale"):
        assert not seen.freeze
    if rose and old.candidate + old.mirror:
        bad = [one for one in seen.results if _undone(policy, before, one)]
        assert not bad, "only passes go on"
        assert set(policy.gates) <= {one.gate for one in seen.results}, "no data never counts as a pass"
    if old.candidate > (100 if seen.ready is None else seen.ready) and policy.lost_capacity == "roll-back":
        assert decision.kind == "roll-back"
    candidate = decision.state.candidate
    assert candidate is None or candidate.scale >= candidate.load, "rendered for what it gets"


def _undone(policy: Policy, before: RolloutState, result: Result) -> bool:
    if isinstance(result, QueryFailure):
        return True
    tolerated = before.candidate.tolerated if before.candidate else ()
    allowed = {"pass"} | ({"warn"} if result.gate in tolerated else set())
    return result.status not in (allowed | {"too few samples"} if policy.too_few == "advance" else allowed)


def _people(before: RolloutState, seen: Observation, decision: Decision) -> None:
    if before.candidate and any(one.kind in ("abort", "rollback") for one in seen.commands):
        assert decision.kind == "roll-back", "going back always wins"
        assert decision.state.traffic.candidate == 0
        assert before.candidate.version.digest != seen.target.digest or decision.state.rejection(seen.target.digest)
    rejection = before.rejection(seen.target.digest)
    asked = {one.kind for one in seen.commands}
    if rejection and decision.kind != "retry":
        assert decision.kind not in ("start", "advance", "promote")
        assert decision.state.rejection(seen.target.digest) or decision.kind == "clear" or "retry" in asked


class Rollouts(RuleBasedStateMachine):
    """Random histories of one unit, kept as the trailers of its commits."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000_000
        self.history: list[tuple[tuple[str, str], ...]] = []

    @initialize(policy=policies, first=st.booleans())
    def begin(self, policy: Policy, first: bool) -> None:
        self.policy = policy
        self.origin = self.state = RolloutState() if first else RolloutState(stable=OLD)
        self.lifted_since: set[str] = set()

    @rule(policy=policies)
    def edit_policy(self, policy: Policy) -> None:
        self.policy = policy

    @rule(seen=looks, later=seconds)
    def look(self, seen: Observation, later: int) -> None:
        self.now += later
        self._look(replace(seen, now=self.now))

    @rule(times=st.integers(1, 12), later=seconds)
    def all_is_well(self, times: int, later: int) -> None:
        passes = tuple(Verdict(gate, "pass", "pass") for gate in GATES)
        for _ in range(times):
            self.now += later
            self._look(Observation(self.now, NEW, 100, results=passes, approvals=("ada", "bob")))

    def _look(self, seen: Observation) -> None:
        rejected = {one.version.digest for one in self.state.rejected}
        decision = checked(self.policy, self.state, seen)
        self.state = decision.state
        if decision.event:
            self.history.append(trailers(decision))
        if rejected and self.state.candidate and seen.target.digest in rejected:
            assert self.state.candidate.version.digest not in rejected

    @invariant()
    def history_gives_the_state(self) -> None:
        if hasattr(self, "state"):
            assert replay(self.history, self.origin) == self.state

    @invariant()
    def names_are_of_one_workload_each(self) -> None:
        if hasattr(self, "state"):
            running = [one.version for one in self.state.kept]
            running += [self.state.stable] if self.state.stable else []
            running += [self.state.candidate.version] if self.state.candidate else []
            assert len(running) == len(set(running))


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def reach(policy: Policy, history: list[Observation], start: RolloutState) -> tuple[RolloutState, int]:
    """Where these looks lead, and when."""
    state, now = start, 0
    for seen in history:
        now += seen.now % 600
        state = checked(policy, state, replace(seen, now=now)).state
    return state, now


@settings(max_examples=300, deadline=None)
@given(policies, st.lists(looks, min_size=1, max_size=12), st.sampled_from((RolloutState(), RolloutState(stable=OLD))))
def test_an_observer_that_sees_the_same_for_ever_still_gets_to_an_end(
    policy: Policy, history: list[Observation], start: RolloutState
) -> None:
    """Within the sum of the declared deadlines; and one tick for each decision, since nobody looks in between."""
    state, begun = reach(policy, history, start)
    last, now, tick, commits = replace(history[-1], commands=()), begun, 60, 0
    while True:
        now += tick
        decision = checked(policy, state, replace(last, now=now))
        state, commits = decision.state, commits + (decision.kind != "hold")
        if state.phase == "idle":
            return
        assert now - begun <= policy.longest + tick * (commits + 1)
        assert commits <= 4 * 101, "few for each of at most a hundred weights"


@settings(max_examples=200, deadline=None)
@given(policies, st.lists(looks, min_size=1, max_size=6), st.data())
def test_alternating_looks_cannot_hold_a_rollout_for_ever(
    policy: Policy, history: list[Observation], data: st.DataObject
) -> None:
    """The observer flutters between a few looks: a step's deadline counts on whatever happens in it."""
    state, now = reach(policy, [replace(one, target=NEW) for one in history], RolloutState(stable=OLD))
    flutter = [replace(one, commands=(), target=NEW) for one in data.draw(st.lists(looks, min_size=2, max_size=4))]
    ends = now + policy.longest + 60 * 120
    turn = 0
    while state.candidate and now <= ends:
        now += 60
        state = checked(policy, state, replace(flutter[turn % len(flutter)], now=now)).state
        turn += 1
    assert state.phase == "idle"


@settings(max_examples=200, deadline=None)
@given(policies, st.lists(looks, max_size=10), looks)
def test_step_is_total_for_any_moment(policy: Policy, history: list[Observation], last: Observation) -> None:
    state, _ = reach(policy, history, RolloutState(stable=OLD))
    for now in (-1, 0, 2**62):
        step(policy, state, replace(last, now=now))
        step(replace(policy, steps=(), stride=0, gates=("gone",)), state, replace(last, now=now))


def test_every_arrow_of_the_table_is_taken() -> None:
    """A seeded search, so that a row that the code cannot take is found out."""
    chance, missing = random.Random(7), set(ARROWS)
    for _ in range(4000):
        missing -= wander(chance)
        if not missing:
            return
    pytest.fail(f"never seen: {sorted(missing)}")


def wander(chance: random.Random) -> set[tuple[str, str, str]]:
    strategy = chance.choice(("canary", "shadow"))
    policy = Policy(
        strategy, (PolicyStep(10, 60), PolicyStep(50, 60)), GATES, drain=60, approvals=chance.choice((0, 1))
    )
    policy = replace(policy, lost_capacity=chance.choice(("pause", "roll-back")), keep_warm=chance.choice((60, 4000)))
    state, now, taken = RolloutState(stable=OLD), 0, set()
    for _ in range(30):
        now += chance.choice((1, 60, 120, 120, 4000))
        status = chance.choice(("pass",) * 8 + ("warn", "fail"))
        seen = Observation(
            now,
            target=chance.choice((NEW,) * 12 + (NEXT,)),
            ready=chance.choice((0, 10, 10, 50, 100, 100)),
            room=chance.random() < 0.6,
            results=tuple(Verdict(gate, status, status) for gate in GATES),
            commands=(Command(chance.choice(CAUTION), "ada"),) if chance.random() < 0.25 else (),
            approvals=("bob",) if chance.random() < 0.5 else (),
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
