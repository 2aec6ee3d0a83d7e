"""The result of a query as data about versions: `values` of a range, or the one `value` of an instant."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, NamedTuple

from gitops.rollout.queries import LABELS, PART, POD
from gitops.rollout.series import Look, Shape
from gitops.rollout.statistics import Counts


class Served(NamedTuple):
    """Whose metrics a series has; `pod` where they are told apart."""

    namespace: str
    model: str
    version: str
    pod: str = ""


class Strange(Exception):
    """The result is not what the query asked for; the message is one line."""


class _Column(NamedTuple):
    """One series: ends of looks, and values, which need not be finite."""

    name: str
    ends: tuple[int, ...]
    values: list[float]


def looks_of(shape: Shape, data: Any) -> dict[Served, list[Look]]:
    """The looks of every version, or of every pod of one, in order of time. Raises Strange.

    Counts that are no finite numbers are left out, and so is a histogram without its `+Inf`; a gauge may be infinite.
    """
    label, make = _FORMS[shape]
    columns: dict[Served, list[_Column]] = {}
    with _formed():
        for labels, column in _series(data, label):
            served = Served(*(labels.get(name, "") for name in (*LABELS, POD)))
            columns.setdefault(served, []).append(column)
        return {served: list(make(found)) for served, found in columns.items()}


def values_of(data: Any) -> list[Look]:
    """The values of the only series there is; none where there is none. Raises Strange when there are more."""
    with _formed():
        columns = [column for _, column in _series(data, "")]
    if len(columns) > 1:
        raise Strange(f"it gives {len(columns)} series where one number is wanted: aggregate with sum() or avg()")
    return list(_gauges(columns))


@contextmanager
def _formed() -> Iterator[None]:
    """Whatever is not where Prometheus has it."""
    try:
        yield
    except KeyError as error:
        raise Strange(f"it gives a series without {error.args[0]}") from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Strange("the answer is not of Prometheus' form") from error


def _series(data: Any, label: str) -> Iterator[tuple[Mapping[str, str], _Column]]:
    """Labels and samples of every series, named by one of its labels."""
    seen: dict[tuple[float, ...], tuple[int, ...]] = {}
    form = data["resultType"]
    if form not in ("matrix", "vector"):
        raise Strange(f"it gives a {form} where numbers over time are wanted")
    for one in data["result"]:
        samples = one["values"] if form == "matrix" else [one["value"]]
        yield one["metric"], _column(one["metric"].get(label, ""), samples, seen)


def _column(name: str, samples: Sequence[Any], seen: dict[tuple[float, ...], tuple[int, ...]]) -> _Column:
    """Most series have the same moments: these are rounded, and kept, once."""
    at, texts = zip(*samples, strict=True) if samples else ((), ())
    ends = seen.get(at)
    if ends is None:
        ends = seen[at] = tuple(map(round, at))
    return _Column(name, ends, list(map(float, texts)))


def _histograms(columns: Sequence[_Column]) -> Iterator[Look]:
    named = sorted(((float(column.name), column) for column in columns if column.name), key=lambda one: one[0])
    bounds, ends = [bound for bound, _ in named], named[0][1].ends if named else ()
    plain = len(set(bounds)) == len(bounds) and math.inf in bounds
    if plain and all(column.ends is ends for _, column in named):
        rows = list(zip(*(column.values for _, column in named), strict=True))
        if all(math.isfinite(sum(row)) for row in rows):
            # Buckets never fall with their bound, as sums of floating-point numbers might.
            yield from (
                Look(end, dict(zip(bounds, accumulate(row, max), strict=True)))
                for end, row in zip(ends, rows, strict=True)
            )
            return
    yield from _uneven(named)


def _uneven(named: Sequence[tuple[float, _Column]]) -> Iterator[Look]:
    """With gaps, or with one bound written in two ways (`1` and `1.0`) by different pods."""
    found: dict[int, dict[float, float]] = {}
    for bound, column in named:
        for end, value in _finite(column):
            row = found.setdefault(end, {})
            row[bound] = row.get(bound, 0.0) + value
    for end in sorted(found):
        row = found[end]
        if math.inf in row:
            yield Look(end, dict(zip(row, accumulate(row.values(), max), strict=True)))


def _ratios(columns: Sequence[_Column]) -> Iterator[Look]:
    """No series of bad requests is none of them. A look without requests says that there were none."""
    parts = {column.name: dict(_finite(column)) for column in columns}
    bad = parts.get("bad", {})
    for end, requests in parts.get("requests", {}).items():
        yield Look(end, Counts(requests, min(requests, bad.get(end, 0.0))))


def _gauges(columns: Sequence[_Column]) -> Iterator[Look]:
    """Infinite values stay: a division by zero is the worst that a query can answer, not the lack of an answer."""
    for column in columns[:1]:
        pairs = zip(column.ends, column.values, strict=True)
        yield from (Look(end, value) for end, value in pairs if not math.isnan(value))


def _finite(column: _Column) -> Iterator[tuple[int, float]]:
    return ((end, one) for end, one in zip(column.ends, column.values, strict=True) if math.isfinite(one))


_FORMS: Mapping[Shape, tuple[str, Callable[[Sequence[_Column]], Iterator[Look]]]] = {
    "histogram": ("le", _histograms),
    "ratio": (PART, _ratios),
    "gauge": ("", _gauges),
}
"""The label that tells a version's series apart, and what becomes of them."""
