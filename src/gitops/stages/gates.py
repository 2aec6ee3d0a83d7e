"""Every gate that a model's `validate` declares, asked one after the other."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gitops.errors import GitopsError
from gitops.spec.problems import listed
from gitops.spec.resolved import SourceFile
from gitops.spec.source import MAX_BYTES
from gitops.spec.validation import Benchmark, Validation
from gitops.stages import served
from gitops.stages.baseline import Baseline, parse_baseline
from gitops.stages.benchmark import Distorted, Earlier, baseline_of, judge, run_benchmark
from gitops.stages.endpoints import Target, settings_of, target_of
from gitops.stages.golden import run_golden, run_loads
from gitops.stages.golden_file import GoldenFile, load_golden
from gitops.stages.load import Report
from gitops.stages.measured import Measured
from gitops.stages.protocols.triton import Triton
from gitops.stages.results import GateResult
from gitops.stages.served import Labelled

if TYPE_CHECKING:
    from gitops.spec.pipeline import Model

GATES = ("loads", "golden", "benchmark", "data", "parity")
"""In the order in which they are asked; `data` is accuracy, drift and bias."""
_OF_ENDPOINTS = frozenset({"loads", "golden", "benchmark", served.GATE})


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a check is asked for."""

    url: str = ""
    """The endpoint; not needed for gates on data."""
    only: frozenset[str] = frozenset()
    """Gates to ask; all that are declared when empty."""
    wait: float = 0.0
    """Seconds that the endpoint may take to get ready."""
    baseline: Path | None = None
    """Figures to compare with, in place of those that the spec names."""
    tolerance: float | None = None
    """In percent, in place of the spec's."""
    labelled: Labelled | None = None
    """What a build was judged by, for the served model to be judged by it again, where tensors can be asked."""


class NoEndpoint(GitopsError):
    """Gates have to ask an endpoint, and none is named."""


@dataclass(slots=True)
class Outcome:
    """What the gates said. `unasked` are those that could not be asked, each with a result without checks too."""

    results: list[GateResult]
    unasked: list[GitopsError]
    measured: Measured | None = None
    baseline: Baseline | None = None
    """Of this run, for later ones; None when it is not worth keeping."""

    @property
    def refused(self) -> bool:
        """Whether a gate said no."""
        return any(not result.passed for result in self.results if result.checks)

    @property
    def passed(self) -> bool:
        """Whether every gate was asked and said yes."""
        return bool(self.results) and all(result.passed for result in self.results)


def declared(validation: Validation) -> tuple[str, ...]:
    """The gates that a spec declares. `loads` is always among them: a model that does not load passes nothing else."""
    data = validation.data
    said: dict[str, object] = {
        "golden": validation.golden,
        "benchmark": validation.benchmark,
        "data": data if data and (data.accuracy or data.drift or data.bias) else None,
        "parity": validation.parity,
    }
    only_data = not (validation.golden or validation.benchmark) and any(value is not None for value in said.values())
    return tuple(gate for gate in GATES if (gate == "loads" and not only_data) or said.get(gate) is not None)


def run_gates(project: Path, name: str, model: Model, wanted: Wanted, report: Report) -> Outcome:
    """Ask the gates of the model called `name`; `report` is told of the progress.

    A gate that cannot be asked does not keep others from being asked. Raises GitopsError when there is none to ask,
    when no endpoint is named for those that need one, and SpecError for a file of cases that is not right.
    """
    validation = model.validation
    if validation is None:
        hint = "add `validate: {golden: validation/cases.yaml}`"
        raise GitopsError("this model declares no gates", where=f"models.{name}.validate", hint=hint)
    gates = declared(validation)
    if wanted.labelled and (served.GATE in wanted.only or _OF_ENDPOINTS.intersection(gates)):
        gates = (*gates, served.GATE)
    gates = _chosen(gates, wanted.only)
    return _Run(project, name, model, validation, wanted, report, gates).run()


def _chosen(gates: Sequence[str], only: Iterable[str]) -> tuple[str, ...]:
    if unknown := sorted(set(only) - {*GATES, served.GATE}):
        hint = f"gates: {listed((*GATES, served.GATE))}"
        raise GitopsError(f"there is no gate {listed(unknown)}", where="--only", hint=hint)
    if absent := sorted(set(only) - set(gates)):
        hint = f"it declares {listed(gates)}" if gates else "it declares none"
        raise GitopsError(f"this model does not declare {listed(absent)}", where="--only", hint=hint)
    return tuple(gate for gate in gates if not only or gate in only)


@dataclass(slots=True)
class _Run:
    project: Path
    name: str
    model: Model
    validation: Validation
    wanted: Wanted
    report: Report
    gates: tuple[str, ...]

    def run(self) -> Outcome:
        outcome = Outcome([], [])
        golden = self._cases(self.validation.golden)
        target = self._target() if _OF_ENDPOINTS.intersection(self.gates) else None
        if target and not isinstance(target.dialect, Triton):
            self.gates = tuple(gate for gate in self.gates if gate != served.GATE)
        for gate in self.gates:
            if gate in _OF_ENDPOINTS and _not_ready(outcome):
                outcome.results.append(GateResult(gate, (), note="not asked, because the model is not ready"))
                continue
            self.report(f"{gate}: asking")
            try:
                outcome.results += [_redacted(one, target) for one in self._asked(gate, target, golden, outcome)]
            except Distorted as error:
                outcome.unasked.append(error)
                outcome.results.append(error.result)
            except GitopsError as error:
                outcome.unasked.append(error)
                outcome.results.append(GateResult(gate, (), note=f"could not be asked: {error}"))
        return outcome

    def _asked(
        self, gate: str, target: Target | None, golden: GoldenFile | None, outcome: Outcome
    ) -> Iterator[GateResult]:
        if target is None or gate not in _OF_ENDPOINTS:
            yield from self._on_data(gate)
        elif gate == "loads":
            yield run_loads(target, golden, self.wanted.wait)
        elif gate == "golden" and golden:
            yield run_golden(target, golden, self.report)
        elif gate == served.GATE and self.wanted.labelled:
            yield served.run_served(target, self.wanted.labelled)
        elif self.validation.benchmark:
            yield self._benchmark(target, self.validation.benchmark, golden, outcome)

    def _benchmark(
        self, target: Target, benchmark: Benchmark, golden: GoldenFile | None, outcome: Outcome
    ) -> GateResult:
        cases = self._cases(benchmark.cases) or golden
        if cases is None:
            hint = "add `cases:` with a file of cases, or `golden:`"
            raise GitopsError("there is nothing to ask", where="validate.benchmark", hint=hint)
        if self.wanted.tolerance is not None:
            benchmark = benchmark.model_copy(update={"tolerance": self.wanted.tolerance})
        earlier = self._earlier(benchmark)
        measured, requests = run_benchmark(target, benchmark, cases, self.report)
        outcome.measured = measured
        now = baseline_of(measured, self.name, self.model.version, requests) if measured.latency.count else None
        result = judge(measured, benchmark, now=now, earlier=earlier)
        outcome.baseline = now
        return result

    def _earlier(self, benchmark: Benchmark) -> Earlier | None:
        path, where = self.wanted.baseline, str(self.wanted.baseline)
        if path is None and benchmark.baseline:
            path, where = _inside(self.project, benchmark.baseline), benchmark.baseline
        return Earlier(parse_baseline(read_file(path, where), where), where) if path else None

    def _on_data(self, gate: str) -> Iterator[GateResult]:
        if gate == "data" and self.validation.data:
            from gitops.stages.data import run_data_gates

            yield from run_data_gates(self.validation.data, self.project)
        elif gate == "parity" and self.validation.parity:
            from gitops.stages.parity import run_parity

            yield run_parity(self.validation.parity, self.project)

    def _target(self) -> Target:
        if not self.wanted.url:
            needed = listed(gate for gate in self.gates if gate in _OF_ENDPOINTS)
            raise NoEndpoint(f"{needed} need an endpoint", where="--endpoint", hint="such as http://localhost:8000")
        said = settings_of(self.validation.endpoint, self.model.serve.runtime)
        return target_of(self.wanted.url, said, self.name)

    def _cases(self, path: str | None) -> GoldenFile | None:
        if path is None:
            return None
        return load_golden(SourceFile(path, read_file(_inside(self.project, path), path)))


def _not_ready(outcome: Outcome) -> bool:
    loads = next((result for result in outcome.results if result.gate == "loads"), None)
    return loads is not None and (not loads.checks or any(check.name == "ready" for check in loads.failed))


def _redacted(result: GateResult, target: Target | None) -> GateResult:
    """Without the API key, should an answer repeat it."""
    if target is None or not target.key:
        return result
    checks = tuple(replace(check, got=target.redacted(check.got)) for check in result.checks)
    return replace(result, checks=checks, note=target.redacted(result.note))


def _inside(project: Path, path: str) -> Path:
    from gitops.stages.data import inside

    return inside(project, path)


def read_file(path: Path, where: str) -> bytes:
    """The bytes of a file of text. Raises GitopsError, also for one that is larger than any spec may be."""
    try:
        # Asked before opening, because opening a named pipe would wait for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise GitopsError("this is not a regular file", where=where, hint="put a file of text in its place")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise GitopsError(f"cannot be read: {error.strerror or error}", where=where, hint="check the path") from None
    if len(data) > MAX_BYTES:
        raise GitopsError(f"larger than {MAX_BYTES // 2**20} MiB", where=where, hint="split it")
    return data
