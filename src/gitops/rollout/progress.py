"""What each phase waits for, what happens then, and what happens when it does not come in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gitops.rollout.case import Underway, retire, settle, start
from gitops.rollout.course import Case, Shortage
from gitops.rollout.endings import BackCause
from gitops.rollout.events import Event
from gitops.rollout.judgement import Judgement, sentences
from gitops.rollout.observation import Objection
from gitops.rollout.state import Returned
from gitops.rollout.verdicts import QueryFailure, Result
from gitops.values import person_key

UNWATCHED = 3600
"""Seconds: whoever notices a deadline so late has not looked meanwhile, or goes by a clock that jumped."""


def proceed(case: Case) -> Event | None:
    """The event that is due in this phase, or None to hold."""
    if not isinstance(case, Underway):
        return _idle(case)
    if case.candidate.pause:
        return _paused(case)
    if case.candidate.stage == "promoting":
        return _reach(case)
    if doubt := _doubt(case):
        return doubt
    if case.candidate.stage == "waiting-for-capacity":
        return _waiting(case)
    return _reach(case) if case.candidate.stage == "starting" else _baking(case)


def holding(case: Case) -> str:
    """The sentence of a hold: what it waits for."""
    if not isinstance(case, Underway):
        return _idle_words(case)
    if case.candidate.pause:
        return f"paused: {case.candidate.pause.reason}"
    if case.frozen:
        return f"frozen: {case.frozen}"
    if case.lost:
        wave, ready, load = case.lost[0]
        return f"ready capacity{case.place(wave)} is {ready} %, below its {load} %: looks again{_trouble(case)}"
    if case.candidate.stage == "waiting-for-capacity":
        return f"waits for room to carry {case.ahead}{case.line}"
    return _baking_words(case) if case.candidate.stage == "baking" else _reaching_words(case)


# --- Idle ----------------------------------------------------------------------------------------------------


def _idle(case: Case) -> Event | None:
    target, state = case.seen.target, case.state
    if case.seen.unnamed or state.rejection(target.digest, case.seen.runs):
        return None
    past = {(one.version.digest, one.runs) for one in state.rejected} | {
        (one.version.digest, "") for one in state.returned
    }
    past |= {(one.digest, one.runs) for one in state.approvals}
    # An older gitops did not say what pods ran.
    if past - {(target.digest, case.seen.runs), (target.digest, "")}:
        reason = f"the spec names {target.words} now: rejections and approvals of others lapse"
        return settle(case, "clear", reason)
    return None if target == state.stable or obstacle(case) else start(case)


def obstacle(case: Case, *, asked: bool = False, hotfix: bool = False) -> str:
    """Why the version that the spec names may not start now; empty when it may.

    `asked`: a person promotes it. A hotfix goes past `entry` and a freeze, never past a rejection or an approval.
    """
    version, seen = case.seen.target.words, case.seen
    if rejection := case.state.rejection(seen.target.digest, seen.runs):
        return f"{version} is rejected: {rejection.reason}"
    if (back := case.state.returned_as(seen.target)) and not asked and (waits := _waits_after(case, back)):
        return f"{version} {waits}"
    if seen.entry and not hotfix:
        return f"{version} waits: {seen.entry}"
    if seen.freeze and not hotfix:
        return f"{version} waits: frozen, {seen.freeze}"
    if seen.objections and not (asked or hotfix):
        return f"{version} waits for a person to promote it: {objected(version, seen.objections)}"
    given = sorted(_approved_by(case).values())
    if len(given) < case.policy.approvals:
        named = f" ({', '.join(given)})" if given else ""
        return f"{version} waits for approval: {len(given)} of {case.policy.approvals}{named}"
    if seen.manual and case.policy.approvals < 1 and not asked:
        return f"{version} waits for a person to promote it"
    return ""


def objected(version: str, objections: Sequence[Objection]) -> str:
    """Where and why it is rejected, for a sentence."""
    where = (f"{one.environment} since {one.since}: {one.reason}" for one in objections)
    return f"{version} is rejected in {'; in '.join(where)}"


def _waits_after(case: Case, back: Returned) -> str:
    """What a version waits for that went back without a verdict; empty when that is over."""
    if back.waits == "person":
        return f"waits for a person since it went back without a verdict: {back.reason}"
    return f"waits to be seen again ({case.seen.unseen}); it went back: {back.reason}" if case.seen.unseen else ""


def _approved_by(case: Case) -> dict[str, str]:
    """The name of each person who approves, as they wrote it first."""
    about = case.seen.target.digest, case.seen.runs
    recorded = [one.by for one in case.state.approvals if (one.digest, one.runs) == about]
    return {person_key(by): by for by in reversed((*recorded, *case.seen.approvals))}


def _idle_words(case: Case) -> str:
    return obstacle(case) if case.seen.target != case.state.stable else f"{case.seen.target.words} has all traffic"


# --- Capacity ------------------------------------------------------------------------------------------------


def _waiting(case: Underway) -> Event | None:
    if case.seen.room:
        return None if case.frozen else case.scale()
    # A version whose requests are over is the cheapest room there is, even if it was to stay warm.
    spare = [one for one in case.state.kept if case.seen.now >= one.drained]
    if spare:
        return retire(case, spare[0], f"{spare[0].version.words} makes room for {case.candidate.version.words}")
    # Whoever goes first ends in its own time, and no version is to blame for another.
    if not case.seen.behind and case.elapsed(case.candidate.entered) >= case.policy.capacity_timeout:
        return case.roll_back(f"no room to carry {case.ahead} within {case.policy.capacity_timeout} s", cause="no room")
    return None


def _reach(case: Underway) -> Event | None:
    """Take the next weight as soon as ready capacity covers it."""
    if short := case.shortages(case.wanted):
        return _short(case, short)
    judged = case.candidate.stage == "promoting" or _excused(case, case.judgement).passes
    return _forward(case) if judged and not case.frozen else None


def _short(case: Underway, short: tuple[Shortage, ...]) -> Event | None:
    """Only pods that were seen can be too late: whoever was not seen for half of the time is waited for anew."""
    waited, limit = case.elapsed(case.candidate.entered), case.policy.ready_timeout
    unknown = any(one.ready is None for one in short)
    if unknown and case.seen.unseen and 2 * waited >= limit:
        return case.pause("unseen", f"its replicas cannot be seen: {case.seen.unseen}")
    if waited < limit:
        return None
    wanted = f"{short[0].wanted} %{case.place(short[0].wave)}"
    if unknown:
        reason = f"not seen to be ready to carry {wanted} within {limit} s{_trouble(case)}"
        return case.roll_back(reason, cause="unknown capacity")
    if waited - limit > UNWATCHED:
        return case.pause("unseen", f"no look at its replicas for {waited - limit} s, or the clock jumped")
    return case.roll_back(f"not ready to carry {wanted} within {limit} s{_trouble(case)}", cause="not ready")


def _forward(case: Underway) -> Event:
    return case.promote() if case.goal.last else case.advance()


def _reaching_words(case: Underway) -> str:
    short = case.shortages(case.wanted)
    if not short:
        return f"is ready to carry {case.ahead}, and waits: {_missing_words(case)}"
    wave, ready, wanted = short[0]
    known = "unknown" if ready is None else f"{ready} %"
    return f"waits for ready capacity{case.place(wave)}: {known} of {wanted} %{_trouble(case)}"


def _trouble(case: Underway) -> str:
    return f"; {case.seen.trouble}" if case.seen.trouble else ""


# --- Gates ---------------------------------------------------------------------------------------------------


def _doubt(case: Underway) -> Event | None:
    """Two stages, as in the field: beyond the milder limit it stops where it is, for somebody to look."""
    if warned := case.judgement.warned:
        return case.pause("gate", sentences(warned))
    if blind := case.judgement.blind:
        return case.pause("no data", sentences(blind))
    if (held := case.judgement.held) and case.policy.on_hold == "roll-back":
        return case.roll_back(sentences(held), cause="held")
    return None


def _baking(case: Underway) -> Event | None:
    judgement = case.judgement
    if overdue := _undecided(case, judgement):
        return overdue
    if case.frozen or case.seen.now < _baked(case) or not _excused(case, judgement).passes:
        return None
    short = case.shortages(case.wanted)
    if any(one.ready is None for one in short):
        return None
    if not short:
        return _forward(case)
    if case.lost:
        return None
    return case.scale() if case.seen.room else case.wait()


def _baked(case: Underway) -> int:
    """When the step has been watched long enough: a bake after the warm-up, or after the last pause."""
    settled = case.candidate.since + case.policy.settling
    if case.candidate.stage == "baking":
        settled = max(settled, case.candidate.entered)
    return settled + case.policy.bake(case.candidate.load)


def _undecided(case: Underway, judgement: Judgement) -> Event | None:
    """The declared outcome of gates that never say anything. A failed query alone never rejects the model."""
    policy = case.policy
    if _late(case, judgement.missing, policy.no_data_deadline):
        reason = f"{sentences(judgement.missing)}, for longer than {policy.no_data_deadline} s"
        back = policy.no_data == "roll-back"
        return case.roll_back(reason, cause="no data") if back else case.pause("no data", reason)
    if policy.too_few != "advance" and _late(case, judgement.few, policy.too_few_deadline):
        reason = f"{sentences(judgement.few)}, for longer than {policy.too_few_deadline} s"
        back = policy.too_few == "roll-back"
        return case.roll_back(reason, cause="too few samples") if back else case.pause("no data", reason)
    return None


def _late(case: Underway, results: tuple[Result, ...], deadline: int) -> bool:
    """After the bake by our own clock; earlier only if the observer knows how long the gate has been silent."""
    if not results:
        return False
    lasting = max(one.lasting for one in results)
    warm = case.elapsed(case.candidate.since) >= case.policy.settling
    return case.seen.now >= _baked(case) + deadline or (warm and lasting >= deadline)


def _excused(case: Underway, judgement: Judgement) -> Judgement:
    """The judgement without gates whose lack of requests the policy excuses after its deadline."""
    if case.policy.too_few == "advance" and _late(case, judgement.few, case.policy.too_few_deadline):
        return replace(judgement, few=())
    return judgement


def _baking_words(case: Underway) -> str:
    load = f"{case.candidate.load} %{case.place(case.wave)}"
    left = _baked(case) - case.seen.now
    if left > 0:
        return f"watches {load} for {left} s more"
    undecided = _missing_words(case)
    return f"waits at {load}: {undecided}" if undecided else f"waits at {load} to know ready capacity"


def _missing_words(case: Underway) -> str:
    judgement = case.judgement
    return sentences((*judgement.held, *judgement.missing, *judgement.known, *judgement.few))


# --- Paused --------------------------------------------------------------------------------------------------


def _paused(case: Underway) -> Event | None:
    pause = case.candidate.pause
    if pause and not pause.for_a_person and _calm(case):
        return case.resume(f"good again after: {pause.reason}")
    waited = case.elapsed(case.candidate.entered)
    if case.policy.pause_outcome == "roll-back" and waited >= case.policy.pause_timeout:
        reason = pause.reason if pause else ""
        reason = f"paused for longer than {case.policy.pause_timeout} s: {reason}"
        return case.roll_back(reason, cause=over_time(case, case.candidate.entered + case.policy.pause_timeout))
    return None


def over_time(case: Underway, deadline: int) -> BackCause:
    """What a pause or a weight that has lasted too long says of the version: only what is seen at this very look."""
    if case.seen.now - deadline > UNWATCHED or _unseen(case):
        return "unseen"
    if case.lost and case.seen.crashed:
        return "crashed"
    return "still warned" if case.judgement.warned and not _waits_for_a_person(case) else "unjudged"


def _unseen(case: Underway) -> bool:
    """Whether clusters or metrics do not answer. Before its first request nobody asks the gates."""
    failures = any(isinstance(one, QueryFailure) for one in case.seen.results)
    return bool(case.seen.unseen) or (case.candidate.load > 0 and failures)


def _waits_for_a_person(case: Underway) -> bool:
    return case.candidate.pause is not None and case.candidate.pause.for_a_person


def _calm(case: Underway) -> bool:
    """Whether what stopped it is over, for at least a warm-up's time so that a flutter is not a commit a look."""
    if case.elapsed(case.candidate.entered) < case.policy.warm_up or case.missing:
        return False
    if case.candidate.pause and case.candidate.pause.cause == "unseen" and case.seen.unseen:
        return False
    good = case.judgement.passes and not case.judgement.doubtful
    return case.candidate.stage == "promoting" or good
