"""How much load autoscalers show, and what a rollout does about it."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.render.live import full_size
from gitops.rollout.load import Carrier, grown, load_shown, loads_of, read_loads, write_loads
from gitops.rollout.machine import trailers
from gitops.rollout.replay import event_of
from gitops.spec.pipeline import Replicas
from tests.rollout.looks import Walk, saying

FOUR = (("eu", Fraction(2)),)
SIX = (("eu", Fraction(3)),)

factors = st.dictionaries(st.sampled_from(("eu", "us-1", "us-2")), st.fractions(1, 50, max_denominator=999), max_size=3)


@pytest.mark.parametrize(
    ("carriers", "load"),
    [
        ([Carrier(2, 2, 100, 2)], None),
        ([Carrier(4, 2, 100, 2)], Fraction(2)),
        ([Carrier(5, 4, 99, 2), Carrier(1, 1, 1, 2)], Fraction(5, 2)),
        # A single replica more of a version with 1 % of the requests is no load of 200 replicas.
        ([Carrier(4, 4, 99, 2), Carrier(2, 1, 1, 2)], Fraction(2)),
        # Stable is held at four and hides it, the candidate shows it.
        ([Carrier(4, 4, 50, 2), Carrier(4, 2, 50, 2)], Fraction(4)),
        ([Carrier(4, 4, 50, 2), Carrier(2, 2, 50, 2)], None),
        ([], None),
    ],
)
def test_autoscalers_show_a_load_by_what_they_run_beyond_what_they_are_held_at(
    carriers: list[Carrier], load: Fraction | None
) -> None:
    assert load_shown(carriers) == load


@given(st.integers(1, 60), st.integers(1, 99), st.integers(1, 60), st.integers(1, 9))
def test_a_load_that_shows_is_never_taken_for_less(need: int, weight: int, held: int, minimum: int) -> None:
    """Autoscalers that have just what their percentage takes, or what they are held at."""
    carriers = [
        Carrier(max(floor, math.ceil(need * share / 100)), floor, share, minimum)
        for share, floor in ((100 - weight, held), (weight, max(1, -(-held * weight // 100))))
    ]
    shown = load_shown(carriers)
    if shown is not None:
        assert shown * minimum >= need


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_what_was_seen_is_what_is_held(minimum: int, seen: int) -> None:
    bounds = Replicas(min=minimum, max=1000)
    assert full_size(bounds, max(Fraction(1), Fraction(seen, minimum))) == max(minimum, seen)


@given(factors, factors)
def test_loads_are_written_and_read_back_and_only_grow(one: dict[str, Fraction], other: dict[str, Fraction]) -> None:
    mine, theirs = loads_of(one), loads_of(other)
    assert read_loads(write_loads(mine)) == mine
    both = dict(grown(mine, theirs))
    assert all(both.get(cluster, 1) >= factor for cluster, factor in (*mine, *theirs))
    assert grown(mine, ()) == mine


@pytest.mark.parametrize("text", ["eu", "eu=", "eu=0", "eu=-1", "eu=1/0", "=2", "eu=1e9", "eu=123456"])
def test_a_broken_load_is_no_load(text: str) -> None:
    with pytest.raises(ValueError, match="Load"):
        read_loads(text)


# --- The machine -----------------------------------------------------------------------------------------------


def test_a_rollout_starts_with_the_load_that_there_is() -> None:
    walk = Walk(load=FOUR)
    assert walk.look().kind == "start"
    assert walk.state.load == FOUR
    assert walk.state.candidate
    assert walk.state.candidate.basis == FOUR


def test_one_that_was_started_without_a_look_is_sized_before_any_traffic_moves() -> None:
    walk = Walk()
    walk.look()
    assert walk.state.load == ()
    assert walk.given(load=FOUR).look().kind == "size"
    assert walk.state.load == FOUR
    assert walk.look().kind == "advance"


def test_a_load_that_grows_raises_what_is_held_and_takes_no_capacity_away() -> None:
    walk = Walk(load=FOUR)
    walk.until("baking")
    basis = walk.state.candidate.basis if walk.state.candidate else None
    grew = walk.given(load=SIX, ready=0, held=(100,)).look()
    assert (grew.kind, walk.state.load) == ("size", SIX)
    assert walk.state.candidate
    assert walk.state.candidate.basis == basis
    assert event_of(trailers(grew)) == grew.event
    assert walk.look().kind == "hold", "it was ready for its weight when it got it"


def test_a_load_that_falls_lets_nothing_go() -> None:
    walk = Walk(load=FOUR)
    walk.until("baking")
    assert walk.given(load=()).look().kind == "hold"
    assert walk.state.load == FOUR


def test_what_is_held_is_let_go_with_the_last_version_beside_stable() -> None:
    walk = Walk(load=FOUR)
    walk.until("baking")
    rolled = walk.given(results=saying("fail")).look()
    assert rolled.kind == "roll-back"
    assert walk.state.load == FOUR, "its autoscaler has not seen the traffic yet that comes back"
    while walk.look(60).kind != "retire":
        assert walk.state.load == FOUR
    assert walk.state.load == ()


def test_the_version_that_stays_warm_grows_with_the_load() -> None:
    walk = Walk(load=FOUR)
    walk.until("idle")
    assert walk.state.kept
    assert walk.given(load=SIX).look().kind == "size"
    assert walk.say("rollback").kind == "roll-back"
    assert walk.state.load == SIX


def test_a_candidate_without_pods_raises_nothing() -> None:
    walk = Walk(room=False)
    walk.look()
    assert walk.given(load=FOUR).look().kind == "hold"
    assert walk.state.load == ()
    assert walk.say("abort").kind == "roll-back"
    assert walk.state.load == ()


def test_old_histories_have_no_load() -> None:
    walk = Walk()
    walk.until("baking")
    said = [trailers(one) for one in walk.decisions if one.event]
    assert not [key for one in said for key, _ in one if key == "Load"]
