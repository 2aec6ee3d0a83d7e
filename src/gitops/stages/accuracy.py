"""Accuracy: how good recorded predictions are, with an interval that says how well the data can tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import reduce
from statistics import NormalDist
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gitops.errors import GitopsError
from gitops.spec.problems import listed, shorten
from gitops.spec.validation_data import LOWER_IS_BETTER, NUMERIC, Accuracy, FailWhen, Scalar
from gitops.stages.results import Check, GateResult
from gitops.stages.tables import Categories, Table

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

RESAMPLES = 1000
MIN_RESAMPLES = 200
MAX_DRAWS = 200_000_000
"""Rows times resamples; of large files fewer resamples are taken, down to the minimum."""
MAX_CLASSES = 10_000
SEED = 20_260_101
_TOLERANCE = 1e-12
"""What rounding may add to a value that equals its limit."""


class Interval(NamedTuple):
    """A measured value and its confidence interval."""

    value: float
    low: float
    high: float

    def above(self, limit: float, fail_when: FailWhen) -> bool:
        """Whether the value counts as above a limit."""
        judged = {"estimate": self.value, "surely": self.low, "possibly": self.high}[fail_when]
        return judged > limit + _TOLERANCE

    def below(self, limit: float, fail_when: FailWhen) -> bool:
        """Whether the value counts as below a limit."""
        return Interval(-self.value, -self.high, -self.low).above(-limit, fail_when)


def wilson(count: float, total: float, confidence: float) -> Interval:
    """A proportion with Wilson's score interval, which holds for few rows and near 0 and 1 as well.

    (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n) with z the normal quantile of (1 + confidence) / 2 (Wilson,
    "Probable inference, the law of succession, and statistical inference", JASA 22, 1927). `total` is above 0.
    """
    z, p = NormalDist().inv_cdf((1 + confidence) / 2), count / total
    middle = p + z * z / (2 * total)
    reach = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    # At 0 and 1 the bounds are exact, but rounding is not.
    low = 0.0 if count == 0 else (middle - reach) / scale
    high = 1.0 if count == total else (middle + reach) / scale
    return Interval(p, low, high)


# --- metrics ---

Statistic = Callable[[Codes], float]
"""A metric of some rows as a function of how often each row counts; NaN where it does not exist."""


class Measure(NamedTuple):
    """A metric of rows that occur `counts` times.

    Rows of classes are put together, so that resampling a million rows of two classes draws four numbers.
    """

    counts: Codes
    of: Statistic

    @property
    def value(self) -> float:
        """The metric of the rows as they are."""
        return self.of(self.counts)


def of_classes(metric: str, truth: Codes, prediction: Codes, positive: int | None = None) -> Statistic:
    """`accuracy`, `balanced-accuracy`, `f1`, `precision` or `recall` of classes 0, 1, ….

    With tp right predictions of a class, s rows of it and r predictions of it: recall tp/s, precision tp/r, F1
    2 tp/(s + r), each 0 where the denominator is. Without a positive class, F1, precision and recall are means over
    all classes that occur (macro average); balanced accuracy is the mean recall of the classes that are true somewhere.
    """
    classes = int(max(truth.max(initial=0), prediction.max(initial=0), positive or 0)) + 1

    def value(counts: Codes) -> float:
        right = np.bincount(truth, counts * (truth == prediction), classes)
        true, predicted = np.bincount(truth, counts, classes), np.bincount(prediction, counts, classes)
        if metric == "accuracy":
            return float(right.sum() / true.sum())
        above, below = {
            "balanced-accuracy": (right, true),
            "recall": (right, true),
            "precision": (right, predicted),
            "f1": (2 * right, true + predicted),
        }[metric]
        each = np.divide(above, below, out=np.zeros(classes), where=below > 0)
        if metric == "balanced-accuracy":
            return float(each[true > 0].mean())
        return float(each[true + predicted > 0].mean() if positive is None else each[positive])

    return value


def of_scores(truth: NDArray[np.bool_], score: Floats) -> Statistic:
    """`roc-auc`: the probability that a positive row has a higher score than a negative one, ties counted half.

    Mann and Whitney's U over the number of pairs (Hanley and McNeil, "The meaning and use of the area under a ROC
    curve", Radiology 143, 1982).
    """
    levels, place = np.unique(score, return_inverse=True)

    def value(counts: Codes) -> float:
        good = np.bincount(place, counts * truth, levels.size)
        bad = np.bincount(place, counts * ~truth, levels.size)
        pairs = good.sum() * bad.sum()
        return float((good * (np.cumsum(bad) - bad / 2)).sum() / pairs) if pairs else math.nan

    return value


def of_numbers(metric: str, truth: Floats, prediction: Floats) -> Statistic:
    """`mean-absolute-error`, `root-mean-squared-error`, or `r2`, the coefficient of determination.

    r2 is 1 - sum (y - f)² / sum (y - mean y)²; it does not exist for constant labels.
    """
    error, centred = truth - prediction, truth - truth.mean()

    def value(counts: Codes) -> float:
        total = counts.sum()
        if metric == "mean-absolute-error":
            return float(counts @ np.abs(error) / total)
        squared = float(counts @ error**2)
        if metric == "root-mean-squared-error":
            return math.sqrt(squared / total)
        spread = float(counts @ centred**2 - (counts @ centred) ** 2 / total)
        return 1 - squared / spread if spread > 0 else math.nan

    return value


# --- intervals ---


def bootstrap(measure: Measure, confidence: float, seed: int = SEED) -> Interval:
    """The value with a percentile bootstrap interval; the same data gives the same interval.

    Rows are drawn with replacement, 1000 times, of large files less often (Efron and Tibshirani, "An Introduction to
    the Bootstrap", 1993, chapter 13). Draws in which the metric does not exist are left out.
    """
    return _percentiles(measure.value, _draws(measure, seed, _times(measure)), confidence)


def bootstrap_difference(one: Measure, other: Measure, confidence: float) -> Interval:
    """`one` minus `other`, measured on different rows; for the same rows, take the `bootstrap` of a difference."""
    times = min(_times(one), _times(other))
    drawn = _draws(one, SEED, times) - _draws(other, SEED + 1, times)
    return _percentiles(one.value - other.value, drawn, confidence)


def _times(measure: Measure) -> int:
    return min(RESAMPLES, max(MIN_RESAMPLES, MAX_DRAWS // measure.counts.size))


def _draws(measure: Measure, seed: int, times: int) -> Floats:
    generator, counts = np.random.default_rng(seed), measure.counts
    total = int(counts.sum())

    def drawn() -> Codes:
        if counts.size == total:
            return np.bincount(generator.integers(0, total, total), minlength=total)
        return generator.multinomial(total, counts / total)

    return np.array([measure.of(drawn()) for _ in range(times)])


def _percentiles(value: float, drawn: Floats, confidence: float) -> Interval:
    known = drawn[~np.isnan(drawn)]
    if not known.size:
        return Interval(value, -math.inf, math.inf)
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high))


# --- the gate ---


class Cases(NamedTuple):
    """The rows of a file: codes of classes (-1 without) or numbers (NaN without), and which rows have both."""

    truth: Any
    prediction: Any
    labelled: NDArray[np.bool_]
    usable: NDArray[np.bool_]


Vocabulary = dict[str, int]
"""Codes of classes, common to all columns."""


def judge_accuracy(accuracy: Accuracy, table: Table, baseline: Table | None = None) -> GateResult:
    """The metric against its limits. Raises GitopsError for columns that cannot be judged."""
    classes: Vocabulary = {}
    cases = read_cases(accuracy, table, classes)
    figures = {"rows": float(cases.usable.sum()), "rows-without-label": float(table.rows - cases.labelled.sum())}
    checks = list(_complete(cases))
    earlier = read_cases(accuracy, baseline, classes) if baseline else None
    files = [(table.where, cases), *([(baseline.where, earlier)] if baseline and earlier else [])]
    if short := [check for where, rows in files for check in _enough(accuracy, rows, where)]:
        return GateResult("accuracy", (*checks, *short), figures, table.where)
    positive = _positive_code(accuracy, classes, table.where)
    interval = _interval(accuracy, _measure(accuracy, cases, positive, table.where))
    figures |= interval_figures(accuracy.metric, interval)
    checks += _limits(accuracy, interval)
    if earlier and baseline:
        figures[f"baseline-{accuracy.metric}"], drop = _drop(accuracy, cases, earlier, positive, baseline.where)
        figures |= interval_figures("drop", drop)
        checks += _drop_limit(accuracy, drop, baseline.where)
    return GateResult("accuracy", tuple(checks), figures, table.where)


def read_cases(accuracy: Accuracy, table: Table, classes: Vocabulary) -> Cases:
    """The label and prediction columns as the metric needs them; new classes are added to `classes`."""
    numeric, scored = accuracy.metric in NUMERIC, accuracy.metric == "roc-auc"
    truth: Any = table.numbers(accuracy.label) if numeric else code(table.categories(accuracy.label), classes)
    prediction: Any
    if numeric or scored:
        prediction = table.numbers(accuracy.prediction)
    else:
        labels, answers = table.categories(accuracy.label).labels, table.categories(accuracy.prediction)
        prediction = code(answers, classes)
        check_vocabulary(labels, answers.labels, table.where)
    labelled = ~np.isnan(truth) if numeric else truth >= 0
    answered = ~np.isnan(prediction) if numeric or scored else prediction >= 0
    return Cases(truth, prediction, labelled, labelled & answered)


def code(column: Categories, classes: Vocabulary) -> Codes:
    """A column in the common codes of classes; new ones are added. GitopsError for text that is no class."""
    if len(column.labels) > MAX_CLASSES:
        what = f"{len(column.labels)} classes, at most {MAX_CLASSES} are judged"
        raise GitopsError(what, hint="for numbers choose a metric such as mean-absolute-error")
    codes = [classes.setdefault(label, len(classes)) for label in column.labels]
    return np.array([*codes, -1], dtype=np.int64)[column.codes]


def check_vocabulary(labels: Sequence[str], predictions: Sequence[str], where: str) -> None:
    """GitopsError when no prediction is a label, because then the two are written differently."""
    if labels and predictions and not set(labels) & set(predictions):
        what = f"labels are {_spelled(labels)}, but predictions are {_spelled(predictions)}"
        raise GitopsError(what, where=where, hint="write them alike, or choose other columns")


def positive_class(positive: Scalar | None, classes: Collection[str], where: str) -> str:
    """The name of the positive class, by default `1` or `true`. Raises GitopsError when it cannot be known."""
    if positive is not None:
        name = str(positive).lower() if isinstance(positive, bool) else f"{positive}".removesuffix(".0")
        if name not in classes:
            raise GitopsError(f"there is no class {name}", where=where, hint=f"there are {_spelled(classes)}")
        return name
    for name, pair in (("1", {"0", "1"}), ("true", {"false", "true"})):
        if name in classes and set(classes) <= pair:
            return name
    raise GitopsError(f"which of {_spelled(classes)} is positive is not said", where=where, hint="write `positive: …`")


def _spelled(classes: Iterable[str]) -> str:
    return listed([shorten(name, 30) for name in classes], limit=8)


def _positive_code(accuracy: Accuracy, classes: Vocabulary, where: str) -> int | None:
    if accuracy.positive is None and accuracy.metric != "roc-auc":
        return None
    return classes[positive_class(accuracy.positive, classes, where)]


def _statistic(accuracy: Accuracy, truth: Any, prediction: Any, positive: int | None) -> Statistic:
    if accuracy.metric in NUMERIC:
        return of_numbers(accuracy.metric, truth, prediction)
    if accuracy.metric == "roc-auc":
        return of_scores(truth == positive, prediction)
    return of_classes(accuracy.metric, truth, prediction, positive)


def _measure(accuracy: Accuracy, cases: Cases, positive: int | None, where: str) -> Measure:
    truth, prediction = cases.truth[cases.usable], cases.prediction[cases.usable]
    (truth, prediction), counts = _together(accuracy, truth, prediction)
    measure = Measure(counts, _statistic(accuracy, truth, prediction, positive))
    if math.isnan(measure.value):
        hint = "labels are all the same; take data with several"
        raise GitopsError(f"{accuracy.metric} does not exist for these rows", where=where, hint=hint)
    return measure


def _together(accuracy: Accuracy, *columns: Any) -> tuple[tuple[Any, ...], Codes]:
    """Equal rows as one, with their counts, where columns are codes; rows of numbers as they are."""
    if accuracy.metric in NUMERIC or accuracy.metric == "roc-auc":
        return columns, np.ones(columns[0].size, dtype=np.int64)
    base = max(int(column.max()) for column in columns) + 1
    rows = reduce(lambda row, column: row * base + column, columns)
    _, first, counts = np.unique(rows, return_index=True, return_counts=True)
    return tuple(column[first] for column in columns), counts


def _interval(accuracy: Accuracy, measure: Measure) -> Interval:
    if accuracy.metric == "accuracy":
        total = int(measure.counts.sum())
        return wilson(round(measure.value * total), total, accuracy.confidence)
    return bootstrap(measure, accuracy.confidence)


def _drop(accuracy: Accuracy, cases: Cases, earlier: Cases, positive: int | None, where: str) -> tuple[float, Interval]:
    """The baseline's value, and how much worse the new predictions are.

    Files whose labels are the same row by row are taken as the same cases, and resampled together.
    """
    new, old = (_measure(accuracy, each, positive, where) for each in (cases, earlier))
    worse, better = (new, old) if accuracy.metric in LOWER_IS_BETTER else (old, new)
    same = np.array_equal(cases.truth, earlier.truth, equal_nan=True)
    both = cases.usable & earlier.usable if same else np.zeros(1, dtype=np.bool_)
    if both.sum() < accuracy.min_rows:
        return old.value, bootstrap_difference(worse, better, accuracy.confidence)
    columns = (cases.truth[both], cases.prediction[both], earlier.prediction[both])
    (truth, now, before), counts = _together(accuracy, *columns)
    of_new, of_old = (_statistic(accuracy, truth, each, positive) for each in (now, before))
    sign = -1 if accuracy.metric in LOWER_IS_BETTER else 1
    drawn = bootstrap(Measure(counts, lambda weights: sign * (of_old(weights) - of_new(weights))), accuracy.confidence)
    return old.value, drawn


def _complete(cases: Cases) -> Iterator[Check]:
    lacking = int((cases.labelled & ~cases.usable).sum())
    if lacking:
        yield Check("predictions", False, f"one for each of {cases.labelled.sum()} labelled rows", f"{lacking} missing")


def _enough(accuracy: Accuracy, cases: Cases, where: str) -> Iterator[Check]:
    if (usable := int(cases.usable.sum())) < accuracy.min_rows:
        expected = f"at least {accuracy.min_rows} with a label and a prediction"
        yield Check(f"rows of {where}", False, expected, str(usable))


def _limits(accuracy: Accuracy, interval: Interval) -> Iterator[Check]:
    got = told(interval, accuracy.confidence)
    for word, limit, failed in (
        ("at least", accuracy.min, interval.below),
        ("at most", accuracy.max, interval.above),
    ):
        if limit is not None:
            good = not failed(limit, accuracy.fail_when)
            yield Check(accuracy.metric, good, f"{word} {limit:g}{RULES[accuracy.fail_when]}", got)


def _drop_limit(accuracy: Accuracy, drop: Interval, where: str) -> Iterator[Check]:
    limit = accuracy.max_drop
    if limit is not None:
        expected = f"at most {limit:g} worse than {where}{RULES[accuracy.fail_when]}"
        good = not drop.above(limit, accuracy.fail_when)
        yield Check(f"{accuracy.metric} drop", good, expected, told(drop, accuracy.confidence))


RULES: Mapping[FailWhen, str] = MappingProxyType(
    {"estimate": "", "surely": " by some of the interval", "possibly": " by all of the interval"}
)
"""What a check's expectation says about its rule."""


def told(interval: Interval, confidence: float) -> str:
    """`0.812 (95 % interval 0.79 to 0.83)`."""
    return f"{interval.value:.4g} ({confidence * 100:g} % interval {interval.low:.4g} to {interval.high:.4g})"


def interval_figures(name: str, interval: Interval) -> dict[str, float]:
    """The value under its name, and the ends of its interval."""
    return {name: interval.value, f"{name}-low": interval.low, f"{name}-high": interval.high}
