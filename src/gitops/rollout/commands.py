"""What people ask for: each command becomes an event, or a sentence that says why it cannot be done."""

from __future__ import annotations

from dataclasses import replace

from gitops.rollout.case import Underway, roll_back, settle, start
from gitops.rollout.course import Case
from gitops.rollout.events import Event, one_line
from gitops.rollout.observation import Command
from gitops.rollout.progress import objected, obstacle
from gitops.rollout.state import Kept
from gitops.values import person_key

_NOTHING = "no rollout is under way"


def answer(case: Case, command: Command) -> Event | str:
    """The event that does what the command says, or why it is refused."""
    rollout = case if isinstance(case, Underway) else None
    match command.kind:
        case "abort":
            return rollout.roll_back(f"aborted by {command.by}", command.by) if rollout else _NOTHING
        case "rollback":
            return _back_from_candidate(rollout, command) if rollout else _back_from_stable(case, command)
        case "retry":
            return _retry(case, command)
        case "approve":
            return _NOTHING_TO_APPROVE if rollout else _approve(case, command)
        case "pause":
            return _pause(rollout, command) if rollout else _NOTHING
        case "resume":
            return _resume(rollout, command) if rollout else _NOTHING
        case "promote":
            return _promote(rollout, command) if rollout else _start(case, command)


_NOTHING_TO_APPROVE = "nothing waits for approval"


def _back_from_candidate(rollout: Underway, command: Command) -> Event:
    """Whatever version was asked for, the candidate loses its traffic."""
    reason = f"rolled back by {command.by}"
    to = _warm(rollout, command.version)
    stable = rollout.state.stable
    if command.version in ("", stable.version if stable else "nothing"):
        return rollout.roll_back(reason, command.by)
    usable = to and to.full and not rollout.state.rejection_of(to.version)
    if to is None or not usable or stable is None:
        return rollout.roll_back(f"{reason}; {command.version} cannot be had, so to {rollout.stable}", command.by)
    event = roll_back(rollout, rollout.candidate.version, to.version, reason, command.by)
    return replace(event, rejects_too=stable.digest)


def _back_from_stable(case: Case, command: Command) -> Event | str:
    stable, to = case.state.stable, _warm(case, command.version)
    if stable is None:
        return "nothing is deployed"
    if command.version == stable.version:
        return f"{stable.words} has all traffic already"
    if to and (rejection := case.state.rejection_of(to.version)):
        return f"{to.version.words} is rejected ({rejection.reason}): retry it"
    if to is None:
        return f"{command.version or 'the version before'} is not warm any more: name it in the spec to bring it back"
    if not to.full:
        return f"{to.version.words} has pods for {to.scale} % of traffic only: name it in the spec to bring it back"
    return roll_back(case, stable, to.version, f"rolled back by {command.by}", command.by)


def _warm(case: Case, version: str) -> Kept | None:
    """The kept version of this name, or without a name the one that was stable before."""
    asked = (one for one in case.state.kept if (one.version.version == version if version else one.previous))
    return next(asked, None)


def _retry(case: Case, command: Command) -> Event | str:
    target = case.seen.target
    if not (case.state.rejection(target.digest, case.seen.runs) or case.state.returned_as(target)):
        return f"{target.words} is not rejected"
    return settle(case, "retry", f"{target.words} may be tried again, says {command.by}", command.by)


def _approve(case: Case, command: Command) -> Event | str:
    target, by = case.seen.target, one_line(command.by)
    if target == case.state.stable or case.policy.approvals < 1 or case.state.rejection(target.digest, case.seen.runs):
        return _NOTHING_TO_APPROVE
    about = target.digest, case.seen.runs
    given = {person_key(one.by) for one in case.state.approvals if (one.digest, one.runs) == about}
    if not by or person_key(by) in given:
        return f"{by or 'a person without a name'} cannot approve {target.words} (again)"
    return settle(case, "approve", f"{by} approves {target.words}", by, command.consent)


def _pause(rollout: Underway, command: Command) -> Event | str:
    pause = rollout.candidate.pause
    if pause and pause.cause == "person":
        return f"paused already: {pause.reason}"
    return rollout.pause("person", f"paused by {command.by}", command.by)


def _resume(rollout: Underway, command: Command) -> Event | str:
    if not rollout.candidate.pause:
        return "the rollout is not paused"
    seen = rollout.judgement.acceptable
    accepted = f", who accepts {', '.join(seen)} at this weight" if seen else ""
    if rollout.objections:
        accepted += f", although {objected(rollout.candidate.version.version, rollout.objections)}"
    return rollout.resume(f"resumed by {command.by}{accepted}", command.by, seen)


def _start(case: Case, command: Command) -> Event | str:
    """Nothing is under way: the version that the spec names waits for a person, or for something else."""
    target, by = case.seen.target, one_line(command.by)
    if target == case.state.stable:
        return f"{target.words} has all traffic already"
    return obstacle(case, asked=True, hotfix=command.hotfix) or start(case, by, hotfix=command.hotfix)


def _promote(rollout: Underway, command: Command) -> Event | str:
    if rollout.frozen:
        hotfix = "; only what is not under way yet can start as a hotfix" if command.hotfix else ""
        return f"frozen: {rollout.frozen}{hotfix}"
    if not rollout.shortages(rollout.everywhere):
        return rollout.promote(command.by)
    if rollout.candidate.stage == "promoting" and not rollout.candidate.pause:
        return "it is being promoted, and waits for ready capacity"
    return rollout.scale(promoting=True, by=command.by)
