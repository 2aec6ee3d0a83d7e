"""The commits of one unit's course: each step's record with the files rendered from it, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Self

from gitops.plan.model import PlannedStep
from gitops.plan.observed import Entry
from gitops.plan.registered import Registrations, VersionKey
from gitops.plan.rollouts import Course, Step
from gitops.render.renderer import Renderer, is_rendered, unit_directory
from gitops.render.tree import blob_id, tree_id_of
from gitops.rollout.events import Event
from gitops.rollout.registration import told
from gitops.rollout.release import Release, ReleasedVersion, Rendered, SpecSource, dump_release, record_path, time_of
from gitops.rollout.state import ModelVersion, RolloutState
from gitops.rollout.step_message import step_message
from gitops.spec.frozen import dump_model
from gitops.spec.pipeline import Model
from gitops.spec.resolved import Spec
from gitops.values import UnitKey, base_version

OUTDATED = "outdated"
"""Stands for the inputs of a unit of which a step has rendered only a part: the next apply renders the rest."""


@dataclass(frozen=True, slots=True)
class Present:
    """What the repository holds in a unit's directories now: blob ids by path, ours and those of others."""

    ours: Mapping[str, str]
    others: Mapping[str, tuple[str, str]]
    """Mode and blob id."""

    @classmethod
    def of(
        cls,
        unit: UnitKey,
        spec: Spec,
        desired: Mapping[str, object],
        existing: Mapping[str, Entry],
        contents: Mapping[str, bytes],
    ) -> Self:
        """Sorted by our mark; what is desired is ours whatever it says."""
        within = tuple(f"{unit_directory(cluster, unit)}/" for cluster in spec.environments[unit.environment].clusters)
        ours, others = {}, {}
        for path, entry in existing.items():
            if path.startswith(within):
                if path in desired or is_rendered(contents.get(entry.id, b"")):
                    ours[path] = entry.id
                else:
                    others[path] = entry.mode, entry.id
        return cls(ours, others)


@dataclass(frozen=True, slots=True)
class Chain:
    """Everything that the commits of one unit's course are made from."""

    spec: Spec
    renderer: Renderer
    course: Course
    present: Present
    source: SpecSource
    partial: bool = False
    """Leave what stable runs from as it is: the unit is not what would be rendered now, and that is not this
    rollout's business."""
    known: Registrations = field(default_factory=lambda: MappingProxyType({}))
    """What is said of a version when it starts."""
    instead: Mapping[str, bytes] | None = None
    """Files to take in the place of rendering any, where that fails: going back has to work all the same."""

    def steps(self, new_id: Callable[[], str]) -> Iterator[PlannedStep]:
        """The commits in their order. `new_id` names a rollout that starts."""
        release, before = self.course.standing.release, dict(self.present.ours)
        for step in self.course.steps:
            event = step.decision.event
            assert event is not None, "a hold is no step"
            rollout_id = new_id() if event.kind == "start" else release.rollout_id
            files = self._files(step, before)
            changed: dict[str, bytes | None] = {
                path: content for path, content in files.items() if before.get(path) != blob_id(content)
            }
            after = {**before, **{path: blob_id(content) for path, content in files.items()}}
            for path in [path for path in before if self._is_over(path, files, step)]:
                changed[path] = None
                del after[path]
            release = self._record(release, step, event, rollout_id, self._rendered(step, after))
            changed[record_path(release.unit)] = dump_release(release)
            notes = self._told(event) if event.kind == "start" else ()
            message = step_message(release.unit, event, step.decision.evidence, rollout_id, self.source, notes)
            back = event.kind == "roll-back"
            yield PlannedStep(str(release.unit), message, MappingProxyType(changed), back)
            before = after

    def _told(self, event: Event) -> tuple[str, ...]:
        one = self.known.get(VersionKey(self.course.standing.unit.model, base_version(event.version.version)))
        return told(one) if one else ()

    def _files(self, step: Step, before: Mapping[str, str]) -> dict[str, bytes]:
        if self.instead is not None:
            return dict(self.instead)
        files = self.renderer.unit(self.course.standing.unit, step.lives, step.waves)
        if not self.partial:
            return files
        return {
            path: content
            for path, content in files.items()
            # An edit that waits changes nothing of stable, but what it is held at belongs to the rollout.
            if path not in before or not self._is_stable(path) or path.endswith("/autoscaler.yaml")
        }

    def _is_over(self, path: str, files: Mapping[str, bytes], step: Step) -> bool:
        if path in files:
            return False
        running = {live.model.version for live in step.lives}
        return not self.partial or _version_of(path) not in {"", *running}

    def _is_stable(self, path: str) -> bool:
        stable = self.course.standing.state.stable
        return stable is not None and _version_of(path) == stable.version

    def _rendered(self, step: Step, after: Mapping[str, str]) -> Rendered:
        unit = self.course.standing.unit
        inputs = OUTDATED if self.partial else self.renderer.inputs(unit, step.lives, step.waves)
        entries = {**self.present.others, **{path: ("100644", blob) for path, blob in after.items()}}
        trees = {}
        for cluster in self.spec.environments[unit.environment].clusters:
            directory = f"{unit_directory(cluster, unit)}/"
            inside = {p.removeprefix(directory): entry for p, entry in entries.items() if p.startswith(directory)}
            trees[cluster] = tree_id_of(inside)
        return Rendered(inputs, MappingProxyType(trees))

    def _record(self, release: Release, step: Step, event: Event, rollout_id: str, rendered: Rendered) -> Release:
        state, here = step.decision.state, self.course.standing
        models = here.models(as_released=self.partial)
        assert state.stable is not None, "a unit's first release is made at once"
        changed = state.stable.version != release.stable.version
        since = time_of(event.at) if changed else release.stable.since
        return replace(
            recorded(release, state, models),
            stable=released(models[state.stable.version], since),
            previous=release.stable.version if changed else release.previous,
            rendered=rendered,
            # What a person asks for is done from any checkout, also from one that is older than the unit.
            source=here.release.source if here.held or (event.by and event.kind != "start") else self.source,
            rollout_id=rollout_id,
        )


def updated(course: Course, rendered: Rendered, source: SpecSource) -> Release:
    """The record of a unit whose configuration changes while its rollout stays where it is."""
    here = course.standing
    models = here.models()
    release = recorded(here.release, here.state, models)
    stable = released(models[release.stable.version], release.stable.since)
    return replace(release, stable=stable, rendered=rendered, source=source)


def recorded(release: Release, state: RolloutState, models: Mapping[str, Model]) -> Release:
    """The record with this state, and with every version that it names as it runs."""
    return replace(
        release,
        candidate=state.candidate,
        kept=state.kept,
        rejected=state.rejected,
        returned=state.returned,
        approvals=state.approvals,
        load=state.load,
        models=MappingProxyType({version.version: _dumped(models, version) for version in state.versions}),
    )


def released(model: Model, since: str) -> ReleasedVersion:
    """A version for the record's head; `since` is RFC 3339."""
    gpu, serve = model.serve.gpu, model.serve
    version, digest = model.version, model.artifact.digest
    return ReleasedVersion(version, digest, since, gpu.type if gpu else "", gpu.count if gpu else 0, serve.replicas.min)


def _dumped(models: Mapping[str, Model], version: ModelVersion) -> str:
    return dump_model(models[version.version])


def _version_of(path: str) -> str:
    """The version that a file of a unit belongs to; empty for those of the model."""
    parts = path.split("/")
    return parts[4] if len(parts) > 5 else ""
