"""What becomes of a version when its rollout stops: every row of the table is taken, and the document has them all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from gitops.rollout.endings import BACK, PAUSED, BackCause, Outcome, PauseCause
from gitops.rollout.machine import trailers
from gitops.rollout.observation import Command, Objection
from gitops.rollout.policy import Policy
from gitops.rollout.progress import UNWATCHED
from gitops.rollout.release import dump_release, parse_release
from gitops.rollout.replay import replay
from tests.rollout.looks import CANARY, NEW, NEXT, STABLE, Walk, at_weight, outage, passing, saying
from tests.rollout.test_machine import rows
from tests.rollout.test_release_as_written import ALL

DEAD = "eu-1: connection refused"
HOUR = 3600


def starting(**seen: object) -> Walk:
    walk = Walk(ready=0, **seen)
    walk.look()
    return walk


def paused(policy: Policy = CANARY) -> Walk:
    """Paused by a gate, a day ago."""
    walk = at_weight(10, policy).given(results=saying("warn"))
    walk.look(1)
    return walk.given(now=walk.seen.now + CANARY.pause_timeout)


def waiting_for_a_person() -> Walk:
    walk = at_weight(10)
    walk.say("pause")
    return walk.given(now=walk.seen.now + CANARY.pause_timeout)


def frozen() -> Walk:
    walk = at_weight(10).given(freeze="holidays")
    return walk.given(now=walk.seen.now + CANARY.step_limit(10))


def full() -> Walk:
    walk = Walk(room=False)
    walk.look()
    return walk.given(now=walk.seen.now + CANARY.capacity_timeout)


def blind(policy: Policy, status: str) -> Walk:
    walk = at_weight(10, policy).given(results=saying(status))  # type: ignore[arg-type]
    return walk.given(now=walk.seen.now + 4 * HOUR)


ENDS: dict[BackCause, Callable[[], Walk]] = {
    "person": lambda: at_weight(10).given(commands=(Command("abort", "ada"),)),
    "gate": lambda: at_weight(10).given(results=saying("fail")),
    "only pod": lambda: at_weight(10).given(
        results=tuple(replace(one, only=one.status == "fail") for one in saying("fail"))
    ),
    "still warned": paused,
    "not ready": lambda: starting().given(now=1_000_000 + CANARY.ready_timeout),
    "crashed": lambda: at_weight(50).given(ready=49, lost_for=60, stable_ready=100, crashed=True),
    "lost capacity": lambda: at_weight(50).given(ready=49, lost_for=60, stable_ready=100),
    "no room": full,
    "unknown capacity": lambda: starting().given(now=1_000_000 + CANARY.ready_timeout, ready=None),
    "held": lambda: at_weight(10, replace(CANARY, on_hold="roll-back")).given(results=saying("hold")),
    "no data": lambda: blind(replace(CANARY, no_data="roll-back"), "no data"),
    "too few samples": lambda: blind(replace(CANARY, too_few="roll-back"), "too few samples"),
    "unjudged": waiting_for_a_person,
    "unseen": lambda: paused().given(results=outage()),
    "frozen": frozen,
    "new target": lambda: at_weight(10).given(target=NEXT),
    "unfounded": lambda: at_weight(10).given(unfounded="no commit has started it"),
}
REJECTED = (Objection("staging", "rolled back by ada", "2026-11-28T16:00:00Z"),)
STOPS: dict[PauseCause, Callable[[], Walk]] = {
    "person": lambda: at_weight(10).given(commands=(Command("pause", "ada"),)),
    "gate": lambda: at_weight(10).given(results=saying("warn")),
    "no data": lambda: at_weight(10).given(results=outage()),
    "capacity": lambda: at_weight(50, replace(CANARY, lost_capacity="pause")).given(ready=49, lost_for=60),
    "unseen": lambda: starting().given(now=1_000_000 + CANARY.ready_timeout // 2, ready=None, unseen=DEAD),
    "earlier": lambda: at_weight(50).given(objections=REJECTED),
}


def test_the_document_has_the_table() -> None:
    assert rows("### What becomes of the version") == [list(one) for one in (*BACK.values(), *PAUSED.values())]


@pytest.mark.parametrize("cause", BACK)
def test_every_way_back_has_its_outcome(cause: BackCause) -> None:
    walk = ENDS[cause]()
    before, decision = walk.state, walk.look(0)
    assert decision.kind == "roll-back"
    assert walk.state.traffic.stable == 100
    assert replay([trailers(decision)], before) == walk.state
    outcome: Outcome = BACK[cause].outcome
    assert bool(walk.state.rejection(NEW.digest)) == (outcome == "rejected")
    back = walk.state.returned_as(NEW)
    assert (back.waits if back else "") == BACK[cause].waits
    good = walk.given(results=passing(), ready=100, room=True, freeze="", unseen="").look(60)
    assert (good.kind == "start") == (not outcome.startswith(("rejected", "back, waits")))


@pytest.mark.parametrize("cause", PAUSED)
def test_every_pause_has_its_cause(cause: PauseCause) -> None:
    walk = STOPS[cause]()
    assert walk.look(0).kind == "pause"
    assert walk.state.candidate
    assert walk.state.candidate.pause
    assert walk.state.candidate.pause.cause == cause
    assert walk.state.rejected == walk.state.returned == ()


@pytest.mark.parametrize("word", ["retry", "promote"])
def test_a_person_lets_it_start_again(word: str) -> None:
    walk = full()
    walk.look(0)
    assert walk.look(HOUR, room=True).kind == "hold"
    walk.say(word, seconds=60)  # type: ignore[arg-type]
    assert walk.state.returned == ()
    assert walk.state.candidate or walk.look(60).kind == "start"


def test_a_cluster_that_cannot_be_asked_for_a_day_and_more_rejects_nothing() -> None:
    walk = starting().given(ready=None, unseen=DEAD)
    kinds = [walk.look(600).kind for _ in range(27 * 6)]
    assert [one for one in kinds if one != "hold"] == ["pause", "roll-back", "retire"]
    assert walk.state.rejected == ()
    assert walk.look(60).sentence == (
        "2.3.0 waits to be seen again (eu-1: connection refused); it went back: paused for longer than 86400 s: its "
        "replicas cannot be seen: eu-1: connection refused"
    )
    assert walk.look(60, unseen="", ready=0).kind == "start"
    assert walk.given(ready=100).until("idle").state.stable == NEW


def test_replicas_that_were_not_seen_get_their_whole_time_once_they_are() -> None:
    walk = starting().given(ready=None, unseen=DEAD)
    while walk.look(60).kind == "hold":
        pass
    assert walk.state.phase == "paused"
    assert walk.look(3 * HOUR, ready=0, unseen="").kind == "resume"
    assert walk.state.phase == "starting"
    assert walk.look(CANARY.ready_timeout - 1).kind == "hold"
    assert walk.look(1).kind == "roll-back"
    assert walk.state.rejection(NEW.digest)


def test_a_metrics_outage_of_a_day_rejects_nothing_and_the_version_starts_again_when_it_is_over() -> None:
    walk = at_weight(10).given(results=outage(), unseen="prometheus: refused")
    kinds = [walk.look(600).kind for _ in range(27 * 6)]
    assert [one for one in kinds if one != "hold"] == ["pause", "roll-back", "retire"]
    assert walk.state.rejected == ()
    assert walk.look(60, unseen="", results=passing()).kind == "start"
    assert walk.until("idle").state.stable == NEW


@pytest.mark.parametrize("jump", [30 * HOUR, 4 * HOUR])
def test_a_clock_that_jumps_rejects_nothing(jump: int) -> None:
    """Neither while replicas start, nor in a pause, nor while it bakes."""
    walks = [starting(), at_weight(10).given(results=outage()), at_weight(10), at_weight(10).given(ready=None)]
    for walk in walks:
        walk.look(1)
        walk.look(jump)
        assert walk.state.rejected == ()
        walk.given(ready=100, results=passing(), now=walk.seen.now - jump)
        assert walk.until("idle", every=600).state.stable == NEW


def test_a_deadline_that_nobody_watched_is_no_verdict() -> None:
    walk = starting()
    assert walk.look(CANARY.ready_timeout + UNWATCHED).kind == "roll-back"
    walk = starting()
    assert walk.look(CANARY.ready_timeout + UNWATCHED + 1).kind == "pause"
    assert walk.look(CANARY.warm_up).kind == "resume"
    walk = paused()
    assert walk.look(UNWATCHED + 2).kind == "roll-back"
    assert [one.waits for one in walk.state.returned] == ["sight"]


# --- Rejected in an earlier environment --------------------------------------------------------------------------


def test_what_is_rejected_in_an_earlier_environment_pauses_until_a_person_says_so() -> None:
    walk = at_weight(50).given(objections=REJECTED)
    decision = walk.look(60)
    assert decision.sentence == "2.3.0 is rejected in staging since 2026-11-28T16:00:00Z: rolled back by ada"
    assert dict(trailers(decision))["Cause"] == "earlier"
    assert walk.state.traffic.candidate == 50
    assert {walk.look(HOUR).kind for _ in range(20)} == {"hold"}
    assert walk.look(60, objections=()).kind == "hold", "also when it is tried again there"
    before, said = walk.state, walk.given(objections=REJECTED).say("resume", by="bob")
    assert said.sentence == f"resumed by bob, although {decision.sentence}"
    assert dict(trailers(said))["Despite"] == "staging 2026-11-28T16:00:00Z"
    assert replay([trailers(said)], before) == walk.state
    assert walk.until("idle").state.stable == NEW, "one word is enough for the whole way"


def test_a_later_rejection_is_another_one() -> None:
    walk = at_weight(10).given(objections=REJECTED)
    walk.look(60)
    walk.say("resume")
    assert walk.look(60).kind == "hold"
    again = REJECTED[0]._replace(since="2026-11-29T09:00:00Z")
    assert walk.look(60, objections=(again,)).kind == "pause"


def test_a_pause_of_its_own_does_not_end_while_an_earlier_environment_rejects_it() -> None:
    walk = at_weight(10)
    walk.look(1, results=saying("warn"))
    assert walk.look(60, results=passing(), objections=REJECTED).kind == "pause"
    assert walk.look(CANARY.pause_timeout - 61).kind == "hold"
    assert walk.look(1).kind == "roll-back"
    assert walk.state.rejected == (), "here nothing speaks against it"
    assert walk.look(1).sentence.startswith("2.3.0 waits for a person since it went back without a verdict: paused")
    assert walk.say("retry", seconds=1).kind == "retry"
    assert walk.look(1).sentence.startswith("2.3.0 waits for a person to promote it: 2.3.0 is rejected in staging")
    assert walk.say("promote", seconds=1).kind == "start"
    assert walk.until("baking").until("idle").state.stable == NEW


def test_going_back_and_promoting_win_over_it() -> None:
    assert at_weight(50).given(objections=REJECTED, results=saying("fail")).look(60).kind == "roll-back"
    walk = at_weight(1).given(objections=REJECTED, ready=30)
    walk.look(60)
    assert walk.say("promote").kind == "scale"
    assert walk.look(60).kind == "hold"
    assert walk.look(60, ready=100).kind == "promote"
    walk = at_weight(1)
    walk.say("pause")
    assert walk.look(60, objections=REJECTED).kind == "hold", "a person has paused it already"
    assert walk.say("resume").kind == "resume"
    assert walk.look(60).kind == "hold"


def test_a_hotfix_was_told_of_it() -> None:
    walk = Walk(objections=REJECTED, entry="not verified in staging yet")
    assert walk.look(60).kind == "hold"
    assert walk.look(60, commands=(Command("promote", "ada", hotfix=True),)).kind == "start"
    assert walk.until("baking").until("idle").state.stable == NEW


def test_what_went_back_lapses_when_the_spec_names_another_version() -> None:
    walk = full()
    walk.look(0)
    assert walk.look(60, target=NEXT, room=True).kind == "clear"
    assert walk.state == STABLE
    assert walk.look(60).kind == "start"


def test_the_record_says_it_and_older_ones_are_read() -> None:
    walk = full()
    walk.look(0)
    plain = ALL[-1]
    written = replace(plain, returned=walk.state.returned)
    data = dump_release(written)
    assert parse_release(data, "x") == written
    assert not written.settled
    assert written.state.returned == walk.state.returned
    assert b"returned" not in dump_release(plain)
    assert parse_release(dump_release(plain), "x") == plain
