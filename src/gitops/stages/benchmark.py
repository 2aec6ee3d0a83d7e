"""The gate `benchmark`: puts load on an endpoint and holds what comes of it to limits and to an earlier version."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from gitops.errors import GitopsError
from gitops.spec.validation import Benchmark
from gitops.stages.baseline import Baseline, compared
from gitops.stages.endpoints import HttpEndpoint, Target
from gitops.stages.golden_file import GoldenFile
from gitops.stages.load import Report, measure
from gitops.stages.measured import Load, Measured
from gitops.stages.protocols.base import AskFailed, Description, Request
from gitops.stages.protocols.triton import Triton
from gitops.stages.results import Check, GateResult

DISTORTION = 0.05
"""Which part of a time the generator itself may be to blame for."""
_SATURATED = 0.95
"""Of one processor core."""


class Distorted(GitopsError):
    """The load generator was too slow to tell whether the model is. `result` has the figures, and no checks."""

    def __init__(self, what: str, result: GateResult) -> None:
        hint = "run it on a machine with a free core, or with less load"
        super().__init__(what, where="benchmark", hint=hint)
        self.result = result


class Earlier(NamedTuple):
    """A baseline to compare with, and where it lies."""

    baseline: Baseline
    where: str


class _Limit(NamedTuple):
    name: str
    figure: str
    at_most: bool
    limit: float
    """In the unit of the figure."""


def load_of(benchmark: Benchmark) -> Load:
    """The load that a spec describes."""
    return Load(
        clients=benchmark.concurrency,
        rate=benchmark.rate if benchmark.requests == "open" else None,
        poisson=benchmark.arrivals == "poisson",
        warm_up=float(benchmark.warm_up),
        duration=float(benchmark.duration),
    )


def run_benchmark(
    target: Target, benchmark: Benchmark, cases: GoldenFile, report: Report
) -> tuple[Measured, tuple[Request, ...]]:
    """Put the load on the endpoint; `report` is told of the progress.

    Raises GitopsError when nothing can be reached, and when a limit is about tokens that this protocol does not time.
    """
    streams = benchmark.stream and target.dialect.streams
    for limit in _limits(benchmark):
        if not streams and limit.figure.startswith(("time-to-first", "inter-token")):
            message = f"{limit.name} is about tokens, which this protocol does not send one by one"
            raise GitopsError(message, where="validate.benchmark", hint="remove it")
    requests = asyncio.run(_requests(target, cases, stream=streams))
    measured = measure(target, requests, load_of(benchmark), stream=streams, report=report)
    if measured.asked and measured.errors["refused"] == measured.asked:
        said, hint = measured.examples["refused"], "start the server, or name another --endpoint"
        raise GitopsError(f"nothing answers there: {said}", where=target.url, hint=hint)
    return measured, requests


async def _requests(target: Target, cases: GoldenFile, *, stream: bool) -> tuple[Request, ...]:
    description = Description()
    if isinstance(target.dialect, Triton):
        async with HttpEndpoint(target) as endpoint:
            try:
                description = await endpoint.describe()
            except AskFailed as failed:
                raise GitopsError(f"the model does not describe itself: {failed}", where=target.url) from None
    questions = [cases.question(case) for case in cases.cases.values()]
    asked = [replace(one, settings=replace(one.settings, stream=stream)) for one in questions]
    return tuple(target.dialect.request(question, description) for question in asked)


def judge(
    measured: Measured,
    benchmark: Benchmark,
    *,
    now: Baseline | None = None,
    earlier: Earlier | None = None,
) -> GateResult:
    """What the figures are worth under the limits, and beside an earlier version's.

    Raises Distorted when a check fails that the generator itself may have failed.
    """
    figures = figures_of(measured)
    if measured.latency.count and "tokens-per-second" not in figures and benchmark.min_tokens_per_second:
        message = "minTokensPerSecond needs an endpoint that tells how many tokens it generated"
        raise GitopsError(message, where="validate.benchmark", hint="set `tokens` of the endpoint, or remove the limit")
    checks = [_checked(limit, figures) for limit in _limits(benchmark)]
    checks.append(_errors(measured, benchmark, figures))
    affected = [*checks[:-1]]
    if earlier and now:
        compared_checks = list(compared(now, earlier.baseline, benchmark.tolerance, earlier.where))
        checks += compared_checks
        affected += [check for check in compared_checks if not check.name.startswith("error")]
    note = note_of(measured)
    blame = distortion(measured, figures)
    failed_by_itself = any(not check.passed for check in checks if check not in affected)
    if blame and not failed_by_itself and any(not check.passed for check in affected):
        result = GateResult("benchmark", (), figures, note=f"invalid: {blame}; {note}")
        raise Distorted(f"the load generator was the bottleneck, not the model: {blame}", result)
    return GateResult("benchmark", tuple(checks), figures, note=f"{note}; {blame}" if blame else note)


def figures_of(measured: Measured) -> dict[str, float]:
    """What was measured, by name; figures about which nothing is known are left out."""
    figures = {
        "requests": float(measured.asked),
        "requests-per-second": measured.answered / measured.load.duration,
        "error-percent": 100 * sum(measured.errors.values()) / measured.asked if measured.asked else 0.0,
    }
    if measured.tokens:
        figures["tokens-per-second"] = measured.tokens / measured.load.duration
    for name, times, shares in (
        ("latency", measured.latency, (50, 95, 99)),
        ("time-to-first-token", measured.first, (50, 95, 99)),
        ("inter-token-latency", measured.gaps, (50, 95, 99)),
        ("generator-lag", measured.lag, (99,)),
        ("generator-late", measured.late, (99,)),
        ("generator-stall", measured.stalls, (99,)),
    ):
        if times.count:
            figures |= {f"{name}-p{share}-seconds": times.quantile(share / 100) for share in shares}
    return figures | {"generator-processor-share": measured.cpu}


def distortion(measured: Measured, figures: dict[str, float]) -> str:
    """Why times or throughput may be the generator's own doing; empty when they are the endpoint's.

    Bytes may wait for `lag` before their time is taken, which adds to every time; requests of an open load that are
    sent late add as much to times that count from when they were due; in a closed load, lateness costs throughput.
    """
    lag = max(figures.get("generator-lag-p99-seconds", 0.0), figures.get("generator-stall-p99-seconds", 0.0))
    late = figures.get("generator-late-p99-seconds", 0.0)
    sent = late if measured.load.rate else 0.0
    for name, times, own in (
        ("latency", measured.latency, lag + sent),
        ("time to first token", measured.first, lag + sent),
        ("inter-token latency", measured.gaps, lag),
    ):
        p99 = times.quantile(0.99)
        if times.count and own > DISTORTION * p99:
            return f"the generator's own delays (p99 {_time(own)}) are up to {own / p99:.0%} of the {name}'s p99"
    if not measured.load.rate and measured.latency.count:
        mean = measured.latency.mean
        if measured.late.mean > DISTORTION * mean:
            return f"clients took {_time(measured.late.mean)} to ask again after answers that took {_time(mean)}"
    if measured.cpu > _SATURATED:
        return f"the generator used {100 * measured.cpu:.0f}% of its processor core"
    return ""


def note_of(measured: Measured) -> str:
    """The load, how tokens were counted, and the first error of each kind."""
    load = measured.load
    arrivals = "Poisson" if load.poisson else "even"
    asked = f"open, {load.rate:g} requests/s ({arrivals})" if load.rate else f"closed, {load.clients} clients"
    parts = [f"{asked}, {load.duration:g} s after {load.warm_up:g} s of warm-up"]
    if measured.tokens:
        parts.append(f"tokens as {'the server counts them' if measured.counted else 'pieces of the stream'}")
    parts += [f"{count} x {kind}: {measured.examples.get(kind, '')}" for kind, count in measured.errors.most_common(5)]
    return "; ".join(parts)


def baseline_of(measured: Measured, model: str, version: str, requests: tuple[Request, ...]) -> Baseline:
    """What a later version is compared with. Raises GitopsError for a run that says nothing about the model."""
    figures = figures_of(measured)
    if not measured.latency.count:
        raise GitopsError("there is no good answer to make a baseline of", where="benchmark")
    load = measured.load
    said: dict[str, Any] = {
        "requests": "open" if load.rate else "closed",
        "rate": load.rate,
        "arrivals": ("poisson" if load.poisson else "constant") if load.rate else None,
        "concurrency": None if load.rate else load.clients,
        "duration": load.duration,
        "cases": asked_digest(requests, model),
    }
    return Baseline(model, version, {key: value for key, value in said.items() if value is not None}, figures)


def asked_digest(requests: tuple[Request, ...], model: str) -> str:
    """Tells whether the same was asked, whatever it is asked of."""
    total = hashlib.sha256()
    for request in requests:
        body = (request.body or b"").replace(f'"model":"{model}"'.encode(), b"")
        total.update(f"{request.method} {len(body)}\n".encode() + body)
    return f"sha256:{total.hexdigest()}"


def _limits(benchmark: Benchmark) -> Iterator[_Limit]:
    for name, figure, at_most in (
        ("min_requests_per_second", "requests-per-second", False),
        ("min_tokens_per_second", "tokens-per-second", False),
        ("max_latency_p50", "latency-p50-seconds", True),
        ("max_latency_p99", "latency-p99-seconds", True),
        ("max_time_to_first_token_p99", "time-to-first-token-p99-seconds", True),
        ("max_inter_token_latency_p99", "inter-token-latency-p99-seconds", True),
    ):
        if (limit := getattr(benchmark, name)) is not None:
            yield _Limit(Benchmark.model_fields[name].alias or name, figure, at_most, limit)


def _checked(limit: _Limit, figures: dict[str, float]) -> Check:
    shown: Callable[[float], str] = _time if limit.figure.endswith("seconds") else "{:.4g}".format
    expected = f"{'at most' if limit.at_most else 'at least'} {shown(limit.limit)}"
    name = limit.figure.removesuffix("-seconds")
    value = figures.get(limit.figure)
    if value is None:
        return Check(name, False, expected, "nothing that could be measured")
    return Check(name, value <= limit.limit if limit.at_most else value >= limit.limit, expected, shown(value))


def _errors(measured: Measured, benchmark: Benchmark, figures: dict[str, float]) -> Check:
    allowed = benchmark.max_error_rate or 0.0
    kinds = ", ".join(f"{count} x {kind}" for kind, count in measured.errors.most_common(5))
    got = f"{figures['error-percent']:.3g}% of {measured.asked}" + (f" ({kinds})" if kinds else "")
    good = bool(measured.latency.count) and figures["error-percent"] <= allowed
    return Check("error-rate", good, f"at most {allowed:g}%", got if measured.asked else "no request at all")


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
