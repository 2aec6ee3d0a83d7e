"""Runs a build on this machine: stage after stage, each at most once for its key.

A build that was killed goes on at the first stage that is not finished. The same build in two processes makes each
stage once: the second waits.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from gitops import __version__
from gitops.errors import GitopsError
from gitops.spec.build import Build
from gitops.spec.quantities import amount
from gitops.stages.addresses import public
from gitops.stages.build.code import members
from gitops.stages.build.plan import Step, key, steps
from gitops.stages.build.process import Bounds, StageProcess
from gitops.stages.build.task import Outcome, Task
from gitops.stages.build.transfer import fetch
from gitops.stages.build.workspace import DIRECTORY, Done, Work, Workspace, seal_key
from gitops.stages.confinement import IMAGE_BUILDERS, Room, home_of, isolation
from gitops.stages.digest import FileDigest, combined, digest_path
from gitops.stages.results import GateResult, summary

_PACKAGE = Path(__file__).resolve().parents[2]
"""What the process of a stage imports of us."""
_NOT_APART = "code of the checkpoint could reach the network and the files of the machine that built it"
_APART = "run without network, and see their inputs and tools alone"
_ASKING = 300.0
"""Seconds that asking for the versions of tools may take."""


@dataclass(frozen=True, slots=True)
class StageResult:
    """How a stage ended."""

    stage: str
    key: str
    cached: bool
    """It was finished before; nothing was run."""
    seconds: float
    """What it took when it was run."""
    figures: Mapping[str, float]
    tools: Mapping[str, str]
    digest: str
    path: Path
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build made: the content digest of the directory at `path`, and how it came to it."""

    digest: str
    path: Path
    stages: tuple[StageResult, ...]

    @property
    def cached(self) -> bool:
        """Whether every stage was finished before."""
        return all(stage.cached for stage in self.stages)


class BuildRejected(GitopsError):
    """A gate of a stage said no: the stage is not finished, and nothing after it was begun."""

    def __init__(self, title: str, gates: tuple[GateResult, ...]) -> None:
        lines = summary(gate for gate in gates if not gate.passed)
        super().__init__("\n".join(lines), where=title, hint="nothing was made of it; mend the cause, or the limit")
        self.gates = gates


@dataclass(frozen=True)
class Builder:
    """One build, with everything around it."""

    build: Build
    project: Path
    model: str
    version: str
    say: Callable[[str], None]
    workspace: Workspace
    project_commit: Callable[[], tuple[str, int]]
    _seen: dict[str, str] = field(default_factory=dict)

    def run(self) -> BuildResult:
        """All stages. Raises BuildRejected, or GitopsError for what could not be done."""
        source = self.build.source
        given = fetch(source.uri, source.digest, self.project, self.workspace.root, self.say)
        digest, signature, results = source.digest, None, []
        for step in self.steps:
            result, signature = self._stage(step, given, digest, signature)
            results.append(result)
            given, digest = result.path, result.digest
        return BuildResult(digest, given, tuple(results))

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """What is to be done."""
        return steps(self.build)

    def _stage(self, step: Step, given: Path, digest: str, signature: Any) -> tuple[StageResult, Any]:
        """One stage, or what an earlier one with the same key left; and the model's signature after it."""
        facts = {name: value for name, value in self._facts(signature) if name in step.facts}
        tools = {name: self.versions[name] for name in self._names(step) if name in self.versions}
        tools |= {"gitops": __version__, "python": self.versions["python"]}
        name = key(step, digest, self._digests(step), tools, facts)
        with self.workspace.locked(name):
            done = self.workspace.find(name)
            cached = done is not None
            if done is None:
                done = self._make(step, name, given, facts, tools)
        self.say(f"{self._title(step)}: {'was finished before' if cached else f'took {done.seconds:.1f} s'}")
        path = self.workspace.output(name)
        result = StageResult(
            step.stage, name, cached, done.seconds, done.figures, done.tools, done.digest, path, done.notes
        )
        return result, done.signature or signature

    def _make(self, step: Step, name: str, given: Path, facts: Mapping[str, Any], tools: Mapping[str, str]) -> Done:
        apart = self._apart and "builder" not in step.tools
        work, begin = self.workspace.begin(name), time.monotonic()
        files = {file: self._inside(path) for file, path in step.files.items()}
        task = Task(step.stage, step.parameters, given.absolute(), step.takes, work.output, work.scratch, files, facts)
        outcome, peak = self._run(step, task, work, name)
        if not all(gate.passed for gate in outcome.gates):
            raise BuildRejected(self._title(step), outcome.gates)
        figures = {**outcome.figures, **{k: v for gate in outcome.gates for k, v in gate.figures.items()}}
        if peak:
            figures["peak-memory-bytes"] = float(peak)
        digest = digest_path(work.output).digest
        seconds = round(time.monotonic() - begin, 3)
        notes = outcome.notes if apart or not facts.get("trustedCode") else (*outcome.notes, _NOT_APART)
        done = Done(step.stage, digest, seconds, figures, notes, tools, outcome.signature)
        self.workspace.finish(name, work, done)
        return done

    def _run(self, step: Step, task: Task, work: Work, name: str) -> tuple[Outcome, int]:
        written, result = work.scratch / "task.json", work.scratch / "result.json"
        written.write_text(json.dumps(task.document()))
        bounds = Bounds(step.timeout, int(amount(self.build.memory)))
        python = (*map(Path, self.versions["paths"]), *home_of(self.python))
        reads = (*python, _PACKAGE, task.given, *task.files.values())
        builder = "builder" in step.tools
        process = StageProcess(
            self.python,
            self.say,
            Room(work.scratch, reads, (work.output,)),
            also=IMAGE_BUILDERS if builder else (),
            confined=not builder,
        )
        arguments = ["run", str(result), str(written)]
        document = process.run(arguments, result, self.workspace.log(name), bounds, self._title(step))
        return Outcome.parse(document), process.peak

    @cached_property
    def _apart(self) -> bool:
        """Whether stages see nothing but what they need; told once, before the first one runs."""
        reason = isolation()
        told = f"can reach the network and your files, because {reason}" if reason else _APART
        self.say(f"{self.model}: stages {told}")
        return not reason

    @cached_property
    def python(self) -> str:
        """The Python that runs the stages."""
        chosen = self.build.python
        return str((self.project / chosen).absolute()) if chosen else sys.executable

    @cached_property
    def versions(self) -> Mapping[str, Any]:
        """The versions of all tools of the build, and the `paths` of its Python; asked once."""
        names = sorted({tool for step in self.steps for tool in self._names(step)})
        with tempfile.TemporaryDirectory() as directory:
            result, log = Path(directory, "versions.json"), Path(directory, "log")
            also = IMAGE_BUILDERS if "builder" in names else ()
            process = StageProcess(self.python, self.say, Room(Path(directory)), also, confined=False)
            asked = ["versions", str(result), *(name for name in names if name not in ("tensorrt", "gpu"))]
            return process.run(asked, result, log, Bounds(_ASKING, 2**40), self.model)

    def _names(self, step: Step) -> tuple[str, ...]:
        return (*step.tools, "tensorrt", "gpu") if "trtexec" in step.tools else step.tools

    def _facts(self, signature: Any) -> Iterator[tuple[str, Any]]:
        said = self.build.source.model_dump(mode="json", exclude_none=True)
        source = {name: public(value) for name, value in said.items() if isinstance(value, str)}
        yield from (("model", self.model), ("version", self.version), ("source", source), ("signature", signature))
        yield "trustedCode", self.build.source.trusted_code
        if any("commit" in step.facts for step in self.steps):
            commit, when = self.commit
            yield from (("commit", commit), ("commitTime", when))

    @cached_property
    def commit(self) -> tuple[str, int]:
        """The project's commit and its time."""
        return self.project_commit()

    def _digests(self, step: Step) -> dict[str, str]:
        return {name: self._digest(name, path) for name, path in step.files.items()}

    def _digest(self, name: str, path: str) -> str:
        """Of a file, its content; of code, what counts of its directory."""
        if path not in self._seen:
            place = self._inside(path)
            network = any(step.stage == "convert" and path in step.files.values() for step in self.steps)
            self._seen[path] = code_digest(place, network) if name == "code" else digest_path(place).digest
        return self._seen[path]

    def _inside(self, path: str) -> Path:
        place = (self.project / path).resolve()
        if not place.is_relative_to(self.project.resolve()):
            raise GitopsError("this leads out of the project", where=path, hint="put the file itself into the project")
        if not place.exists():
            raise GitopsError(
                "there is no such file or directory", where=str(self.project / path), hint="check the path"
            )
        return place

    def _title(self, step: Step) -> str:
        return f"{self.model}: {step.title}"


def run_build(
    build: Build,
    project: Path,
    *,
    model: str,
    version: str,
    commit: Callable[[], tuple[str, int]],
    cache: Path | None = None,
    say: Callable[[str], None] = print,
) -> BuildResult:
    """Build on this machine. `commit` gives the project's commit and its time, asked by stages that name it in what
    they make; `cache` is where finished stages are kept, by default `.gitops/builds` of the project.

    Raises BuildRejected when a gate says no, GitopsError when something cannot be done.
    """
    workspace = Workspace((cache or project / DIRECTORY).absolute(), seal_key())
    return Builder(build, project, model, version, say, workspace, commit).run()


def code_digest(directory: Path, network: bool) -> str:
    """The content digest of the files of a directory of code that count, see `members`."""
    return combined(
        FileDigest(name.as_posix(), digest_path(directory / name).digest.removeprefix("sha256:"), 0)
        for name in members(directory, network)
    ).digest
