"""Bring live objects to what the commit says: in phases, environment by environment, waiting before traffic moves."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from gitops.errors import GitopsError
from gitops.plan.model import ObjectChange
from gitops.plan.objects import CONFIGURATION, NAMESPACES, ROUTES, WORKLOADS, phase_of
from gitops.plan.observed import Readiness
from gitops.values import Manifest, ObjectRef
from gitops.world.ports import Cluster, Progress

THREADS = 4
_FIRST_POLL = 0.05
_LONGEST_POLL = 5.0


@dataclass(frozen=True, slots=True)
class Failure:
    """A unit that could not be brought to where Git says it is. `message` says why and what serves traffic now."""

    unit: str
    cluster: str
    message: str


@dataclass
class Work:
    """Everything that converging needs. `manifests` and `workloads` are read from the commit that is applied.

    `workloads` are the Deployments of each (cluster, unit): traffic moves when they are ready. `timeouts` are in
    seconds for each unit.
    """

    objects: Sequence[ObjectChange]
    environments: Sequence[str]
    manifests: Mapping[tuple[str, str], Manifest]
    workloads: Mapping[tuple[str, str], Sequence[ObjectRef]]
    timeouts: Mapping[str, float]
    cluster: Callable[[str], Cluster]
    report: Progress
    force: bool = False
    failures: list[Failure] = field(default_factory=list)
    done: int = 0


def converge(work: Work) -> list[Failure]:
    """Apply every object change; the failures, empty when Git and the clusters agree now.

    Environments follow each other in promotion order, and a model that fails in one is not touched in those after
    it. Traffic and deletions of a unit wait until its workloads are ready.
    """
    by_environment: dict[str, list[ObjectChange]] = defaultdict(list)
    for change in work.objects:
        by_environment[change.environment].append(change)
    known = [name for name in work.environments if name in by_environment]
    for name in (*(n for n in by_environment if n not in work.environments), *known):
        _environment(name, by_environment[name], work)
    return work.failures


def _environment(name: str, objects: Sequence[ObjectChange], work: Work) -> None:
    blocked = {_model(failure.unit) for failure in work.failures}
    active = [change for change in objects if _model(change.unit) not in blocked]
    held_back = {change.unit for change in objects if _model(change.unit) in blocked}
    if held_back:
        work.report(f"{name}: not touched, failed before: {', '.join(sorted(held_back))}")
    for phase in (NAMESPACES, CONFIGURATION, WORKLOADS):
        _send([change for change in active if _phase(change, work) == phase], work)
    _wait(active, work)
    _send([change for change in active if _phase(change, work) == ROUTES], work)
    _send([change for change in active if change.action == "delete"], work)


def _send(changes: Sequence[ObjectChange], work: Work) -> None:
    failed = {(failure.cluster, failure.unit) for failure in work.failures}
    todo = [change for change in changes if (change.cluster, change.unit) not in failed]
    if not todo:
        return
    with ThreadPoolExecutor(THREADS, thread_name_prefix="apply") as pool:
        for change, error in zip(todo, pool.map(lambda change: _attempt(change, work), todo), strict=True):
            if error is None:
                work.done += 1
                work.report(f"{change.cluster}: {change.ref} {_PAST[change.action]}")
            else:
                work.failures.append(Failure(change.unit, change.cluster, str(error)))
                work.report(f"{change.cluster}: {change.ref} failed: {error}")


_PAST = {"create": "created", "update": "updated", "delete": "deleted"}


def _attempt(change: ObjectChange, work: Work) -> GitopsError | None:
    try:
        cluster = work.cluster(change.cluster)
        if change.action == "delete":
            cluster.delete(change.ref, change.uid)
        else:
            manifest = work.manifests[change.cluster, change.path]
            # Without the permission to take over what is foreign, no such plan gets here.
            cluster.apply(manifest, force=work.force, adopt=change.reason == "foreign")
    except GitopsError as error:
        return error
    return None


def _wait(changes: Iterable[ObjectChange], work: Work) -> None:
    """Wait for the workloads of every unit in `changes`, each at most for its own timeout."""
    failed = {(failure.cluster, failure.unit) for failure in work.failures}
    units = dict.fromkeys((change.cluster, change.unit) for change in changes)
    waiting = {key: work.workloads[key] for key in units if key not in failed and work.workloads.get(key)}
    started, pause, said = time.monotonic(), _FIRST_POLL, dict[tuple[str, str], str]()
    while waiting:
        for key, state in _poll(waiting, work).items():
            waited = time.monotonic() - started
            if state.ready:
                del waiting[key]
                work.report(f"{key[0]}: {key[1]} ready after {waited:.0f}s")
            elif state.failed or waited > work.timeouts.get(key[1], 0):
                del waiting[key]
                work.failures.append(Failure(key[1], key[0], _not_ready(state, waited)))
                work.report(f"{key[0]}: {key[1]} {_not_ready(state, waited)}")
            elif said.get(key) != state.message:
                said[key] = state.message
                work.report(f"{key[0]}: {key[1]} waiting: {state.message}")
        if waiting:
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_POLL)


def _not_ready(state: Readiness, waited: float) -> str:
    verb = "cannot become ready" if state.failed else f"not ready after {waited:.0f}s"
    return f"{verb}: {state.message}; traffic was not moved"


def _poll(waiting: Mapping[tuple[str, str], Sequence[ObjectRef]], work: Work) -> dict[tuple[str, str], Readiness]:
    """The state of each unit: ready when all its workloads are, and otherwise that of the first that is not."""
    by_cluster: dict[str, list[tuple[tuple[str, str], Sequence[ObjectRef]]]] = defaultdict(list)
    for key, refs in waiting.items():
        by_cluster[key[0]].append((key, refs))
    states: dict[tuple[str, str], Readiness] = {}
    for name, entries in by_cluster.items():
        try:
            found = work.cluster(name).readiness([ref for _, refs in entries for ref in refs])
        except GitopsError as error:  # it may come back before the time is over
            states |= {key: Readiness(False, str(error)) for key, _ in entries}
            continue
        for key, refs in entries:
            unready = [found[ref] for ref in refs if not found[ref].ready]
            worst = next((state for state in unready if state.failed), unready[0] if unready else None)
            states[key] = worst or Readiness(True, "ready")
    return states


def _phase(change: ObjectChange, work: Work) -> int | None:
    if change.action == "delete":
        return None
    return phase_of(work.manifests[change.cluster, change.path])


def _model(unit: str) -> str:
    """The model of a unit; a cluster's own objects stand for themselves."""
    return unit.partition("/")[2] or unit
