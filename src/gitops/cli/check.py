"""`gitops check`: asks the gates of a model's version, against an endpoint that serves it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from gitops.cli.console import ERROR, OK, PENDING, note, progress, write
from gitops.errors import GitopsError
from gitops.values import UnitKey

if TYPE_CHECKING:
    from gitops.spec.pipeline import Model
    from gitops.stages.gates import Outcome


def check(
    project: Path,
    unit: str,
    endpoint: str = "",
    *,
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
    may take to get ready, `tolerance` is in percent.
    """
    from gitops.stages.gates import Wanted, run_gates
    from gitops.world.files import write_atomically

    model, name = _model(project, unit)
    if tolerance is not None and not 0 <= tolerance <= 100:
        raise GitopsError(f"{tolerance:g} is no percentage", where="--tolerance", hint="from 0 to 100")
    wanted = Wanted(endpoint, frozenset(only), _seconds(wait), baseline, tolerance)
    outcome = run_gates(project, name, model, wanted, progress)
    subject = {"unit": unit, "version": model.version, "artifact": model.artifact.digest, "endpoint": endpoint}
    digest = _report(outcome, subject, output)
    _print(outcome, subject, form, digest, output)
    if save_baseline and outcome.baseline and not outcome.refused:
        write_atomically(save_baseline, outcome.baseline.document())
        note(f"saved the baseline to {save_baseline}")
    elif save_baseline:
        note("no baseline is saved: this run is none to go by")
    return PENDING if outcome.refused else OK if outcome.passed else ERROR


def _model(project: Path, unit: str) -> tuple[Model, str]:
    from gitops.spec.load import load_spec
    from gitops.spec.problems import suggestion
    from gitops.world.files import read_project

    sources = read_project(project)
    spec = load_spec(sources.pipeline, sources.environments)
    environment, _, name = unit.partition("/")
    key = UnitKey(environment, name)
    if key not in spec.models:
        hint = suggestion(unit, map(str, spec.models), "release")
        raise GitopsError("there is no such release", where=unit, hint=hint)
    return spec.models[key], name


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

    return write_report(output, outcome.results, subject, outcome.measured)


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
