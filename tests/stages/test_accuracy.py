"""Accuracy: metrics against scikit-learn and by hand, intervals against their coverage, and the gate's rules."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gitops.errors import GitopsError
from gitops.spec.validation_data import Accuracy
from gitops.stages.accuracy import (
    Interval,
    Measure,
    bootstrap,
    bootstrap_difference,
    judge_accuracy,
    of_classes,
    of_numbers,
    of_scores,
    wilson,
)
from gitops.stages.results import GateResult
from gitops.stages.tables import Table

codes = arrays(np.int64, 25, elements=st.integers(0, 3))
flags = arrays(np.bool_, 25)
scores = arrays(np.float64, 25, elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]))
numbers = arrays(np.float64, 25, elements=st.floats(-100, 100))
ones = np.ones(25, dtype=np.int64)


def table(where: str, label: Any, prediction: Any) -> Table:
    return Table(where, pa.table({"label": label, "prediction": prediction}))


def judged(label: Any, prediction: Any, before: Any = None, **settings: Any) -> GateResult:
    accuracy = Accuracy.model_validate({"data": "now.csv", "minRows": 1, **settings})
    earlier = None if before is None else table("before.csv", label, before)
    return judge_accuracy(accuracy, table("now.csv", label, prediction), earlier)


def sentences(result: GateResult) -> list[str]:
    return [check.sentence for check in result.failed]


# --- metrics ---


@settings(max_examples=40)
@given(codes, codes)
def test_metrics_of_classes_are_scikit_learns(truth: np.ndarray, prediction: np.ndarray) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    assume(set(prediction) <= set(truth) and len(set(truth)) > 1)  # scikit-learn warns otherwise
    expected = {
        "accuracy": metrics.accuracy_score(truth, prediction),
        "balanced-accuracy": metrics.balanced_accuracy_score(truth, prediction),
        "f1": metrics.f1_score(truth, prediction, average="macro", zero_division=0),
        "precision": metrics.precision_score(truth, prediction, average="macro", zero_division=0),
        "recall": metrics.recall_score(truth, prediction, average="macro", zero_division=0),
    }
    for name, value in expected.items():
        assert of_classes(name, truth, prediction)(ones) == pytest.approx(value), name
    for positive in set(truth):
        f1 = metrics.f1_score(truth == positive, prediction == positive, zero_division=0)
        assert of_classes("f1", truth, prediction, int(positive))(ones) == pytest.approx(f1)


@settings(max_examples=40)
@given(flags, scores, numbers, numbers)
def test_metrics_of_scores_and_numbers_are_scikit_learns(
    truth: np.ndarray, score: np.ndarray, label: np.ndarray, prediction: np.ndarray
) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    if 0 < truth.sum() < truth.size:
        assert of_scores(truth, score)(ones) == pytest.approx(metrics.roc_auc_score(truth, score))
    else:
        assert math.isnan(of_scores(truth, score)(ones))
    expected = {
        "mean-absolute-error": metrics.mean_absolute_error(label, prediction),
        "root-mean-squared-error": metrics.root_mean_squared_error(label, prediction),
    }
    assume(label.std() > 1e-3)
    expected["r2"] = metrics.r2_score(label, prediction)
    for name, value in expected.items():
        assert of_numbers(name, label, prediction)(ones) == pytest.approx(value), name


@given(codes, codes, numbers, scores, arrays(np.int64, 25, elements=st.integers(0, 4)))
def test_counting_a_row_twice_is_repeating_it(
    truth: np.ndarray, prediction: np.ndarray, label: np.ndarray, score: np.ndarray, counts: np.ndarray
) -> None:
    assume(counts.sum() > 0)
    again, single = np.repeat(np.arange(25), counts), np.ones(int(counts.sum()), dtype=np.int64)
    for metric in ("accuracy", "balanced-accuracy", "f1", "precision", "recall"):
        repeated = of_classes(metric, truth[again], prediction[again])(single)
        assert of_classes(metric, truth, prediction)(counts) == pytest.approx(repeated), metric
    for metric in ("mean-absolute-error", "root-mean-squared-error"):
        repeated = of_numbers(metric, label[again], score[again])(single)
        assert of_numbers(metric, label, score)(counts) == pytest.approx(repeated), metric
    area, same = of_scores(truth > 1, score)(counts), of_scores(truth[again] > 1, score[again])(single)
    assert area == pytest.approx(same, nan_ok=True)


def test_metrics_by_hand() -> None:
    truth, prediction = np.array([1, 1, 1, 0, 0, 2]), np.array([1, 1, 0, 0, 1, 0])
    each = np.ones(6, dtype=np.int64)
    assert of_classes("accuracy", truth, prediction)(each) == pytest.approx(3 / 6)
    assert of_classes("precision", truth, prediction, 1)(each) == pytest.approx(2 / 3)
    assert of_classes("recall", truth, prediction, 2)(each) == 0
    assert of_classes("balanced-accuracy", truth, prediction)(each) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert of_scores(np.array([True, True, False]), np.array([0.9, 0.4, 0.4]))(each[:3]) == pytest.approx(0.75)
    assert math.isnan(of_numbers("r2", np.ones(6), np.zeros(6))(each))


# --- intervals ---


def test_wilsons_interval_by_its_published_values() -> None:
    """The examples of Newcombe, "Two-sided confidence intervals for the single proportion", Stat. Med. 17 (1998)."""
    assert wilson(81, 263, 0.95)[1:] == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148, 0.95)[1:] == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20, 0.95)[1:] == pytest.approx((0, 0.1611), abs=5e-5)


@given(st.integers(1, 500), st.data(), st.floats(0.5, 0.99))
def test_wilsons_interval_is_scipys(total: int, data: st.DataObject, confidence: float) -> None:
    from scipy.stats import binomtest

    count = data.draw(st.integers(0, total))
    expected = binomtest(count, total).proportion_ci(confidence, method="wilson")
    found = wilson(count, total, confidence)
    assert found[1:] == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    """F1 of a known confusion table, 95 % of 200 samples of 400 rows; 3 standard deviations are 0.046."""
    shares = np.array([0.4, 0.1, 0.15, 0.35])
    truth, prediction = np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0])
    statistic = of_classes("f1", truth, prediction, 1)
    real = 2 * 0.4 / (2 * 0.4 + 0.1 + 0.15)
    generator = np.random.default_rng(5)
    found = [bootstrap(Measure(generator.multinomial(400, shares), statistic), 0.95) for _ in range(200)]
    covered = np.mean([interval.low <= real <= interval.high for interval in found])
    assert 0.904 <= covered <= 0.996


def test_rows_put_together_are_resampled_like_rows() -> None:
    generator = np.random.default_rng(3)
    truth = generator.integers(0, 2, 3000)
    prediction = np.where(generator.random(3000) < 0.8, truth, 1 - truth)
    rows = bootstrap(Measure(np.ones(3000, dtype=np.int64), of_classes("f1", truth, prediction, 1)), 0.95)
    result = judged(truth, prediction, metric="f1", positive=1, min=0.5)
    assert result.figures["f1"] == pytest.approx(rows.value)
    assert result.figures["f1-low"] == pytest.approx(rows.low, abs=0.003)
    assert result.figures["f1-high"] == pytest.approx(rows.high, abs=0.003)


def test_the_same_data_gives_the_same_interval() -> None:
    generator = np.random.default_rng(1)
    label, guess = generator.normal(size=(2, 300))
    one, other = (judged(label, guess, metric="mean-absolute-error", max=2) for _ in range(2))
    assert one.figures == other.figures


def test_draws_without_a_value_are_left_out() -> None:
    measure = Measure(np.array([1, 30]), lambda counts: math.nan if counts[0] == 0 else 1.0)
    assert bootstrap(measure, 0.95) == Interval(1, 1, 1)
    assert bootstrap(Measure(np.array([30]), lambda _: math.nan), 0.95).low == -math.inf


def test_a_difference_of_unrelated_rows_is_as_wide_as_both() -> None:
    measure = Measure(np.array([200, 200]), lambda counts: float(counts[0] / counts.sum()))
    single, both = bootstrap(measure, 0.95), bootstrap_difference(measure, measure, 0.95)
    assert both.value == 0
    assert both.high - both.low == pytest.approx(math.sqrt(2) * (single.high - single.low), rel=0.15)


# --- the gate ---

RIGHT = ["yes"] * 50 + ["no"] * 50


def wrong(times: int) -> list[str]:
    """The labels with so many answered wrongly."""
    return ["no" if i < times else label for i, label in enumerate(RIGHT)]


def test_a_limit_is_held_or_told() -> None:
    assert judged(RIGHT, wrong(10), min=0.9).passed, "a value at its limit passes"
    assert sentences(judged(RIGHT, wrong(11), min=0.9)) == [
        "accuracy: expected at least 0.9, got 0.89 (95 % interval 0.8137 to 0.9375)"
    ]


def test_the_rule_decides_what_counts() -> None:
    rules = ("estimate", "surely", "possibly")
    assert [judged(RIGHT, wrong(12), min=0.9, failWhen=rule).passed for rule in rules] == [False, True, False]
    assert [judged(RIGHT, wrong(8), min=0.9, failWhen=rule).passed for rule in rules] == [True, True, False]
    assert not judged(RIGHT, wrong(30), min=0.9, failWhen="surely").passed
    assert judged(RIGHT, wrong(1), min=0.9, failWhen="possibly").passed
    assert "at least 0.9 by all of the interval" in sentences(judged(RIGHT, wrong(8), min=0.9, failWhen="possibly"))[0]


def test_errors_have_a_greatest_value() -> None:
    label = np.arange(100.0)
    assert judged(label, label + 2, metric="root-mean-squared-error", max=2).passed
    assert not judged(label, label + 2, metric="mean-absolute-error", max=1.9).passed
    assert judged(label, label, metric="r2", min=1).passed


def test_scores_rank_the_positive_class() -> None:
    label, score = ["refund", "other"] * 100, [0.9, 0.1] * 100
    assert judged(label, score, metric="roc-auc", positive="refund", min=1).passed
    assert judged(label, score, metric="roc-auc", positive="other", min=0).figures["roc-auc"] == 0
    assert judged([1, 0] * 100, score, metric="roc-auc", min=1).passed
    assert judged([True, False] * 100, score, metric="roc-auc", min=1).passed
    with pytest.raises(GitopsError, match="which of refund and other is positive is not said"):
        judged(label, score, metric="roc-auc", min=1)
    with pytest.raises(GitopsError, match="there is no class refnd — there are refund and other"):
        judged(label, score, metric="roc-auc", positive="refnd", min=1)
    with pytest.raises(GitopsError, match="does not exist for these rows"):
        judged([1] * 100, [0.5] * 100, metric="roc-auc", min=1)


@pytest.mark.parametrize("positive", [1, 1.0, "1"])
def test_numbers_and_text_name_the_same_class(positive: object) -> None:
    result = judged([1, 0, 1, 0], ["1", "0", "0", "0"], metric="recall", positive=positive, min=0)
    assert result.figures["recall"] == 0.5
    assert judged([1.0, 0.0], [1, 0], min=1).passed


def test_labels_and_predictions_that_are_written_differently_are_no_zero() -> None:
    with pytest.raises(GitopsError, match="labels are true and false, but predictions are 1 and 0 — write them alike"):
        judged([True, False] * 10, [1, 0] * 10, min=0.5)
    with pytest.raises(GitopsError, match="classes, at most 10000 are judged"):
        judged([f"t{i}" for i in range(10_001)], [f"t{i}" for i in range(10_001)], min=0.5)


def test_rows_without_a_label_are_left_out_and_those_without_a_prediction_fail() -> None:
    result = judged(["a", "b", None], ["a", "b", "a"], min=1)
    assert result.passed
    assert result.figures["rows-without-label"] == 1
    result = judged(["a", "b", "a"], ["a", None, "a"], min=1)
    assert sentences(result) == ["predictions: expected one for each of 3 labelled rows, got 1 missing"]
    assert judged([1.0, None], [1.0, 1.0], metric="mean-absolute-error", max=0).passed


def test_too_few_rows_fail() -> None:
    result = judged(RIGHT, RIGHT, min=0.1, minRows=101)
    assert sentences(result) == ["rows of now.csv: expected at least 101 with a label and a prediction, got 100"]
    assert not judged(pa.array([], pa.string()), pa.array([], pa.string()), min=0.1).passed


def test_a_drop_from_the_baseline() -> None:
    good = judged(RIGHT, wrong(12), wrong(10), baseline="before.csv", maxDrop=0.02)
    assert good.passed
    assert good.figures["baseline-accuracy"] == pytest.approx(0.9)
    (said,) = sentences(judged(RIGHT, wrong(13), wrong(10), baseline="before.csv", maxDrop=0.02))
    assert said.startswith("accuracy drop: expected at most 0.02 worse than before.csv, got 0.03 (95 % interval 0")
    label = np.arange(100.0)
    worse = judged(label, label + 3, label + 1, metric="mean-absolute-error", baseline="before.csv", maxDrop=1)
    assert worse.figures["drop"] == 2
    assert not worse.passed


def test_the_same_cases_are_compared_case_by_case() -> None:
    """Two versions with the same mistakes but one differ surely by little, however uncertain each is."""
    generator = np.random.default_rng(2)
    truth = generator.integers(0, 2, 1000)
    old = np.where(generator.random(1000) < 0.7, truth, 1 - truth)
    new = np.where(generator.random(1000) < 0.02, 1 - old, old)
    paired = judged(truth, new, old, metric="f1", baseline="before.csv", maxDrop=0.05)
    shuffled = generator.permutation(1000)
    accuracy = Accuracy.model_validate({"data": "now.csv", "metric": "f1", "baseline": "before.csv", "maxDrop": 0.05})
    unpaired = judge_accuracy(accuracy, table("now.csv", truth, new), table("b.csv", truth[shuffled], old[shuffled]))
    assert paired.figures["drop"] == pytest.approx(unpaired.figures["drop"])
    widths = [r.figures["drop-high"] - r.figures["drop-low"] for r in (paired, unpaired)]
    assert widths[0] < widths[1] / 3
