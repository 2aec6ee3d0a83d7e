"""Walk rollouts to their end, pass by pass, and say when there is nothing left that could move by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from gitops.engine.judging import Memory
from gitops.engine.reconciling import Pass, reconcile
from gitops.engine.session import Session
from gitops.errors import GitopsError
from gitops.plan.rollouts import first_entry
from gitops.plan.stored import Stored
from gitops.rollout.release import Release
from gitops.values import UnitKey

INTERVAL = 15.0
"""Seconds between two passes."""
EAGER_INTERVAL = 3.0
"""The same while a version gets ready: somebody may be watching, and such a pass asks no metrics."""
EMBEDDED_INTERVAL = 60.0
"""In the embedded world waiting takes no time, but each pass does."""
PATIENCE = 20
"""So many passes in a row may fail before it gives up; a job in CI must not hang on a repository that is gone."""

Report = Callable[[Pass], None]


@dataclass(frozen=True)
class Walked:
    """How a walk ended."""

    passes: int
    rejected: Mapping[UnitKey, str] = field(default_factory=dict)
    """Units whose version was rolled back, and why."""
    waiting: Mapping[UnitKey, str] = field(default_factory=dict)
    """Units that wait for people, or for a version that went back before them."""

    @property
    def arrived(self) -> bool:
        """Whether everything runs what the spec names."""
        return not self.rejected and not self.waiting


def walk(session: Session, report: Report, interval: float | None = None) -> Walked:
    """Make passes until no rollout can move without a person. Raises GitopsError when passes keep failing."""
    memory, passes, failed = Memory(), 0, 0
    embedded = session.options.kind == "embedded"
    pause = interval or (EMBEDDED_INTERVAL if embedded else INTERVAL)
    eager = pause if interval or embedded else EAGER_INTERVAL
    while True:
        try:
            done = reconcile(session, memory)
        except GitopsError as error:
            failed += 1
            if failed >= PATIENCE:
                raise
            session.options.progress(f"a pass failed ({error}); trying again")
            session.world.clock.sleep(pause)
            continue
        passes, failed = passes + 1, 0
        report(done)
        stored = session.world.stored()
        under_way = (_moves(release, done) for release in stored.releases.values())
        if not done.moved and not done.failures and not any(under_way):
            return Walked(passes, *_verdict(session.at(stored), stored, done))
        if not done.moved:
            session.world.clock.sleep(eager if any(map(_gets_ready, stored.releases.values())) else pause)


def _gets_ready(release: Release) -> bool:
    return release.candidate is not None and release.candidate.stage in ("starting", "promoting")


def _moves(release: Release, last: Pass) -> bool:
    """Whether a rollout under way may still move without a person, and by this checkout."""
    candidate, here = release.candidate, last.standings.get(release.unit)
    if candidate is None or here is None or release.unit in last.left_alone:
        return False
    if candidate.pause is None:
        return True
    held = here.policy.pause_outcome == "hold" and last.now - candidate.entered >= here.policy.pause_timeout
    return not candidate.pause.for_a_person and not held


def _verdict(session: Session, stored: Stored, last: Pass) -> tuple[dict[UnitKey, str], dict[UnitKey, str]]:
    rejected, waiting = {}, {}
    for unit, why in _unfinished(session, stored, last):
        release = stored.releases.get(unit)
        if release and (release.rejected or release.returned) and not release.candidate:
            rejected[unit] = why
        else:
            waiting[unit] = why
    return rejected, waiting


def _unfinished(session: Session, stored: Stored, last: Pass) -> Iterator[tuple[UnitKey, str]]:
    for unit, model in session.spec.models.items():
        release = stored.releases.get(unit)
        if unit in last.left_alone:
            yield unit, last.left_alone[unit]
        elif release is None:
            yield unit, first_entry(session.spec, stored, unit) or "its first release is made by gitops apply"
        elif (release.stable.version, release.stable.digest) != (model.version, model.artifact.digest):
            decision = last.decisions.get(unit)
            yield unit, decision.sentence if decision else "has not moved"
