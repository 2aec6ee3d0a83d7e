"""A small project whose models walk: a canary with gates, from environment to environment of the embedded world."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gitops.engine.judging import Memory
from gitops.engine.reconciling import Pass
from gitops.engine.reconciling import reconcile as one_pass
from gitops.engine.session import Options, open_session
from gitops.rollout.release import Release, parse_release, record_path
from gitops.values import UnitKey
from gitops.world.embedded.clock import FILE, EmbeddedClock
from tests.cli.small import commits, repository
from tests.support.project import Project, run_git

EMBEDDED = {"GITOPS_EMBEDDED": "1"}

PIPELINE = """\
apiVersion: gitops/v1
name: acme
promotion: [dev, production]
rollouts:
  careful:
    strategy: canary
    steps: [{weight: 10, bake: 3m}, {weight: 50, bake: 3m}, {weight: 100, bake: 2m}]
    gates:
      - {metric: error-rate, rollback: "2%"}
      - {metric: latency-p99, pause: 4s, rollback: 8s}
    readyTimeout: 10m
  plain: {strategy: canary, steps: [{weight: 20}, {weight: 100}]}
models:
  chat:
    version: 1.0.0
    artifact:
      uri: s3://acme-models/chat/1.0.0
      digest: "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      format: safetensors
    serve: {runtime: vllm, gpu: {type: L4}, replicas: {min: 2, max: 4}, loadTime: 3s}
    route: {hostnames: [chat.acme.example]}
    rollout: careful
  search:
    version: 2.0.0
    artifact:
      uri: s3://acme-models/search/2.0.0
      digest: "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
      format: onnx
    serve: {runtime: custom, image: "registry.acme.ai/search:2.0.0", resources: {cpu: 1, memory: 1Gi}}
    rollout: plain
"""
ENVIRONMENT = """\
apiVersion: gitops/v1
clusters:
  {name}: {{provider: embedded, nodePools: {{l4: {{gpu: {{type: L4}}, max: 8}}}}}}
gateway: {{name: models, namespace: gateway}}
monitoring: {{prometheus: "http://prometheus:9090"}}
autoscaler: {{kind: keda}}
"""
BAD = """\
apiVersion: gitops/v1
models:
  chat:
    versions:
      {version}:
        faults: [{{metric: error-rate, becomes: "9%", from: {after}}}]
"""


def staged_project(path: Path, *, pipeline: str = PIPELINE, environments: Mapping[str, str] | None = None) -> Project:
    """Written, not applied. Each environment has an embedded cluster of the same name, unless its text is given."""
    (path / "environments").mkdir(parents=True)
    (path / "pipeline.yaml").write_text(pipeline)
    for name in ("dev", "production"):
        (path / "environments" / f"{name}.yaml").write_text(ENVIRONMENT.format(name=name))
    for name, text in (environments or {}).items():
        (path / "environments" / f"{name}.yaml").write_text(text)
    return Project(path, EMBEDDED)


def release(project: Project, version: str, *, model: str = "chat", before: str = "1.0.0") -> None:
    """Edit the spec to another version of a model; its digest follows from the version."""
    text = (project.path / "pipeline.yaml").read_text()
    start = text.index(f"\n  {model}:\n")
    head, block = text[:start], text[start:]
    block = block.replace(before, version, 2)
    old = block[block.index("sha256:") :][:71]
    digest = f"sha256:{version.encode().hex():0<64}"
    (project.path / "pipeline.yaml").write_text(head + block.replace(old, digest, 1))


def turn_bad(project: Project, version: str, after: str = "90s") -> None:
    """Let that version of chat fail every eleventh request, so long after its first one."""
    (project.path / "simulation.yaml").write_text(BAD.format(version=version, after=after))


def append(project: Project, file: str, text: str) -> None:
    """Add lines to a file of the spec."""
    path = project.path / file
    path.write_text(path.read_text() + text)


def clock(project: Project) -> EmbeddedClock:
    """The time of its embedded world; sleeping lets it go on."""
    return EmbeddedClock(project.path / ".gitops" / "embedded" / FILE)


def record(project: Project, unit: str) -> Release:
    """The release record of `environment/model` at the head."""
    key = UnitKey(*unit.split("/", 1))
    return parse_release(run_git(repository(project), "show", f"main:{record_path(key)}").encode(), unit)


def weight(project: Project, unit: str) -> int:
    """Percent of traffic that the candidate has; 0 without one."""
    candidate = record(project, unit).candidate
    return candidate.weight if candidate else 0


def subjects(project: Project) -> list[str]:
    """The first lines of all commits, oldest first, without their prefix `rollout`."""
    lines = run_git(repository(project), "log", "--reverse", "--format=%s", "main").splitlines()
    return [line.removeprefix("rollout") for line in lines]


def trailers(project: Project, commit: str = "main") -> dict[str, str]:
    """The trailers of a commit, as Git reads them."""
    shown = run_git(repository(project), "log", "-1", "--format=%(trailers:only,unfold)", commit)
    return dict(line.split(": ", 1) for line in shown.splitlines() if line)


def reconcile(project: Project, times: int = 1, step: float = 60) -> list[Any]:
    """So many passes with `step` seconds between them; what each said."""
    said = []
    for number in range(times):
        if number:
            clock(project).sleep(step)
        said.append(json.loads(project.gitops("reconcile", "--format", "json").out))
    return said


def until(project: Project, done: Callable[[Pass], bool], *, passes: int = 60, step: float = 30) -> None:
    """Make passes, in this process, until one of them is what the test waits for."""
    with open_session(Options(project.path, kind="embedded")) as session:
        memory = Memory()
        for _ in range(passes):
            if done(one_pass(session, memory)):
                return
            clock(project).sleep(step)
    raise AssertionError(f"it never came: {subjects(project)}")


def until_weight(project: Project, unit: str, wanted: int) -> None:
    """Make passes until the candidate of a unit has that weight."""
    until(project, lambda _: weight(project, unit) == wanted)


def steps_of(project: Project, unit: str) -> list[str]:
    """What was decided about a unit, oldest first: `start`, `advance 10`, `promote`, …; first releases left out."""
    form = "%(trailers:key=Environment,valueonly,separator=)/%(trailers:key=Model,valueonly,separator=)"
    form += " %(trailers:key=Decision,valueonly,separator=) %(trailers:key=Weight,valueonly,separator=)"
    form += " %(trailers:key=Mirror,valueonly,separator=)"
    found = []
    for line in run_git(repository(project), "log", "--reverse", f"--format={form}", "main").splitlines():
        name, decision, *numbers = line.split()
        if name == unit:
            found.append(f"advance {numbers[-1]}" if decision == "advance" else decision)
    return [step for step in found if step not in ("release", "update", "remove")]


def acted(project: Project, command: str, unit: str, *arguments: str, by: str = "bob@example.com") -> dict[str, str]:
    """What a person does with a rollout is one commit, by them; its trailers."""
    before = commits(project)
    person = {"GIT_AUTHOR_NAME": by.partition("@")[0].title(), "GIT_AUTHOR_EMAIL": by}
    Project(project.path, {**project.env, **person}).gitops(command, unit, *arguments)
    assert commits(project) == before + 1, "one commit for each command"
    said = trailers(project)
    assert said["By"] == by
    assert f"{said['Environment']}/{said['Model']}" == unit
    return said


def refused(project: Project, *arguments: str, says: str) -> None:
    """The command ends with exit code 1 and a sentence, and commits nothing."""
    before = commits(project)
    done = project.gitops(*arguments, expect=1)
    assert says in done.err, done.err
    assert "  next: " in done.err
    assert commits(project) == before
