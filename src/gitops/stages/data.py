"""The gates on recorded data: reads the files that a spec names and asks accuracy, drift and bias."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gitops.errors import GitopsError
from gitops.spec.problems import dotted, shorten
from gitops.spec.validation_data import Accuracy, Bias, DataGates, Drift, contradictions
from gitops.stages.results import GateResult
from gitops.stages.tables import Table, needed, read_table

Fetch = Callable[[str], Path]
"""Brings the file of an artifact URI onto this machine."""


def run_data_gates(validation_data: DataGates, project: Path, fetch: Fetch | None = None) -> list[GateResult]:
    """The results of the gates that the spec names, in the order accuracy, drift, bias.

    Paths start at `project` and may not lead out of it; `fetch` is asked for artifact URIs. Raises GitopsError when
    a gate cannot be asked: a file or column is missing, something is no number, a package is not installed.
    """
    if found := next(contradictions(validation_data), None):
        raise GitopsError(found.message, where=dotted(("validate", "data", *found.path)), hint=found.hint)
    source = _Source(project, fetch)
    results = []
    if any(gate for _, gate in validation_data):
        needed("numpy")
    if accuracy := validation_data.accuracy:
        results.append(_accuracy(accuracy, source))
    if drift := validation_data.drift:
        results.append(_drift(drift, source))
    if bias := validation_data.bias:
        results.append(_bias(bias, source))
    return results


def inside(project: Path, path: str) -> Path:
    """The file or directory of the project that a spec names, symbolic links followed.

    Raises GitopsError when there is none, or when it lies outside of the project.
    """
    root = project.resolve()
    try:
        found = (root / path).resolve(strict=True)
    except FileNotFoundError:
        raise GitopsError("not found", where=path, hint=f"paths start at {project}") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise GitopsError("cannot be read", where=path, hint=shorten(str(error), 120)) from None
    if not found.is_relative_to(root):
        raise GitopsError("this lies outside of the project", where=path, hint="put it into the project's directory")
    return found


def located(name: str, project: Path, fetch: Fetch | None = None) -> Path:
    """Where a DataFile of the spec lies on this machine. Raises GitopsError as `inside` does."""
    if "://" not in name:
        return inside(project, name)
    if fetch is None:
        hint = "copy it into the project and name it by its path"
        raise GitopsError("artifacts are not fetched here", where=name, hint=hint)
    return fetch(name)


class _Source:
    """Where tables come from."""

    def __init__(self, project: Path, fetch: Fetch | None) -> None:
        self._project, self._fetch = project, fetch

    def table(self, name: str, columns: tuple[str, ...] | None, *, lenient: bool = False) -> Table:
        return read_table(located(name, self._project, self._fetch), columns, where=name, lenient=lenient)


def _accuracy(accuracy: Accuracy, source: _Source) -> GateResult:
    from gitops.stages.accuracy import judge_accuracy

    columns = (accuracy.label, accuracy.prediction)
    baseline = source.table(accuracy.baseline, columns) if accuracy.baseline else None
    return judge_accuracy(accuracy, source.table(accuracy.data, columns), baseline)


def _drift(drift: Drift, source: _Source) -> GateResult:
    from gitops.stages.drift import judge_drift

    columns = (*drift.features, *([drift.predictions] if drift.predictions else [])) if drift.features else None
    reference = source.table(drift.reference, columns)
    # A column that the present data lacks is a finding, not an error.
    return judge_drift(drift, reference, source.table(drift.current, reference.names, lenient=True))


def _bias(bias: Bias, source: _Source) -> GateResult:
    from gitops.stages.bias import judge_bias, labels_needed

    columns = (bias.group, bias.prediction, *([bias.label] if labels_needed(bias) else []))
    return judge_bias(bias, source.table(bias.data, columns))
