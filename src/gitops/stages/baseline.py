"""Figures of a benchmark, kept to compare later versions with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gitops.errors import GitopsError
from gitops.spec.problems import listed
from gitops.stages.results import Check

MAX_BYTES = 1024 * 1024
_KIND = "BenchmarkBaseline"
_ABSOLUTE_ERRORS = 0.1
"""Percentage points of errors that are no difference: a share of no errors cannot be multiplied."""
HIGHER_IS_BETTER = ("requests-per-second", "tokens-per-second")
LOWER_IS_BETTER = (
    "latency-p50-seconds",
    "latency-p95-seconds",
    "latency-p99-seconds",
    "time-to-first-token-p50-seconds",
    "time-to-first-token-p99-seconds",
    "inter-token-latency-p50-seconds",
    "inter-token-latency-p99-seconds",
    "error-percent",
)


@dataclass(frozen=True, slots=True)
class Baseline:
    """What was measured, of which model, under which load."""

    model: str
    version: str
    load: Mapping[str, Any]
    """What has to be the same for two measurements to be comparable."""
    figures: Mapping[str, float]

    def document(self) -> bytes:
        """As the file holds it."""
        figures = {name: self.figures[name] for name in (*HIGHER_IS_BETTER, *LOWER_IS_BETTER) if name in self.figures}
        said = {"model": self.model, "version": self.version, "load": dict(self.load), "figures": figures}
        head = {"apiVersion": "gitops/v1", "kind": _KIND}
        return orjson.dumps(head | said, option=orjson.OPT_INDENT_2) + b"\n"


def parse_baseline(data: bytes, where: str) -> Baseline:
    """The baseline that `document` wrote. Raises GitopsError for anything else."""
    hint = "write one with: gitops check … --save-baseline FILE"
    try:
        said = orjson.loads(data)
        if len(data) > MAX_BYTES or (said["apiVersion"], said["kind"]) != ("gitops/v1", _KIND):
            raise ValueError
        figures = {str(name): float(value) for name, value in said["figures"].items()}
        if not figures or not isinstance(said["load"], dict):
            raise ValueError
        return Baseline(str(said["model"]), str(said["version"]), said["load"], figures)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise GitopsError("this is no baseline of a benchmark", where=where, hint=hint) from None


def compared(now: Baseline, before: Baseline, tolerance: float, where: str) -> Iterator[Check]:
    """A check for each figure that both have; `tolerance` is in percent of the earlier value.

    Raises GitopsError when both were measured under another load, which says nothing about the model.
    """
    different = [key for key in sorted({*now.load, *before.load}) if now.load.get(key) != before.load.get(key)]
    if different:
        said = listed(
            f"{key} {_shown(before.load.get(key))} instead of {_shown(now.load.get(key))}" for key in different
        )
        hint = "measure it again with --save-baseline"
        raise GitopsError(f"this baseline was measured under another load: {said}", where=where, hint=hint)
    for name in (*HIGHER_IS_BETTER, *LOWER_IS_BETTER):
        if name in now.figures and name in before.figures:
            yield _compared(name, now.figures[name], before, tolerance)


def _compared(name: str, value: float, before: Baseline, tolerance: float) -> Check:
    was = before.figures[name]
    if name in HIGHER_IS_BETTER:
        limit, word = was * (1 - tolerance / 100), "at least"
        passed = value >= limit
    else:
        extra = _ABSOLUTE_ERRORS if name == "error-percent" else 0.0
        limit, word = was * (1 + tolerance / 100) + extra, "at most"
        passed = value <= limit
    expected = f"{word} {limit:.4g} ({before.version} had {was:.4g})"
    return Check(f"{name} against the baseline", passed, expected, f"{value:.4g}")


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)
