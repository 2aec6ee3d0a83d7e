"""The rollout state machine: `step` looks once at one unit and says what to do, without touching anything.

`rollout.phases` has the table of transitions with their reasons; `docs/rollouts.md` also the state diagram and the
deadlines. Rules come in an order, and the first that has something to say decides:

1. a person's abort or rollback;
2. a candidate that no commit has started, or a new target: traffic to stable, and the next look starts again;
3. a gate beyond its critical limit: roll back at once;
4. ready capacity below the weight, for longer than a moment;
5. a step that took longer than all its waits together;
6. a rejection in an earlier environment, which pauses;
7. a load that grew: what may have to carry it grows first;
8. a person's other commands;
9. doubt: a gate beyond its milder limit, or a metrics outage, pauses at the present weight;
10. what the phase waits for, or its deadline;
11. a kept version whose time is over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gitops.rollout.case import Underway, newcomer, retire, size
from gitops.rollout.commands import answer
from gitops.rollout.course import Case
from gitops.rollout.endings import BackCause
from gitops.rollout.events import Event, evolve
from gitops.rollout.judgement import sentences
from gitops.rollout.observation import Command, Observation
from gitops.rollout.phases import Kind
from gitops.rollout.policy import Policy
from gitops.rollout.progress import holding, objected, over_time, proceed
from gitops.rollout.replay import trailers_of
from gitops.rollout.state import ModelVersion, RolloutState
from gitops.rollout.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do next, and why. A `hold` leaves the state as it is; everything else is one commit."""

    kind: Kind | Literal["hold"]
    state: RolloutState
    """The state after the decision."""
    sentence: str
    evidence: tuple[str, ...] = ()
    """One line each: what every gate said, and the capacity that was ready."""
    event: Event | None = None
    answered: Command | None = None
    """The command that this look was asked to answer, if any."""
    refused: str = ""
    """Why that command was not done; empty when it was."""


def step(policy: Policy, state: RolloutState, observation: Observation) -> Decision:
    """Decide. Pure and total: the same arguments give the same decision, and none of them raises."""
    case = _case(policy, state, observation)
    command = observation.command
    answered = answer(case, command) if command else ""
    asked = answered if isinstance(answered, Event) else None
    event = _first(case, asked)
    return Decision(
        kind=event.kind if event else "hold",
        state=evolve(state, event) if event else state,
        sentence=event.reason if event else holding(case),
        evidence=_evidence(observation),
        event=event,
        answered=command,
        refused=_refused(answered, event),
    )


def trailers(decision: Decision) -> tuple[tuple[str, str], ...]:
    """The trailers of the commit that carries the decision; none for a hold. `rollout.replay` reads them back."""
    return trailers_of(decision.event) if decision.event else ()


def needed(policy: Policy, state: RolloutState, target: ModelVersion) -> tuple[int, ...]:
    """Percent of traffic that the candidate has to be rendered for in each wave to get its next weight.

    What `Observation.room` is about. With nothing under way the target counts as the candidate.
    """
    case = _case(policy, state, Observation(now=0, target=target))
    one = case if isinstance(case, Underway) else newcomer(case)
    return one.sized(one.wanted)


def _case(policy: Policy, state: RolloutState, seen: Observation) -> Case:
    if state.candidate is None:
        return Case(policy, state, seen)
    return Underway(policy, state, seen, state.candidate)


def _first(case: Case, asked: Event | None) -> Event | None:
    if asked and asked.kind == "roll-back":
        return asked
    due = _due(case, asked)
    if due and due.kind == "roll-back" and isinstance(case, Underway) and case.stranded:
        # Somebody who asks for it knows what they do; by itself nothing moves onto nothing.
        reason = f"{due.reason}; {case.stable} has no ready replica to go back to"
        return None if case.candidate.pause else case.pause("capacity", reason)
    return due


def _due(case: Case, asked: Event | None) -> Event | None:
    if isinstance(case, Underway):
        for urgent in URGENT:
            if event := urgent(case):
                return event
    return asked or proceed(case) or _over(case) or _more_load(case)


def _refused(answered: Event | str, event: Event | None) -> str:
    if isinstance(answered, str):
        return answered
    return "" if answered is event or event is None else f"something more urgent came first: {event.reason}"


def _evidence(seen: Observation) -> tuple[str, ...]:
    known = (("candidate", seen.ready), ("stable", seen.stable_ready))
    capacity = [f"{who} is ready for {ready} % of traffic" for who, ready in known if ready is not None]
    if seen.ready_waves:
        each = ", ".join("unknown" if ready is None else f"{ready} %" for ready in seen.ready_waves)
        capacity.append(f"candidate is ready by wave: {each}")
    return (*(one.sentence for one in seen.results), *capacity)


# --- Urgent: decided before a person is heard who does not ask to go back ------------------------------------------


def _unfounded(case: Underway) -> Event | None:
    why = case.seen.unfounded
    return case.roll_back(f"not a rollout: {why}", cause="unfounded") if why else None


def _superseded(case: Underway) -> Event | None:
    target = case.seen.target
    if target == case.candidate.version:
        return None
    return case.roll_back(f"the spec names {target.words} now", cause="new target")


def _critical(case: Underway) -> Event | None:
    failed = case.judgement.failed
    cause: BackCause = "only pod" if all(isinstance(one, Verdict) and one.only for one in failed) else "gate"
    return case.roll_back(sentences(failed), cause=cause) if failed else None


def _lost_capacity(case: Underway) -> Event | None:
    """An unknown capacity is no lost one: an API server that does not answer says nothing about pods.

    Nodes and evictions are no fault of the version, unless its pods crash: it may try again.
    """
    if not case.lost or case.seen.lost_for < case.policy.lost_after:
        return None
    wave, ready, load = case.lost[0]
    reason = f"ready capacity{case.place(wave)} fell to {ready} %, below its {load} %"
    if case.policy.lost_capacity == "roll-back":
        if case.gains_by_going_back:
            return case.roll_back(reason, cause="crashed" if case.seen.crashed else "lost capacity")
        reason += f"; {case.stable} is ready for {case.seen.stable_ready or 0} % only"
    return None if case.candidate.pause else case.pause("capacity", reason)


def _overdue(case: Underway) -> Event | None:
    """Bounds whatever alternates: a gate that warns and passes in turn, a freeze without end.

    A freeze is no fault of the version: it starts again afterwards.
    """
    limit = case.policy.step_limit(case.candidate.load)
    if case.policy.pause_outcome == "hold" or case.elapsed(case.candidate.since) < limit:
        return None
    reason = f"at {case.candidate.load} % for longer than all its deadlines together ({limit} s)"
    if case.frozen:
        return case.roll_back(f"{reason}, frozen: {case.frozen}", cause="frozen")
    return case.roll_back(reason, cause=over_time(case, case.candidate.since + limit))


def _more_load(case: Case) -> Event | None:
    """Also what only waits to be gone back to is held at what it may have to carry.

    What nothing of is rendered yet grows when it is; stable alone has its autoscaler.
    """
    beside = case.state.candidate.scale if case.state.candidate else any(one.previous for one in case.state.kept)
    return size(case) if beside and case.load != case.state.load else None


def _rejected_before(case: Underway) -> Event | None:
    """What is no longer verified in an earlier environment goes no further here until a person says so."""
    pause = case.candidate.pause
    if not case.objections or (pause and pause.for_a_person):
        return None
    return case.pause("earlier", objected(case.candidate.version.version, case.objections))


URGENT: tuple[Callable[[Underway], Event | None], ...] = (
    _unfounded,
    _superseded,
    _critical,
    _lost_capacity,
    _overdue,
    _rejected_before,
    _more_load,
)


def _over(case: Case) -> Event | None:
    over = [one for one in case.state.kept if case.seen.now >= one.until]
    return retire(case, over[0], f"{over[0].version.words} is kept no longer") if over else None
