"""The report of a validation: report.json for programs, report.md for people, and a plot of latencies."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from gitops.stages.histogram import Histogram
from gitops.stages.measured import Measured
from gitops.stages.results import GateResult, report_json
from gitops.values import plain_json

JSON, MARKDOWN, PLOT = "report.json", "report.md", "latency.svg"
NO_PLOT = "there is no plot, because matplotlib is not installed"
_SHOWN = 200
"""Failed checks of one gate in the Markdown; the JSON has all."""
_SHARES = tuple(1 - 10 ** (-step / 20) for step in range(61))
"""Of all answers, for the curve: dense towards 99.9 %."""


def report_document(
    results: Sequence[GateResult], subject: Mapping[str, str], measured: Measured | None
) -> dict[str, Any]:
    """The report as JSON values. `subject` says what was validated; `measured` becomes a timeline."""
    document = report_json(results) | {"subject": dict(subject)}
    if measured:
        document["benchmark"] = {
            "timeline": [
                {
                    "second": number,
                    "answers": second.latency.count,
                    "errors": second.errors,
                    "latency-p50-seconds": second.latency.quantile(0.5),
                    "latency-p99-seconds": second.latency.quantile(0.99),
                }
                for number, second in enumerate(measured.seconds)
            ]
        }
    return document


def write_report(
    directory: Path,
    results: Sequence[GateResult],
    subject: Mapping[str, str],
    measured: Measured | None = None,
    *,
    write: Callable[[Path, bytes], object],
) -> str:
    """Write the report below the directory, each file by `write`, as a whole. Gives the digest of report.json."""
    data, digest = report_bytes(results, subject, measured)
    plot = draw(measured) if measured and measured.latency.count else None
    note = NO_PLOT if measured and plot is None and measured.latency.count else ""
    if plot:
        write(directory / PLOT, plot)
    elif (directory / PLOT).exists():
        (directory / PLOT).unlink()
    write(directory / MARKDOWN, markdown(results, subject, plot=plot is not None, note=note).encode())
    write(directory / JSON, data)
    return digest


def report_bytes(
    results: Sequence[GateResult], subject: Mapping[str, str], measured: Measured | None
) -> tuple[bytes, str]:
    """The document as the file that is kept, and its digest."""
    document = report_document(results, subject, measured)
    data = plain_json(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return data, f"sha256:{hashlib.sha256(data).hexdigest()}"


def markdown(results: Sequence[GateResult], subject: Mapping[str, str], *, plot: bool, note: str) -> str:
    """The report as Markdown, which says what `note` does about the plot."""
    passed = bool(results) and all(result.passed for result in results)
    lines = [f"# Validation: {'passed' if passed else 'not passed'}", ""]
    lines += [f"- {name}: `{_inline(value)}`" for name, value in subject.items()]
    for result in results:
        lines += ["", *_gate(result)]
    if plot:
        lines += ["", f"![Latency]({PLOT})"]
    return "\n".join([*lines, *(["", f"({note}.)"] if note else []), ""])


def _gate(result: GateResult) -> Iterator[str]:
    word = "passed" if result.passed else "failed" if result.checks else "not asked"
    yield f"## {result.gate}: {word}"
    if result.note:
        yield from ("", _inline(result.note))
    if shown := [*result.failed[:_SHOWN], *[check for check in result.checks if check.passed][:_SHOWN]]:
        yield from ("", "| check | | expected | got |", "|---|---|---|---|")
        for check in shown:
            word = "pass" if check.passed else "**fail**"
            yield f"| {_cell(check.name)} | {word} | {_cell(check.expected)} | {_cell(check.got)} |"
        if (more := len(result.checks) - len(shown)) > 0:
            yield from ("", f"and {more} more checks in {JSON}")
    if result.figures:
        yield from ("", "| figure | value |", "|---|---|")
        yield from (f"| {name} | {value:.6g} |" for name, value in result.figures.items())


def _inline(text: str) -> str:
    """Text of a model on one line, which can neither end the line nor become markup."""
    line = "".join(c if c.isprintable() else " " for c in text)
    for character in ("\\", "`", "<", "[", "!"):
        line = line.replace(character, {"`": "'", "<": "&lt;"}.get(character, f"\\{character}"))
    return line


def _cell(text: str) -> str:
    return _inline(text).replace("|", "\\|")


def draw(measured: Measured) -> bytes | None:
    """Percentiles and their course over time as an SVG; None without matplotlib."""
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        return None
    # The same figures give the same bytes: no date, no random names.
    with matplotlib.rc_context({"svg.hashsalt": "gitops", "svg.fonttype": "none"}):
        figure = Figure(figsize=(10, 7), layout="constrained")
        shares, course = figure.subplots(2, 1)
        _draw_shares(shares, measured)
        _draw_course(course, measured)
        target = io.BytesIO()
        FigureCanvasSVG(figure).print_svg(target, metadata={"Date": None})  # type: ignore[no-untyped-call]
    return target.getvalue()


def _draw_shares(axes: Any, measured: Measured) -> None:
    named: list[tuple[str, Histogram]] = [
        ("latency", measured.latency),
        ("time to first token", measured.first),
        ("between tokens", measured.gaps),
    ]
    for label, times in named:
        if times.count:
            seconds = [times.quantile(share) for share in _SHARES]
            axes.plot([1 / (1 - share) for share in _SHARES], seconds, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks([1, 2, 10, 100, 1000], ["0", "50", "90", "99", "99.9"])
    axes.set(xlabel="percentile", ylabel="seconds", title="How long answers take")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()


def _draw_course(axes: Any, measured: Measured) -> None:
    present = [(number, second) for number, second in enumerate(measured.seconds) if second.latency.count]
    numbers = [number for number, _ in present]
    for label, share in (("p50", 0.5), ("p99", 0.99)):
        axes.plot(numbers, [second.latency.quantile(share) for _, second in present], label=f"latency {label}")
    if failed := [number for number, second in enumerate(measured.seconds) if second.errors]:
        axes.plot(failed, [0] * len(failed), "x", color="tab:red", label="errors", clip_on=False)
    axes.set_ylim(bottom=0)
    axes.set(xlabel="second after the warm-up at which it was due", ylabel="seconds", title="Over time")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
