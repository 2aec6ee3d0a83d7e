"""Where decision and I/O meet: short recipes that gather, decide, and execute.

What only some commands need is imported inside them: an offline plan that finds no change takes half its time for
imports.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Self

from gitops.errors import GitopsError, Moved, Refused, StalePlan
from gitops.plan.capacity import pool_use, stalls
from gitops.plan.desired import Changes, changes, render_stale, without_clusters
from gitops.plan.model import Base, ClusterInfrastructure, FileChange, ObjectChange, Plan, Refusal
from gitops.plan.objects import created, object_changes
from gitops.plan.observed import Readiness
from gitops.plan.refusals import Allowances, departures, refusals
from gitops.plan.stored import Stored, owner_of
from gitops.render.check import check_manifests, parse_manifest
from gitops.render.renderer import HEADER, Renderer
from gitops.render.templates import templates_of
from gitops.rollout.history import spec_commit
from gitops.rollout.message import Released, commit_message
from gitops.rollout.release import SpecSource
from gitops.spec.load import load_spec
from gitops.spec.resolved import Spec
from gitops.values import LABEL_CLUSTER, LABEL_PIPELINE, Manifest, ObjectRef, UnitKey, workload_name
from gitops.world.files import Project, read_modules, read_project, read_templates
from gitops.world.gather import read_cluster_files, read_existing, read_stored
from gitops.world.git.checkout import contains, is_shallow, spec_source
from gitops.world.places import Kind
from gitops.world.ports import Cluster, Progress
from gitops.world.worlds import World

if TYPE_CHECKING:
    from gitops.view.board import BoardRow
    from gitops.world.converge import Failure, Work

PUSH_ATTEMPTS = 40
_CLUSTERS_AT_ONCE = 3


def silent(line: str) -> None:
    """A Progress that says nothing."""


@dataclass(frozen=True)
class Options:
    """How a command was asked to work."""

    project: Path
    kind: Kind = "real"
    offline: bool = False
    replace_newer: bool = False
    allowed: Allowances = field(default_factory=Allowances)
    progress: Progress = silent


@dataclass(frozen=True)
class Session:
    """A loaded spec with everything that planning it needs."""

    options: Options
    project: Project
    spec: Spec
    renderer: Renderer
    modules: Mapping[str, bytes]
    engine: str
    world: World

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.world.close()


@dataclass(frozen=True)
class Applied:
    """What apply did: the commit (empty when nothing had to be committed) and what failed after it."""

    plan: Plan
    commit: str
    objects: int
    failures: tuple[Failure, ...]


def open_session(options: Options) -> Session:
    """Read and check the spec, and make its world ready. Raises SpecError with every problem at once."""
    project = read_project(options.project)
    spec = load_spec(project.pipeline, project.environments)
    templates = templates_of(read_templates(options.project))
    return Session(
        options=options,
        project=project,
        spec=spec,
        renderer=Renderer(spec, templates),
        modules=read_modules(options.project),
        engine=templates.digest,
        world=World(spec, options.project, options.kind, options.progress),
    )


def plan(session: Session, only: frozenset[str] | None = None) -> Plan:
    """Everything that would change; with `only`, what would change for these units and clusters.

    Raises GitopsError when something cannot be read, or when what was rendered is not what a cluster may get.
    """
    spec, options = session.spec, session.options
    repository = session.world.repository()
    stored = read_stored(repository)
    wanted = render_stale(spec, session.renderer, stored, session.modules)
    _check(wanted.desired)
    existing, contents = read_existing(repository, stored, wanted)
    source = spec_source(options.project, session.project.paths())
    recorded = {stored.releases[u].source.commit for u in (*wanted.stale, *wanted.gone) if u in stored.releases}
    foreign = _foreign(session, source, recorded)
    found = changes(
        spec,
        stored,
        session.renderer,
        wanted,
        existing,
        contents,
        now=_now(),
        source=source,
        foreign_commits=foreign,
    )
    if only is not None:
        found = _restrict(found, only)
    found = without_clusters(found, _newer_clusters(session, found, source))
    draft = _draft(session, stored, _base(session, stored, source), found)
    if not options.offline:
        draft = _with_live(session, draft, only)
    return replace(draft, refusals=(*draft.refusals, *refusals(draft, stored, options.allowed)))


def apply(session: Session, wanted: Plan, *, saved: bool = False) -> Applied:
    """Do what the plan says: commit and push, then infrastructure, then clusters.

    Raises Refused when a rule stops it, StalePlan when a saved plan's base has moved. A plan that was just
    computed is computed again when somebody else pushes first, for the same units only.
    """
    from gitops.world.converge import converge

    if saved:
        check_fresh(session, wanted)
    wanted, commit = _push(session, wanted, saved)
    if not wanted.pending:
        return Applied(wanted, commit, 0, ())
    _apply_infrastructure(session, wanted)
    work = _work(session, wanted, commit)
    failures = converge(work)
    return Applied(wanted, commit, work.done, tuple(failures))


def diff(session: Session) -> Plan:
    """How live objects differ from what the repository's head says; the spec's models play no part."""
    stored = read_stored(session.world.repository())
    source = spec_source(session.options.project, session.project.paths())
    draft = _draft(session, stored, _base(session, stored, source), Changes((), (), (), (), {}))
    return replace(_with_live(session, draft, None, infrastructure=False), capacity=())


def status(session: Session) -> list[BoardRow]:
    """Which version of each model each environment runs, and whether it is ready."""
    from gitops.view.status import board_rows

    stored = read_stored(session.world.repository())
    states = {} if session.options.offline else _readiness(session, stored)
    return board_rows(session.spec, stored, states)


def rendered(session: Session, only: str = "") -> dict[str, bytes]:
    """The files that the repository would hold, without looking at it; with `only`, those of one unit."""
    units = [unit for unit in session.spec.models if only in ("", str(unit))]
    if only and not units:
        raise GitopsError(f"no unit {only}", where="--unit", hint=f"one of: {', '.join(map(str, session.spec.models))}")
    files: dict[str, bytes] = {}
    for unit in units:
        files.update(session.renderer.unit(unit))
    if not only:
        for environment in session.spec.environments:
            files.update(session.renderer.base(environment))
        for cluster in session.spec.clusters:
            files.update(session.renderer.root(cluster))
    _check(files)
    return dict(sorted(files.items()))


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


# --- Planning ------------------------------------------------------------------------------------------------


def _check(files: Mapping[str, bytes]) -> None:
    """Raise GitopsError when a rendered file is not what a cluster may get: the templates are at fault."""
    found = check_manifests(files)
    if found:
        first, more = found[0], len(found) - 1
        hint = " — ".join(part for part in (first.hint, f"{more} more files are wrong" if more else "") if part)
        raise GitopsError(first.what, where=first.where, hint=hint or "mend the template that rendered it")


def _base(session: Session, stored: Stored, source: SpecSource) -> Base:
    return Base(
        pipeline=session.spec.pipeline.name,
        head=stored.head,
        spec=session.spec.digest,
        engine=session.engine,
        world=session.options.kind,
        live=not session.options.offline,
        spec_commit=source.commit,
        spec_modified=source.modified,
    )


def _draft(session: Session, stored: Stored, base: Base, found: Changes) -> Plan:
    changing = [change.unit for change in found.releases]
    capacity = pool_use(session.spec, stored, changing)
    refused, warnings = departures(session.spec, stored)
    return Plan(
        base=base,
        releases=found.releases,
        files=found.files,
        capacity=tuple(capacity),
        left_alone=found.left_alone,
        warnings=(*warnings, *(stalls(capacity) if changing else ())),
        refusals=(*found.refusals, *refused),
        message=_message(found, SpecSource(base.spec_commit, base.spec_modified)),
        seen=found.seen,
        models=len(session.spec.pipeline.models),
        environments=tuple(session.spec.environments),
    )


def _message(found: Changes, source: SpecSource) -> str:
    if not found.files:
        return ""
    from ulid import ULID

    released = [Released(c.unit, c.version, c.previous) for c in found.releases if c.action != "delete"]
    removed = [change.unit for change in found.releases if change.action == "delete"]
    clusters = list(dict.fromkeys(change.unit for change in found.files if "/" not in change.unit))
    return commit_message(released, removed, clusters, str(ULID()), source)


def _foreign(session: Session, source: SpecSource, recorded: Iterable[str]) -> set[str]:
    """Those of these spec commits that this checkout does not contain: what they changed is newer than what is here.

    Empty when the spec is not kept in Git, and when the user overrules newer commits.
    """
    asked = {commit for commit in recorded if commit and commit != source.commit}
    if session.options.replace_newer or not source.commit or not asked:
        return set()
    foreign = asked - contains(session.options.project, asked)
    if foreign and is_shallow(session.options.project):
        raise GitopsError(
            f"this checkout is shallow, so it cannot be told whether it contains spec commit {min(foreign)[:10]}",
            where=str(session.options.project),
            hint="fetch the whole history (git fetch --unshallow; fetch-depth: 0 in CI)",
        )
    return foreign


def _newer_clusters(session: Session, found: Changes, source: SpecSource) -> dict[str, str]:
    """Clusters whose files would change although they were last changed from a spec commit that is not here."""
    if session.options.replace_newer or not source.commit:
        return {}
    last: dict[str, str] = {}
    for name in dict.fromkeys(change.unit for change in found.files if "/" not in change.unit):
        for commit in session.world.repository().log(clusters=[name], limit=1):
            last[name] = spec_commit(commit)
    foreign = _foreign(session, source, last.values())
    return {name: commit for name, commit in last.items() if commit in foreign}


def _restrict(found: Changes, only: frozenset[str]) -> Changes:
    return Changes(
        releases=tuple(change for change in found.releases if str(change.unit) in only),
        files=tuple(change for change in found.files if change.unit in only),
        left_alone=found.left_alone,
        refusals=found.refusals,
        seen=found.seen,
    )


@dataclass(frozen=True)
class _Live:
    objects: tuple[ObjectChange, ...]
    infrastructure: ClusterInfrastructure | None
    warnings: tuple[str, ...] = ()


def _with_live(session: Session, draft: Plan, only: frozenset[str] | None, *, infrastructure: bool = True) -> Plan:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_CLUSTERS_AT_ONCE, thread_name_prefix="observe") as pool:
        lives = list(pool.map(lambda name: _observe(session, draft, name, infrastructure), session.spec.clusters))
    objects = sorted((change for live in lives for change in live.objects), key=_reading_order(session.spec))
    left_alone = {entry.unit for entry in draft.left_alone}
    return replace(
        draft,
        objects=tuple(c for c in objects if c.unit not in left_alone and (only is None or c.unit in only)),
        infrastructure=tuple(
            live.infrastructure
            for live in lives
            if live.infrastructure and (only is None or live.infrastructure.cluster in only)
        ),
        warnings=(*draft.warnings, *(line for live in lives for line in live.warnings)),
    )


def _reading_order(spec: Spec) -> Callable[[ObjectChange], tuple[int, str, str, int, str]]:
    order = {name: number for number, name in enumerate(spec.environments)}
    actions = ("create", "update", "delete")
    return lambda change: (
        order.get(change.environment, -1),
        change.cluster,
        change.unit,
        actions.index(change.action),
        str(change.ref),
    )


def _observe(session: Session, draft: Plan, name: str, with_infrastructure: bool) -> _Live:
    """Compare one cluster and its infrastructure with what the repository will hold."""
    left_alone = any(entry.unit == name for entry in draft.left_alone)
    infrastructure = _plan_infrastructure(session, name) if with_infrastructure and not left_alone else None
    changed = {change.path for change in draft.files}
    desired = _desired_objects(session, draft.base.head, name, draft.files)
    if infrastructure and not infrastructure.exists:
        return _Live(tuple(created(name, desired)), infrastructure)
    cluster = _cluster(session, name)
    session.options.progress(f"{name}: comparing {len(desired)} objects")
    differences = cluster.compare(
        [m for _, m in desired.values()], {LABEL_PIPELINE: session.spec.pipeline.name, LABEL_CLUSTER: name}
    )
    # Deleting a namespace would take along what others keep in it.
    spared = [d for d in differences if d.kind == "surplus" and d.ref.kind == "Namespace"]
    wanted = [d for d in differences if d not in spared]
    warnings = tuple(
        f"{name}: namespace {d.ref.name} is no longer used; it stays, because others may keep objects in it "
        f"(kubectl delete namespace {d.ref.name})"
        for d in spared
    )
    return _Live(tuple(object_changes(name, wanted, desired, changed)), infrastructure, warnings)


def _plan_infrastructure(session: Session, name: str) -> ClusterInfrastructure | None:
    infrastructure = session.world.infrastructure(name)
    if infrastructure is None:
        return None
    session.options.progress(f"{name}: planning infrastructure")
    result = infrastructure.plan(_root_files(session, name))
    return ClusterInfrastructure(name, result.exists, result.changes, result.saved)


def _root_files(session: Session, name: str) -> dict[str, bytes]:
    return {**session.renderer.root(name), **session.modules}


def _cluster(session: Session, name: str) -> Cluster:
    def access() -> Mapping[str, str] | None:
        infrastructure = session.world.infrastructure(name)
        return infrastructure.access(_root_files(session, name)) if infrastructure else None

    return session.world.cluster(name, access)


def _desired_objects(
    session: Session, head: str | None, cluster: str, changed: Iterable[FileChange]
) -> dict[ObjectRef, tuple[str, Manifest]]:
    """Every object that the repository wants on a cluster once `changed` is committed, with its file."""
    files = read_cluster_files(session.world.repository(), head, cluster, changed)
    return {ObjectRef.of(manifest): (path, manifest) for path, manifest in _ours(files)}


def _ours(files: Mapping[str, bytes]) -> Iterator[tuple[str, Manifest]]:
    mark = HEADER.encode().rstrip(b"\n")
    for path, content in files.items():
        if path.endswith(".yaml") and content.startswith(mark):
            yield path, parse_manifest(content, path)


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
            found = _cluster(session, name).readiness(list(refs))
        except GitopsError as error:
            found = dict.fromkeys(refs, Readiness(False, error.what))
        states.update({(name, refs[ref]): state for ref, state in found.items()})
    return states


# --- Applying ------------------------------------------------------------------------------------------------


def _push(session: Session, wanted: Plan, saved: bool) -> tuple[Plan, str]:
    """Commit and push the plan's files; the plan that was really pushed, and the commit that holds now."""
    for attempt in range(PUSH_ATTEMPTS):
        _check_refusals(wanted.refusals)
        if not wanted.files:
            return wanted, wanted.base.head or ""
        content = {change.path: change.content for change in wanted.files}
        repository = session.world.repository(create=True)
        try:
            commit = repository.commit(wanted.base.head, content, wanted.message)
        except Moved as moved:
            if saved:
                raise StalePlan("the saved plan is stale: the repository has moved", hint="plan again") from moved
            time.sleep(random.uniform(0, 0.05 * (attempt + 1)))  # noqa: S311  # spreads contenders, guards nothing
            session.options.progress("the repository moved; planning again")
            wanted = _plan_again(session, wanted)
        else:
            session.options.progress(f"pushed {commit[:10]}")
            return wanted, commit
    raise GitopsError(f"the repository moved {PUSH_ATTEMPTS} times while pushing", hint="others are busy; try again")


def _plan_again(session: Session, wanted: Plan) -> Plan:
    """The same units on the new head. Raises Refused when somebody else has released one of them meanwhile."""
    units = {change.unit for change in wanted.files} | {change.unit for change in wanted.objects}
    clusters = {entry.cluster for entry in wanted.infrastructure}
    again = plan(session, frozenset(units | clusters))
    stored = read_stored(session.world.repository())
    for name, record in wanted.seen.items():
        unit = UnitKey(*name.split("/", 1))
        if stored.record_ids.get(unit, "") != record:
            raise Refused(f"{name} was released by somebody else while this ran", hint="plan again and look")
    return again


def _check_refusals(found: Iterable[Refusal]) -> None:
    for refusal in found:
        hint = f"if that is meant: {refusal.flag}" if refusal.flag else ""
        raise Refused(f"{refusal.rule}: {refusal.message}", hint=hint)


def _apply_infrastructure(session: Session, wanted: Plan) -> None:
    for entry in wanted.infrastructure:
        if any(line.action != "read" for line in entry.resources):
            session.options.progress(f"{entry.cluster}: applying infrastructure ({len(entry.resources)} changes)")
            infrastructure = session.world.infrastructure(entry.cluster)
            assert infrastructure is not None, "planned, so it is kept by us"
            infrastructure.apply(entry.saved, _root_files(session, entry.cluster))


def _work(session: Session, wanted: Plan, commit: str) -> Work:
    """What converging needs, read from the commit."""
    from gitops.world.converge import Work

    manifests: dict[tuple[str, str], Manifest] = {}
    workloads: dict[tuple[str, str], list[ObjectRef]] = defaultdict(list)
    for name in {change.cluster for change in wanted.objects}:
        for path, manifest in _ours(read_cluster_files(session.world.repository(), commit, name, ())):
            manifests[name, path] = manifest
            if manifest["kind"] == "Deployment":
                workloads[name, owner_of(path)].append(ObjectRef.of(manifest))
    return Work(
        objects=wanted.objects,
        environments=tuple(session.spec.environments),
        manifests=manifests,
        workloads=workloads,
        timeouts=_timeouts(session.spec),
        cluster=_cluster_of(session),
        report=session.options.progress,
        force=session.options.allowed.conflicts,
    )


def _timeouts(spec: Spec) -> dict[str, float]:
    rollouts = spec.pipeline.rollouts
    return {str(unit): rollouts[model.rollout].ready_timeout for unit, model in spec.models.items()}


def _cluster_of(session: Session) -> Callable[[str], Cluster]:
    connected: dict[str, Cluster] = {}
    one_at_a_time = Lock()

    def cluster(name: str) -> Cluster:
        with one_at_a_time:
            if name not in connected:
                connected[name] = _cluster(session, name)
            return connected[name]

    return cluster


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
