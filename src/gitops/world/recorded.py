"""Metrics of two versions that were recorded once, for `gitops simulate` to play back.

A recording is one JSON file. Each ANSWER is what Prometheus gave for `/api/v1/query_range`, whole, with `step` equal
to `look`; a sample at a time is about the look that ends then:

```json
{
  "look": 60,
  "stable":    {"latency": ANSWER, "error-rate": {"requests": ANSWER, "bad": ANSWER}, "gpu-memory": ANSWER},
  "candidate": {"latency": ANSWER, "error-rate": {"requests": ANSWER, "bad": ANSWER}, "gpu-memory": ANSWER}
}
```

Keys are the names of gates (`latency-p99`, or that of a query of your own), or `latency`, `time-to-first-token` and
`inter-token-latency` for all quantiles. Histograms are increments by bucket over a look, such as
`sum by (le) (increase(vllm:e2e_request_latency_seconds_bucket{gitops_version="2.4.0"}[1m]))`, requests and bad
requests are increments too; anything else is one series of values in the gate's unit, percentages from 0 to 100.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from gitops.errors import GitopsError
from gitops.rollout.series import Datum, Look, Question, Unanswered
from gitops.rollout.simulation import Recorded
from gitops.rollout.statistics import Counts
from gitops.spec.behaviour import trait_of
from gitops.spec.catalog import METRICS
from gitops.world.ports import MetricSource

MAX_BYTES = 256 * 1024 * 1024
_LAYOUT = (
    'a recording is {"look": 60, "stable": {GATE: ANSWER, …}, "candidate": {GATE: ANSWER, …}}, '
    "each ANSWER as /api/v1/query_range gave it"
)


def read_recording(path: Path, stable: str, candidate: str) -> Recorded:
    """The recording in a file, under the names of the two versions. Raises GitopsError naming what is wrong."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise GitopsError(f"larger than {MAX_BYTES // 2**20} MiB", where=str(path), hint="record fewer hours")
        document = orjson.loads(path.read_bytes())
    except OSError as error:
        hint = "name a file that --data can read"
        raise GitopsError(f"cannot be read: {error.strerror or error}", where=str(path), hint=hint) from error
    except orjson.JSONDecodeError as error:
        raise GitopsError(f"this is not JSON: {error}", where=str(path), hint=_LAYOUT) from error
    length = _mapping(document, str(path)).get("look")
    if not isinstance(length, int) or not 1 <= length <= 86_400:
        raise GitopsError("`look` has to be a whole number of seconds", where=str(path), hint=_LAYOUT)
    looks: dict[tuple[str, str], Sequence[Look]] = {}
    for part, version in (("stable", stable), ("candidate", candidate)):
        place = f"{path}: {part}"
        for name, found in _mapping(document.get(part), place).items():
            data = _looks(found, f"{place}.{name}")
            looks.update({(version, metric): data for metric in _metrics(name)})
    return Recorded(looks, length)


def record(source: MetricSource, questions: Sequence[Question], now: int) -> Recorded:
    """What a metric source knows from the questions' begin up to `now`. Raises GitopsError when it cannot answer."""
    looks: dict[tuple[str, str], Sequence[Look]] = {}
    for question, found in source.read(questions, now).items():
        if isinstance(found, Unanswered):
            where = f"{question.metric} of {question.version}"
            raise GitopsError(found.reason, where=where, hint="check the URL, and that this metric is scraped")
        looks[question.version, question.metric] = found.looks
    return Recorded(looks, questions[0].look)


def _metrics(name: str) -> list[str]:
    """The gates that a key of a recording answers: itself, and all quantiles of a time."""
    return [name, *(metric for metric in METRICS if metric != name and trait_of(metric, {}) == name)]


def _looks(found: Any, place: str) -> tuple[Look, ...]:
    entry = _mapping(found, place)
    if "requests" in entry or "bad" in entry:
        parts = [_counts(_only(entry.get(part), f"{place}.{part}")) for part in ("requests", "bad")]
        requests, bad = parts
        return _ordered({at: Counts(count, min(count, bad.get(at, 0.0))) for at, count in requests.items()})
    series = list(_series(entry, place))
    if any("le" in labels for labels, _ in series):
        return _ordered(_histograms(series, place))
    return _ordered(dict(_only(entry, place)))


def _ordered(data: Mapping[int, Datum]) -> tuple[Look, ...]:
    return tuple(Look(at, data[at]) for at in sorted(data))


def _histograms(series: Sequence[tuple[Mapping[str, str], list[tuple[int, float]]]], place: str) -> dict[int, Datum]:
    found: dict[int, dict[float, float]] = {}
    for labels, values in series:
        try:
            bound = float(labels["le"])
        except (KeyError, ValueError):
            raise GitopsError("a series of this histogram has no bucket bound", where=place, hint=_LAYOUT) from None
        for at, value in _counts(values).items():
            found.setdefault(at, {})[bound] = value
    for at, buckets in found.items():
        if math.inf not in buckets:
            raise GitopsError(f"the histogram at {at} has no bucket `+Inf`", where=place, hint="keep every `le`")
        found[at] = dict(sorted(buckets.items()))
    return dict(found)


def _counts(values: Sequence[tuple[int, float]]) -> dict[int, float]:
    """An infinite count is no count; an infinite gauge is a value."""
    return {at: value for at, value in values if math.isfinite(value)}


def _only(answer: Any, place: str) -> list[tuple[int, float]]:
    """The values of an answer that is one series; none where it is empty."""
    series = list(_series(answer, place))
    if len(series) > 1:
        raise GitopsError(
            f"{len(series)} series where one is wanted", where=place, hint="aggregate with sum() or avg()"
        )
    return series[0][1] if series else []


def _series(answer: Any, place: str) -> Iterator[tuple[Mapping[str, str], list[tuple[int, float]]]]:
    """Labels and values of every series in an answer of /api/v1/query_range."""
    whole = _mapping(answer, place)
    data = whole.get("data")
    if whole.get("status") != "success" or not isinstance(data, dict) or data.get("resultType") != "matrix":
        hint = "save the whole answer of /api/v1/query_range"
        raise GitopsError("this is no answer to a range query", where=place, hint=hint)
    try:
        for one in data["result"]:
            pairs = ((round(float(at)), float(value)) for at, value in one["values"])
            yield dict(one["metric"]), [(at, value) for at, value in pairs if not math.isnan(value)]
    except (KeyError, TypeError, ValueError) as error:
        raise GitopsError(f"a series cannot be read ({error})", where=place, hint=_LAYOUT) from error


def _mapping(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise GitopsError("a mapping is wanted here", where=place, hint=_LAYOUT)
    return value
