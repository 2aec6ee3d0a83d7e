"""Whether everything agrees: the log, the records, the files, the live objects, and where traffic goes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from gitops.plan.lives import lives_of, models_of, waves_of
from gitops.render.renderer import Renderer, unit_directory
from gitops.render.templates import templates_of
from gitops.rollout.audit import states_of
from gitops.rollout.release import Release, parse_release
from gitops.rollout.state import RolloutState
from gitops.spec.load import load_spec
from gitops.spec.promotion import wave_of
from gitops.spec.resolved import Spec
from gitops.values import Commit, workload_name
from gitops.world.files import read_project, read_templates
from tests.cli.small import repository
from tests.support.live import live_objects
from tests.support.project import Project, run_git

END = "\x1e"


def check_consistent(project: Project) -> None:
    """Everything that has to hold whenever no command is running, for a project of the embedded world.

    The spec's present models must have been applied, as far as they are of no version.
    """
    where, spec = repository(project), spec_of(project)
    run_git(where, "fsck", "--strict")
    commits = log_of(where)
    releases = records_at(where, "main")
    said = {unit: state for unit, state in states_of(commits).items() if unit in {r.unit for r in releases}}
    assert said == {release.unit: release.state for release in releases}, "the log and the records"
    check_history(where, commits, spec)
    for release in releases:
        check_files(where, release, spec, project)
        check_live(project, release, spec)
    project.gitops("diff", "--embedded", expect=0)


def spec_of(project: Project) -> Spec:
    """The project's spec as it is now."""
    sources = read_project(project.path)
    return load_spec(sources.pipeline, sources.environments)


def log_of(where: Path) -> list[Commit]:
    """Every commit, oldest first, its trailers read by Git itself."""
    form = f"%H%x00%s%x00%(trailers:only,unfold){END}"
    shown = run_git(where, "log", "--reverse", "--topo-order", f"--format={form}", "main")
    commits = []
    for entry in shown.split(END)[:-1]:
        identity, subject, said = entry.lstrip("\n").split("\0")
        pairs = tuple((line.partition(": ")[0], line.partition(": ")[2]) for line in said.splitlines() if line)
        commits.append(Commit(identity, "", "", subject, "", pairs))
    assert run_git(where, "rev-list", "--merges", "--count", "main").strip() == "0", "history is linear"
    return commits


def records_at(where: Path, commit: str) -> list[Release]:
    """Every release record at a commit."""
    paths = run_git(where, "ls-tree", "-r", "--name-only", commit, "releases").splitlines()
    texts = read_blobs(where, [f"{commit}:{path}" for path in paths])
    return [parse_release(texts[f"{commit}:{path}"], path) for path in paths]


# --- Every commit by itself --------------------------------------------------------------------------------------


def check_history(where: Path, commits: Sequence[Commit], spec: Spec) -> None:
    """At every commit the record of what changed agrees with the log so far, and with the routes beside it."""
    changed = dict(_changed_records(where, spec))
    wanted = [f"{commit}:{path}" for commit, paths in changed.items() for path in paths]
    texts = read_blobs(where, wanted)
    releases = {name: parse_release(text, name) for name, text in texts.items()}
    beside = [
        f"{name.partition(':')[0]}:{path}" for name, release in releases.items() for path in _routing(release, spec)
    ]
    routing = read_blobs(where, beside)
    for number, commit in enumerate(commits, start=1):
        states = states_of(commits[:number])
        for path in changed.get(commit.id, ()):
            release = releases.get(f"{commit.id}:{path}")
            if release is None:
                continue  # removed by this commit
            assert states[release.unit] == release.state, f"{commit.subject}: the log so far and the record"
            for cluster in release.rendered.trees:
                shown = {
                    kind: yaml.safe_load(text)
                    for kind in ("httproute", "service")
                    if (text := routing.get(f"{commit.id}:{_route(cluster, release, kind)}"))
                }
                expected = weights_wanted(spec, release, cluster)
                assert weights_shown(release, shown) == expected, f"{commit.subject}: traffic on {cluster}"


def _changed_records(where: Path, spec: Spec) -> Iterator[tuple[str, list[str]]]:
    shown = run_git(where, "log", "--root", "--name-only", f"--format={END}%H", "main", "--", "releases")
    known = {f"releases/{unit.environment}/{unit.model}.yaml" for unit in spec.models}
    for entry in shown.split(END)[1:]:
        identity, *paths = entry.split()
        yield identity, [path for path in paths if path in known]


def _routing(release: Release, spec: Spec) -> Iterator[str]:
    for cluster in release.rendered.trees:
        if cluster in spec.clusters:
            yield from (_route(cluster, release, kind) for kind in ("httproute", "service"))


def _route(cluster: str, release: Release, kind: str) -> str:
    return f"{unit_directory(cluster, release.unit)}/{kind}.yaml"


def weights_wanted(spec: Spec, release: Release, cluster: str) -> dict[str, int]:
    """Who gets how much on a cluster, as the record has it; who gets nothing is left out."""
    state, waves = release.state, wave_of(spec.environments[release.unit.environment])
    number = next(number for number, clusters in enumerate(waves) if cluster in clusters)
    traffic = state.weights(len(waves))[number]
    named = [(state.stable, traffic.stable), (state.candidate and state.candidate.version, traffic.candidate)]
    return {workload_name(release.unit.model, one.version): share for one, share in named if one and share}


def weights_shown(release: Release, objects: Mapping[str, Any]) -> dict[str, int]:
    """The same as a route says it, or without a route the Service, whose pods share by their number."""
    if route := objects.get("httproute"):
        return {
            backend["name"]: backend["weight"]
            for rule in route["spec"]["rules"]
            for backend in rule["backendRefs"]
            if backend["weight"]
        }
    version = objects["service"]["spec"]["selector"].get("gitops/version")
    if version:
        return {workload_name(release.unit.model, version): 100}
    return dict(_both(release))


def _both(release: Release) -> Iterator[tuple[str, int]]:
    """A Service that selects both versions is right while both have traffic, and only then."""
    state = release.state
    assert state.candidate is not None
    assert state.stable is not None
    assert 0 < state.candidate.weight < 100
    yield workload_name(release.unit.model, state.stable.version), 100 - state.candidate.weight
    yield workload_name(release.unit.model, state.candidate.version.version), state.candidate.weight


# --- The head ----------------------------------------------------------------------------------------------------


def check_files(where: Path, release: Release, spec: Spec, project: Project) -> None:
    """What Git holds of a unit is what its record gives when it is rendered again, byte by byte."""
    renderer = Renderer(spec, templates_of(read_templates(project.path)))
    unit, state, models = release.unit, release.state, models_of(release, None)
    lives = lives_of(release, state, models)
    waves = waves_of(release, state, models, spec.environments[unit.environment])
    wanted = renderer.unit(unit, lives, waves)
    directories = [unit_directory(cluster, unit) for cluster in spec.environments[unit.environment].clusters]
    paths = run_git(where, "ls-tree", "-r", "--name-only", "main", *directories).splitlines()
    held = read_blobs(where, [f"main:{path}" for path in paths])
    assert {path: held[f"main:{path}"] for path in paths} == wanted, f"{unit}: files and record"
    for cluster, directory in zip(spec.environments[unit.environment].clusters, directories, strict=True):
        tree = run_git(where, "rev-parse", f"main:{directory}").strip()
        assert release.rendered.trees[cluster] == tree, f"{unit}: the record's tree on {cluster}"


def check_live(project: Project, release: Release, spec: Spec) -> None:
    """Traffic goes where the record says, to versions that are there; nothing of the unit is left over."""
    unit, namespace = release.unit, spec.namespace(release.unit.environment)
    for cluster in release.rendered.trees:
        objects = live_of(project, cluster)
        shown = {
            kind: objects[key]
            for kind, key in (
                ("httproute", f"HTTPRoute {namespace}/{unit.model}"),
                ("service", f"Service {namespace}/{unit.model}"),
            )
            if key in objects
        }
        assert weights_shown(release, shown) == weights_wanted(spec, release, cluster), f"{unit}: traffic on {cluster}"
        labels = {"gitops/environment": unit.environment, "gitops/model": unit.model}
        running = {
            body["metadata"]["labels"]["gitops/version"]
            for body in objects.values()
            if body["kind"] == "Deployment" and labels.items() <= body["metadata"]["labels"].items()
        }
        assert running == set(versions_of(release.state)), f"{unit}: versions on {cluster}"
        stamps = objects[f"ConfigMap {namespace}/gitops-{spec.pipeline.name}-applied"]["data"]
        assert stamps[unit.model] == release.rendered.trees[cluster], f"{unit}: what {cluster} remembers"


def versions_of(state: RolloutState) -> Iterator[str]:
    """Versions that have pods."""
    if state.stable:
        yield state.stable.version
    if state.candidate and state.candidate.scale:
        yield state.candidate.version.version
    yield from (one.version.version for one in state.kept)


def live_of(project: Project, cluster: str) -> dict[str, Any]:
    """The objects of an embedded cluster, by kind, namespace and name."""
    return live_objects(project.path / ".gitops" / "embedded" / "clusters" / f"{cluster}.db")


def read_blobs(where: Path, names: Sequence[str]) -> dict[str, bytes]:
    """The contents of `commit:path`s; those that are not there are left out."""
    done = subprocess.run(
        ["git", "cat-file", "--batch"], cwd=where, input="\n".join(names).encode() + b"\n", capture_output=True
    )
    assert done.returncode == 0, done.stderr
    found, rest = {}, done.stdout
    for name in names:
        head, _, rest = rest.partition(b"\n")
        if head.endswith(b" missing"):
            continue
        size = int(head.split()[2])
        found[name], rest = rest[:size], rest[size + 1 :]
    return found
