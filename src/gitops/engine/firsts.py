"""Approve a version of a unit that runs nothing yet: the approval is kept in Git until `gitops apply` releases it."""

from __future__ import annotations

from dataclasses import replace

from gitops.engine.approving import permitted, with_job
from gitops.engine.contention import push_attempts
from gitops.engine.planning import new_rollout_id
from gitops.engine.session import Session
from gitops.errors import GitopsError, Moved
from gitops.plan.lives import target_of
from gitops.plan.stored import Stored
from gitops.rollout import approvals
from gitops.rollout.absent import approvals_path, dump_approvals
from gitops.rollout.machine import Decision
from gitops.rollout.observation import Command, Observation
from gitops.rollout.policy import policy_of
from gitops.rollout.state import RolloutState
from gitops.rollout.step_message import step_message
from gitops.spec.frozen import runs_of
from gitops.spec.promotion import strategy_rollout
from gitops.values import UnitKey


def approve_first(session: Session, unit: UnitKey, asked: Command) -> tuple[Decision, str]:
    """The decision, and the message of its commit; a refusal is said by the decision and has none.

    Raises GitopsError when they may not approve there, and when Git cannot be read or written.
    """
    for attempt in push_attempts(session.world.clock.sleep):
        if attempt:
            session.options.progress("the repository moved; looking again")
        stored = session.world.stored().returning([unit])
        here = session.at(stored)
        decision = with_job(_decision(here, stored, unit, permitted(here, stored, unit, asked)))
        if decision.event is None or decision.refused:
            return decision, ""
        content = dump_approvals(unit, decision.state.approvals)
        message = step_message(unit, decision.event, decision.evidence, new_rollout_id(), here.source)
        try:
            repository = session.world.repository(create=True)
            repository.commit(stored.head, {approvals_path(unit): content}, message)
        except Moved:
            continue
        return decision, message
    raise AssertionError("the last attempt raises")


def _decision(session: Session, stored: Stored, unit: UnitKey, asked: Command) -> Decision:
    model, environment = session.spec.models[unit], session.spec.environments[unit.environment]
    if damage := stored.damage(unit):
        raise GitopsError(f"the record of {unit} cannot be read: {damage}")
    about = model.artifact.digest, runs_of(model)
    given = tuple(one for one in stored.consents.get(unit, ()) if (one.digest, one.runs) == about)
    release = stored.releases.get(unit)
    state = replace(release.state if release else RolloutState(), approvals=given)
    seen = Observation(now=int(session.world.clock.now()), target=target_of(model), runs=about[1], commands=(asked,))
    return approvals.decide(policy_of(strategy_rollout(session.spec, unit), environment), state, seen, {})
