"""Bring clusters to where Git says a unit is: exactly what a step changed, or the whole unit when they differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gitops.engine.observing import manifests_in
from gitops.engine.owning import settled_by_git
from gitops.engine.session import Session
from gitops.engine.watching import stamp_name
from gitops.errors import GitopsError
from gitops.plan.model import PlannedStep
from gitops.plan.objects import ROUTES, phase_of
from gitops.plan.stored import CLUSTERS, Stored, owner_of
from gitops.render.renderer import unit_directory
from gitops.rollout.release import Release
from gitops.values import (
    LABEL_CLUSTER,
    LABEL_ENVIRONMENT,
    LABEL_MODEL,
    LABEL_PIPELINE,
    Manifest,
    ObjectRef,
    UnitKey,
)
from gitops.world.converge import Failure
from gitops.world.gather import read_files
from gitops.world.ports import Difference

_MANY = 8
"""From here on one comparison of a whole cluster is cheaper than one for each unit."""


@dataclass
class Delivery:
    """What a delivery did and could not do."""

    objects: int = 0
    failures: list[Failure] = field(default_factory=list)


def deliver(session: Session, steps: Sequence[PlannedStep], before: Stored, now: Stored) -> Delivery:
    """Apply what these steps changed since `before`, and nothing else.

    Where a step takes traffic away from a version, routes go first. A cluster that was not where Git said before
    does not count as settled afterwards either: the next pass looks at the whole unit.
    """
    done = Delivery()
    for step in _last_of_each(steps):
        unit = UnitKey(*step.unit.split("/", 1))
        for cluster, files in _by_cluster(step.files).items():
            try:
                done.objects += _deliver(session, unit, cluster, files, before.head, back=step.goes_back)
                if _stamped(session, cluster, unit) == before.releases[unit].rendered.trees.get(cluster):
                    _stamp(session, cluster, unit, now.releases.get(unit))
            except GitopsError as error:
                done.failures.append(Failure(step.unit, cluster, str(error)))
    return done


def settle(session: Session, stored: Stored, astray: Mapping[UnitKey, Collection[str]]) -> Delivery:
    """Bring every unit of `astray` to where its record says, on the clusters named with it."""
    done = Delivery()
    by_cluster: dict[str, list[UnitKey]] = defaultdict(list)
    for unit, clusters in astray.items():
        for cluster in clusters:
            by_cluster[cluster].append(unit)
    for cluster, units in by_cluster.items():
        groups = [units] if len(units) >= _MANY else [[unit] for unit in units]
        for group in groups:
            wanted, unread = _wanted(session, stored, cluster, group)
            done.failures += [Failure(str(unit), cluster, why) for unit, why in unread.items()]
            try:
                done.objects += _settle(session, stored, cluster, wanted)
            except GitopsError as error:
                done.failures += [Failure(str(unit), cluster, str(error)) for unit in wanted]
    return done


# --- One step ------------------------------------------------------------------------------------------------


def _last_of_each(steps: Sequence[PlannedStep]) -> Iterator[PlannedStep]:
    """Steps of one unit joined: what is on the cluster in between matters to nobody."""
    joined: dict[str, PlannedStep] = {}
    for step in steps:
        known = joined.get(step.unit)
        files = {**known.files, **step.files} if known else step.files
        joined[step.unit] = PlannedStep(step.unit, step.message, files, step.goes_back)
    yield from joined.values()


def _by_cluster(files: Mapping[str, bytes | None]) -> dict[str, dict[str, bytes | None]]:
    found: dict[str, dict[str, bytes | None]] = defaultdict(dict)
    for path, content in files.items():
        parts = path.split("/")
        if parts[0] == CLUSTERS:
            found[parts[1]][path] = content
    return found


def _deliver(
    session: Session,
    unit: UnitKey,
    name: str,
    files: Mapping[str, bytes | None],
    before: str | None,
    *,
    back: bool,
) -> int:
    cluster, force = session.cluster(name), session.options.allowed.conflicts
    wanted = [manifest for _, manifest in manifests_in({p: c for p, c in files.items() if c is not None})]
    for manifest in sorted(wanted, key=_order(back)):
        cluster.apply(manifest, force=force)
    gone = [path for path, content in files.items() if content is None]
    labels = _labels(session, name, unit)
    for _, manifest in manifests_in(read_files(session.world.repository(), before, gone)):
        cluster.remove(ObjectRef.of(manifest), labels)
    return len(wanted) + len(gone)


def _order(back: bool) -> Callable[[Manifest], int]:
    """Phases of apply; what gives traffic back comes first of all."""
    return lambda manifest: -1 if back and phase_of(manifest) == ROUTES else phase_of(manifest)


def _labels(session: Session, cluster: str, unit: UnitKey) -> dict[str, str]:
    return {
        LABEL_PIPELINE: session.spec.pipeline.name,
        LABEL_CLUSTER: cluster,
        LABEL_ENVIRONMENT: unit.environment,
        LABEL_MODEL: unit.model,
    }


# --- Whole units ---------------------------------------------------------------------------------------------


_Desired = Mapping[ObjectRef, tuple[str, Manifest]]
"""What Git wants of a unit, each with its file."""


def _wanted(
    session: Session, stored: Stored, name: str, units: Sequence[UnitKey]
) -> tuple[dict[UnitKey, _Desired], dict[UnitKey, str]]:
    """What Git wants of each unit on a cluster, and why the files of others cannot be read."""
    files = read_files(session.world.repository(), stored.head, [unit_directory(name, unit) for unit in units])
    by_unit: dict[str, dict[str, bytes]] = defaultdict(dict)
    for path, content in files.items():
        by_unit[owner_of(path)][path] = content
    wanted: dict[UnitKey, _Desired] = {}
    unread: dict[UnitKey, str] = {}
    for unit in units:
        try:
            wanted[unit] = {ObjectRef.of(one): (path, one) for path, one in manifests_in(by_unit[str(unit)])}
        except GitopsError as error:
            unread[unit] = str(error)
    return wanted, unread


def _settle(session: Session, stored: Stored, name: str, units: Mapping[UnitKey, _Desired]) -> int:
    if not units:
        return 0
    cluster = session.cluster(name)
    desired = {ref: one for wanted in units.values() for ref, one in wanted.items()}
    selector = {LABEL_PIPELINE: session.spec.pipeline.name, LABEL_CLUSTER: name}
    if len(units) == 1:
        selector = _labels(session, name, next(iter(units)))
    asked = {str(unit) for unit in units}
    compared = cluster.compare([manifest for _, manifest in desired.values()], selector)
    found = [
        difference
        for difference in settled_by_git(session, stored.head, name, compared, desired)
        if (owner_of(desired[difference.ref][0]) if difference.ref in desired else difference.unit) in asked
    ]
    _mend(session, name, found, desired)
    for unit in units:
        _stamp(session, name, unit, stored.releases.get(unit))
    return len(found)


def _mend(session: Session, name: str, found: Sequence[Difference], desired: _Desired) -> None:
    cluster, force = session.cluster(name), session.options.allowed.conflicts
    wanted = [desired[difference.ref][1] for difference in found if difference.kind != "surplus"]
    for manifest in sorted(wanted, key=phase_of):
        cluster.apply(manifest, force=force)
    for difference in found:
        if difference.kind != "surplus" or difference.ref.kind == "Namespace":
            continue
        if difference.owner:
            session.options.progress(f"{name}: {difference.ref} stays: it was never in Git")
        else:
            cluster.delete(difference.ref, difference.uid)


def _stamped(session: Session, name: str, unit: UnitKey) -> str | None:
    namespace = session.spec.namespace(unit.environment)
    return session.cluster(name).stamps(namespace, stamp_name(session.spec.pipeline.name)).get(unit.model)


def _stamp(session: Session, name: str, unit: UnitKey, release: Release | None) -> None:
    tree = release.rendered.trees.get(name) if release else None
    namespace = session.spec.namespace(unit.environment)
    session.cluster(name).stamp(namespace, stamp_name(session.spec.pipeline.name), {unit.model: tree})


def stamp_all(session: Session, stored: Stored, except_for: Collection[str]) -> list[Failure]:
    """Remember that everything is where Git says, but for these units and clusters; what could not be remembered."""
    failures = []
    for name in session.spec.clusters:
        if name not in except_for:
            try:
                _stamp_cluster(session, stored, name, except_for)
            except GitopsError as error:
                failures.append(Failure(name, name, str(error)))
    return failures


def _stamp_cluster(session: Session, stored: Stored, name: str, except_for: Collection[str]) -> None:
    name_of, adopt = stamp_name(session.spec.pipeline.name), session.options.allowed.adoption
    wanted: dict[str, dict[str, str]] = defaultdict(dict)
    for unit, release in stored.releases.items():
        if name in release.rendered.trees and unit in session.spec.models and str(unit) not in except_for:
            wanted[unit.environment][unit.model] = release.rendered.trees[name]
    for environment, trees in wanted.items():
        namespace = session.spec.namespace(environment)
        known = {} if adopt else session.cluster(name).stamps(namespace, name_of)
        changes: dict[str, str | None] = {model: t for model, t in trees.items() if known.get(model) != t}
        if changes:
            session.cluster(name).stamp(namespace, name_of, changes, adopt=adopt)
