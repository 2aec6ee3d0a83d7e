"""Every transition of a rollout, one look at a time."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from gitops.rollout import phases
from gitops.rollout.machine import step
from gitops.rollout.observation import Command, Observation
from gitops.rollout.phases import TRANSITIONS
from gitops.rollout.policy import Policy, PolicyStep, policy_of
from gitops.rollout.state import RolloutState, Traffic
from gitops.rollout.verdicts import Verdict
from gitops.spec.pipeline import BlueGreen, Canary, Rolling
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
    assert walk.look().state.candidate.scale == 1
    assert walk.look(60).sentence == "waits for ready capacity: 0 % of 1 %"
    assert walk.look(60, ready=1).kind == "advance"
    assert walk.look(1000).kind == "scale"
    assert (walk.state.phase, walk.state.candidate.scale, walk.state.traffic.candidate) == ("starting", 10, 1)
    assert walk.look(60, ready=9).kind == "hold"
    assert walk.look(60, ready=10).kind == "advance"


def test_unknown_capacity_is_neither_ready_nor_lost() -> None:
    walk = at_weight(10).given(ready=None)
    assert walk.look(2000).kind == "hold"
    assert walk.look(1, ready=100).kind == "advance"


def test_the_first_deployment_skips_the_steps() -> None:
    walk = Walk(state=RolloutState(), ready=0, results=())
    assert walk.look().state.candidate.scale == 100
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
    assert walk.state.candidate.scale == 100
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


# --- Room --------------------------------------------------------------------------------------------------------


def test_without_room_nothing_is_rendered_and_the_wait_has_an_end() -> None:
    walk = Walk(room=False, ready=None)
    assert walk.look().state.candidate.scale == 0
    assert walk.state.phase == "waiting-for-capacity"
    assert walk.look(CANARY.capacity_timeout - 1).kind == "hold"
    assert walk.look(1).kind == "roll-back"
    assert "no room" in walk.state.rejection(NEW.digest).reason


def test_room_lets_it_start() -> None:
    walk = Walk(room=False, ready=None)
    walk.look()
    assert walk.look(60, room=True).kind == "scale"
    assert (walk.state.phase, walk.state.candidate.scale) == ("starting", 1)


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
    assert walk.state.rejection(NEW.digest).reason == "error-rate: fail"
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


def test_a_person_may_accept_a_warning_for_one_weight() -> None:
    walk = at_weight(10).given(results=saying("warn"))
    walk.look(1)
    assert walk.say("resume").kind == "resume"
    assert walk.look(CANARY.warm_up + 900).kind == "advance"
    assert walk.look(1).kind == "pause"


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
    assert at_weight(50).look(1, ready=49).kind == "roll-back"
    walk = at_weight(50, replace(CANARY, lost_capacity="pause"))
    assert walk.look(1, ready=49).kind == "pause"
    assert walk.look(600).kind == "hold"
    assert walk.look(1, ready=50).kind == "resume"


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
    assert walk.state.candidate.version == NEXT


def test_a_rejected_version_stays_rejected_until_the_spec_changes() -> None:
    walk = at_weight(10)
    walk.look(1, results=saying("fail"))
    walk.given(results=passing())
    assert walk.look(1).sentence == "2.3.0 is rejected: error-rate: fail"
    assert walk.look(10**6).kind == "retire"
    assert walk.look(10**6).kind == "hold"
    assert walk.look(1, target=OLD).kind == "clear"
    assert walk.look(1, target=NEW).kind == "start"


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
    walk = at_weight(10)
    assert walk.say("rollback", "1.0.0").state.stable == OLD, "the candidate goes in any case"


def test_rollback_to_a_rejected_version_is_refused() -> None:
    walk = at_weight(10)
    walk.look(1, results=saying("fail"))
    assert walk.say("rollback", "2.3.0").refused == "2.3.0 is rejected (error-rate: fail): retry it"


def test_only_what_the_spec_names_is_rejected() -> None:
    walk = at_weight(10).given(target=NEXT)
    assert walk.say("abort").kind == "roll-back"
    assert walk.state.rejected == ()
    assert walk.look(1).state.candidate.version == NEXT


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
    assert (walk.state.phase, walk.state.candidate.scale, walk.state.traffic.candidate) == ("promoting", 100, 1)
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
    assert walk.state.approvals == ()


def test_an_approval_is_of_one_digest() -> None:
    walk = Walk(replace(CANARY, approvals=1))
    walk.say("approve")
    assert walk.look(1, target=NEXT).kind == "hold"


def test_a_freeze_stops_the_way_up_only() -> None:
    assert Walk(freeze="holidays").look().sentence == "2.3.0 waits: frozen, holidays"
    walk = at_weight(10).given(freeze="holidays")
    assert walk.look(5000).sentence == "frozen: holidays"
    assert walk.say("promote").refused == "frozen: holidays"
    assert walk.look(1, results=saying("fail")).kind == "roll-back"


@pytest.mark.parametrize("kind", ["abort", "pause", "resume", "promote", "retry", "approve"])
def test_a_command_without_anything_to_do_is_refused_and_stops_nothing(kind: str) -> None:
    decision = Walk().say(kind)  # type: ignore[arg-type]
    assert decision.refused
    assert decision.kind == "start"


def test_what_is_urgent_comes_before_a_command() -> None:
    decision = at_weight(10).given(results=saying("fail")).say("promote")
    assert decision.kind == "roll-back"
    assert decision.refused == "something more urgent came first: error-rate: fail"


# --- The table ---------------------------------------------------------------------------------------------------


def test_the_diagram_shows_the_table() -> None:
    arrows = re.findall(r"^ +(\w+) --> (\w+): (.+)$", phases.__doc__ or "", re.MULTILINE)
    shown = {
        (source.replace("_", "-"), kind, target.replace("_", "-"))
        for source, target, kinds in arrows
        for kind in kinds.split(", ")
    }
    assert shown == {one[:3] for one in TRANSITIONS}
    assert len(TRANSITIONS) == len(shown)


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
    seen = Observation(0, NEW, 100, results=(Verdict("error-rate", "pass", ""),))
    assert step(CANARY, walk.state, seen).kind == "hold"
