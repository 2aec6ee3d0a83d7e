"""Bias: whether predictions treat groups alike, by differences of rates between groups."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import combinations
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gitops.errors import GitopsError
from gitops.spec.problems import listed, shorten
from gitops.spec.validation_data import Bias
from gitops.stages.accuracy import (
    RULES,
    Interval,
    Vocabulary,
    check_vocabulary,
    code,
    interval_figures,
    positive_class,
    told,
    wilson,
)
from gitops.stages.results import Check, GateResult
from gitops.stages.tables import Table

Flags = NDArray[np.bool_]

MAX_GROUPS = 100
MISSING = "without a group"
_OF_LABELS = ("equal-opportunity", "false-positive-rate", "accuracy")


class Rate(NamedTuple):
    """How many of a group's rows count, of how many."""

    hits: int
    total: int


class Pair(NamedTuple):
    """Two groups and the difference of their rates, the greater one first."""

    high: str
    low: str
    difference: Interval


def newcombe(one: Rate, other: Rate, confidence: float) -> Interval:
    """The difference of two independent proportions, with Newcombe's hybrid score interval.

    With p, l, u the proportion and the Wilson bounds of each: d - sqrt((p1 - l1)² + (u2 - p2)²) to
    d + sqrt((u1 - p1)² + (p2 - l2)²) (Newcombe, "Interval estimation for the difference between independent
    proportions: comparison of eleven methods", Statistics in Medicine 17, 1998, method 10). Totals are above 0.
    """
    p, low, high = wilson(one.hits, one.total, confidence)
    q, least, most = wilson(other.hits, other.total, confidence)
    difference = p - q
    below, above = math.hypot(p - low, most - q), math.hypot(high - p, q - least)
    return Interval(difference, difference - below, difference + above)


def rates(group: NDArray[np.int64], groups: int, counted: Flags, among: Flags) -> list[Rate]:
    """For each group 0, 1, …: how many of the rows `among` which it is asked are `counted`."""
    totals = np.bincount(group[among], minlength=groups)
    counts = np.bincount(group[among & counted], minlength=groups)
    return [Rate(int(hits), int(total)) for hits, total in zip(counts, totals, strict=True)]


def differences(of: Mapping[str, Rate], confidence: float) -> list[Pair]:
    """All pairs of groups. Their intervals hold together: each has the confidence that Bonferroni's inequality asks."""
    pairs = list(combinations(of, 2))
    each = 1 - (1 - confidence) / max(len(pairs), 1)
    ordered = [sorted(pair, key=lambda name: of[name].hits / of[name].total, reverse=True) for pair in pairs]
    return [Pair(high, low, newcombe(of[high], of[low], each)) for high, low in ordered]


# --- the gate ---


class _Rows(NamedTuple):
    """What is known of each row that has a prediction, and a label where labels are needed."""

    group: NDArray[np.int64]
    names: tuple[str, ...]
    positive: Flags
    truth: Flags
    right: Flags
    left_out: int
    unanswered: int


def labels_needed(bias: Bias) -> bool:
    """Whether a limit asks for labels; demographic parity alone does not."""
    limits = bias.max_difference
    return any(x is not None for x in (limits.equal_opportunity, limits.false_positive_rate, limits.accuracy))


def judge_bias(bias: Bias, table: Table) -> GateResult:
    """The greatest difference between groups, for each measure. Raises GitopsError for columns that do not fit."""
    rows = _rows(bias, table)
    figures = {"rows": float(rows.group.size), "rows-left-out": float(rows.left_out)}
    checks: list[Check] = []
    small: list[str] = []
    if rows.unanswered:
        checks.append(Check("predictions", False, "one in every row", f"{rows.unanswered} missing"))
    for measure, (counted, among) in _measures(bias, rows).items():
        each = dict(zip(rows.names, rates(rows.group, len(rows.names), counted, among), strict=True))
        judged = {name: rate for name, rate in each.items() if rate.total >= bias.min_group}
        figures |= {f"{measure}-{name}": rate.hits / rate.total for name, rate in judged.items()}
        too_small = {name: rate for name, rate in each.items() if name not in judged}
        small += [f"{measure} of {shorten(name)} ({rate.total})" for name, rate in too_small.items()]
        checks += _judge(bias, measure, judged, too_small, figures)
    said = f"; fewer than {bias.min_group} rows, not judged: {listed(small, limit=8)}" if small else ""
    return GateResult("bias", tuple(checks), figures, f"{table.where} by {bias.group}{said}")


def _rows(bias: Bias, table: Table) -> _Rows:
    classes: Vocabulary = {}
    groups = table.categories(bias.group)
    if len(groups.labels) > MAX_GROUPS:
        what = f"column {bias.group} has {len(groups.labels)} groups, at most {MAX_GROUPS} are compared"
        raise GitopsError(what, where=table.where, hint="choose a column with fewer")
    prediction = table.categories(bias.prediction)
    answers = code(prediction, classes)
    truth = answers
    if labels_needed(bias):
        labels = table.categories(bias.label)
        check_vocabulary(labels.labels, prediction.labels, table.where)
        truth = code(labels, classes)
    positive = classes[positive_class(bias.positive, classes, table.where)]
    known = (truth >= 0) & (answers >= 0)
    group = np.where(groups.codes < 0, len(groups.labels), groups.codes)[known]
    names = (*groups.labels, MISSING) if (groups.codes < 0).any() else groups.labels
    truth, unanswered = truth[known], int((answers < 0).sum())
    left_out, answers = int((~known).sum()), answers[known]
    return _Rows(group, names, answers == positive, truth == positive, answers == truth, left_out, unanswered)


def _measures(bias: Bias, rows: _Rows) -> dict[str, tuple[Flags, Flags]]:
    """For each measure, which rows count, among which."""
    everyone = np.ones(rows.group.size, dtype=np.bool_)
    found = {"demographic-parity": (rows.positive, everyone)}
    if labels_needed(bias):
        found["equal-opportunity"] = (rows.positive, rows.truth)
        found["false-positive-rate"] = (rows.positive, ~rows.truth)
        found["accuracy"] = (rows.right, everyone)
    return found


def _judge(
    bias: Bias, measure: str, judged: Mapping[str, Rate], small: Mapping[str, Rate], figures: dict[str, float]
) -> Iterator[Check]:
    pairs = differences(judged, bias.confidence)
    if pairs:
        widest = max(pairs, key=lambda pair: pair.difference.value)
        figures |= interval_figures(f"{measure}-difference", widest.difference)
    limit = _limits(bias)[measure]
    if limit is None:
        return
    if bias.small_groups == "fail":
        for name, rate in small.items():
            yield Check(f"{measure} of {shorten(name)}", False, f"at least {bias.min_group} rows", str(rate.total))
    if not pairs:
        yield Check(measure, False, f"at least two groups of {bias.min_group} rows", str(len(judged)))
        return
    yield _compared(bias, measure, limit, pairs, judged)


def _limits(bias: Bias) -> Mapping[str, float | None]:
    limits = bias.max_difference
    values = (limits.demographic_parity, limits.equal_opportunity, limits.false_positive_rate, limits.accuracy)
    return MappingProxyType(dict(zip(("demographic-parity", *_OF_LABELS), values, strict=True)))


def _compared(bias: Bias, measure: str, limit: float, pairs: list[Pair], of: Mapping[str, Rate]) -> Check:
    """The check of the pair that is worst by the rule: by its difference, or by an end of its interval."""
    end = {"estimate": 0, "surely": 1, "possibly": 2}[bias.fail_when]
    high, low, difference = max(pairs, key=lambda pair: pair.difference[end])
    sides = ", ".join(f"{shorten(name)} {of[name].hits}/{of[name].total}" for name in (high, low))
    good = not difference.above(limit, bias.fail_when)
    expected = f"difference at most {limit:g}{RULES[bias.fail_when]}"
    return Check(measure, good, expected, f"{told(difference, bias.confidence)}: {sides}")
