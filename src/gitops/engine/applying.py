"""`apply`: push, then infrastructure, then clusters; and what of a saved plan still holds."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from gitops.engine.contention import push_attempts
from gitops.engine.delivering import stamp_all
from gitops.engine.observing import manifests_in
from gitops.engine.planning import leave, plan
from gitops.engine.session import Session
from gitops.errors import GitopsError, Moved, Refused, StalePlan
from gitops.plan.leaving import refused_units
from gitops.plan.meanwhile import other_than_asked
from gitops.plan.model import Plan, Refusal
from gitops.plan.saved import difference
from gitops.plan.stored import Stored, owner_of
from gitops.spec.promotion import frozen
from gitops.spec.resolved import Spec
from gitops.spec.rollouts import ready_timeout
from gitops.values import LABEL_VERSION, Manifest, ObjectRef
from gitops.world.converge import Failure, Work, converge
from gitops.world.gather import read_cluster_files

_SKEW = 300
"""Seconds that the clocks of two machines may differ."""


@dataclass(frozen=True)
class Applied:
    """What apply did: the commit (empty when nothing had to be committed) and what failed after it."""

    plan: Plan
    commit: str
    objects: int
    failures: tuple[Failure, ...]


def apply(session: Session, wanted: Plan, *, saved: bool = False) -> Applied:
    """Do what the plan says: commit and push, then infrastructure, then clusters.

    Units that a rule refuses are left as they are; what fails on one cluster does not hold up the others. Raises
    Refused when a rule stops the whole run, StalePlan when a saved plan's base has moved. A plan that was just
    computed is computed again when somebody else pushes first, for the same units only.
    """
    if saved:
        check_fresh(session, wanted)
    wanted, commit = _push(session, wanted, saved)
    if not wanted.pending:
        return Applied(wanted, commit, 0, ())
    failures = list(_apply_infrastructure(session, wanted))
    without = {failure.cluster for failure in failures}
    stored = session.world.stored()
    reached = replace(wanted, objects=tuple(one for one in wanted.objects if one.cluster not in without))
    work = _work(session, reached, commit, stored)
    failures += converge(work)
    left = {item.unit for item in (*wanted.left_alone, *wanted.unreachable)} | {failure.unit for failure in failures}
    failures += stamp_all(session, stored, left)
    return Applied(wanted, commit, work.done, tuple(failures))


def made_again(session: Session, saved: Plan) -> Plan:
    """A saved plan as it is made from its base now; of the file nothing is done but its tfplans.

    Raises StalePlan when the base has moved, and when the file says anything that does not come of it.
    """
    check_fresh(session, saved)
    if saved.making.now > session.world.clock.now() + _SKEW:
        raise StalePlan("the saved plan is from the future", hint="plan again")
    again = plan(session, again=saved)
    if what := difference(saved, again):
        left = next((f"; {item.unit}: {item.reason}" for item in again.left_alone), "")
        moved = "the file was edited, or live systems moved since"
        raise StalePlan(f"{what} is not what the saved plan's base gives: {moved}{left}", hint="plan again")
    for change in again.releases:
        if change.decision and (why := _frozen_since(session, saved.making.now, change.unit.environment)):
            raise StalePlan(f"the saved plan is stale: {change.unit} is frozen by now, {why}", hint="plan again")
    return again


def _frozen_since(session: Session, then: int, environment: str) -> str:
    settings = session.spec.environments[environment]
    return "" if frozen(settings, then) else frozen(settings, int(session.world.clock.now()))


def check_fresh(session: Session, wanted: Plan) -> None:
    """Raise StalePlan unless the saved plan was computed from what is there now."""
    base = wanted.base
    if not base.live:
        raise StalePlan("this plan was made offline and knows no live state", hint="plan again without --offline")
    if base.world != session.options.kind:
        hint = "pass --embedded" if base.world == "embedded" else "leave out --embedded and GITOPS_EMBEDDED"
        raise StalePlan(f"this plan was made for the {base.world} world", hint=f"{hint}, or plan again")
    head = session.world.repository().head()
    now = (
        ("the GitOps repository", base.head or "empty", head or "empty"),
        ("the spec", base.spec, session.spec.digest),
        ("templates or engine", base.engine, session.engine),
    )
    for what, then, present in now:
        if then != present:
            raise StalePlan(
                f"the saved plan is stale: {what} moved from {then[:17]} to {present[:17]}", hint="plan again"
            )


def _push(session: Session, wanted: Plan, saved: bool) -> tuple[Plan, str]:
    """Commit and push the plan's files; the plan that was really pushed, and the commit that holds now."""
    for attempt in push_attempts(time.sleep):
        if attempt:
            session.options.progress("the repository moved; planning again")
            wanted = _plan_again(session, wanted)
        _check_refusals(wanted.stopped)
        wanted = leave(session, wanted, refused_units(wanted))
        repository = session.world.repository(create=bool(wanted.files))
        if not wanted.files:
            # Nothing is pushed that would find it out: what runs is made what the newest commit says, not an older one.
            if not saved and wanted.objects and repository.head() != wanted.base.head:
                continue
            return wanted, wanted.base.head or ""
        commits = [({change.path: change.content for change in wanted.at_once}, wanted.message)] * bool(wanted.at_once)
        commits += [(dict(step.files), step.message) for step in wanted.steps]
        try:
            commit = repository.commit_all(wanted.base.head, commits)[-1]
        except Moved as moved:
            if saved:
                raise StalePlan("the saved plan is stale: the repository has moved", hint="plan again") from moved
        else:
            session.options.progress(f"pushed {commit[:10]}")
            return wanted, commit
    raise AssertionError("the last attempt raises")


def _plan_again(session: Session, wanted: Plan) -> Plan:
    """The same units on the new head, without what another process has done of it meanwhile: a pass of `gitops run`
    starts the same version. Raises Refused when one of them got something else than was asked for."""
    units = {change.unit for change in wanted.files} | {change.unit for change in wanted.objects}
    clusters = {entry.cluster for entry in wanted.infrastructure}
    again = plan(session, frozenset(units | clusters))
    stored = session.world.stored()
    for change in wanted.releases:
        unit = change.unit
        if stored.record_ids.get(unit, "") == wanted.seen[str(unit)]:
            continue
        if why := stored.damage(unit) or other_than_asked(
            change, session.spec.models.get(unit), stored.releases.get(unit)
        ):
            raise Refused(f"{unit} was changed while this ran: {why}", hint="plan again and look")
        session.options.progress(f"{unit}: another process has done this already")
    return _still_said(wanted, again)


def _still_said(wanted: Plan, again: Plan) -> Plan:
    """The second plan with what the first one left out and the second was therefore not asked about."""
    known = {item.unit for item in again.left_alone}
    refused = tuple(one for one in wanted.refusals if one.units and one not in again.refusals)
    left = tuple(item for item in wanted.left_alone if item.unit not in known)
    return replace(again, left_alone=(*again.left_alone, *left), refusals=(*again.refusals, *refused))


def _check_refusals(found: Iterable[Refusal]) -> None:
    for refusal in found:
        hint = f"if that is meant: {refusal.flag}" if refusal.flag else ""
        raise Refused(f"{refusal.rule}: {refusal.message}", hint=hint)


def _apply_infrastructure(session: Session, wanted: Plan) -> Iterator[Failure]:
    for entry in wanted.infrastructure:
        if any(line.action != "read" for line in entry.resources):
            session.options.progress(f"{entry.cluster}: applying infrastructure ({len(entry.resources)} changes)")
            infrastructure = session.world.infrastructure(entry.cluster)
            assert infrastructure is not None, "planned, so it is kept by us"
            try:
                infrastructure.apply(entry.saved, session.root_files(entry.cluster))
            except GitopsError as error:
                yield Failure(entry.cluster, entry.cluster, f"{error}; nothing else was done there")


def _work(session: Session, wanted: Plan, commit: str, stored: Stored) -> Work:
    """What converging needs, read from the commit."""
    manifests: dict[tuple[str, str], Manifest] = {}
    workloads: dict[tuple[str, str], list[ObjectRef]] = defaultdict(list)
    stable = {str(unit): release.stable.version for unit, release in stored.releases.items()}
    for name in {change.cluster for change in wanted.objects}:
        for path, manifest in manifests_in(read_cluster_files(session.world.repository(), commit, name, ())):
            manifests[name, path] = manifest
            unit = owner_of(path)
            # A version on its way is waited for by its rollout, not here.
            if manifest["kind"] == "Deployment" and manifest["metadata"]["labels"][LABEL_VERSION] == stable.get(unit):
                workloads[name, unit].append(ObjectRef.of(manifest))
    return Work(
        objects=wanted.objects,
        environments=tuple(session.spec.environments),
        manifests=manifests,
        workloads=workloads,
        timeouts=_timeouts(session.spec),
        cluster=session.cluster,
        report=session.options.progress,
        force=session.options.allowed.conflicts,
    )


def _timeouts(spec: Spec) -> dict[str, float]:
    rollouts = spec.pipeline.rollouts
    return {
        str(unit): ready_timeout(rollouts[model.rollout], model.serve.load_time) for unit, model in spec.models.items()
    }
