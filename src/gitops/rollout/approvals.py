"""Which approvals count: the record says who approved, the commits behind it say whether that holds.

`gitops approve ENVIRONMENT/MODEL` is a commit with the trailers `Decision: approve`, `By` and `Digest`, and an entry
in the release record. `environment.approvals` says what such an entry is worth, each time a version waits to start:

- `approvers`: only these people count; without any, everybody whose identity holds (with `identity: signature`
  everybody in `signers`). Somebody may approve a version that they named in the spec themselves, as in GitHub's
  environments unless those forbid it.
- `identity: any`: the name in the record counts. Whoever may push can write any name there.
- `identity: ci`: there must be a commit that approves, and it must say in which CI job it was asked for. `gitops
  approve` writes that only inside a job, for the person who started it; a forged one names a job that says otherwise.
- `identity: signature`: there must be a commit that approves, with a signature by the approver's own key of `signers`
  over the words of `words_of`, in a namespace that nothing else is signed in. Who signs a commit says nothing of what
  is in it: signing somebody else's commit, or one for another repository, is no approval.

One person counts once for a digest, in upper or in lower case, and another digest needs new approvals. An approval is
used up when its version becomes stable or is rejected, however often its commit is found again. What does not count
stays in the record, so that the history in Git still gives the state that the record has.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from gitops.errors import GitopsError
from gitops.rollout.events import Event, evolve, one_line
from gitops.rollout.machine import Decision, step
from gitops.rollout.observation import Observation
from gitops.rollout.policy import Policy
from gitops.rollout.replay import event_of
from gitops.rollout.state import UNSIGNED, Approval, Candidate, Consent, RolloutState
from gitops.spec.environment import Approvals
from gitops.values import UnitKey, person_key

Uncounted = Mapping[Approval, str]
"""Approvals of the version that the spec names that do not count, and why not."""

_SHOWN = 10
"""So many characters of a commit's id are enough for a reader."""


class Said(NamedTuple):
    """What one commit says: its whole id, its text and its trailers."""

    commit: str
    body: str
    trailers: tuple[tuple[str, str], ...]


class Subject(NamedTuple):
    """What is approved, so that it cannot be taken for anything else."""

    repository: str
    """The identity of the GitOps repository."""
    pipeline: str
    unit: UnitKey
    version: str
    digest: str
    runs: str


def words_of(subject: Subject, by: str, nonce: str) -> str:
    """What is signed for an approval, a line each; no value has a line break in it."""
    lines = (
        ("purpose", "gitops approval"),
        ("repository", subject.repository),
        ("pipeline", subject.pipeline),
        ("unit", str(subject.unit)),
        ("version", subject.version),
        ("digest", subject.digest),
        ("runs", subject.runs),
        ("by", by),
        ("nonce", nonce),
    )
    return "".join(f"{key}: {one_line(value)}\n" for key, value in lines)


class Signature(NamedTuple):
    """Whose key signed an approval: `signer`, or else in `flaw` the end of a sentence about its commit."""

    signer: str = ""
    flaw: str = ""


class Given(NamedTuple):
    """A commit by which somebody approves; `job` says whether it came from a CI job of that person."""

    commit: str
    by: str
    job: bool
    consent: Consent = UNSIGNED


def people_of(rules: Approvals) -> tuple[str, ...]:
    """Who may approve; empty for everybody whose identity holds."""
    return rules.approvers or (tuple(rules.signers) if rules.identity == "signature" else ())


def asked_in(system: str, person: str, url: str) -> str:
    """The line of a commit's text that says in which CI job a person asked for it."""
    return one_line(f"asked in {system} by {person}: {url}")


_ASKED_IN = re.compile(r"^asked in (?:GitHub Actions|GitLab CI) by (\S+): \S", re.MULTILINE)


# --- What the commits say ------------------------------------------------------------------------------------


def given(history: Iterable[Said], unit: UnitKey, digest: str, runs: str = "") -> Iterator[Given]:
    """The commits that approve this artifact and what its pods run for this unit, and that are not used up, newest
    first as `history` is.

    `history` must show every commit before all of its ancestors. Commits with broken trailers say nothing. A signature
    counts where it was given first: who copies it into a commit of today, after it was used up, gives nothing.
    """
    found, spent = _left(history, unit, Approval(digest, "somebody", runs))
    again = Counter(one.consent.nonce for one in found)
    for one in found:
        again[one.consent.nonce] -= 1
        if not one.consent.nonce or not (again[one.consent.nonce] or one.consent.nonce in spent):
            yield one


def _left(history: Iterable[Said], unit: UnitKey, about: Approval) -> tuple[list[Given], set[str]]:
    """The commits that approve this and are not used up, newest first; and the nonces of those that are."""
    found: list[Given] = []
    spent: set[str] = set()
    over = False
    for said in history:
        event = event_in(said, unit)
        over = over or removes(said, unit)
        if event is None:
            continue
        if over:
            spent.add(event.consent.nonce)
        elif event.kind == "approve" and (event.version.digest, event.runs) == (about.digest, about.runs):
            asked = {person_key(one) for one in _ASKED_IN.findall(said.body)}
            job = person_key(event.by) in asked
            found.append(Given(said.commit, event.by, job, event.consent))
        else:
            over = _uses_up(event, about)
    return found, spent


def removes(said: Said, unit: UnitKey) -> bool:
    """Whether the unit left with this commit."""
    return any(key == "Removed" and value == str(unit) for key, value in said.trailers)


def event_in(said: Said, unit: UnitKey) -> Event | None:
    """What a commit decides about a unit; None for one that is about another, and for one with broken trailers."""
    words = dict(said.trailers)
    if (words.get("Environment"), words.get("Model")) != (unit.environment, unit.model):
        return None
    try:
        return event_of(said.trailers)
    except GitopsError:
        return None


def _uses_up(event: Event, approval: Approval) -> bool:
    """Whether an approval given before the event is gone after it. `evolve` alone knows the rules."""
    going = Candidate(event.version, "starting", scale=0, started=0, since=0, entered=0)
    return not evolve(RolloutState(candidate=going, approvals=(approval,)), event).approvals


# --- What counts ---------------------------------------------------------------------------------------------


def uncounted(
    approvals: Iterable[Approval],
    digest: str,
    rules: Approvals,
    found: Sequence[Given] = (),
    signatures: Mapping[str, Signature] | None = None,
    runs: str = "",
) -> dict[Approval, str]:
    """The recorded approvals of this artifact that do not count, each with the reason in words.

    `runs` is what its pods would run: who approved something else has not approved this. `found` are the commits that
    approve it, `signatures` says of each by its id who signed it; with `identity: any` neither is looked at, with
    `identity: ci` only the first.
    """
    flaws = (
        (one, _of_another(one, runs) or _flaw(one.by, rules, found, signatures or {}))
        for one in dict.fromkeys(approvals)
        if one.digest == digest
    )
    return {one: flaw for one, flaw in flaws if flaw}


def _of_another(one: Approval, runs: str) -> str:
    if one.runs == runs:
        return ""
    return "approved another revision" if one.runs else "approved before gitops recorded what runs, and has to again"


def _flaw(by: str, rules: Approvals, found: Sequence[Given], signatures: Mapping[str, Signature]) -> str:
    """Why this person's approval does not count; empty when it does."""
    person = person_key(by)
    if (people := people_of(rules)) and person not in map(person_key, people):
        return "is none of the approvers"
    if rules.identity == "any":
        return ""
    theirs = [one for one in found if person_key(one.by) == person]
    if not theirs:
        return "has approved by no commit: the record was edited by hand"
    if rules.identity == "ci":
        return "" if any(one.job for one in theirs) else f"approved outside CI, by commit {theirs[0].commit[:_SHOWN]}"
    if person not in map(person_key, rules.signers):
        return "has no key in approvals.signers"
    if any(person_key(signatures.get(one.commit, Signature()).signer) == person for one in theirs):
        return ""
    return _signed_by_another(theirs[0].commit, signatures)


def _signed_by_another(commit: str, signatures: Mapping[str, Signature]) -> str:
    signature = signatures.get(commit, Signature(flaw="was not verified"))
    flaw = f"is signed by {signature.signer}" if signature.signer else signature.flaw
    return f"approved by commit {commit[:_SHOWN]}, which {flaw}"


# --- What follows --------------------------------------------------------------------------------------------


def decide(policy: Policy, state: RolloutState, seen: Observation, discounted: Uncounted) -> Decision:
    """`machine.step`, for which only approvals count that are not `discounted`; its sentences say which do not.

    The state of the decision keeps them all, as the record does.
    """
    counting = tuple(one for one in state.approvals if one not in discounted)
    decision = step(policy, replace(state, approvals=counting), seen)
    words = _discounted_in_words(discounted)
    waits = decision.event is None and state.candidate is None and seen.target != state.stable
    refused = decision.refused and decision.answered and decision.answered.kind == "promote"
    return replace(
        decision,
        state=evolve(state, decision.event) if decision.event else state,
        sentence=decision.sentence + (words if waits else _so_far(policy, counting, decision)),
        refused=decision.refused + (words if refused else ""),
    )


def _discounted_in_words(discounted: Uncounted) -> str:
    each = ", ".join(f"{one_line(one.by) or 'nobody'} {why}" for one, why in discounted.items())
    return f"; not counted: {each}" if each else ""


def _so_far(policy: Policy, counting: Iterable[Approval], decision: Decision) -> str:
    """After an approval, how many there are now."""
    event = decision.event
    if event is None or event.kind != "approve":
        return ""
    about = event.version.digest, event.runs
    people = {person_key(one.by) for one in counting if (one.digest, one.runs) == about} | {person_key(event.by)}
    return f" ({len(people)} of {policy.approvals})"
