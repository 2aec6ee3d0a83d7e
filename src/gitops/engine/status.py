"""`status`: which version runs where, what is on its way, and whether what answers requests is ready."""

from __future__ import annotations

from collections import defaultdict

from gitops.engine.approving import uncounted
from gitops.engine.session import Session
from gitops.engine.watching import Key, look, readiness
from gitops.plan.stored import Stored
from gitops.view.board import BoardRow
from gitops.view.status import Seen, board_rows, serving


def status(session: Session) -> list[BoardRow]:
    """Every model in every environment, from Git and, unless offline, from one look at the clusters."""
    stored, now = session.world.stored(), int(session.world.clock.now())
    session = session.at(stored)
    seen = None if session.options.offline or not stored.releases else _seen(session, stored)
    waiting = session.registered.waiting
    return board_rows(session.spec, stored, now, seen, uncounted(session, stored), waiting)


def _seen(session: Session, stored: Stored) -> Seen:
    sight = look(session, stored)
    asked: dict[str, list[Key]] = defaultdict(list)
    for unit, release in stored.releases.items():
        for cluster, versions in serving(session.spec, release):
            asked[cluster].extend((unit, version) for version in versions)
    states = {
        (name, *key): state
        for name, keys in asked.items()
        if name in sight.clusters
        for key, state in readiness(session, sight, name, keys).items()
    }
    return Seen(states, sight.blind, sight.astray, sight.census)
