"""What the GitOps repository should hold, against what it holds: releases and files to create, update and delete."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import unified_diff
from types import MappingProxyType

from gitops.plan.census import NOTHING_SEEN, Census
from gitops.plan.chain import Chain, Present, released, updated
from gitops.plan.lives import target_of
from gitops.plan.model import FileChange, LeftAlone, PlannedStep, Refusal, ReleaseChange
from gitops.plan.observed import Entry
from gitops.plan.registered import Registrations
from gitops.plan.rendering import Files, render_all, render_units
from gitops.plan.rollouts import Course, courses, first_entry, other_artifact
from gitops.plan.stored import (
    CLUSTERS,
    Stored,
    damaged_units,
    gone_units,
    owner_of,
    stale_units,
    undesired_directories,
)
from gitops.render.renderer import Renderer, is_rendered, unit_directory
from gitops.render.tree import blob_id, tree_id_of
from gitops.rollout.absent import approvals_path, dump_removed, removed_path
from gitops.rollout.approvals import Uncounted
from gitops.rollout.release import Release, Rendered, SpecSource, dump_release, record_path
from gitops.spec.fields import format_duration
from gitops.spec.frozen import dump_model
from gitops.spec.pipeline import BlueGreen, Canary, Model, Rollout
from gitops.spec.placement import is_managed
from gitops.spec.resolved import Spec
from gitops.spec.secrets import masked_text
from gitops.values import Action, UnitKey

MODULES = "terraform/modules/"


@dataclass(frozen=True)
class Wanted:
    """What rendering wants to know of the repository before it can be compared.

    `desired` is every file that should exist among those that may change, `directories` the directories in which
    files that are no longer desired may lie.
    """

    stale: tuple[UnitKey, ...]
    gone: tuple[UnitKey, ...]
    desired: Mapping[str, bytes]
    ids: Mapping[str, str]
    """The blob id of each desired file."""
    directories: tuple[str, ...]
    shared: str = ""
    """The first cluster that Terraform keeps: modules serve all of them and count as its files."""
    courses: Mapping[UnitKey, Course] = field(default_factory=lambda: MappingProxyType({}))
    """Units that do more than run what the spec names."""
    waiting: Mapping[UnitKey, str] = field(default_factory=lambda: MappingProxyType({}))
    """Units that do not run yet what the spec names, and why."""
    damaged: Mapping[UnitKey, str] = field(default_factory=lambda: MappingProxyType({}))
    """Units to which nothing is done, because their records cannot be read, and why."""
    partial: Collection[UnitKey] = ()
    """Units that take a step although they are not what would be rendered now (see `Chain`)."""
    files: Files = field(default_factory=Files)
    """What was rendered, and what could not be: nothing is done to that."""
    instead: Mapping[UnitKey, Mapping[str, bytes]] = field(default_factory=lambda: MappingProxyType({}))
    """Units that take a step with these files, which Git has, and render none (see `Chain`)."""


@dataclass(frozen=True)
class Changes:
    """Releases and files that change, as far as Git knows."""

    releases: tuple[ReleaseChange, ...]
    files: tuple[FileChange, ...]
    left_alone: tuple[LeftAlone, ...]
    refusals: tuple[Refusal, ...]
    seen: Mapping[str, str]
    steps: tuple[PlannedStep, ...] = ()
    """Steps of rollouts in their order, each a commit of its own; their files are among `files` as well."""

    @property
    def clusters(self) -> list[str]:
        """The clusters (not units) whose own files change."""
        return list(dict.fromkeys(change.unit for change in self.files if "/" not in change.unit))


def render_stale(
    spec: Spec,
    renderer: Renderer,
    stored: Stored,
    modules: Mapping[str, bytes],
    now: int,
    uncounted: Mapping[UnitKey, Uncounted] = MappingProxyType({}),
    census: Census = NOTHING_SEEN,
) -> Wanted:
    """Render what may have changed: stale units, the base of every environment, and the Terraform roots.

    `now` is in seconds of the epoch, `uncounted` are recorded approvals that do not count; `census` is what runs.
    Raises GitopsError when not a single unit renders.
    """
    doing = courses(spec, stored, now, uncounted, census)
    unreleased = [unit for unit in spec.models if unit not in stored.releases and not stored.damage(unit)]
    barred = {unit: why for unit in unreleased if (why := first_entry(spec, stored, unit, uncounted.get(unit, {})))}
    # A step may leave every file as it is: a version that waits for room starts without any.
    due = {*stale_units(spec, renderer, stored, doing), *(unit for unit, there in doing.items() if there.steps)}
    stale = [unit for unit in spec.models if unit in due and unit not in barred]
    files = render_all(spec, renderer, stale, doing)
    files.check_some(unit for unit in spec.models if unit not in barred and not stored.damage(unit))
    stale = [unit for unit in stale if unit not in files.units and unit.environment not in files.environments]
    desired = files.desired
    kept = [name for name, cluster in spec.clusters.items() if is_managed(cluster)]
    if kept:
        desired.update(modules)
    return Wanted(
        stale=tuple(stale),
        gone=tuple(gone_units(spec, stored)),
        desired=desired,
        ids={path: blob_id(content) for path, content in desired.items()},
        directories=(*_directories(spec, stored, stale), *undesired_directories(spec, stored)),
        shared=kept[0] if kept else "",
        courses=doing,
        waiting=barred | {unit: there.held for unit, there in doing.items() if there.held},
        damaged=damaged_units(spec, stored),
        files=files,
    )


def render_steps(
    spec: Spec,
    renderer: Renderer,
    stored: Stored,
    doing: Mapping[UnitKey, Course],
    partial: Collection[UnitKey],
    instead: Mapping[UnitKey, Mapping[str, bytes]] = MappingProxyType({}),
) -> Wanted:
    """Render only units that take a step of their rollout; nothing else of the repository is looked at.

    Those of `instead` are not rendered: what is there stays, but for these files.
    """
    files = render_units(renderer, [unit for unit in doing if unit not in instead], doing)
    units = tuple(unit for unit in doing if unit not in files.units)
    desired = files.desired | {path: content for known in instead.values() for path, content in known.items()}
    ids = {path: blob_id(content) for path, content in desired.items()}
    directories = tuple(_directories(spec, stored, units))
    going = {unit: doing[unit] for unit in units}
    return Wanted(
        units, (), desired, ids, directories, courses=going, partial={*partial, *instead}, files=files, instead=instead
    )


def _directories(spec: Spec, stored: Stored, units: Iterable[UnitKey]) -> list[str]:
    directories = (
        unit_directory(cluster, unit) for unit in units for cluster in spec.environments[unit.environment].clusters
    )
    return [directory for directory in directories if directory in stored.directories]


def blobs_to_read(wanted: Wanted, existing: Mapping[str, Entry]) -> list[str]:
    """Ids of the present blobs that differ from what is desired, or that may have to go: their text is needed."""
    ids = {entry.id for path, entry in existing.items() if entry.kind == "blob" and wanted.ids.get(path) != entry.id}
    return sorted(ids)


def changes(
    spec: Spec,
    stored: Stored,
    renderer: Renderer,
    wanted: Wanted,
    existing: Mapping[str, Entry],
    contents: Mapping[str, bytes],
    *,
    now: str,
    source: SpecSource,
    foreign_commits: Collection[str] = (),
    new_id: Callable[[], str] = str,
    known: Registrations = MappingProxyType({}),
) -> Changes:
    """Compare. `existing` and `contents` are what the repository holds there; `now` is an RFC 3339 time.

    `new_id` gives each rollout that starts a name of its own, and `known` is what its commit says of the version.

    `foreign_commits` are spec commits that this checkout does not contain: units last changed from one of them
    are left alone, so that an older checkout never takes back a newer edit.
    """
    flat = list(_file_changes(wanted, existing, contents))
    trees = _directory_trees(wanted, existing, {change.path for change in flat if change.action == "delete"})
    files = _group(flat)
    releases: list[ReleaseChange] = []
    left_alone = [LeftAlone(str(unit), why) for unit, why in wanted.damaged.items()]
    steps: list[PlannedStep] = []
    stepping_files = _of_units(existing, [unit for unit, there in wanted.courses.items() if there.steps])
    for unit in wanted.stale:
        model, release, there = spec.models[unit], stored.releases.get(unit), wanted.courses.get(unit)
        stepping = there is not None and bool(there.steps)
        if release is not None and release.models and not files.get(str(unit)) and not stepping:
            continue
        if release is not None and release.source.commit in foreign_commits:
            files.pop(str(unit), None)
            left_alone.append(_newer(unit, release))
            continue
        if there and there.steps:
            present = Present.of(unit, spec, wanted.desired, stepping_files[str(unit)], contents)
            partial, instead = unit in wanted.partial, wanted.instead.get(unit)
            chain = Chain(spec, renderer, there, present, source, partial, known, instead)
            made = _without_past(unit, stored, tuple(chain.steps(new_id)))
            steps += made
            record = made[-1].files[record_path(unit)] or b""
        else:
            inputs = renderer.inputs(unit, there.lives, there.waves) if there else renderer.inputs(unit)
            rendered = Rendered(inputs, _trees_of(unit, spec, trees))
            simple = _first(unit, model, release, rendered, now, source)
            record = dump_release(updated(there, rendered, source) if there else simple)
        releases.append(_release_change(unit, model, release, spec, there, unit not in stored.record_ids))
        action: Action = "update" if unit in stored.record_ids else "create"
        files.setdefault(str(unit), []).append(FileChange(str(unit), action, record_path(unit), record))
        past = _past(unit, stored) if action == "create" else ()
        files[str(unit)] += [FileChange(str(unit), "delete", path, None) for path in past]
    for unit in wanted.gone:
        release = stored.releases[unit]
        if release.source.commit in foreign_commits:
            files.pop(str(unit), None)
            left_alone.append(_newer(unit, release))
            continue
        releases.append(ReleaseChange(unit, "delete", release.stable.version, release.stable.version, ""))
        left: Action = "update" if unit in stored.removed else "create"
        files.setdefault(str(unit), []).append(FileChange(str(unit), "delete", record_path(unit), None))
        files[str(unit)].append(FileChange(str(unit), left, removed_path(unit), dump_removed(release)))
    units = {str(change.unit): change.unit for change in releases}
    return Changes(
        releases=tuple(releases),
        files=tuple(change for group in files.values() for change in sorted(group, key=lambda c: c.path)),
        left_alone=tuple(left_alone),
        refusals=(*_immutable(spec, wanted, foreign_commits), *wanted.files.refusals(spec)),
        seen=MappingProxyType({name: stored.record_ids.get(unit, "") for name, unit in units.items()}),
        steps=tuple(steps),
    )


def _past(unit: UnitKey, stored: Stored) -> tuple[str, ...]:
    """The files that say something of a unit as long as it has no record."""
    there = ((removed_path(unit), unit in stored.removed), (approvals_path(unit), unit in stored.consents))
    return tuple(path for path, exists in there if exists)


def _without_past(unit: UnitKey, stored: Stored, made: tuple[PlannedStep, ...]) -> tuple[PlannedStep, ...]:
    """The steps, the first of which removes what the unit's record takes the place of."""
    if unit in stored.record_ids:
        return made
    gone: dict[str, bytes | None] = dict.fromkeys(_past(unit, stored))
    first = replace(made[0], files=MappingProxyType({**made[0].files, **gone}))
    return (first, *made[1:])


def without_clusters(found: Changes, newer: Mapping[str, str]) -> Changes:
    """Leave the files of these clusters as they are: each was last changed from the spec commit named with it."""
    left = tuple(LeftAlone(name, _newer_in_words(commit)) for name, commit in newer.items())
    files = tuple(change for change in found.files if change.unit not in newer)
    return replace(found, files=files, left_alone=(*found.left_alone, *left))


def policy_in_words(name: str, rollout: Rollout) -> str:
    """A rollout policy for people: `careful (canary 1 % for 15m → 100 %; 15m in all)`."""
    if isinstance(rollout, Canary):
        steps = (f"{s.weight} %" + (f" for {format_duration(s.bake)}" if s.bake else "") for s in rollout.steps)
        total = format_duration(sum(step.bake for step in rollout.steps))
        return f"{name} (canary {' → '.join(steps)}; {total} in all)"
    if isinstance(rollout, BlueGreen):
        return f"{name} (blue-green, watched for {format_duration(rollout.bake)})"
    return f"{name} ({rollout.strategy})"


def _file_changes(wanted: Wanted, existing: Mapping[str, Entry], contents: Mapping[str, bytes]) -> Iterable[FileChange]:
    for path, content in wanted.desired.items():
        entry = existing.get(path)
        if entry is None:
            yield FileChange(_owner(path, wanted), "create", path, content)
        elif wanted.ids[path] != entry.id:
            diff = _diff(path, contents.get(entry.id, b""), content)
            yield FileChange(_owner(path, wanted), "update", path, content, diff)
    for path, entry in existing.items():
        gone = path not in wanted.desired and not wanted.files.keeps(path)
        if gone and _is_ours(path, contents.get(entry.id, b""), wanted):
            yield FileChange(_owner(path, wanted), "delete", path, None)


def _owner(path: str, wanted: Wanted) -> str:
    return wanted.shared if path.startswith(MODULES) else owner_of(path)


def _is_ours(path: str, content: bytes, wanted: Wanted) -> bool:
    # Files that somebody else put there carry no mark and are left alone. JSON cannot carry one, and modules are
    # copies: a file that a module has lost must not stay behind, because Terraform would read it.
    if path.startswith(MODULES):
        return path.endswith(".tf") and any(other.startswith(_directory(path)) for other in wanted.desired)
    return is_rendered(content) or path.endswith("/terraform.tfvars.json")


def _directory(path: str) -> str:
    return path.rpartition("/")[0] + "/"


def _diff(path: str, before: bytes, after: bytes) -> str:
    old, new = (data.decode(errors="replace").splitlines(keepends=True) for data in (before, after))
    return masked_text("".join(unified_diff(old, new, f"a/{path}", f"b/{path}")))


def _of_units(existing: Mapping[str, Entry], units: Iterable[UnitKey]) -> dict[str, dict[str, Entry]]:
    """What the repository holds of each unit, sorted out once for all of them."""
    found: dict[str, dict[str, Entry]] = {str(unit): {} for unit in units}
    for path, entry in existing.items() if found else ():
        if (owner := owner_of(path)) in found:
            found[owner][path] = entry
    return found


def _group(files: Iterable[FileChange]) -> dict[str, list[FileChange]]:
    grouped: dict[str, list[FileChange]] = {}
    for change in files:
        grouped.setdefault(change.unit, []).append(change)
    return grouped


def _immutable(spec: Spec, wanted: Wanted, foreign_commits: Collection[str]) -> Iterable[Refusal]:
    """Units whose spec gives a version that runs another artifact; they change nothing, so they need not be stale."""
    for unit, there in wanted.courses.items():
        release, model = there.standing.release, spec.models[unit]
        moved = other_artifact(release, target_of(model))
        if moved and release.source.commit not in foreign_commits:
            yield Refusal(
                "immutable-version",
                f"{unit}: version {model.version} was released with artifact {moved[:19]}…, the spec now says "
                f"{model.artifact.digest[:19]}…; a version never changes its artifact — "
                "give the new one a version of its own",
                units=(str(unit),),
            )


def _newer(unit: UnitKey, release: Release) -> LeftAlone:
    return LeftAlone(str(unit), _newer_in_words(release.source.commit))


def _newer_in_words(commit: str) -> str:
    return (
        f"last changed from spec commit {commit[:10]}, which this checkout does not contain; "
        "merge it, or overrule it with --replace-newer"
    )


def _first(
    unit: UnitKey, model: Model, release: Release | None, rendered: Rendered, now: str, source: SpecSource
) -> Release:
    """The record of a unit that simply runs what the spec names: its first, or one with another configuration."""
    known = release or Release(unit, released(model, now), rendered)
    return replace(
        known,
        stable=released(model, known.stable.since),
        rendered=rendered,
        source=source,
        models=MappingProxyType({model.version: dump_model(model)}),
    )


def _directory_trees(
    wanted: Wanted, existing: Mapping[str, Entry], deleted: Collection[str]
) -> dict[str, dict[str, tuple[str, str]]]:
    """What each unit directory will hold, files of others included: relative path to (mode, blob id)."""
    trees: dict[str, dict[str, tuple[str, str]]] = {}
    for path, entry in existing.items():
        if path not in deleted:
            _put(trees, path, entry.mode, entry.id)
    for path, blob in wanted.ids.items():
        _put(trees, path, "100644", blob)
    return trees


def _put(trees: dict[str, dict[str, tuple[str, str]]], path: str, mode: str, blob: str) -> None:
    parts = path.split("/", 4)
    if len(parts) == 5 and parts[0] == CLUSTERS:
        trees.setdefault("/".join(parts[:4]), {})[parts[4]] = (mode, blob)


def _trees_of(unit: UnitKey, spec: Spec, trees: Mapping[str, Mapping[str, tuple[str, str]]]) -> Mapping[str, str]:
    clusters = spec.environments[unit.environment].clusters
    return MappingProxyType({name: tree_id_of(trees[unit_directory(name, unit)]) for name in clusters})


def _release_change(
    unit: UnitKey, model: Model, release: Release | None, spec: Spec, there: Course | None, returns: bool
) -> ReleaseChange:
    words = policy_in_words(model.rollout, spec.pipeline.rollouts[model.rollout])
    if release is None:
        return ReleaseChange(unit, "create", model.version, "", words, digest=model.artifact.digest)
    if returns and not (there and there.steps):
        return ReleaseChange(unit, "create", release.stable.version, "", words, digest=release.stable.digest)
    if there and there.steps:
        event = there.steps[-1].decision.event
        version = event.version.version if event else model.version
        return ReleaseChange(unit, "update", version, release.stable.version, words, there.steps[-1].decision.kind)
    candidate = there.state.candidate if there else None
    running = candidate.version if candidate else release.state.stable
    assert running is not None, "what has a record has a stable version"
    return ReleaseChange(unit, "update", running.version, running.version, words, digest=running.digest)
