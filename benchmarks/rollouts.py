"""One `gitops reconcile` pass over a thousand rollouts in progress, in which nothing is to be decided.

Clusters and Prometheus are answers that were written down beforehand, served by a process of their own: what is
measured is this program alone, with every byte that it would have to read.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.commit import commit_everything
from benchmarks.harness import ROOT, Figure, Setting, environment
from benchmarks.synthetic import BEGAN, ENVIRONMENTS, change_every_model, write_project
from gitops.engine.planning import new_rollout_id
from gitops.engine.session import Options, Session, open_session
from gitops.engine.watching import stamp_name
from gitops.plan.desired import changes, render_steps
from gitops.plan.rollouts import Standing, course, standings
from gitops.plan.room import Room
from gitops.plan.stored import Stored
from gitops.render.check import parse_manifest
from gitops.rollout.machine import Decision, step
from gitops.rollout.release import SpecSource, time_of
from gitops.world.gather import read_cluster_files, read_existing

WEIGHT = 10
"""Percent of traffic at which every candidate stands."""


def measure(setting: Setting) -> Iterator[Figure]:
    """See the module."""
    project = setting.directory / "rollouts"
    write_project(project, setting.models)
    commit_everything(project)
    change_every_model(project)
    now = int(time.time())
    with open_session(Options(project, offline=True)) as session:
        count = _bring_under_way(session, now - BEGAN)
        lists = _lists(session)
    files = setting.directory / "answers"
    files.mkdir()
    for name, content in lists.items():
        (files / name).write_bytes(content)
    setting.report(f"rollouts: {count:,} in progress")
    command = [sys.executable, "-m", "benchmarks.one_pass", str(project), str(files)]
    with _prometheus(setting, project) as url:
        (files / "prometheus").write_text(url)
        cost = setting.best(command, cwd=ROOT)
    said = json.loads(cost.output.strip().splitlines()[-1])
    note = (
        f"{count:,} in progress on {len(ENVIRONMENTS)} environments; {said['lists']} LIST calls, "
        f"{said['queries']} Prometheus queries, {said['megabytes']:.0f} MB read; {said['decisions']}"
    )
    yield Figure("rollouts", "gitops reconcile", cost.cpu, cost.wall, cost.memory, "2 CPU s", note)


# --- A thousand rollouts -------------------------------------------------------------------------------------


def _bring_under_way(session: Session, now: int) -> int:
    """Each model is under way in one environment, and has arrived in those before it."""
    count = 0
    for number, environment_name in enumerate(ENVIRONMENTS):
        stored = session.world.stored()
        room = Room(session.spec, stored)
        courses = {}
        for here in standings(session.spec, stored, now):
            place = sum(map(ord, here.unit.model)) % len(ENVIRONMENTS)
            if here.unit.environment == environment_name and number <= place and not here.entry:
                decisions = tuple(_decisions(here, now, room, arrive=number < place))
                courses[here.unit] = course(here, decisions)
                count += number == place
        _commit(session, stored, courses, now)
    return count


def _decisions(here: Standing, now: int, room: Room, *, arrive: bool) -> Iterator[Decision]:
    policy = replace(here.policy, gates=())
    before = sum(one.bake for one in policy.steps if one.weight < WEIGHT)
    moment = now - policy.longest - policy.keep_warm if arrive else now - before
    while True:
        seen = replace(here.observe(moment, room), ready=100, room=True)
        decision = step(policy, here.state, seen)
        if decision.event:
            yield decision
            here = replace(here, state=decision.state)
        candidate = here.state.candidate
        if (candidate is None and not here.state.kept) if arrive else candidate and candidate.weight >= WEIGHT:
            return
        moment += 0 if decision.event else 600 if arrive else 60


def _commit(session: Session, stored: Stored, courses: Mapping, now: int) -> None:  # type: ignore[type-arg]
    wanted = render_steps(session.spec, session.renderer, stored, courses, ())
    repository = session.world.repository()
    existing, contents = read_existing(repository, stored, wanted, loose=False)
    found = changes(
        session.spec,
        stored,
        session.renderer,
        wanted,
        existing,
        contents,
        now=time_of(now),
        source=SpecSource(),
        new_id=new_rollout_id,
    )
    files: dict[str, bytes | None] = {}
    for one in found.steps:
        files.update(one.files)
    repository.commit(stored.head, files, "benchmark: rollouts under way")


# --- What clusters and Prometheus answer ---------------------------------------------------------------------


_SIZES = {"Deployment": (24, 8), "Service": (5, 0), "HTTPRoute": (7, 0)}
"""Fields that the applier and a controller own of an object, in groups of five: about what a real server lists."""


def _managed(kind: str) -> list[object]:
    return [
        {
            "manager": manager,
            "operation": "Apply" if manager == "gitops" else "Update",
            "apiVersion": "apps/v1",
            "time": "2026-11-21T08:00:00Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {f"f:field{number}": {f"f:inner{inner}": {} for inner in range(4)} for number in range(size)},
        }
        for manager, size in zip(("gitops", "kube-controller-manager"), _SIZES[kind], strict=True)
        if size
    ]


def _lists(session: Session) -> dict[str, bytes]:
    """The lists of every cluster, as its API server would send them: one file for each cluster and kind."""
    found: dict[str, bytes] = {}
    stored = session.world.stored()
    for cluster in session.spec.clusters:
        kinds: dict[str, list[object]] = {"deployments": [], "services": [], "httproutes": []}
        for path, content in read_cluster_files(session.world.repository(), stored.head, cluster, ()).items():
            manifest = parse_manifest(content, path)
            plural = f"{manifest['kind'].lower()}s"
            if plural in kinds:
                kinds[plural].append(_live(manifest))
        for plural, items in kinds.items():
            found[f"{cluster}.{plural}"] = json.dumps({"metadata": {}, "items": items}).encode()
        for name in session.spec.cluster_environments[cluster]:
            trees = {
                unit.model: release.rendered.trees[cluster]
                for unit, release in stored.releases.items()
                if unit.environment == name
            }
            stamps = {"metadata": {"name": stamp_name(session.spec.pipeline.name)}, "data": trees}
            found[f"{cluster}.{session.spec.namespace(name)}.stamps"] = json.dumps(stamps).encode()
    return found


def _live(manifest: Mapping) -> dict[str, object]:  # type: ignore[type-arg]
    """The object with what a server adds to it."""
    metadata = {**manifest["metadata"], "uid": "0" * 36, "resourceVersion": "1", "generation": 1}
    live = {**manifest, "metadata": {**metadata, "managedFields": _managed(manifest["kind"])}}
    if manifest["kind"] == "Deployment":
        replicas = manifest["spec"].get("replicas", 1)
        live["spec"] = {**manifest["spec"], "replicas": replicas}
        numbers = ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas")
        live["status"] = {"observedGeneration": 1, **dict.fromkeys(numbers, replicas)}
    return live


@contextmanager
def _prometheus(setting: Setting, project: Path) -> Iterator[str]:
    """A server that answers like a Prometheus that knows every model; its URL."""
    command = [sys.executable, "-m", "benchmarks.answers", str(project)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=dict(environment(setting.directory))
    ) as process:
        assert process.stdout is not None, "a pipe"
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
