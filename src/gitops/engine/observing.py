"""What live systems say: clusters and infrastructure against what the repository will hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from gitops.engine.owning import settled_by_git
from gitops.engine.session import Session
from gitops.errors import GitopsError
from gitops.plan.model import ClusterInfrastructure, FileChange, LeftAlone, ObjectChange, Plan, Refusal
from gitops.plan.objects import created, object_changes
from gitops.plan.refusals import one_place_twice
from gitops.plan.served import unserved
from gitops.plan.stored import owner_of
from gitops.render.check import parse_manifest
from gitops.render.renderer import is_rendered
from gitops.spec.resolved import Spec
from gitops.values import LABEL_CLUSTER, LABEL_PIPELINE, Manifest, ObjectRef
from gitops.world.gather import read_cluster_files

CLUSTERS_AT_ONCE = 3


@dataclass(frozen=True)
class _Live:
    objects: tuple[ObjectChange, ...]
    infrastructure: ClusterInfrastructure | None
    warnings: tuple[str, ...] = ()
    identity: str = ""
    """What tells the cluster from others; empty where it does not exist yet or may not be asked."""
    refusals: tuple[Refusal, ...] = ()


def with_live(
    session: Session,
    draft: Plan,
    only: frozenset[str] | None,
    *,
    infrastructure: bool = True,
    tfplans: Mapping[str, bytes] | None = None,
) -> Plan:
    """The draft with what live systems say; a cluster that cannot be looked at is named, and the others go on.

    `tfplans` are read instead of made, one for each cluster. Raises GitopsError when none of several clusters, or the
    only one, can be looked at.
    """
    from concurrent.futures import ThreadPoolExecutor

    def look(name: str) -> _Live | GitopsError:
        try:
            return _observe(session, draft, name, infrastructure, tfplans)
        except GitopsError as error:
            return error

    names = tuple(session.spec.clusters)
    with ThreadPoolExecutor(CLUSTERS_AT_ONCE, thread_name_prefix="observe") as pool:
        found = dict(zip(names, pool.map(look, names), strict=True))
    lives = [live for live in found.values() if isinstance(live, _Live)]
    failed = {name: error for name, error in found.items() if isinstance(error, GitopsError)}
    if failed and not lives:
        raise next(iter(failed.values()))
    objects = sorted((change for live in lives for change in live.objects), key=_reading_order(session.spec))
    left_alone = {entry.unit for entry in draft.left_alone}
    identities = {name: live.identity for name, live in found.items() if isinstance(live, _Live)}
    refused = one_place_twice(session.spec, identities) if infrastructure else ()
    return replace(
        draft,
        objects=tuple(c for c in objects if c.unit not in left_alone and (only is None or c.unit in only)),
        infrastructure=tuple(
            live.infrastructure
            for live in lives
            if live.infrastructure and (only is None or live.infrastructure.cluster in only)
        ),
        warnings=(*draft.warnings, *(line for live in lives for line in live.warnings)),
        refusals=(*draft.refusals, *refused, *(one for live in lives for one in live.refusals)),
        unreachable=tuple(LeftAlone(name, str(error)) for name, error in failed.items()),
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


def _observe(
    session: Session, draft: Plan, name: str, with_infrastructure: bool, tfplans: Mapping[str, bytes] | None
) -> _Live:
    """Compare one cluster and its infrastructure with what the repository will hold."""
    left_alone = any(entry.unit == name for entry in draft.left_alone)
    infrastructure = _plan_infrastructure(session, name, tfplans) if with_infrastructure and not left_alone else None
    changed = {change.path for change in draft.files}
    desired = _desired_objects(session, draft.base.head, name, draft.files)
    if infrastructure and not infrastructure.exists:
        return _Live(tuple(created(name, desired)), infrastructure)
    cluster = session.cluster(name)
    session.options.progress(f"{name}: comparing {len(desired)} objects")
    found = cluster.compare(
        [m for _, m in desired.values()], {LABEL_PIPELINE: session.spec.pipeline.name, LABEL_CLUSTER: name}
    )
    made = {change.path for change in draft.files if change.action == "create"}
    at_head = {ref for ref, (path, _) in desired.items() if path not in made}
    differences = settled_by_git(session, draft.base.head, name, found, at_head)
    # Deleting a namespace would take along what others keep in it.
    spared = [d for d in differences if d.kind == "surplus" and d.ref.kind == "Namespace"]
    wanted = [d for d in differences if d not in spared]
    warnings = tuple(
        f"{name}: namespace {d.ref.name} is no longer used; it stays, because others may keep objects in it "
        f"(kubectl delete namespace {d.ref.name})"
        for d in spared
    )
    objects = tuple(object_changes(name, wanted, desired, changed))
    wanted_by = ((owner_of(path), manifest) for path, manifest in desired.values())
    old = tuple(unserved(name, cluster.version(), wanted_by)) if with_infrastructure else ()
    return _Live(objects, infrastructure, warnings, cluster.identity(), old)


def _plan_infrastructure(
    session: Session, name: str, tfplans: Mapping[str, bytes] | None
) -> ClusterInfrastructure | None:
    infrastructure = session.world.infrastructure(name)
    if infrastructure is None or (tfplans is not None and name not in tfplans):
        return None
    if tfplans is not None:
        result = infrastructure.read(tfplans[name], session.root_files(name))
        return ClusterInfrastructure(name, result.exists, result.changes, result.saved)
    session.options.progress(f"{name}: planning infrastructure")
    result = infrastructure.plan(session.root_files(name))
    return ClusterInfrastructure(name, result.exists, result.changes, result.saved)


def _desired_objects(
    session: Session, head: str | None, cluster: str, changed: Iterable[FileChange]
) -> dict[ObjectRef, tuple[str, Manifest]]:
    """Every object that the repository wants on a cluster once `changed` is committed, with its file."""
    files = read_cluster_files(session.world.repository(), head, cluster, changed)
    return {ObjectRef.of(manifest): (path, manifest) for path, manifest in manifests_in(files)}


def manifests_in(files: Mapping[str, bytes]) -> Iterator[tuple[str, Manifest]]:
    for path, content in files.items():
        if path.endswith(".yaml") and is_rendered(content):
            yield path, parse_manifest(content, path)
