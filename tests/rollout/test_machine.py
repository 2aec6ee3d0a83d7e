"""Every transition of a rollout, one look at a time."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import pytest

from gitops.render.live import replica_share
from gitops.rollout import machine
from gitops.rollout.events import Event
from gitops.rollout.machine import needed, step, trailers
from gitops.rollout.observation import CAUTION, Command, Observation
from gitops.rollout.phases import TRANSITIONS
from gitops.rollout.policy import Policy, PolicyStep, Strategy, policy_of
from gitops.rollout.replay import event_of, trailers_of
from gitops.rollout.state import Candidate, Consent, Rejection, RolloutState, Traffic
from gitops.rollout.verdicts import Status, Verdict
from gitops.spec.rollouts import BlueGreen, Canary, NoData, Rolling, RolloutBase, TooFewSamples
from tests.rollout.looks import (
    BLUE_GREEN,
    CANARY,
    NEW,
    NEXT,
    OLD,
    ROLLING,
    SHADOW,
    STABLE,
    Walk,
    at_weight,
    kept,
    outage,
    passing,
    saying,
)

HOTFIX = Command("promote", "ada", hotfix=True)


def going(state: RolloutState) -> Candidate:
    """The candidate, which there must be."""
    assert state.candidate
    return state.candidate


def rejected(state: RolloutState) -> Rejection:
    """Why the new version is rejected, which it must be."""
    found = state.rejection(NEW.digest)
    assert found
    return found


# --- The way up --------------------------------------------------------------------------------------------------


def test_a_good_canary_walks_its_steps_and_keeps_the_previous_version_warm() -> None:
    walk = Walk().until("baking").until("idle")
    assert walk.kinds == ["start", "advance", "advance", "advance", "advance", "promote"]
    assert [one.state.traffic.candidate for one in walk.decisions if one.kind == "advance"] == [1, 10, 50, 100]
    assert walk.state.stable == NEW
    assert [(one.version, one.previous) for one in walk.state.kept] == [(OLD, True)]
    assert walk.look(CANARY.keep_warm).kind == "retire"
    assert walk.look(1).sentence == "2.3.0 has all traffic"
    assert walk.state == RolloutState(stable=NEW)


def test_a_step_bakes_after_the_warm_up_and_not_before() -> None:
    walk = at_weight(1)
    assert walk.look(CANARY.warm_up + 900 - 1).kind == "hold"
    assert walk.look(1).kind == "advance"


def test_without_gates_there_is_no_warm_up() -> None:
    policy = Policy("canary", (PolicyStep(10, 60), PolicyStep(100, 0)))
    walk = at_weight(10, policy)
    assert walk.look(59).kind == "hold"
    assert walk.look(1).kind == "advance"


def test_traffic_waits_for_ready_capacity_and_asks_for_it_first() -> None:
    walk = Walk(ready=0)
    assert going(walk.look().state).scale == 1
    assert walk.look(60).sentence == "waits for ready capacity: 0 % of 1 %"
    assert walk.look(60, ready=1).kind == "advance"
    assert walk.look(1000).kind == "scale"
    assert (walk.state.phase, going(walk.state).scale, walk.state.traffic.candidate) == ("starting", 10, 1)
    assert walk.look(60, ready=9).kind == "hold"
    assert walk.look(60, ready=10).kind == "advance"


def test_unknown_capacity_is_neither_ready_nor_lost() -> None:
    walk = at_weight(10).given(ready=None)
    assert walk.look(2000).kind == "hold"
    assert walk.look(1, ready=100).kind == "advance"


def test_the_first_deployment_skips_the_steps() -> None:
    walk = Walk(state=RolloutState(), ready=0, results=())
    assert going(walk.look().state).scale == 100
    assert walk.look(60, ready=99).kind == "hold"
    assert walk.look(60, ready=100).kind == "promote"
    assert walk.state == RolloutState(stable=NEW)


def test_a_first_deployment_that_never_gets_ready_is_rejected() -> None:
    walk = Walk(state=RolloutState(), ready=0)
    walk.look()
    assert walk.look(CANARY.ready_timeout).kind == "roll-back"
    assert walk.state.stable is None
    assert walk.state.rejection(NEW.digest)
    assert walk.state.traffic == Traffic(0, 0, 0)


def test_blue_green_moves_all_traffic_at_once() -> None:
    walk = Walk(BLUE_GREEN, ready=99)
    walk.look()
    assert going(walk.state).scale == 100
    assert walk.look(60).kind == "hold"
    assert walk.look(60, ready=100).state.traffic == Traffic(0, 100, 0)
    assert walk.until("idle").kinds == ["start", "advance", "promote"]


def test_rolling_follows_ready_capacity_in_strides() -> None:
    walk = Walk(ROLLING, ready=0, results=())
    weights = [walk.look(10, ready=ready).state.traffic.candidate for ready in (0, 5, 33, 36, 66, 100, 100)]
    assert weights == [0, 0, 33, 33, 66, 100, 0]
    assert walk.kinds == ["start", "advance", "scale", "advance", "advance", "promote"]


def test_a_rolling_update_without_a_stride_still_moves() -> None:
    walk = Walk(replace(ROLLING, stride=0), ready=50)
    assert [walk.look(10).kind for _ in range(4)] == ["start", "advance", "scale", "hold"]


def test_a_shadow_is_mirrored_to_and_answers_nobody_until_it_is_promoted() -> None:
    walk = Walk(SHADOW).until("baking").until("idle")
    assert walk.kinds == ["start", "advance", "advance", "promote"]
    assert {one.state.traffic.candidate for one in walk.decisions} == {0}
    assert [one.state.traffic.mirror for one in walk.decisions if one.kind == "advance"] == [10, 100]
    assert walk.state.stable == NEW


def test_a_policy_that_changes_on_the_way_goes_on_from_the_present_weight() -> None:
    walk = at_weight(10)
    walk.policy = replace(CANARY, steps=(PolicyStep(5, 60), PolicyStep(20, 60), PolicyStep(100, 60)))
    assert walk.look(CANARY.warm_up + 60).state.traffic.candidate == 20


def test_steps_that_end_below_all_traffic_still_promote() -> None:
    walk = Walk(replace(CANARY, steps=(PolicyStep(10, 60),))).until("baking")
    assert walk.until("idle").state.stable == NEW


# --- Waves -------------------------------------------------------------------------------------------------------

WAVES = replace(CANARY, steps=(PolicyStep(10, 60), PolicyStep(100, 60)), waves=3)
ALL: dict[str, Any] = {"ready": 100, "ready_waves": (100, 100, 100)}


def in_wave(wave: int, weight: int, policy: Policy = WAVES) -> Walk:
    """A walk that has just reached this weight in this wave."""
    walk = Walk(policy, **ALL)
    for _ in range(1000):
        candidate = walk.state.candidate
        if candidate and (candidate.wave, candidate.load) == (wave, weight):
            walk.decisions.clear()
            return walk
        walk.look(60)
    raise AssertionError(f"never {weight} % in wave {wave}")


def test_each_wave_walks_all_steps_while_earlier_ones_stay_and_later_ones_wait() -> None:
    walk = Walk(WAVES, **ALL).until("baking").until("idle")
    advances = [one.state for one in walk.decisions if one.kind == "advance"]
    assert [[one.candidate for one in state.weights(3)] for state in advances] == [
        [10, 0, 0],
        [100, 0, 0],
        [100, 10, 0],
        [100, 100, 0],
        [100, 100, 10],
        [100, 100, 100],
    ]
    assert all(stable + candidate == 100 for state in advances for stable, candidate, _ in state.weights(3))
    assert walk.state.stable == NEW
    assert walk.state.weights(3) == (Traffic(100, 0, 0),) * 3


def test_a_wave_begins_with_its_first_weight_and_its_first_step() -> None:
    walk = in_wave(0, 100)
    decision = walk.look(CANARY.warm_up + 60)
    assert decision.sentence == "2.3.0 gets 10 % of traffic in wave 2 of 3"
    assert decision.event
    assert (decision.event.wave, decision.event.waves, decision.event.step) == (1, 3, 1)
    assert walk.state.traffic == Traffic(90, 10, 0)
    assert walk.look(1).sentence.startswith("watches 10 % in wave 2 of 3")


def test_a_wave_begins_when_its_own_clusters_are_ready() -> None:
    walk = in_wave(0, 100).given(ready_waves=(100, 0, 0))
    assert walk.look(120).kind == "scale"
    assert walk.state.scales(3) == (100, 10, 0), "pods for the first weight there, none where nothing is due yet"
    assert walk.look(60, ready_waves=(100, 9, 0)).sentence == "waits for ready capacity in wave 2 of 3: 9 % of 10 %"
    assert going(walk.look(60, ready_waves=(100, 10, 0)).state).wave == 1
    assert walk.state.scales(3) == (100, 10, 0)


def test_a_wave_that_is_not_told_has_no_capacity() -> None:
    walk = in_wave(0, 100).given(ready_waves=())
    assert walk.look(600).kind == "hold"
    assert walk.look(60, ready_waves=(100, 100)).kind == "advance"


def test_without_room_in_the_next_wave_it_waits_where_it_is() -> None:
    walk = in_wave(0, 100).given(ready_waves=(100, 0, 0), room=False)
    assert walk.look(120).sentence == "no room to carry 10 % in wave 2 of 3 yet"
    assert walk.state.weights(3)[0] == Traffic(0, 100, 0)
    assert walk.look(CANARY.capacity_timeout).kind == "roll-back"


def test_a_rollback_gives_stable_everything_in_every_wave_at_once() -> None:
    walk = in_wave(1, 10)
    assert walk.look(1, results=saying("fail")).kind == "roll-back"
    assert walk.state.weights(3) == (Traffic(100, 0, 0),) * 3
    (left,) = walk.state.kept
    assert (left.version, left.scale, left.scales) == (NEW, 100, (100, 10, 0)), "it drains at the size that it had"


def test_capacity_lost_in_an_earlier_wave_counts() -> None:
    decision = in_wave(1, 10).look(1, ready_waves=(99, 10, 0), lost_for=60, stable_ready=100)
    assert decision.kind == "roll-back"
    assert decision.sentence == "ready capacity in wave 1 of 3 fell to 99 %, below its 100 %"
    assert in_wave(1, 10).look(1, ready_waves=(None, 10, 0)).kind == "hold", "unknown is not lost"


def test_a_shadow_answers_only_where_a_wave_is_done() -> None:
    walk = in_wave(1, 10, replace(SHADOW, waves=2))
    assert walk.state.weights(2) == (Traffic(0, 100, 0), Traffic(100, 0, 10))


def test_steps_that_end_below_all_traffic_need_all_of_it_before_the_next_wave() -> None:
    walk = in_wave(0, 10, replace(WAVES, steps=(PolicyStep(10, 60),))).given(ready=10, ready_waves=(10, 0, 0))
    assert walk.look(120).kind == "scale"
    assert walk.state.scales(3) == (100, 10, 0)
    assert walk.look(60, ready_waves=(10, 10, 0)).kind == "hold"
    assert walk.look(60, ready=100, ready_waves=(100, 10, 0)).state.weights(3)[0] == Traffic(0, 100, 0)


def test_blue_green_and_rolling_go_wave_by_wave_too() -> None:
    walk = Walk(replace(BLUE_GREEN, waves=2), ready=100, ready_waves=(100, 100)).until("baking").until("idle")
    assert walk.kinds == ["start", "advance", "advance", "promote"]
    walk = Walk(replace(ROLLING, waves=2), ready=50, ready_waves=(50, 0), results=())
    walk.look()
    assert [walk.look(60).state.traffic.candidate for _ in range(2)] == [50, 50]
    assert walk.look(60, ready=100, ready_waves=(100, 0)).state.traffic.candidate == 100
    assert walk.look(60).kind == "scale"
    assert walk.state.scales(2) == (100, 100), "a rolling update grows at once"
    assert walk.look(60, ready_waves=(100, 30)).state.weights(2) == (Traffic(0, 100, 0), Traffic(70, 30, 0))


def test_a_person_promotes_in_all_waves() -> None:
    walk = in_wave(0, 10).given(ready_waves=(100, 100, 99))
    assert walk.say("promote").kind == "scale"
    assert walk.state.scales(3) == (100, 100, 100)
    assert walk.look(60).sentence == "waits for ready capacity in wave 3 of 3: 99 % of 100 %"
    assert walk.look(60, **ALL).kind == "promote"


def test_the_first_deployment_goes_everywhere_at_once() -> None:
    walk = Walk(WAVES, RolloutState(), ready=100, ready_waves=(100, 99, 100))
    walk.look()
    assert walk.state.scales(3) == (100, 100, 100)
    assert walk.look(60).kind == "hold"
    assert walk.look(60, **ALL).kind == "promote"


def test_a_wave_that_an_edit_takes_away_is_merged_into_the_last() -> None:
    walk = in_wave(2, 10)
    walk.policy = replace(WAVES, waves=2)
    assert walk.state.weights(2) == (Traffic(0, 100, 0), Traffic(90, 10, 0))
    walk.look(600)
    assert walk.until("idle").state.stable == NEW


def test_a_commit_after_such_an_edit_can_be_read_back() -> None:
    walk = in_wave(2, 10)
    walk.policy = replace(WAVES, waves=2)
    decision = walk.say("pause")
    assert dict(trailers(decision))["Wave"] == "2/2"
    assert event_of(trailers(decision)) == decision.event


def test_a_canary_that_becomes_a_shadow_keeps_what_it_answers_in_its_wave_only() -> None:
    walk = in_wave(0, 10, replace(WAVES, waves=2))
    walk.policy = replace(SHADOW, steps=(PolicyStep(5, 60), PolicyStep(50, 60)), waves=2)
    weights = [walk.look(CANARY.warm_up + 60).state.weights(2) for _ in range(2)]
    assert weights == [
        (Traffic(90, 10, 50), Traffic(100, 0, 0)),
        (Traffic(0, 100, 0), Traffic(100, 0, 5)),
    ]


def test_what_the_next_weight_needs_is_known_before() -> None:
    walk = Walk(WAVES, **ALL)
    assert needed(WAVES, walk.state, NEW) == (10, 0, 0)
    assert needed(CANARY, STABLE, NEW) == (1,)
    assert needed(replace(ROLLING, waves=2), STABLE, NEW) == (100, 0)
    assert needed(WAVES, in_wave(0, 100).state, NEW) == (100, 10, 0)
    assert needed(WAVES, RolloutState(), NEW) == (100, 100, 100)


# --- Room --------------------------------------------------------------------------------------------------------


def test_without_room_nothing_is_rendered_and_the_wait_has_an_end() -> None:
    walk = Walk(room=False, ready=None)
    assert going(walk.look().state).scale == 0
    assert walk.state.phase == "waiting-for-capacity"
    assert walk.look(CANARY.capacity_timeout - 1).kind == "hold"
    assert walk.look(1).kind == "roll-back"
    assert walk.state.rejected == ()
    assert walk.look(60).sentence == (
        "2.3.0 waits for a person since it went back without a verdict: no room to carry 1 % within 3600 s"
    )
    assert walk.say("retry", seconds=60).kind == "retry"
    assert walk.look(60, room=True).kind == "start"


def test_room_lets_it_start() -> None:
    walk = Walk(room=False, ready=None)
    walk.look()
    assert walk.look(60, room=True).kind == "scale"
    assert (walk.state.phase, going(walk.state).scale) == ("starting", 1)


def test_a_warm_version_without_requests_makes_room() -> None:
    walk = Walk(room=False, state=replace(STABLE, kept=(kept(NEXT, 10**9),)), ready=None)
    walk.state = replace(walk.state, kept=(replace(walk.state.kept[0], drained=0),))
    walk.look()
    assert walk.look(60).kind == "retire"
    assert walk.state.kept == ()


def test_a_later_step_waits_for_room_too() -> None:
    walk = at_weight(10).given(ready=10, room=False)
    assert walk.look(1000).kind == "wait"
    assert (walk.state.phase, walk.state.traffic.candidate) == ("waiting-for-capacity", 10)
    assert walk.look(CANARY.capacity_timeout).kind == "roll-back"


# --- Judgement ---------------------------------------------------------------------------------------------------


def test_a_critical_breach_rolls_back_at_once() -> None:
    walk = at_weight(10)
    decision = walk.look(1, results=saying("fail"), stable_ready=40)
    assert (decision.kind, walk.state.traffic) == ("roll-back", Traffic(100, 0, 0))
    assert rejected(walk.state).reason == "error-rate: fail"
    assert "error-rate: fail" in decision.evidence
    assert [one.version for one in walk.state.kept] == [NEW]
    assert walk.look(CANARY.drain).kind == "retire"


def test_what_was_measured_before_the_first_request_counts_for_nothing() -> None:
    assert Walk(ready=0, results=saying("fail")).until("starting").look(60).kind == "hold"


def test_a_spike_pauses_at_the_present_weight_and_goes_on_when_it_is_over() -> None:
    walk = at_weight(10)
    assert walk.look(1, results=saying("warn")).kind == "pause"
    assert (walk.state.phase, walk.state.traffic.candidate) == ("paused", 10)
    assert walk.look(10, results=passing()).kind == "hold"
    assert walk.look(CANARY.warm_up).kind == "resume"
    assert walk.look(899).kind == "hold"
    assert walk.look(1).kind == "advance"


def test_a_pause_has_an_end() -> None:
    walk = at_weight(10).given(results=saying("warn"))
    walk.look(1)
    assert walk.look(CANARY.pause_timeout - 1).kind == "hold"
    assert walk.look(1).kind == "roll-back"


def test_a_pause_may_be_declared_to_wait_for_a_person() -> None:
    walk = at_weight(10, replace(CANARY, pause_outcome="hold")).given(results=saying("warn"))
    walk.look(1)
    assert walk.look(10**8).kind == "hold"
    assert walk.say("rollback").kind == "roll-back"


def test_what_stable_holds_back_goes_with_the_promotion() -> None:
    walk = at_weight(99, replace(CANARY, steps=(*CANARY.steps[:-1], PolicyStep(99, 3600))))
    assert (walk.state.traffic.stable, walk.state.traffic.candidate) == (1, 99)
    assert walk.look(CANARY.warm_up + 3600).kind == "promote"


def test_what_is_not_the_candidates_doing_holds_at_its_weight() -> None:
    walk = at_weight(10).given(results=saying("hold"))
    for _ in range(100):
        found = walk.look(60)
        assert found.kind == "hold"
    assert found.sentence == "waits at 10 %: error-rate: hold"
    assert walk.look(60, results=passing()).kind == "advance", "the bake is long over, and all is well"


def test_what_holds_may_be_declared_to_go_back_without_a_rejection() -> None:
    walk = at_weight(10, replace(CANARY, on_hold="roll-back"))
    assert walk.look(60, results=saying("hold")).kind == "roll-back"
    assert not walk.state.rejection(NEW.digest)
    walk.look(3600, results=passing())
    assert walk.look(60).kind == "hold"
    assert "waits for a person" in walk.decisions[-1].sentence


def test_a_person_may_accept_what_holds() -> None:
    walk = at_weight(10).given(results=saying("hold"))
    walk.say("pause", seconds=60)
    assert walk.say("resume").sentence == "resumed by ada, who accepts error-rate at this weight"
    assert walk.look(CANARY.warm_up + 900).kind == "advance"


def test_a_value_beyond_its_limit_by_chance_is_not_good_again() -> None:
    walk = at_weight(10)
    walk.look(1, results=saying("warn"))
    chance = tuple(replace(one, doubtful=True) for one in passing())
    assert walk.look(3600, results=chance).kind == "hold"
    assert walk.look(60, results=passing()).kind == "resume"
    assert walk.look(900, results=chance).kind == "advance", "which is enough to go on"


def test_a_person_may_accept_a_warning_for_one_weight() -> None:
    walk = at_weight(10).given(results=saying("warn"))
    walk.look(1)
    assert walk.say("resume").kind == "resume"
    assert walk.look(CANARY.warm_up + 900).kind == "advance"
    assert walk.look(1).kind == "pause"


def test_a_person_may_accept_too_few_samples_for_one_weight() -> None:
    walk = at_weight(10).given(results=saying("too few samples"))
    assert walk.until("paused").say("resume").sentence == (
        "resumed by ada, who accepts error-rate (too few samples) at this weight"
    )
    assert walk.look(899).kind == "hold"
    assert walk.look(1).kind == "advance", "the word of a person counts"
    walk.until("paused").say("resume")
    assert walk.look(60, results=saying("warn")).kind == "pause", "and for nothing else"


@pytest.mark.parametrize("results", [outage(), saying("no data"), outage(total=False), ()])
def test_a_person_who_resumes_without_data_is_not_undone_and_nothing_advances_without_any(results: Any) -> None:
    walk = at_weight(10).given(results=results)
    walk.until("paused").say("resume")
    assert {walk.look(600).kind for _ in range(20)} == {"hold"}
    assert "waits at 10 %" in walk.decisions[-1].sentence
    assert walk.look(60, results=passing()).kind == "advance"
    walk = at_weight(10).given(results=results)
    walk.until("paused").say("resume")
    assert walk.look(60, results=saying("warn")).kind == "pause", "something new is seen"


def test_evidence_begins_anew_when_the_rollout_is_resumed() -> None:
    walk = at_weight(10)
    assert going(walk.state).resumed == 0
    walk.look(1, results=saying("warn"))
    walk.look(600, results=passing())
    assert going(walk.state).resumed == walk.seen.now
    walk.look(900)
    assert (going(walk.state).weight, going(walk.state).resumed) == (50, 0)
    assert going(walk.state).earlier == (walk.seen.now - 900,), "of the weight before, since the resume"


def test_a_rollout_knows_when_its_weights_were_set() -> None:
    walk = at_weight(1)
    first = going(walk.state).since
    assert going(walk.state).earlier == (), "what it had before its first traffic is none"
    while going(walk.state).weight < 10:
        walk.look(60)
    second = going(walk.state).since
    assert going(walk.state).earlier == (first,)
    while going(walk.state).weight < 50:
        walk.look(60)
    assert going(walk.state).earlier == (first, second)


def test_what_a_person_accepted_does_not_accuse_at_the_next_weight() -> None:
    walk = at_weight(10).given(results=saying("warn"))
    walk.until("paused").say("resume")
    walk.look(900)
    assert (going(walk.state).weight, going(walk.state).earlier) == (50, ())


@pytest.mark.parametrize("status", ["no data", "too few samples"])
def test_missing_data_never_passes_and_has_a_deadline(status: str) -> None:
    walk = at_weight(10).given(results=saying(status))  # type: ignore[arg-type]
    deadline = CANARY.no_data_deadline if status == "no data" else CANARY.too_few_deadline
    assert walk.look(CANARY.warm_up + 900 + deadline - 1).kind == "hold"
    assert walk.look(1).kind == "pause"
    assert walk.look(CANARY.pause_timeout).kind == "roll-back"


def test_a_declared_gate_without_a_result_has_no_data() -> None:
    walk = at_weight(10).given(results=passing()[:1])
    assert walk.look(1000).sentence == "waits at 10 %: error-rate: no data"


def test_an_observer_that_knows_since_when_data_is_missing_is_believed() -> None:
    walk = at_weight(50)
    silent = saying("no data", lasting=CANARY.no_data_deadline)
    assert walk.look(CANARY.warm_up - 1, results=silent).kind == "hold"
    assert walk.look(1).kind == "pause"


def test_missing_data_may_be_declared_a_reason_to_roll_back() -> None:
    walk = at_weight(10, replace(CANARY, no_data="roll-back", too_few="roll-back"))
    assert walk.look(1, results=saying("no data")).kind == "hold"
    assert walk.look(1600).kind == "roll-back"
    walk = at_weight(10, replace(CANARY, too_few="roll-back")).given(results=saying("too few samples"))
    assert walk.look(3000).kind == "roll-back"


def test_too_few_requests_may_be_declared_no_obstacle() -> None:
    walk = at_weight(1, replace(CANARY, too_few="advance")).given(results=saying("too few samples"), ready=1)
    assert walk.look(2000).kind == "hold"
    assert walk.look(1000).kind == "scale"
    assert walk.look(60, ready=10).kind == "advance"


def test_a_metrics_outage_pauses_and_does_not_reject_the_model() -> None:
    walk = at_weight(10)
    assert walk.look(1, results=outage(total=False)).kind == "hold"
    assert walk.look(1, results=outage()).kind == "pause"
    assert walk.state.rejected == ()
    assert walk.look(600, results=passing()).kind == "resume"


def test_lost_capacity_rolls_back_or_pauses_as_declared() -> None:
    assert at_weight(50).look(1, ready=49, lost_for=60, stable_ready=100).kind == "roll-back"
    walk = at_weight(50, replace(CANARY, lost_capacity="pause"))
    assert walk.look(1, ready=49, lost_for=60, stable_ready=100).kind == "pause"
    assert walk.look(600).kind == "hold"
    assert walk.look(1, ready=50).kind == "resume"


def test_a_single_look_of_lost_capacity_is_waited_for() -> None:
    """One of three pods at all traffic, the only one at 1 %."""
    for weight, left in ((100, 66), (1, 0)):
        walk = at_weight(weight)
        seen = walk.look(15, ready=left, lost_for=15, stable_ready=100, trouble="dev: pod chat-1 has no node")
        assert seen.kind == "hold"
        assert seen.sentence == (
            f"ready capacity is {left} %, below its {weight} %: looks again; dev: pod chat-1 has no node"
        )
        assert walk.look(15, ready=left, lost_for=30).kind == "hold"
        assert walk.look(15, ready=100, lost_for=0).kind == "hold"
        assert walk.state.phase == "baking", "and the bake goes on"


def test_nothing_grows_while_capacity_is_missing() -> None:
    walk = at_weight(10)
    assert walk.look(2000, ready=5, lost_for=15, stable_ready=100).kind == "hold"


def test_lost_capacity_rejects_only_a_version_whose_pods_crash() -> None:
    for crashed in (False, True):
        walk = at_weight(50)
        assert walk.look(1, ready=0, lost_for=60, stable_ready=100, crashed=crashed).kind == "roll-back"
        assert bool(walk.state.rejected) is crashed


def test_traffic_goes_back_only_to_what_can_carry_it() -> None:
    """Two of three of the candidate carry more than none or one of stable; a half of both is no worse than one."""
    for candidate, stable, kind in ((66, 0, "pause"), (66, 33, "pause"), (66, 66, "roll-back"), (0, 33, "roll-back")):
        walk = at_weight(100)
        assert walk.look(1, ready=candidate, lost_for=60, stable_ready=stable).kind == kind
    walk = at_weight(100)
    paused = walk.look(1, ready=66, lost_for=60, stable_ready=0)
    assert paused.sentence == "ready capacity fell to 66 %, below its 100 %; 2.2.0 is ready for 0 % only"
    assert walk.look(60, stable_ready=100, lost_for=120).kind == "roll-back", "as soon as it can"
    assert walk.state.rejected == ()


def test_what_a_gate_condemns_stays_where_it_is_while_there_is_nothing_to_go_back_to() -> None:
    walk = at_weight(50)
    held = walk.look(1, results=saying("fail"), stable_ready=0)
    assert (held.kind, walk.state.traffic.candidate) == ("pause", 50)
    assert held.sentence == "error-rate: fail; 2.2.0 has no ready replica to go back to"
    assert walk.look(60).kind == "hold"
    assert walk.look(60, stable_ready=20).kind == "roll-back"
    assert walk.state.rejection(NEW.digest)


def test_a_person_goes_back_whatever_is_ready() -> None:
    walk = at_weight(50)
    walk.given(stable_ready=0)
    assert walk.say("abort").kind == "roll-back"


def test_a_pause_for_capacity_that_lasts_too_long_accuses_nobody() -> None:
    walk = at_weight(50)
    walk.look(1, ready=0, lost_for=60, stable_ready=0)
    walk.given(stable_ready=None)
    assert walk.look(90_000).kind == "roll-back"
    assert walk.state.rejected == ()


def test_a_gate_that_flutters_cannot_hold_a_step_for_ever() -> None:
    walk = at_weight(10)
    for _ in range(CANARY.step_limit(10) // 60 + 1):
        warned = walk.state.phase == "baking"
        if walk.look(60, results=saying("warn") if warned else passing()).kind == "roll-back":
            return
    pytest.fail("it fluttered for ever")


def test_data_that_stop_while_capacity_is_awaited_do_not_pass() -> None:
    walk = at_weight(10).given(ready=10)
    assert walk.look(1000).kind == "scale"
    assert walk.look(60, ready=100, results=passing()[:1]).kind == "hold"
    assert walk.look(60, results=passing()).kind == "advance"


# --- Targets and rejections --------------------------------------------------------------------------------------


def test_a_new_target_sends_traffic_to_stable_and_starts_again() -> None:
    walk = at_weight(50)
    assert walk.look(1, target=NEXT).kind == "roll-back"
    assert (walk.state.traffic, walk.state.rejected) == (Traffic(100, 0, 0), ())
    assert walk.look(1).kind == "start"
    assert going(walk.state).version == NEXT


def test_a_rejected_version_stays_rejected_until_the_spec_changes() -> None:
    walk = at_weight(10)
    walk.look(1, results=saying("fail"))
    walk.given(results=passing())
    assert walk.look(1).sentence == "2.3.0 is rejected: error-rate: fail"
    assert walk.look(10**6).kind == "retire"
    assert walk.look(10**6).kind == "hold"
    assert walk.look(1, target=OLD).kind == "clear"
    assert walk.look(1, target=NEW).kind == "start"


def test_a_spec_that_names_another_version_and_then_the_rejected_one_again_starts_it() -> None:
    """A person edited the spec twice: that is a decision. Nobody looked in between: then nothing has lapsed."""
    walk = at_weight(10)
    walk.look(1, results=saying("fail"))
    walk.given(results=passing())
    assert walk.look(1, target=NEXT, entry="2.4.0 is not verified in staging yet").kind == "clear"
    assert walk.look(1).kind == "hold"
    assert walk.look(1, target=NEW, entry="").kind == "start"


def test_the_same_artifact_under_another_name_stays_rejected() -> None:
    walk = at_weight(10)
    walk.look(1, results=saying("fail"))
    assert walk.look(1, target=NEW._replace(version="2.3.1")).kind == "hold"


def test_a_retry_lifts_the_rejection() -> None:
    walk = at_weight(10)
    walk.look(1, results=saying("fail"))
    assert walk.say("retry").kind == "retry"
    assert walk.look(1, results=passing()).kind == "start"
    assert walk.state.kept == (), "its pods are taken over"


# --- People ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["abort", "rollback"])
def test_going_back_wins_over_everything(kind: str) -> None:
    others = tuple(Command(other, "bob") for other in ("promote", "resume", "pause"))
    walk = at_weight(50).given(freeze="holidays", ready=0, room=False, results=saying("warn"))
    decision = walk.look(1, commands=(*others, Command(kind, "ada")))  # type: ignore[arg-type]
    assert (decision.kind, decision.refused, walk.state.traffic.stable) == ("roll-back", "", 100)
    assert walk.state.rejection(NEW.digest)


def test_rollback_after_the_promotion_goes_to_the_warm_version_at_once() -> None:
    walk = Walk().until("baking").until("idle").given(ready=None)
    assert walk.say("rollback", seconds=60).kind == "roll-back"
    assert (walk.state.stable, walk.state.traffic.stable) == (OLD, 100)
    assert [one.version for one in walk.state.kept] == [NEW]
    assert walk.look(60).sentence == "2.3.0 is rejected: rolled back by ada"


def test_nothing_brings_a_version_back_that_a_person_rolled_back() -> None:
    walk = Walk().until("baking").until("idle")
    decision = walk.say("rollback", seconds=60)
    assert decision.event
    assert (decision.event.version, decision.event.previous, decision.event.rejects) == (NEW, "2.2.0", True)
    assert walk.say("rollback").refused.startswith("the version before is not warm")
    assert walk.say("rollback", "2.3.0").refused == "2.3.0 is rejected (rolled back by ada): retry it"
    kinds = {walk.look(seconds).kind for seconds in (1, CANARY.drain, CANARY.keep_warm, 10**7)}
    assert kinds == {"hold", "retire"}, "its pods go after its last requests"
    rejection = walk.state.rejection(NEW.digest)
    assert walk.state == RolloutState(stable=OLD, rejected=(rejection,) if rejection else ())


def test_the_version_that_stands_by_goes_when_its_time_is_over_even_while_another_rolls_out() -> None:
    walk = Walk().until("baking").until("idle")
    walk.given(target=NEXT).until("baking")
    assert [walk.look(seconds).kind for seconds in (CANARY.keep_warm, 1)] == ["advance", "retire"]
    assert walk.say("rollback", "2.2.0").state.stable == NEW, "the candidate goes in any case"


def test_a_version_with_few_pods_is_no_place_to_go_back_to() -> None:
    walk = at_weight(10)
    walk.look(1, target=NEXT)
    assert [(one.version, one.scale) for one in walk.state.kept] == [(NEW, 10)]
    assert walk.say("rollback", "2.3.0").refused.startswith("2.3.0 has pods for 10 % of traffic only")
    walk.until("baking")
    walk.state = replace(walk.state, kept=(replace(kept(NEW, 10**9), scale=10),))
    assert walk.say("rollback", "2.3.0").state.stable == OLD


def test_a_version_that_never_had_pods_leaves_none() -> None:
    walk = Walk(room=False)
    walk.look()
    assert walk.say("abort").kind == "roll-back"
    assert walk.state.kept == ()


def test_rollback_names_a_warm_version_or_is_refused() -> None:
    walk = Walk(state=RolloutState(NEW, kept=(kept(OLD, 10**9),)))
    assert walk.say("rollback", "1.0.0").refused.startswith("1.0.0 is not warm")
    assert walk.say("rollback", "2.3.0").refused == "2.3.0 has all traffic already"
    assert walk.say("rollback", "2.2.0").state.stable == OLD
    assert Walk(state=RolloutState(NEW)).say("rollback").refused.startswith("the version before is not warm")
    assert Walk(state=RolloutState(), freeze="x").say("rollback").refused == "nothing is deployed"


def test_rollback_of_a_candidate_to_the_version_before_stable() -> None:
    walk = at_weight(10).given(target=NEW)
    walk.state = replace(walk.state, kept=(kept(NEXT, 10**9),))
    assert walk.say("rollback", "2.4.0").state.stable == NEXT
    assert {one.version for one in walk.state.kept} == {OLD, NEW}
    assert {one.version for one in walk.state.rejected} == {OLD, NEW}, "later environments hear of both"
    event = walk.decisions[-1].event
    assert event_of(trailers(walk.decisions[-1])) == event
    assert walk.look(1).sentence == "2.3.0 is rejected: rolled back by ada", "nothing lapses, and nothing starts"
    walk = at_weight(10)
    assert walk.say("rollback", "1.0.0").state.stable == OLD, "the candidate goes in any case"


def test_rollback_to_a_rejected_version_is_refused() -> None:
    walk = at_weight(10)
    walk.look(1, results=saying("fail"))
    assert walk.say("rollback", "2.3.0").refused == "2.3.0 is rejected (error-rate: fail): retry it"


def test_what_a_person_leaves_is_rejected_whatever_the_spec_names() -> None:
    """It may be on its way in a later environment. Here it lapses with the next look, which starts what is named."""
    walk = at_weight(10).given(target=NEXT)
    assert walk.say("abort").kind == "roll-back"
    assert [one.version for one in walk.state.rejected] == [NEW]
    assert [walk.look(1).kind for _ in range(2)] == ["clear", "start"]


def test_by_itself_only_what_the_spec_names_is_rejected() -> None:
    walk = at_weight(10)
    assert walk.look(1, target=NEXT, results=saying("fail")).kind == "roll-back"
    assert walk.state.rejected == ()
    assert going(walk.look(1).state).version == NEXT


def test_a_promotion_keeps_one_warm_version_and_what_still_drains() -> None:
    walk = at_weight(100)
    over, draining = kept(NEXT, 10**9), kept(NEXT._replace(version="2.1.0"), 10**9)
    walk.state = replace(walk.state, kept=(replace(over, drained=0), draining))
    walk.until("idle", every=3700)
    assert [one.version.version for one in walk.state.kept] == ["2.1.0", "2.2.0"]
    assert [one.previous for one in walk.state.kept] == [False, True]


def test_a_persons_pause_ends_only_by_a_person_or_its_deadline() -> None:
    walk = at_weight(10)
    assert walk.say("pause").kind == "pause"
    assert walk.look(7200).kind == "hold"
    assert walk.say("pause").refused
    assert walk.say("resume").kind == "resume"
    assert walk.say("resume").refused == "the rollout is not paused"


def test_a_person_takes_over_a_pause() -> None:
    walk = at_weight(10)
    walk.look(1, results=saying("warn"))
    assert walk.say("pause", seconds=1000).kind == "pause"
    assert walk.look(CANARY.pause_timeout - 1001, results=passing()).kind == "hold"
    assert walk.look(1).kind == "roll-back", "taking over does not prolong it"


def test_a_pause_before_the_first_traffic_resumes_there() -> None:
    for room, phase in ((True, "starting"), (False, "waiting-for-capacity")):
        walk = Walk(ready=0, room=room)
        walk.look()
        assert walk.say("pause").kind == "pause"
        walk.say("resume")
        assert walk.state.phase == phase


def test_promote_skips_the_steps_but_not_capacity() -> None:
    walk = at_weight(1).given(ready=30)
    assert walk.say("promote").kind == "scale"
    assert (walk.state.phase, going(walk.state).scale, walk.state.traffic.candidate) == ("promoting", 100, 1)
    assert walk.say("promote").refused
    assert walk.look(60, results=saying("warn")).kind == "hold", "a person decided"
    assert walk.look(60, ready=100).kind == "promote"
    assert at_weight(1).say("promote").kind == "promote"


def test_promoting_ends_too() -> None:
    walk = at_weight(1).given(ready=30)
    walk.say("promote")
    assert walk.look(1, results=saying("fail")).kind == "roll-back"
    walk = at_weight(1).given(ready=30)
    walk.say("promote")
    walk.say("pause")
    assert walk.say("resume").state.phase == "promoting"
    assert walk.look(CANARY.ready_timeout).kind == "roll-back"


def test_a_start_waits_for_enough_different_people() -> None:
    walk = Walk(replace(CANARY, approvals=2))
    assert walk.look().sentence == "2.3.0 waits for approval: 0 of 2"
    assert walk.say("approve", by="ada").kind == "approve"
    assert walk.say("approve", by="ada").refused
    assert walk.look(1, approvals=("ada",)).sentence == "2.3.0 waits for approval: 1 of 2 (ada)"
    assert walk.look(1, approvals=("ci",)).kind == "start"
    assert walk.until("baking").until("idle").state.approvals == ()


def test_an_approval_is_of_one_digest() -> None:
    walk = Walk(replace(CANARY, approvals=1))
    walk.say("approve")
    assert walk.look(1, target=NEXT).kind == "clear"
    assert walk.look(1).sentence == "2.4.0 waits for approval: 0 of 1"
    walk.say("approve")
    assert walk.look(1).kind == "start"
    assert walk.look(1, target=OLD).kind == "roll-back"
    assert walk.look(1).kind == "clear", "nothing is left of a version that the spec names no more"
    assert walk.state.approvals == ()


def test_a_version_that_failed_is_approved_anew() -> None:
    walk = Walk(replace(CANARY, approvals=1))
    walk.say("approve")
    walk.until("baking")
    walk.look(1, results=saying("fail"))
    walk.say("retry")
    assert walk.look(1, results=passing()).sentence == "2.3.0 waits for approval: 0 of 1"


def test_a_freeze_stops_the_way_up_only() -> None:
    assert Walk(freeze="holidays").look().sentence == "2.3.0 waits: frozen, holidays"
    walk = at_weight(10).given(freeze="holidays")
    assert walk.look(5000).sentence == "frozen: holidays"
    assert walk.say("promote").refused == "frozen: holidays"
    assert walk.look(1, results=saying("fail")).kind == "roll-back"


def test_a_freeze_that_outlasts_all_deadlines_takes_it_back_but_does_not_reject_it() -> None:
    policy = replace(CANARY, approvals=1)
    walk = Walk(policy)
    walk.say("approve")
    walk.until("baking").given(freeze="holidays")
    assert walk.look(CANARY.step_limit(1) - 1).kind == "hold"
    assert walk.look(1).kind == "roll-back"
    assert walk.state.rejected == ()
    assert walk.look(60).sentence == "2.3.0 waits: frozen, holidays"
    assert walk.look(60, freeze="").kind == "start"


# --- Permission to start -----------------------------------------------------------------------------------------


def test_what_is_not_verified_before_does_not_start_and_disturbs_nothing() -> None:
    walk = Walk(entry="2.3.0 is not verified in staging yet")
    assert walk.look().sentence == "2.3.0 waits: 2.3.0 is not verified in staging yet"
    assert walk.say("promote").refused == "2.3.0 waits: 2.3.0 is not verified in staging yet"
    assert walk.look(60, entry="").kind == "start"
    walk.given(entry="2.3.0 is not verified in staging any more").until("baking").until("idle")
    assert walk.state.stable == NEW


def test_a_manual_promotion_waits_for_a_person() -> None:
    walk = Walk(manual=True)
    assert walk.look(10**7).sentence == "2.3.0 waits for a person to promote it"
    assert walk.say("approve").refused == "nothing waits for approval"
    decision = walk.say("promote")
    assert (decision.kind, decision.sentence) == ("start", "2.3.0 to replace 2.2.0, started by ada")
    assert decision.event
    assert (decision.event.by, decision.event.hotfix) == ("ada", False)
    assert walk.until("baking").until("idle").state.stable == NEW, "one consent is enough for the whole way"


def test_where_approvals_are_asked_for_they_are_the_consent() -> None:
    walk = Walk(replace(CANARY, approvals=2), manual=True)
    assert walk.say("promote").refused == "2.3.0 waits for approval: 0 of 2"
    walk.say("approve", by="ada")
    assert walk.say("approve", by="bob").kind == "approve"
    assert walk.look(1).kind == "start"


def test_a_hotfix_goes_past_the_environment_before_and_a_freeze_and_says_so() -> None:
    walk = Walk(entry="2.3.0 is not verified in staging yet", freeze="holidays", manual=True)
    decision = walk.look(1, commands=(HOTFIX,))
    assert decision.kind == "start"
    assert decision.sentence == (
        "2.3.0 to replace 2.2.0, a hotfix by ada in spite of: 2.3.0 is not verified in staging yet; frozen: holidays"
    )
    assert dict(trailers(decision))["Hotfix"] == "yes"
    assert walk.until("baking").until("idle").state.stable == NEW, "it goes on through the freeze, judged as ever"


def test_a_hotfix_is_judged_like_any_version() -> None:
    walk = Walk(freeze="holidays")
    walk.look(1, commands=(HOTFIX,))
    walk.until("baking")
    assert walk.look(1, results=saying("fail")).kind == "roll-back"
    assert walk.look(1, commands=(HOTFIX,)).refused == "2.3.0 is rejected: error-rate: fail"


def test_a_hotfix_needs_its_approvals() -> None:
    walk = Walk(replace(CANARY, approvals=1), freeze="holidays")
    assert walk.look(1, commands=(HOTFIX,)).refused == "2.3.0 waits for approval: 0 of 1"
    assert walk.say("approve", by="bob").kind == "approve", "a freeze does not stop people from agreeing"
    assert walk.look(1, commands=(HOTFIX,)).kind == "start"


def test_what_is_under_way_cannot_become_a_hotfix() -> None:
    walk = at_weight(10).given(freeze="holidays")
    refused = walk.look(1, commands=(HOTFIX,)).refused
    assert refused == "frozen: holidays; only what is not under way yet can start as a hotfix"


@pytest.mark.parametrize("kind", ["abort", "pause", "resume", "retry", "approve"])
def test_a_command_without_anything_to_do_is_refused_and_stops_nothing(kind: str) -> None:
    decision = Walk().say(kind)  # type: ignore[arg-type]
    assert decision.refused
    assert decision.kind == "start"


def test_what_is_urgent_comes_before_a_command() -> None:
    decision = at_weight(10).given(results=saying("fail")).say("promote")
    assert decision.kind == "roll-back"
    assert decision.refused == "something more urgent came first: error-rate: fail"


# --- The table ---------------------------------------------------------------------------------------------------


DOCUMENT = (Path(__file__).parents[2] / "docs" / "rollouts.md").read_text()


def rows(after: str) -> list[list[str]]:
    """The cells of the first table below these words."""
    table = re.search(r"(?:^\|.*\n)+", DOCUMENT[DOCUMENT.index(after) :], re.MULTILINE)
    assert table, f"no table below {after}"
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]


def test_the_diagram_shows_the_table() -> None:
    arrows = re.findall(r"^ +(\w+) --> (\w+): (.+)$", DOCUMENT, re.MULTILINE)
    shown = {
        (source.replace("_", "-"), kind, target.replace("_", "-"))
        for source, target, kinds in arrows
        for kind in kinds.split(", ")
    }
    assert shown == {one[:3] for one in TRANSITIONS}
    assert len(TRANSITIONS) == len(shown)


def test_the_document_has_every_transition_with_its_reason() -> None:
    assert rows("| phase | decision | next phase |") == [list(one) for one in TRANSITIONS]


def test_the_document_has_the_rules_in_their_order() -> None:
    ordered = re.compile(r"^\d+\. .+$", re.MULTILINE)
    assert machine.__doc__
    assert ordered.findall(DOCUMENT) == ordered.findall(machine.__doc__)


def test_the_document_has_every_deadline_and_what_may_be_declared() -> None:
    _, *cells = zip(*rows("### Deadlines"), strict=True)
    defaults = RolloutBase().model_dump(by_alias=True)
    declared = {key: value for key, value in defaults.items() if isinstance(value, str) and re.match(r"\d", value)}
    declared |= {f"{key}.after": value["after"] for key, value in defaults.items() if isinstance(value, dict)}
    assert dict(re.findall(r"`([\w.]+)` \((\w+)\)", " ".join(cells[1]))) == declared
    outcomes = {
        name: set(re.findall(r"`([\w-]+)`", words))
        for name, words in re.findall(r"`(\S+)`: (.+?)(?= \||$)", "\n".join(cells[2]), re.MULTILINE)
    }
    assert outcomes == {
        "afterPauseTimeout": set(get_args(RolloutBase.model_fields["after_pause_timeout"].annotation)),
        "noData.then": set(get_args(NoData.model_fields["then"].annotation)),
        "tooFewSamples.then": set(get_args(TooFewSamples.model_fields["then"].annotation)),
    }


def test_the_document_has_every_strategy_verdict_command_and_trailer() -> None:
    assert {row[0].strip("`") for row in rows("## Strategies")} == set(get_args(Strategy))
    assert [row[0] for row in rows("| verdict |")] == list(get_args(Status))
    assert {row[0].strip("`").removeprefix("gitops ") for row in rows("## What people can do")} == set(CAUTION)
    told = Event("pause", 1, NEW, "x", "baking", 1, 2, 3, 4, 5, (5, 6), 1, 2, True, by="x", reason="x", rejects=True)
    told = replace(
        told, tolerates=("x",), waits="person", despite=("x",), drained=1, until=1, load=(("eu", Fraction(2)),)
    )
    told = replace(told, runs="x", consent=Consent("n", "s"), clusters=(("eu",), ("us", "ap")))
    said = {key for key, _ in trailers_of(told)}
    shown = {key for row in rows("| trailer |") for key in re.findall(r"`([\w-]+)`", row[0])}
    assert shown == said | {"Rollout", "Model", "Environment", "Spec-Commit"}


def test_the_document_says_what_replicas_give_without_a_gateway() -> None:
    header = re.search(r"\| replicas of stable \| a weight of (.+) \|\n", DOCUMENT)
    assert header
    weights = [int(cell) for cell in header[1].split(" | ")]
    for stable, *shares in rows("| replicas of stable |"):
        assert [replica_share(weight, int(stable))[1] for weight in weights] == [int(share[:-2]) for share in shares]


# --- Policies ----------------------------------------------------------------------------------------------------


def test_policies_come_from_the_spec() -> None:
    gates = [{"metric": "error-rate", "rollback": "1%"}]
    steps = [{"weight": 10, "bake": "15m"}, {"weight": 100}]
    canary = Canary.model_validate({"strategy": "canary", "steps": steps, "gates": gates, "readyTimeout": "5m"})
    assert policy_of(canary) == Policy("canary", (PolicyStep(10, 900), PolicyStep(100, 0)), ("error-rate",), 300)
    blue_green = policy_of(BlueGreen.model_validate({"strategy": "blue-green"}))
    assert blue_green == Policy("blue-green", (PolicyStep(100, 600),))
    assert policy_of(Rolling.model_validate({"strategy": "rolling"})) == Policy("rolling")


def test_a_clock_that_steps_back_changes_nothing() -> None:
    walk = at_weight(10)
    seen = Observation(0, NEW, ready=100, results=(Verdict("error-rate", "pass", ""),))
    assert step(CANARY, walk.state, seen).kind == "hold"
