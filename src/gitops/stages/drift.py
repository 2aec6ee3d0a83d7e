"""Drift: how far the present data is from the reference, feature by feature.

Numbers are counted in intervals that hold equal shares of the reference, categories one by one; missing values are a
bin of their own. Both indices compare those counts. Kolmogorov and Smirnov's test compares the numbers themselves.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gitops.errors import GitopsError
from gitops.spec.problems import listed, shorten
from gitops.spec.validation_data import Drift, DriftLimits, KolmogorovSmirnov
from gitops.stages.results import Check, GateResult
from gitops.stages.tables import Categories, Table, needed

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

FLOOR = 1e-4
"""A bin's share in the index is at least this and half a row, because of 0 the logarithm does not exist."""
MAX_CATEGORIES = 20
"""The commonest categories of the reference have a bin each, the others one together."""
_TOLD = 0.005
_EXACT = 10_000


class Binned(NamedTuple):
    """Both samples counted in the same bins, and what each bin is called."""

    reference: Counts
    current: Counts
    names: tuple[str, ...]


# --- bins ---


def edges_of(reference: Floats, bins: int) -> Floats:
    """Upper edges of intervals (…, e1], (e1, e2], …, (ek, …) with about equal shares of the reference.

    The first and the last interval lie outside of the reference's range, so that values never seen are a bin of their
    own. A value that fills an interval alone (a constant column, many zeros, few distinct numbers) is one: its edges
    are itself and the number just below, so that whatever lies beside it is another bin. NaN is left out.
    """
    present = reference[~np.isnan(reference)]
    if not present.size:
        return np.empty(0)
    distinct = np.unique(present)
    if distinct.size <= bins:
        alone, inner = distinct, distinct
    else:
        inner = np.quantile(present, np.arange(1, bins) / bins, method="inverted_cdf")
        values, times = np.unique(inner, return_counts=True)
        alone = values[times > 1]
    lowest = np.append(alone, distinct[0])
    return np.unique(np.concatenate([inner, alone, np.nextafter(lowest, -np.inf), distinct[-1:]]))


def count_numbers(reference: Floats, current: Floats, bins: int) -> Binned:
    """Both samples in the intervals of `edges_of`; the last bin is of missing values."""
    edges = edges_of(reference, bins)
    names = _interval_names(edges)
    return Binned(_counted(reference, edges), _counted(current, edges), (*names, "missing"))


def _counted(values: Floats, edges: Floats) -> Counts:
    missing = np.isnan(values)
    places = np.searchsorted(edges, values[~missing], side="left")
    return np.append(np.bincount(places, minlength=edges.size + 1), np.count_nonzero(missing))


def _interval_names(edges: Floats) -> Iterable[str]:
    if not edges.size:
        yield "any value"
        return
    yield f"below {edges[0]:g}"
    for low, high in pairwise(edges):
        yield f"at {high:g}" if np.nextafter(low, np.inf) == high else f"from {low:g} to {high:g}"
    yield f"above {edges[-1]:g}"


def count_categories(reference: Categories, current: Categories) -> Binned:
    """Both samples by category: the commonest of the reference, others, missing values.

    Categories that the reference has not are a bin of their own, unless the reference has more than have bins: in
    long tails some are always new by chance (Good, "The population frequencies of species", Biometrika 40, 1953), so
    there they belong to the others.
    """
    totals = np.bincount(reference.codes[reference.codes >= 0], minlength=len(reference.labels))
    order = np.argsort(-totals, kind="stable")[: np.count_nonzero(totals)]
    names = [reference.labels[code] for code in order[:MAX_CATEGORIES]]
    rest, missing = len(names), len(names) + 1
    bin_of = {name: rank for rank, name in enumerate(names)}

    def counted(sample: Categories) -> Counts:
        places = np.array([*(bin_of.get(label, rest) for label in sample.labels), missing], dtype=np.int64)
        # Code -1, no value, takes the last place.
        return np.bincount(places[sample.codes], minlength=missing + 1)

    others = "new categories" if order.size <= MAX_CATEGORIES else "rare or new categories"
    return Binned(counted(reference), counted(current), (*names, others, "missing"))


# --- measures ---


def psi(reference: Counts, current: Counts) -> float:
    """Population stability index of two counts of the same bins: sum over bins of (q - p) ln(q / p).

    p and q are the bins' shares, each at least 1e-4 and half a row of the smaller sample. It is symmetric, 0 for
    equal shares, and without limit; without drift it is about (bins - 1) (1/n + 1/m) by chance (Yurdakul and Naranjo,
    "Statistical properties of the population stability index", Journal of Risk Model Validation 14, 2020). It is
    Jeffreys' divergence; for its use on scores see Siddiqi, "Credit Risk Scorecards", 2006. NaN without any row.
    """
    return float(np.sum(_contributions(reference, current)))


def _contributions(reference: Counts, current: Counts) -> Floats:
    least = max(FLOOR, 0.5 / max(min(reference.sum(), current.sum()), 1))
    p, q = np.maximum(_shares(reference), least), np.maximum(_shares(current), least)
    each: Floats = (q - p) * np.log(q / p)
    return each


def jensen_shannon(reference: Counts, current: Counts) -> float:
    """Jensen-Shannon distance of two counts of the same bins, from 0 (equal shares) to 1 (no bin in common).

    The square root of (D(p, m) + D(q, m)) / 2 with m = (p + q) / 2 and D(p, m) = sum of p log2(p / m) (Lin,
    "Divergence measures based on the Shannon entropy", 1991; Endres and Schindelin, 2003, for the root, which is a
    metric). Symmetric. NaN without any row.
    """
    p, q = _shares(reference), _shares(current)
    middle = (p + q) / 2
    divergence = (_divergence(p, middle) + _divergence(q, middle)) / 2
    return float(np.sqrt(min(max(divergence, 0.0), 1.0))) if not np.isnan(divergence) else float("nan")


def _shares(counts: Counts) -> Floats:
    total = counts.sum()
    return counts / total if total else np.full(counts.shape, np.nan)


def _divergence(p: Floats, middle: Floats) -> float:
    some = p != 0
    return float(np.sum(p[some] * np.log2(p[some] / middle[some])))


def kolmogorov_smirnov(reference: Floats, current: Floats) -> tuple[float, float]:
    """The greatest distance of two empirical distribution functions, and its two-sided p-value.

    By `scipy.stats.ks_2samp`, exact for small samples, else asymptotic; ties make the p-value too great, never small.
    NaN is left out; (NaN, NaN) when a sample is empty.
    """
    one, other = reference[~np.isnan(reference)], current[~np.isnan(current)]
    if not one.size or not other.size:
        return float("nan"), float("nan")
    method = "exact" if one.size * other.size <= _EXACT else "asymp"
    with warnings.catch_warnings():
        # Where the exact calculation fails, scipy says so and takes the asymptotic one.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = needed("scipy.stats").ks_2samp(one, other, method=method)
    return float(found.statistic), float(found.pvalue)


def benjamini_hochberg(p_values: Sequence[float]) -> Floats:
    """P-values adjusted for their number: those up to r are a set with at most the share r of false discoveries.

    The i-th smallest of m becomes the least of m p_(j) / j over j >= i (Benjamini and Hochberg, "Controlling the
    false discovery rate", Journal of the Royal Statistical Society B 57, 1995).
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values)
    ranked = values[order] * values.size / np.arange(1, values.size + 1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1.0)
    return adjusted


# --- the gate ---


def judge_drift(drift: Drift, reference: Table, current: Table) -> GateResult:
    """Compares all features. Raises GitopsError for a column that cannot be compared at all."""
    figures: dict[str, float] = {"rows-reference": reference.rows, "rows-current": current.rows}
    note = f"{current.where} against {reference.where}"
    if short := _too_short(drift, reference, current):
        return GateResult("drift", short, figures, note)
    features, left_out = _features(drift, reference)
    checks: list[Check] = []
    comparable = []
    for name in features:
        missing = _unlike(name, reference, current)
        checks += missing
        comparable += [name] if not missing else []
    for name in comparable:
        checks += _judge_bins(name, drift, _bin(name, drift, reference, current), figures)
    if drift.ks:
        checks += _judge_ks(drift.ks, _samples(comparable, reference, current), figures)
    said = f"; not compared: {listed(left_out, limit=8)}" if left_out else ""
    return GateResult("drift", tuple(checks), figures, note + said)


def _too_short(drift: Drift, reference: Table, current: Table) -> tuple[Check, ...]:
    return tuple(
        Check(f"rows of {table.where}", False, f"at least {drift.min_rows}", str(table.rows))
        for table in (reference, current)
        if table.rows < drift.min_rows
    )


def _features(drift: Drift, reference: Table) -> tuple[list[str], list[str]]:
    """What is compared, and which columns of the reference are left out, with the reason."""
    asked = list(dict.fromkeys([*drift.features, *([drift.predictions] if drift.predictions else [])]))
    for name in asked:
        if name not in reference.names:
            raise GitopsError(
                f"there is no column {name}", where=reference.where, hint="correct `features` or `predictions`"
            )
        if reference.kind(name) == "other":
            what = f"column {name} holds {reference.schema[name]}, which are not compared"
            raise GitopsError(what, where=reference.where, hint="use a column of numbers, truth values or text")
    if drift.features:
        return asked, []
    reasons = {name: "" if name in asked else _unfit(name, reference) for name in reference.names}
    features = [name for name, reason in reasons.items() if not reason]
    if not features:
        raise GitopsError("there is no column to compare", where=reference.where, hint="name some by `features`")
    return features, [f"{name} ({reason})" for name, reason in reasons.items() if reason]


def _unfit(name: str, reference: Table) -> str:
    if reference.kind(name) == "other":
        return reference.schema[name]
    if reference.kind(name) == "category" and len(reference.categories(name).labels) > reference.rows / 2:
        return "nearly every value is another"
    return ""


_PLURAL = {"number": "numbers", "category": "categories", "other": "something else", "empty": "nothing"}


def _unlike(name: str, reference: Table, current: Table) -> list[Check]:
    """A failed check for a column that is gone or has become another kind."""
    if name not in current.names:
        return [Check(name, False, "a column as in the reference", "none")]
    before, now = reference.kind(name), current.kind(name)
    if before == now or (now != "other" and "empty" in (before, now)):
        return []
    return [Check(name, False, f"{_PLURAL[before]} as in the reference", current.schema[name])]


def _bin(name: str, drift: Drift, reference: Table, current: Table) -> Binned:
    if "category" in (reference.kind(name), current.kind(name)):
        return count_categories(reference.categories(name), current.categories(name))
    return count_numbers(reference.numbers(name), current.numbers(name), drift.bins)


def _judge_bins(name: str, drift: Drift, binned: Binned, figures: dict[str, float]) -> Iterable[Check]:
    own = drift.per_feature.get(name, DriftLimits())
    max_psi = own.max_psi if own.max_psi is not None else drift.max_psi
    distance = own.max_jensen_shannon if own.max_jensen_shannon is not None else drift.max_jensen_shannon
    figures[f"psi-{name}"] = index = psi(binned.reference, binned.current)
    figures[f"jensen-shannon-{name}"] = apart = jensen_shannon(binned.reference, binned.current)
    said = _what_moved(binned)
    yield Check(name, index <= max_psi, f"PSI at most {max_psi:g}", f"{index:.3g}{said}")
    if distance is not None:
        yield Check(name, apart <= distance, f"Jensen-Shannon distance at most {distance:g}", f"{apart:.3g}{said}")


def _what_moved(binned: Binned) -> str:
    """Of the bins that grew, the one that adds most to the index, such as ` (new: 12 % above 80)`."""
    before, now = _shares(binned.reference), _shares(binned.current)
    most = int(np.argmax(_contributions(binned.reference, binned.current) * (now > before)))
    if now[most] - before[most] < _TOLD:
        return ""
    name = shorten(binned.names[most])
    if before[most] == 0:
        return f" (new: {_percent(now[most])} {name})"
    return f" ({_percent(before[most])} {name}, now {_percent(now[most])})"


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %"


def _samples(names: Iterable[str], reference: Table, current: Table) -> Mapping[str, tuple[Floats, Floats]]:
    return {
        name: (reference.numbers(name), current.numbers(name))
        for name in names
        if reference.kind(name) == current.kind(name) == "number"
    }


def _judge_ks(
    asked: KolmogorovSmirnov, samples: Mapping[str, tuple[Floats, Floats]], figures: dict[str, float]
) -> Iterable[Check]:
    found = {name: kolmogorov_smirnov(*pair) for name, pair in samples.items()}
    adjusted = benjamini_hochberg([p for _, p in found.values()])
    expected = f"KS distance at most {asked.min_distance:g} or insignificant at {asked.false_discovery_rate:g}"
    for (name, (distance, _)), p in zip(found.items(), adjusted, strict=True):
        figures[f"ks-{name}"], figures[f"ks-p-{name}"] = distance, float(p)
        good = distance <= asked.min_distance or p > asked.false_discovery_rate
        yield Check(name, good, expected, f"{distance:.3g} (p {p:.2g}, corrected for {len(found)} tests)")
