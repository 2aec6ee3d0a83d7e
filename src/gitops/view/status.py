"""From release records and live states to the rows of the status board."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from gitops.plan.census import NOTHING_SEEN, Census
from gitops.plan.lives import models_of
from gitops.plan.observed import Readiness
from gitops.plan.rollouts import Course, courses, first_entry
from gitops.plan.stored import Stored, damaged_units
from gitops.rollout.approvals import Uncounted
from gitops.rollout.release import Release, time_of
from gitops.rollout.state import Candidate
from gitops.spec.pipeline import Model
from gitops.spec.promotion import waves_since
from gitops.spec.resolved import Spec
from gitops.values import UnitKey, version_in_words
from gitops.view.board import BoardRow, Cell, Rejected, Rollout, Running, Traffic, Warm
from gitops.view.standing import phase_words, shares, watched_until


@dataclass(frozen=True)
class Seen:
    """What clusters show, as far as somebody looked."""

    states: Mapping[tuple[str, UnitKey, str], Readiness] = field(default_factory=dict)
    """By cluster, unit and version: of those versions that answer requests there."""
    blind: Mapping[str, str] = field(default_factory=dict)
    """Clusters that could not be asked, and why."""
    astray: Mapping[UnitKey, tuple[str, ...]] = field(default_factory=dict)
    """Units that are not where Git says, with the clusters."""
    census: Census = NOTHING_SEEN
    """What runs there."""


def board_rows(
    spec: Spec,
    stored: Stored,
    now: int,
    seen: Seen | None = None,
    uncounted: Mapping[UnitKey, Uncounted] = MappingProxyType({}),
    unregistered: Mapping[UnitKey, str] = MappingProxyType({}),
) -> list[BoardRow]:
    """A row for each model of the spec, then for each that only the repository still knows.

    `now` is in seconds of the epoch; without `seen` nobody looked at live systems. `uncounted` are recorded approvals
    that do not count, `unregistered` are units whose version is not built, validated or signed yet, and why.
    """
    units = (*stored.releases, *damaged_units(spec, stored))
    known = dict.fromkeys((*spec.pipeline.models, *(unit.model for unit in units)))
    doing = courses(spec, stored, now, uncounted)

    def cell(unit: UnitKey) -> Cell:
        there = _cell(spec, stored, unit, doing.get(unit), now, seen, uncounted.get(unit, {}))
        return replace(there, waits=unregistered[unit]) if unit in unregistered else there

    return [BoardRow(model, tuple(cell(UnitKey(name, model)) for name in spec.environments)) for model in known]


def serving(spec: Spec, release: Release) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each cluster of a unit with the versions that answer requests there; nothing of an environment that is gone."""
    if release.unit.environment in spec.environments:
        for traffic in _traffic(spec, release):
            for cluster in traffic.clusters:
                if cluster in release.rendered.trees:
                    yield cluster, tuple(one.version for one in traffic.shares)


def _cell(
    spec: Spec,
    stored: Stored,
    unit: UnitKey,
    course: Course | None,
    now: int,
    seen: Seen | None,
    uncounted: Uncounted,
) -> Cell:
    release, model = stored.releases.get(unit), spec.models.get(unit)
    if release is None:
        waits = first_entry(spec, stored, unit, uncounted) if model else ""
        target, damage = model.version if model else "", stored.damage(unit)
        if damage:
            return Cell(unit.environment, unit.model, "", target, "", None, "", damage=damage)
        return Cell(unit.environment, unit.model, "", target, "", None, "", waits=waits and f"{target} waits: {waits}")
    ready, message = _readiness(spec, release, seen)
    return Cell(
        environment=unit.environment,
        model=unit.model,
        released=release.stable.version,
        target=model.version if model else "",
        since=release.stable.since,
        ready=ready,
        message=message,
        rollout=_rollout(course, release.candidate, now) if course and release.candidate else None,
        waits=course.held if course and not release.candidate else "",
        rejected=tuple(Rejected(one.version.version, one.reason, time_of(one.at)) for one in release.rejected),
        warm=tuple(
            Warm(one.version.version, time_of(one.until), max(0, one.until - now), one.previous) for one in release.kept
        ),
        traffic=tuple(_traffic(spec, release)),
        astray=seen.astray.get(unit, ()) if seen else (),
        replicas=tuple(_running(release, model, seen)) if seen else (),
    )


def _running(release: Release, model: Model | None, seen: Seen) -> Iterator[Running]:
    """How many replicas each version has on each cluster that was looked at, beside what is declared."""
    models = models_of(release, model)
    for cluster in release.rendered.trees:
        for version, one in models.items():
            if workload := seen.census.workloads.get(cluster, {}).get((release.unit, version)):
                bounds = one.serve.replicas
                yield Running(cluster, version, workload.ready, workload.replicas, bounds.min, bounds.max)


def _traffic(spec: Spec, release: Release) -> Iterator[Traffic]:
    waves = waves_since(spec.environments[release.unit.environment], release.state.begun)
    for clusters, found in zip(waves, shares(release.state, len(waves)), strict=True):
        yield Traffic(clusters, found)


def _readiness(spec: Spec, release: Release, seen: Seen | None) -> tuple[bool | None, str]:
    """Whether every version that answers requests is ready on each of its clusters, and why not."""
    known, reasons = False, []
    for cluster, versions in serving(spec, release) if seen else ():
        assert seen is not None
        if cluster in seen.blind:
            known = True
            reasons.append(f"{cluster}: {seen.blind[cluster]}")
            continue
        for version in versions:
            state = seen.states.get((cluster, release.unit, version))
            known = known or state is not None
            if state and not state.ready:
                named = f"{version_in_words(version)}: " if version != release.stable.version else ""
                reasons.append(f"{cluster}: {named}{state.message}")
    return (not reasons if known else None), "; ".join(reasons)


def _rollout(course: Course, candidate: Candidate, now: int) -> Rollout:
    policy, freeze = course.standing.policy, course.standing.freeze
    frozen = f"frozen: {freeze}" if freeze and not candidate.hotfix else ""
    watched = watched_until(policy, candidate) - now
    bakes = candidate.stage == "baking" and not candidate.pause and not frozen
    return Rollout(
        version=candidate.version.version,
        strategy=policy.strategy,
        phase=course.standing.state.phase,
        step=candidate.step,
        steps=len(policy.steps),
        weight=candidate.weight,
        mirror=candidate.mirror,
        wave=min(candidate.wave, policy.waves - 1) + 1,
        waves=policy.waves,
        started=time_of(candidate.started),
        since=time_of(candidate.since),
        left=max(0, watched) if bakes else None,
        words=phase_words(policy, candidate, now, frozen),
        paused_by=candidate.pause.by if candidate.pause else "",
    )
