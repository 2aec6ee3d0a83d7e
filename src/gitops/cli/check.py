"""`gitops check`: asks the gates of a model's version, against an endpoint that serves it, here or in a Job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from gitops.cli.console import ERROR, OK, PENDING, note, progress, write
from gitops.cli.project import load, unit_of
from gitops.errors import GitopsError
from gitops.values import UnitKey

if TYPE_CHECKING:
    from gitops.render.check_job import Asked
    from gitops.rollout.registration import Registration
    from gitops.spec.resolved import Spec
    from gitops.spec.validation import Job, Validation
    from gitops.stages.gates import Outcome
    from gitops.stages.served import Labelled
    from gitops.world.worlds import World


def check(
    project: Path,
    unit: str,
    endpoint: str = "",
    *,
    job: bool = False,
    only: Sequence[str] = (),
    output: Path | None = None,
    baseline: Path | None = None,
    save_baseline: Path | None = None,
    tolerance: float | None = None,
    wait: str = "0s",
    form: str = "text",
) -> int:
    """Ask the gates and print what they say. 0: all passed, 2: a gate said no, 1: something could not be asked.

    `unit` is ENVIRONMENT/MODEL, `only` names gates, `output` is where the report goes, `wait` how long the endpoint
    may take to get ready, `tolerance` is in percent. With `job`, print the Kubernetes Job that asks them instead.
    """
    from gitops.stages.gates import Wanted, run_gates
    from gitops.world.files import write_atomically

    if job:
        _refuse_files({"--output": output, "--save-baseline": save_baseline, "--baseline": baseline})
    spec = load(project)
    key = unit_of(spec, unit)
    model = spec.models[key]
    if tolerance is not None and not 0 <= tolerance <= 100:
        raise GitopsError(f"{tolerance:g} is no percentage", where="--tolerance", hint="from 0 to 100")
    wanted = Wanted(endpoint, frozenset(only), _seconds(wait), baseline, tolerance)
    if job:
        from gitops.render.check_job import Asked

        return _print_job(project, spec, key, Asked(endpoint, only, wait, tolerance))
    wanted = replace(wanted, labelled=_labelled(project, spec, key, only))
    outcome = run_gates(project, key.model, model, wanted, progress)
    subject = {"unit": unit, "version": model.version, "artifact": model.artifact.digest, "endpoint": endpoint}
    digest = _report(outcome, subject, output)
    _print(outcome, subject, form, digest, output)
    if save_baseline and outcome.baseline and not outcome.refused:
        write_atomically(save_baseline, outcome.baseline.document())
        note(f"saved the baseline to {save_baseline}")
    elif save_baseline:
        note("no baseline is saved: this run is none to go by")
    return PENDING if outcome.refused else OK if outcome.passed else ERROR


def _labelled(project: Path, spec: Spec, unit: UnitKey, only: Sequence[str]) -> Labelled | None:
    """What the build of the version was judged by, as its registration says; None with a note where that is not
    known, or other gates are named.
    """
    from gitops.spec.build import judged
    from gitops.stages.served import GATE, labelled

    model = spec.models[unit]
    if model.build is None or judged(model.build) is None:
        return None
    found, why = None, "--only names other gates"
    if not only or GATE in only:
        one, why = _registration(project, spec, unit)
        found = labelled(project, model.build, [stage.figures for stage in one.stages]) if one else None
    if found is None:
        note(f"{GATE} is not asked: {why}")
    return found


def _registration(project: Path, spec: Spec, unit: UnitKey) -> tuple[Registration | None, str]:
    """What is registered of the version that the spec names; and why it cannot be gone by, should it not do."""
    from gitops.plan.registered import VersionKey
    from gitops.world.gather import read_registrations

    model = spec.models[unit]
    key = VersionKey(unit.model, model.version)
    try:
        with _world(project, spec) as world:
            repository = world.repository()
            known, damaged = read_registrations(repository, repository.head(), [key])
    except GitopsError as error:
        return None, f"the GitOps repository cannot be read ({error.what})"
    one = known.get(key)
    if one is None:
        return None, damaged.get(key, f"{unit.model} {model.version} is not registered")
    if model.build and one.source != model.build.source.digest:
        return None, f"{unit.model} {model.version} is registered with another source"
    return one, f"the registration of {unit.model} {model.version} does not say how accurate the model was"


def _world(project: Path, spec: Spec) -> closing[World]:
    from gitops.world.places import wants_embedded
    from gitops.world.worlds import World

    return closing(World(spec, project, "embedded" if wants_embedded(False) else "real", progress))


def _seconds(text: str) -> float:
    from gitops.spec.fields import parse_duration

    try:
        return float(str(parse_duration(text)))
    except ValueError as error:
        raise GitopsError(str(error), where="--wait") from None


def _report(outcome: Outcome, subject: dict[str, str], output: Path | None) -> str:
    if output is None:
        return ""
    from gitops.stages.report import write_report
    from gitops.world.files import write_atomically

    return write_report(output, outcome.results, subject, outcome.measured, write=write_atomically)


def _print(outcome: Outcome, subject: dict[str, str], form: str, digest: str, output: Path | None) -> None:
    if form == "json":
        from gitops.stages.report import report_document

        document = report_document(outcome.results, subject, outcome.measured)
        write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
    else:
        from gitops.stages.results import summary

        for line in summary(outcome.results):
            write(_harmless(line))
    for error in outcome.unasked:
        note(f"error: {error.where}: {error.what}" if error.where else f"error: {error.what}")
        if error.hint:
            note(f"  next: {error.hint}")
    if output is not None:
        note(f"report: {output / 'report.json'} {digest}")
        if outcome.measured and outcome.measured.latency.count and not (output / "latency.svg").exists():
            from gitops.stages.report import NO_PLOT

            note(NO_PLOT)


def _harmless(line: str) -> str:
    """What a model answered cannot drive the terminal."""
    return "".join(character if character.isprintable() else "?" for character in line)


# --- As a Job ------------------------------------------------------------------------------------------------

_FILES = {
    "--output": ("a Job keeps no files: it prints its report", "read it with: kubectl logs job/NAME"),
    "--save-baseline": ("a Job keeps no files", "save a baseline with `gitops check` where you are, without --job"),
    "--baseline": ("a Job reads the files of its image alone", "name the baseline in validate.benchmark.baseline"),
}
"""Options that a Job cannot have: why, and what to do instead."""


def _refuse_files(options: Mapping[str, Path | None]) -> None:
    for option, path in options.items():
        if path is not None:
            what, hint = _FILES[option]
            raise GitopsError(what, where=option, hint=hint)


def _print_job(project: Path, spec: Spec, unit: UnitKey, asked: Asked) -> int:
    from gitops.render.check_job import check_job
    from gitops.render.templates import templates_of
    from gitops.stages.endpoints import base_url
    from gitops.world.files import read_templates

    validation = spec.models[unit].validation
    if validation and validation.job:
        _check_only(validation, asked.only)
        asked = asked._replace(others=tuple(_embeddings(project, validation, validation.job)))
    for url in filter(None, (asked.endpoint, *asked.others)):
        base_url(url)
    asked = asked._replace(only=_asked_in_a_job(spec, unit, asked.only))
    if not asked.endpoint:
        spec = _as_it_runs(project, spec)
    write(check_job(spec, templates_of(read_templates(project)), unit, asked).decode())
    return OK


def _asked_in_a_job(spec: Spec, unit: UnitKey, only: Sequence[str]) -> Sequence[str]:
    """The gates to name: a Job reaches no GitOps repository, so that it cannot know what a build was judged by."""
    from gitops.spec.build import judged
    from gitops.stages.gates import declared
    from gitops.stages.served import GATE

    model = spec.models[unit]
    if only or not (model.validation and model.build) or judged(model.build) is None:
        return only
    note(f"{GATE} is not asked: a Job does not reach the GitOps repository, where the accuracy is registered")
    return declared(model.validation)


def _as_it_runs(project: Path, spec: Spec) -> Spec:
    """The spec with every model called as it is where it runs: the Service of a revision has its name."""
    from gitops.plan.revisions import revised

    try:
        with _world(project, spec) as world:
            return revised(spec, world.stored())
    except GitopsError as error:
        note(f"the GitOps repository cannot be read ({error.what}): if a revision runs, name its Service by --endpoint")
        return spec


def _check_only(validation: Validation, only: Sequence[str]) -> None:
    from gitops.spec.problems import listed
    from gitops.stages.gates import declared

    gates = declared(validation)
    if absent := sorted(set(only) - set(gates)):
        hint = f"it declares {listed(gates)}"
        raise GitopsError(f"this model does not declare {listed(absent)}", where="--only", hint=hint)


def _embeddings(project: Path, validation: Validation, job: Job) -> Iterator[str]:
    """The URL that the golden file asks for embeddings. The rest of the file is for the Job to judge: that takes
    packages which this machine may not have.
    """
    from gitops.spec.parts import SecretRef
    from gitops.spec.resolved import SourceFile
    from gitops.spec.source import read_yaml
    from gitops.stages.data import inside
    from gitops.stages.gates import read_file

    golden = validation.golden
    if golden is None:
        return
    said = read_yaml(SourceFile(golden, read_file(inside(project, golden), golden))).get("embeddings")
    if not isinstance(said, dict):
        return
    key = said.get("apiKeyEnv")
    if key is not None and not isinstance(job.env.get(key), SecretRef):
        hint = f"add `env: {{{key}: {{secret: <name of a Secret>, key: <its key>}}}}` to validate.job"
        raise GitopsError(f"the Job has to get `{key}` for embeddings from a Secret", where=golden, hint=hint)
    if isinstance(url := said.get("url"), str):
        yield url
