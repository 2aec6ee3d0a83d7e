"""`gitops build`: from checkpoints to what is served, here or as Jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from gitops.cli.console import ERROR, OK, fail, progress, write
from gitops.cli.project import load
from gitops.errors import GitopsError

if TYPE_CHECKING:
    from gitops.spec.build import Build
    from gitops.spec.resolved import Spec
    from gitops.stages.build.runner import BuildRejected, BuildResult, StageResult

REJECTED = 2
"""The exit code when a gate said no."""
_FIGURES = 4
"""Figures of a stage that a line shows."""


class Wanted(NamedTuple):
    """A model with a build."""

    model: str
    version: str
    build: Build


def build(
    project: Path,
    model: str | None = None,
    *,
    job: bool = False,
    publish: bool = False,
    cache: Path | None = None,
    form: str = "text",
) -> int:
    """Build a model, or every one that has a `build`; what is finished is not done again.

    With `job`, print the Kubernetes Jobs instead. Exit code 0, 2 when a gate said no, 1 when one could not be built;
    the others are built all the same.
    """
    spec = load(project)
    wanted = list(_wanted(spec, model))
    if job:
        return _print_jobs(project, spec, wanted)
    codes, reports = [OK], []
    for one in wanted:
        code, report = _one(project, one, publish, cache)
        codes.append(code)
        reports.append(report)
        if form == "text" and code == OK:
            write(_text(one, report))
    if form == "json":
        document = {"apiVersion": "gitops/v1", "kind": "BuildReport", "passed": not any(codes), "builds": reports}
        write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
    return ERROR if ERROR in codes else max(codes)


def _wanted(spec: Spec, model: str | None) -> Iterator[Wanted]:
    models = spec.pipeline.models
    builds = {name: one.build for name, one in models.items() if one.build is not None}
    if model is not None and model not in models:
        from gitops.spec.problems import suggestion

        raise GitopsError("there is no such model", where=model, hint=suggestion(model, models, "model"))
    if model is not None and model not in builds:
        raise GitopsError("this model has no `build`", where=model, hint="docs/builds.md says what one looks like")
    if not builds:
        raise GitopsError("no model has a `build`", hint="docs/builds.md says what one looks like")
    for name, found in builds.items():
        if model in (None, name):
            yield Wanted(name, models[name].version, found)


def _one(project: Path, one: Wanted, publish: bool, cache: Path | None) -> tuple[int, dict[str, Any]]:
    """Build one model: the exit code and its part of the report. What goes wrong is told at once."""
    from gitops.stages.build.runner import BuildRejected, run_build
    from gitops.stages.build.transfer import publish as upload
    from gitops.world.git.checkout import project_commit
    from gitops.world.places import use_state

    use_state(project)
    head = {"model": one.model, "version": one.version}
    try:
        commit = partial(project_commit, project)
        result = run_build(
            one.build, project, model=one.model, version=one.version, commit=commit, cache=cache, say=progress
        )
        if publish:
            upload(result.path, result.digest, one.build.output.uri, project, progress)
    except BuildRejected as rejected:
        fail(rejected)
        return REJECTED, {**head, "passed": False, "error": str(rejected.what), "gates": _gates(rejected)}
    except GitopsError as error:
        fail(error)
        return ERROR, {**head, "passed": False, "error": str(error)}
    return OK, {
        **head,
        "passed": True,
        **_document(one, result),
        "published": one.build.output.uri if publish else None,
    }


def _gates(rejected: BuildRejected) -> Any:
    from gitops.stages.results import report_json

    return report_json(rejected.gates)["gates"]


def _document(one: Wanted, result: BuildResult) -> dict[str, Any]:
    return {
        "digest": result.digest,
        "path": str(result.path),
        "uri": one.build.output.uri,
        "stages": [_stage(stage) for stage in result.stages],
    }


def _stage(stage: StageResult) -> dict[str, Any]:
    return {
        "stage": stage.stage,
        "key": stage.key,
        "cached": stage.cached,
        "seconds": stage.seconds,
        "digest": stage.digest,
        "figures": dict(stage.figures),
        "tools": dict(stage.tools),
        "notes": list(stage.notes),
    }


def _text(one: Wanted, report: Mapping[str, Any]) -> str:
    stages = report["stages"]
    lines = [
        f"{one.model} {one.version}: built, {sum(s['cached'] for s in stages)} of {len(stages)} stages from the cache"
    ]
    for place, stage in enumerate(stages, 1):
        told = [f"{name} {value:.6g}" for name, value in stage["figures"].items() if not name.startswith("peak")]
        took = "cached" if stage["cached"] else f"{stage['seconds']:.1f} s"
        lines.append(f"  {place} {stage['stage']:<9}{took:>8}  {', '.join(told[:_FIGURES])}".rstrip())
        lines += [f"    {note}" for note in stage["notes"]]
    lines += [f"  digest {report['digest']}", f"  in     {report['path']}"]
    if report["published"]:
        lines.append(f"  at     {report['published']}")
    return "\n".join(lines)


def _print_jobs(project: Path, spec: Spec, wanted: list[Wanted]) -> int:
    from gitops.render.build_job import build_job
    from gitops.render.templates import templates_of
    from gitops.stages.build.plan import steps
    from gitops.world.files import read_templates
    from gitops.world.git.checkout import project_commit

    templates = templates_of(read_templates(project))
    manifests = []
    for one in wanted:
        tagged = any("commit" in step.facts for step in steps(one.build))
        commit = project_commit(project) if tagged else ("", 0)
        manifests.append(build_job(spec, templates, one.model, one.version, one.build, *commit).decode())
    write("---\n".join(manifests))
    return OK
