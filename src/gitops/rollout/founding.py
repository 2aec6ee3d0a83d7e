"""Whether a candidate is one at all: the record names it, and the commits behind it say who started it and by whose
approvals. A candidate that somebody writes into a record walks nowhere.

The start has to be counted as it was when it was decided: `approvals.given` before it, by the rules of today. Where a
name alone is enough to approve (`identity: any`) there is nothing to verify.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gitops.rollout.approvals import Given, Said, Signature, event_in, given, removes, uncounted
from gitops.rollout.events import Event
from gitops.rollout.state import Approval, ModelVersion
from gitops.spec.environment import Approvals
from gitops.values import UnitKey, person_key

_ENDS = ("promote", "roll-back")


def unfounded(history: Sequence[Said], unit: UnitKey, candidate: ModelVersion, runs: str) -> str:
    """Why nothing in the history has started this candidate; empty when something has. Newest commits come first.

    `runs` is the digest over what the record says that its pods run.
    """
    event, _ = _start(history, unit)
    if event is None:
        return "no commit has started it"
    if event.version != candidate:
        return f"the commit that started a version names {event.version.words}"
    # An older gitops did not say what pods run.
    return "the record runs something else than what was started" if event.runs not in ("", runs) else ""


def unapproved(
    history: Sequence[Said], unit: UnitKey, rules: Approvals, signed: Callable[[Given], Signature] | None
) -> str:
    """Why the start of a unit's candidate was not approved as the rules ask; empty when it was.

    `signed` says whose key signed an approval, where the rules ask for that.
    """
    event, before = _start(history, unit)
    if event is None or rules.identity == "any":
        return ""
    about = event.version.digest, event.runs
    found = list(given(before, unit, *about))
    signatures = {one.commit: signed(one) for one in found} if signed else None
    recorded = [Approval(about[0], one.by, about[1]) for one in found]
    flaws = uncounted(recorded, about[0], rules, found, signatures, about[1])
    people = {person_key(one.by) for one in recorded if one not in flaws}
    if len(people) >= rules.required:
        return ""
    return f"it was started with {len(people)} of {rules.required} approvals that count"


def _start(history: Sequence[Said], unit: UnitKey) -> tuple[Event | None, Sequence[Said]]:
    """The start of the rollout under way, and the commits before it; no event when nothing is under way."""
    for number, said in enumerate(history):
        event = event_in(said, unit)
        if removes(said, unit) or (event and event.kind in _ENDS):
            break
        if event and event.kind == "start":
            return event, history[number + 1 :]
    return None, ()
