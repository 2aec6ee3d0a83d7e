"""Who may do what with a rollout, and which of the recorded approvals count: `rollout.approvals` with its evidence.

Going back (`pause`, `abort`, `rollback`) is open to everybody who can push. Going forward (`promote`, also as a
hotfix, `resume`, `retry`) is for the people who may approve, where an environment lists them, and only those with
the proof that it asks for may `approve`. These commands are checked here and now: they are decisions of whoever runs
them. An approval is only a part of a decision, and is checked again each time that it is counted.

The embedded world has neither keys nor CI: there everybody is who Git says.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from gitops.engine.identity import job, proven, signing_key
from gitops.engine.session import Session
from gitops.errors import GitopsError
from gitops.plan.lives import target_of
from gitops.plan.rollouts import Standing
from gitops.plan.stored import Stored
from gitops.rollout import approvals
from gitops.rollout.approvals import Given, Said, Signature, Subject, Uncounted, people_of, words_of
from gitops.rollout.founding import unapproved, unfounded
from gitops.rollout.machine import Decision
from gitops.rollout.observation import Command, CommandKind, Observation
from gitops.rollout.state import UNSIGNED, Approval, Consent
from gitops.spec.environment import Approvals, Environment
from gitops.spec.frozen import runs_of
from gitops.spec.pipeline import Model
from gitops.values import UnitKey, base_version, person_key
from gitops.world.git import signatures

Recorded = tuple[Approval, ...]
"""The approvals that Git keeps of a unit."""
_FORWARD: tuple[CommandKind, ...] = ("promote", "resume", "retry")


def permitted(session: Session, stored: Stored, unit: UnitKey, asked: Command) -> Command:
    """The command, by the person who is proven to ask for it where that matters.

    Raises GitopsError when they may not ask for that here.
    """
    environment, file = session.spec.environments[unit.environment], f"environments/{unit.environment}.yaml"
    if asked.hotfix and environment.hotfix == "denied":
        hint = "let the version be verified in the environment before, or set `hotfix: allowed` there"
        raise GitopsError(f"{unit.environment} takes no hotfixes", where=f"{file}: hotfix", hint=hint)
    rules = _rules(session, environment)
    people = people_of(rules) if rules else ()
    if rules is None or not (asked.kind == "approve" or (asked.kind in _FORWARD and people)):
        return asked
    by = proven(session, rules, asked.by, file)
    if people and person_key(by) not in map(person_key, people):
        what = f"{by or 'a person without a name'} may not {asked.kind} {unit}"
        hint = f"ask one of: {', '.join(people)}{_embedded_hint(session)}"
        raise GitopsError(what, where=f"{file}: approvals.approvers", hint=hint)
    signs = asked.kind == "approve" and rules.identity == "signature"
    return asked._replace(by=by, consent=_consent(session, stored, unit, by) if signs else UNSIGNED)


def _consent(session: Session, stored: Stored, unit: UnitKey, by: str) -> Consent:
    """A signed approval, by the key that `proven` has found to be this person's."""
    nonce, subject = secrets.token_hex(16), _subject(session, stored, unit, session.spec.models[unit])
    return Consent(nonce, signatures.sign(words_of(subject, by, nonce), signing_key(session)))


def _subject(session: Session, stored: Stored, unit: UnitKey, model: Model) -> Subject:
    """What an approval of this model's version is of."""
    if stored.head is None:
        raise GitopsError("the GitOps repository has no commit yet to sign for", hint="run gitops apply first")
    root = session.world.repository().root(stored.head)
    version = base_version(model.version)
    return Subject(root, session.spec.pipeline.name, unit, version, model.artifact.digest, runs_of(model))


def decide(
    session: Session, stored: Stored, standings: Mapping[UnitKey, Standing], seen: Mapping[UnitKey, Observation]
) -> dict[UnitKey, Decision]:
    """What each of these units does next, by the approvals that count.

    What a person asked for in CI says in which job.
    """
    # Where nothing starts, nothing has to be approved.
    starting = [unit for unit, here in standings.items() if not here.held]
    discounted = uncounted(session, stored, starting)
    forged = _unfounded(session, stored, standings)
    return {
        unit: with_job(
            approvals.decide(
                here.policy,
                here.state,
                replace(seen[unit], unfounded=forged.get(unit, "")),
                discounted.get(unit, {}),
            )
        )
        for unit, here in standings.items()
    }


def _unfounded(session: Session, stored: Stored, standings: Mapping[UnitKey, Standing]) -> dict[UnitKey, str]:
    """Units whose candidate nothing in the history has started as it has to be, and why."""
    going = {unit: here.state.candidate for unit, here in standings.items() if here.state.candidate}
    history, found = _history(session, stored, list(going)), {}
    for unit, candidate in going.items():
        model = standings[unit].models(as_released=True)[candidate.version.version]
        rules = _rules(session, session.spec.environments[unit.environment])
        why = unfounded(history, unit, candidate.version, runs_of(model))
        if rules and not why:
            why = _unapproved(session, stored, unit, model, rules, history)
        if why:
            found[unit] = why
    return found


def _unapproved(
    session: Session, stored: Stored, unit: UnitKey, model: Model, rules: Approvals, history: tuple[Said, ...]
) -> str:
    if rules.identity != "signature":
        return unapproved(history, unit, rules, None)
    subject = _subject(session, stored, unit, model)
    return unapproved(history, unit, rules, lambda one: _signed(subject, one, rules))


def uncounted(session: Session, stored: Stored, units: Collection[UnitKey] | None = None) -> dict[UnitKey, Uncounted]:
    """The recorded approvals of versions that wait to start and that do not count, with the reasons; of these units.

    Raises GitopsError when the repository's history cannot be read.
    """
    asked = [one for one in _waiting(session, stored) if units is None or one[0] in units]
    history = _history(session, stored, [unit for unit, _, rules in asked if rules.identity != "any"])
    return {unit: _uncounted(session, stored, unit, release, rules, history) for unit, release, rules in asked}


# --- Asking --------------------------------------------------------------------------------------------------


def _rules(session: Session, environment: Environment) -> Approvals | None:
    rules = environment.approvals
    if rules is None or session.options.kind != "embedded":
        return rules
    return rules.model_copy(update={"identity": "any", "approvers": people_of(rules)})


def _embedded_hint(session: Session) -> str:
    if session.options.kind != "embedded":
        return ""
    return "; in the embedded world you are who Git says (GIT_AUTHOR_EMAIL)"


def with_job(decision: Decision) -> Decision:
    """The decision that a person asked for, with the CI job in which they did."""
    known = job()
    if known is None or decision.event is None or decision.answered is None or decision.refused:
        return decision
    return replace(decision, evidence=(*decision.evidence, known.words))


# --- Counting ------------------------------------------------------------------------------------------------


def _waiting(session: Session, stored: Stored) -> Iterator[tuple[UnitKey, Recorded, Approvals]]:
    """Units with an approval of the version that the spec names, which is not on its way yet, and their approvals."""
    first = {unit: given for unit, given in stored.consents.items() if unit not in stored.releases}
    for unit, given in (*((unit, one.approvals) for unit, one in stored.releases.items()), *first.items()):
        model = session.spec.models.get(unit)
        if not given or model is None:
            continue
        rules, release = _rules(session, session.spec.environments[unit.environment]), stored.releases.get(unit)
        target, candidate = target_of(model), release.candidate if release else None
        if rules is None or (candidate and candidate.version == target):
            continue
        if any(one.digest == target.digest for one in given):
            yield unit, given, rules


def _history(session: Session, stored: Stored, units: list[UnitKey]) -> tuple[Said, ...]:
    """What the repository's commits say of the models of these units."""
    if not units or stored.head is None:
        return ()
    return signatures.decisions(session.world.repository(), stored.head, sorted({unit.model for unit in units}))


def _uncounted(
    session: Session, stored: Stored, unit: UnitKey, given: Recorded, rules: Approvals, history: tuple[Said, ...]
) -> Uncounted:
    model = session.spec.models[unit]
    digest, runs = model.artifact.digest, runs_of(model)
    found: list[Given] = []
    if rules.identity != "any":
        about = [one for one in given if (one.digest, one.runs) == (digest, runs)]
        recorded = {person_key(one.by) for one in about}
        found = [one for one in approvals.given(history, unit, digest, runs) if person_key(one.by) in recorded]
    signed = {}
    if rules.identity == "signature":
        subject = _subject(session, stored, unit, model)
        signed = {one.commit: _signed(subject, one, rules) for one in found}
    return approvals.uncounted(given, digest, rules, found, signed, runs)


def _signed(subject: Subject, one: Given, rules: Approvals) -> Signature:
    return signatures.signature(words_of(subject, one.by, one.consent.nonce), one.consent.signature, rules.signers)
