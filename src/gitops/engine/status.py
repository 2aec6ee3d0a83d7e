"""`status`: which version runs where, what is on its way, and whether what answers requests is ready."""

from __future__ import annotations

from collections import defaultdict

from gitops.engine.approving import uncounted
from gitops.engine.session import Session
from gitops.engine.watching import Sight, look
from gitops.errors import GitopsError
from gitops.plan.observed import Readiness, Workload
from gitops.plan.stored import Stored
from gitops.values import ObjectRef, UnitKey, workload_name
from gitops.view.board import BoardRow
from gitops.view.status import Seen, board_rows, serving

EXPLAINED = 20
"""So many versions of a cluster that are not ready are asked why not: each takes a look at its pods."""

_Key = tuple[UnitKey, str]
"""A unit and a version."""


def status(session: Session) -> list[BoardRow]:
    """Every model in every environment, from Git and, unless offline, from one look at the clusters."""
    stored, now = session.world.stored(), int(session.world.clock.now())
    seen = None if session.options.offline or not stored.releases else _seen(session, stored)
    return board_rows(session.spec, stored, now, seen, uncounted(session, stored))


def _seen(session: Session, stored: Stored) -> Seen:
    sight = look(session, stored)
    asked: dict[str, list[_Key]] = defaultdict(list)
    for unit, release in stored.releases.items():
        for cluster, versions in serving(session.spec, release):
            asked[cluster].extend((unit, version) for version in versions)
    states = {
        (name, *key): state
        for name, keys in asked.items()
        if name in sight.clusters
        for key, state in _states(session, sight, name, keys).items()
    }
    return Seen(states, sight.blind, sight.astray)


def _states(session: Session, sight: Sight, name: str, keys: list[_Key]) -> dict[_Key, Readiness]:
    """What the look shows; of some of those that are not ready, the reason as well."""
    workloads = sight.clusters[name].workloads
    states = {key: _readiness(workloads.get(key)) for key in keys}
    unready = {_ref(session, *key): key for key, state in states.items() if not state.ready}
    refs = list(unready)[:EXPLAINED]
    try:
        found = session.cluster(name).readiness(refs) if refs else {}
    except GitopsError:
        return states
    # Between the two looks it may have become ready.
    return states | {unready[ref]: state for ref, state in found.items()}


def _readiness(workload: Workload | None) -> Readiness:
    if workload is None:
        return Readiness(False, "does not exist")
    said = f"{workload.ready} of {workload.replicas} replicas ready"
    return Readiness(workload.ready >= workload.replicas, f"{said}: {workload.failed}" if workload.failed else said)


def _ref(session: Session, unit: UnitKey, version: str) -> ObjectRef:
    namespace = session.spec.namespace(unit.environment)
    return ObjectRef("apps/v1", "Deployment", namespace, workload_name(unit.model, version))
