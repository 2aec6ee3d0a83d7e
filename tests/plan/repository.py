"""A GitOps repository that is a mapping of files, driven as the engine drives the real one: a chain of commits."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from gitops.plan.desired import Changes, Wanted, blobs_to_read, changes, render_stale, render_steps
from gitops.plan.model import PlannedStep
from gitops.plan.observed import Entry, Survey
from gitops.plan.records import absent_paths, candidates, read_absent, read_records
from gitops.plan.revisions import revised
from gitops.plan.rollouts import Course, Standing, course, standings
from gitops.plan.room import Room
from gitops.plan.settled import Sighting
from gitops.plan.stored import Stored, is_fresh
from gitops.render.check import parse_manifest
from gitops.render.renderer import Renderer, is_rendered
from gitops.render.templates import Compiled, templates_of
from gitops.render.tree import blob_id, tree_id_of
from gitops.rollout.machine import Decision, step
from gitops.rollout.message import Released, commit_message
from gitops.rollout.release import Release, SpecSource, parse_release, record_path, time_of
from gitops.spec.load import load_spec
from gitops.spec.resolved import SourceFile, Spec
from gitops.values import Commit, Manifest, UnitKey
from gitops.world.files import read_templates
from gitops.world.kubernetes.survey import http_mirrors, http_weights, virtual_mirrors, virtual_weights, workload_of
from tests.support.project import ROOT

TEMPLATES = templates_of(read_templates(ROOT))
_COMPILED = Compiled(TEMPLATES.sources)
CHAT, LATER = UnitKey("dev", "chat"), UnitKey("prod", "chat")
START = 1_767_225_600
"""2026-01-01."""

Versions = Mapping[str, tuple[str, str]]
"""By model, its version and the letter of its digest."""
CANARY = {"strategy": "canary", "steps": [{"weight": 10, "bake": "10m"}, {"weight": 100}], "readyTimeout": "10m"}


def place_of(manifest: Manifest) -> tuple[str, str]:
    return manifest["metadata"]["namespace"], manifest["metadata"]["name"]


def renderer_of(spec: Spec) -> Renderer:
    """Templates are compiled once for all tests: a real process has one renderer only."""
    made = Renderer(spec, TEMPLATES)
    made._compiled = _COMPILED
    return made


def digest_of(letter: str) -> str:
    return f"sha256:{letter * 64}"


def write_spec(
    models: Versions,
    environments: Collection[str] | Mapping[str, Mapping[str, Any]] = ("dev",),
    *,
    rollout: Mapping[str, Any] | None = None,
    serve: Mapping[str, Any] | None = None,
    routed: bool = False,
    **more: Any,
) -> Spec:
    """A spec of models on CPU, rolling unless told; `environments` may map to what their files say more.

    `serve` and `more` are what all models say more; with `routed` each has a route.
    """
    pipeline = {
        "apiVersion": "gitops/v1",
        "name": "acme",
        "promotion": list(environments),
        "models": {
            name: _model(name, *version, serve or {}, _route(name, routed) | more) for name, version in models.items()
        },
        "rollouts": {"quick": rollout or {"strategy": "rolling"}},
    }
    said = environments if isinstance(environments, Mapping) else {name: {} for name in environments}
    files = {
        name: {"apiVersion": "gitops/v1", "clusters": {f"{name}-cluster": {"provider": "embedded"}}, **rest}
        for name, rest in said.items()
    }
    sources = [SourceFile(f"environments/{name}.yaml", orjson.dumps(text)) for name, text in files.items()]
    return load_spec(SourceFile("pipeline.yaml", orjson.dumps(pipeline)), sources)


def _route(name: str, routed: bool) -> dict[str, Any]:
    return {"route": {"hostnames": [f"{name}.example.com"]}} if routed else {}


def _model(name: str, version: str, letter: str, serve: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "version": version,
        "artifact": {"uri": f"s3://acme/{name}", "digest": digest_of(letter), "format": "onnx"},
        "serve": {"runtime": "custom", "image": f"acme.example/{name}:1", "resources": {"cpu": 1}, **serve},
        "rollout": "quick",
        **more,
    }


@dataclass
class Tree:
    """A repository as a mapping of files; what `world.gather` reads from Git is derived from it."""

    files: dict[str, bytes] = field(default_factory=dict)
    log: list[Commit] = field(default_factory=list)
    now: int = START

    # --- Reading -----------------------------------------------------------------------------------------------

    def entry(self, path: str) -> Entry:
        return Entry("100644", "blob", blob_id(self.files[path]))

    def stored(self) -> Stored:
        found = candidates({path: self.entry(path) for path in self.files if path.startswith("releases/")})
        read = read_records({unit: self.files[record_path(unit)] for unit in found.entries})
        records = {unit: found.entries[unit].id for unit in read.releases}
        loose = {path: self.entry(path) for path in self.files if path.count("/") < 4 and path.startswith("clusters/")}
        kept = absent_paths({path: self.entry(path) for path in self.files})
        absent = read_absent({path: self.files[path] for path in kept})
        damaged = {**absent.damaged, **found.damaged, **read.damaged}
        head = "0" * 40 if self.files else None
        return Stored(head, read.releases, records, self.trees(), loose, damaged, absent.removed, absent.consents)

    def trees(self) -> dict[str, str]:
        """The Git tree id of each unit's directory."""
        directories: dict[str, dict[str, tuple[str, str]]] = {}
        for path, data in self.files.items():
            parts = path.split("/", 4)
            if len(parts) == 5:
                directories.setdefault("/".join(parts[:4]), {})[parts[4]] = ("100644", blob_id(data))
        return {path: tree_id_of(entries) for path, entries in directories.items()}

    def release(self, unit: UnitKey) -> Release:
        path = record_path(unit)
        return parse_release(self.files[path], path)

    # --- Planning ----------------------------------------------------------------------------------------------

    def plan(self, spec: Spec, foreign: Collection[str] = (), source: SpecSource | None = None) -> Changes:
        """What `gitops plan` would say."""
        stored = self.stored().returning(spec.models)
        spec = revised(spec, stored)
        renderer = renderer_of(spec)
        return self._changes(
            spec, stored, renderer, render_stale(spec, renderer, stored, {}, self.now), foreign, source
        )

    def called(self, spec: Spec) -> Spec:
        """The spec with every model called as it is where it runs, as the engine has it."""
        return revised(spec, self.stored())

    def waiting(self, spec: Spec) -> dict[UnitKey, str]:
        stored = self.stored().returning(spec.models)
        spec = revised(spec, stored)
        renderer = renderer_of(spec)
        return dict(render_stale(spec, renderer, stored, {}, self.now).waiting)

    def _changes(
        self,
        spec: Spec,
        stored: Stored,
        renderer: Renderer,
        wanted: Wanted,
        foreign: Collection[str] = (),
        source: SpecSource | None = None,
    ) -> Changes:
        within = set(wanted.directories)
        existing = dict(stored.loose) | {
            path: self.entry(path) for path in self.files if "/".join(path.split("/", 4)[:4]) in within
        }
        by_id = {blob_id(data): data for data in self.files.values()}
        contents = {name: by_id[name] for name in blobs_to_read(wanted, existing)}
        return changes(
            spec,
            stored,
            renderer,
            wanted,
            existing,
            contents,
            now=time_of(self.now),
            source=source or SpecSource(),
            foreign_commits=foreign,
            new_id=lambda: f"ID-{len(self.log)}",
        )

    def sighting(self, cluster: str) -> Sighting:
        """What a look at a cluster shows that is where Git says: read from its manifests as from live objects."""
        inside = f"clusters/{cluster}/"
        files = {path: data for path, data in self.files.items() if path.startswith(inside) and path.endswith(".yaml")}
        of: dict[str, list[dict[str, Any]]] = {}
        for path, data in files.items():
            if is_rendered(data):
                manifest = dict(parse_manifest(data, path))
                of.setdefault(manifest["kind"], []).append(manifest)
        survey = Survey(
            tuple(filter(None, map(workload_of, of.get("Deployment", ())))),
            {place_of(one): http_weights(one) for one in of.get("HTTPRoute", ())}
            | {place_of(one): virtual_weights(one) for one in of.get("VirtualService", ())},
            {place_of(one): http_mirrors(one) for one in of.get("HTTPRoute", ())}
            | {place_of(one): virtual_mirrors(one) for one in of.get("VirtualService", ())},
            {place_of(one): one["spec"].get("selector", {}) for one in of.get("Service", ())},
        )
        stamps: dict[str, dict[str, str]] = {}
        for path, tree in self.trees().items():
            _, name, environment, model = path.split("/")
            if name == cluster:
                stamps.setdefault(environment, {})[model] = tree
        return Sighting.of(survey, stamps)

    # --- Doing -------------------------------------------------------------------------------------------------

    def apply(self, found: Changes, spec: Spec | None = None) -> None:
        """Everything that happens at once in one commit, then one for each step, as `gitops apply` does."""
        assert not found.refusals, found.refusals
        stepping = {one.unit for one in found.steps}
        expected = {change.path: change.content for change in found.files}
        for change in found.files:
            assert (change.action == "create") == (change.path not in self.files), change.path
        at_once = {change.path: change.content for change in found.files if change.unit not in stepping}
        if at_once:
            self.commit(at_once, _message(found, spec))
        for one in found.steps:
            self.commit(one.files, one.message)
        for path, content in expected.items():
            assert self.files.get(path) == content, f"{path} is not what the plan said"

    def commit(self, files: Mapping[str, bytes | None], message: str) -> None:
        for path, content in files.items():
            if content is None:
                del self.files[path]
            else:
                self.files[path] = content
        self.log.append(_commit(message))

    def release_spec(self, spec: Spec) -> Changes:
        """Plan and apply; the changes."""
        found = self.plan(spec)
        self.apply(found, spec)
        return found

    def standings(self, spec: Spec, always: Collection[UnitKey] = ()) -> dict[UnitKey, Standing]:
        return {here.unit: here for here in standings(self.called(spec), self.stored(), self.now, always)}

    def look(self, spec: Spec, unit: UnitKey, **seen: Any) -> Decision | None:
        """One pass over one unit, which sees this beside what Git shows, and its commit; None if nothing is to do.

        Of the units of a pass only this one is looked at. `ready` is what its candidate can carry in every wave.
        """
        here = self.standings(spec, [unit] if seen.get("commands") else ()).get(unit)
        if here is None:
            return None
        if "ready" in seen:
            seen["ready_waves"] = (seen["ready"],) * here.policy.waves
        decision = step(here.policy, here.state, replace(here.observe(self.now, Room(spec, self.stored())), **seen))
        if decision.event:
            self.commit_decision(spec, course(here, [decision], as_released=True))
        return decision

    def commit_decision(self, spec: Spec, there: Course) -> Sequence[PlannedStep]:
        """As `engine.reconciling` does it."""
        spec = self.called(spec)
        unit, renderer, stored = there.standing.unit, renderer_of(spec), self.stored()
        before = course(there.standing, (), as_released=True)
        partial = [] if is_fresh(unit, spec, renderer, stored, before) else [unit]
        wanted = render_steps(spec, renderer, stored, {unit: there}, partial)
        found = self._changes(spec, stored, renderer, wanted)
        for one in found.steps:
            self.commit(one.files, one.message)
        return found.steps


def _message(found: Changes, spec: Spec | None) -> str:
    """As `engine.planning` writes it."""
    at_once = [change for change in found.releases if not change.decision]
    released = [
        Released(change.unit, change.version, change.previous, change.digest if spec else "")
        for change in at_once
        if change.action != "delete"
    ]
    removed = [change.unit for change in at_once if change.action == "delete"]
    return commit_message(released, removed, found.clusters, "ID", SpecSource())


def _commit(message: str) -> Commit:
    """Read back as Git does: the trailers are the last paragraph."""
    subject, *paragraphs = message.strip("\n").split("\n\n")
    trailers = tuple((key, value) for key, _, value in (line.partition(": ") for line in paragraphs[-1].splitlines()))
    return Commit("0" * 40, "", "", subject, "\n\n".join(paragraphs), trailers)
