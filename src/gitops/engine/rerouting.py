"""Going back where files cannot be rendered: the routes are those that Git has from when stable had all traffic."""

from __future__ import annotations

from collections.abc import Mapping

from gitops.engine.session import Session
from gitops.errors import GitopsError
from gitops.plan.rollouts import Course
from gitops.plan.stored import Stored
from gitops.render.renderer import ROUTES, unit_directory
from gitops.rollout.release import parse_release, record_path
from gitops.rollout.state import ModelVersion
from gitops.values import UnitKey
from gitops.world.gather import read_files

Routes = Mapping[str, bytes]
"""What of a unit's files says who answers requests, by path."""


def routes_for(
    session: Session, stored: Stored, doing: Mapping[UnitKey, Course]
) -> tuple[dict[UnitKey, Routes], dict[UnitKey, str]]:
    """The routes of units that go back or stand still, and why there are none for others.

    A rollout leaves what its versions run from in Git until it is over, so that only who gets traffic has to change.
    """
    found: dict[UnitKey, Routes] = {}
    missing: dict[UnitKey, str] = {}
    for unit, there in doing.items():
        try:
            found[unit] = _routes(session, stored, unit, there)
        except GitopsError as error:
            missing[unit] = str(error)
    return found, missing


def _routes(session: Session, stored: Stored, unit: UnitKey, there: Course) -> Routes:
    if all(step.decision.kind == "pause" for step in there.steps):
        return {}  # everybody keeps the traffic that they have
    stable = there.state.stable
    assert stable is not None, "what has a record has been released"
    paths = [
        f"{unit_directory(cluster, unit)}/{name}"
        for cluster in session.spec.environments[unit.environment].clusters
        for name in ROUTES
    ]
    repository = session.world.repository()
    present = read_files(repository, stored.head, paths)
    for commit in repository.log(models=[unit.model]):
        if _had_all(session, commit.id, unit, stable):
            then = read_files(repository, commit.id, paths)
            if then.keys() >= present.keys():
                return {path: then[path] for path in present}
    raise GitopsError(f"the history has no route on which {stable.version} gets all traffic")


def _had_all(session: Session, commit: str, unit: UnitKey, stable: ModelVersion) -> bool:
    """Whether that version had all traffic at a commit, and no other one a copy of it."""
    path = record_path(unit)
    text = read_files(session.world.repository(), commit, [path]).get(path)
    try:
        release = parse_release(text, path) if text else None
    except GitopsError:
        return False
    if release is None or release.state.stable != stable:
        return False
    candidate = release.candidate
    return candidate is None or not (candidate.load or candidate.wave)
