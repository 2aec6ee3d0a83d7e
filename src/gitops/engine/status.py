"""`status`: which version runs where, and whether it is ready."""

from __future__ import annotations

from gitops.engine.session import Session
from gitops.errors import GitopsError
from gitops.plan.observed import Readiness
from gitops.plan.stored import Stored
from gitops.values import ObjectRef, UnitKey, workload_name
from gitops.view.board import BoardRow
from gitops.view.status import board_rows
from gitops.world.gather import read_stored


def status(session: Session) -> list[BoardRow]:
    """Which version of each model each environment runs, and whether it is ready."""
    stored = read_stored(session.world.repository())
    states = {} if session.options.offline else _readiness(session, stored)
    return board_rows(session.spec, stored, states)


def _readiness(session: Session, stored: Stored) -> dict[tuple[str, UnitKey], Readiness]:
    """The state of every released unit on each cluster; a cluster that cannot be asked says why."""
    states: dict[tuple[str, UnitKey], Readiness] = {}
    for name in session.spec.clusters:
        units = {u: r for u, r in stored.releases.items() if name in r.rendered.trees}
        refs = {
            ObjectRef(
                "apps/v1",
                "Deployment",
                session.spec.namespace(unit.environment),
                workload_name(unit.model, release.stable.version),
            ): unit
            for unit, release in units.items()
            if unit.environment in session.spec.environments
        }
        if not refs:
            continue
        try:
            found = session.cluster(name).readiness(list(refs))
        except GitopsError as error:
            found = dict.fromkeys(refs, Readiness(False, error.what))
        states.update({(name, refs[ref]): state for ref, state in found.items()})
    return states
