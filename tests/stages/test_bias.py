"""Bias: Newcombe's interval by his own examples, the rates by hand, and how groups are judged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.errors import GitopsError
from gitops.spec.validation_data import Bias
from gitops.stages.bias import Rate, differences, judge_bias, newcombe, rates
from gitops.stages.results import GateResult
from gitops.stages.tables import Table

rate = st.integers(1, 300).flatmap(lambda total: st.builds(Rate, st.integers(0, total), st.just(total)))


def judged(columns: dict[str, Any], **settings: Any) -> GateResult:
    bias = Bias.model_validate({"data": "rows.csv", "group": "region", "minGroup": 1, **settings})
    return judge_bias(bias, Table("rows.csv", pa.table(columns)))


def rows(*cells: tuple[str | None, int, int, int]) -> dict[str, Any]:
    """Columns of so many rows with a group, a label and a prediction."""
    many = [(group, label, prediction) for group, label, prediction, times in cells for _ in range(times)]
    group, label, prediction = zip(*many, strict=True)
    return {"region": pa.array(group, pa.string()), "label": list(label), "prediction": list(prediction)}


EVEN = rows(("north", 1, 1, 80), ("north", 0, 0, 20), ("south", 1, 1, 80), ("south", 0, 0, 20))
UNEVEN = rows(
    ("north", 1, 1, 90), ("north", 1, 0, 10), ("north", 0, 1, 40), ("north", 0, 0, 60),
    ("south", 1, 1, 60), ("south", 1, 0, 40), ("south", 0, 1, 10), ("south", 0, 0, 90),
)  # fmt: skip
"""True positive rates 0.9 and 0.6, false positive rates 0.4 and 0.1, positive 0.65 and 0.35, right 0.75 and 0.75."""


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        (Rate(56, 70), Rate(48, 80), 0.0524, 0.3339),
        (Rate(9, 10), Rate(3, 10), 0.1705, 0.8090),
        (Rate(10, 10), Rate(0, 20), 0.6791, 1.0),
        (Rate(0, 10), Rate(0, 20), -0.1611, 0.2775),
    ],
)
def test_newcombes_interval_by_his_examples(one: Rate, other: Rate, low: float, high: float) -> None:
    """Table II of the paper, method 10."""
    assert newcombe(one, other, 0.95)[1:] == pytest.approx((low, high), abs=5e-5)


@given(rate, rate)
def test_the_interval_holds_the_difference_and_turns_with_it(one: Rate, other: Rate) -> None:
    found, turned = newcombe(one, other, 0.95), newcombe(other, one, 0.95)
    assert -1 - 1e-9 <= found.low <= found.value <= found.high <= 1 + 1e-9
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))
    assert newcombe(one, other, 0.99).low <= found.low + 1e-12


def test_newcombes_interval_covers_the_truth() -> None:
    """Rates 0.3 and 0.2, 80 and 120 rows: at least 93 % of 2000 samples at nominal 95 %."""
    generator = np.random.default_rng(4)
    drawn = zip(generator.binomial(80, 0.3, 2000), generator.binomial(120, 0.2, 2000), strict=True)
    found = [newcombe(Rate(int(a), 80), Rate(int(b), 120), 0.95) for a, b in drawn]
    assert 0.93 <= np.mean([interval.low <= 0.1 <= interval.high for interval in found]) <= 0.975


def test_the_intervals_of_many_groups_hold_together() -> None:
    """Five equal groups: with ten pairs, the widest difference is surely above 0 in at most about 5 % of samples."""
    generator = np.random.default_rng(6)
    drawn = generator.binomial(200, 0.3, (500, 5))
    wrong = sum(
        any(pair.difference.low > 0 for pair in differences({str(i): Rate(int(n), 200) for i, n in enumerate(d)}, 0.95))
        for d in drawn
    )
    assert wrong <= 40


def test_rates_are_counted_by_group() -> None:
    group = np.array([0, 0, 1, 1, 1])
    counted, among = np.array([1, 0, 1, 1, 0], dtype=bool), np.array([1, 1, 1, 0, 1], dtype=bool)
    assert rates(group, 3, counted, among) == [Rate(1, 2), Rate(1, 2), Rate(0, 0)]


def test_groups_that_are_treated_alike_pass() -> None:
    limits = {"demographicParity": 0, "equalOpportunity": 0, "falsePositiveRate": 0, "accuracy": 0}
    result = judged(EVEN, maxDifference=limits)
    assert result.passed
    assert [check.name for check in result.checks] == [
        "demographic-parity",
        "equal-opportunity",
        "false-positive-rate",
        "accuracy",
    ]


def test_each_difference_is_measured_and_told() -> None:
    limits = {"demographicParity": 0.3, "equalOpportunity": 0.2, "falsePositiveRate": 0.1, "accuracy": 0.05}
    result = judged(UNEVEN, maxDifference=limits)
    figures = {name: result.figures[f"{name}-difference"] for name in (check.name for check in result.checks)}
    assert figures == pytest.approx(
        {"demographic-parity": 0.3, "equal-opportunity": 0.3, "false-positive-rate": 0.3, "accuracy": 0}
    )
    assert result.figures["equal-opportunity-south"] == 0.6
    assert [check.sentence for check in result.failed] == [
        "equal-opportunity: expected difference at most 0.2, got 0.3 (95 % interval 0.1828 to 0.4077):"
        " north 90/100, south 60/100",
        "false-positive-rate: expected difference at most 0.1, got 0.3 (95 % interval 0.1828 to 0.4077):"
        " north 40/100, south 10/100",
    ]


def test_the_measures_are_fairlearns_by_definition() -> None:
    """The difference between the greatest and the least rate of all groups."""
    three = rows(("a", 1, 1, 9), ("a", 1, 0, 1), ("b", 1, 1, 5), ("b", 1, 0, 5), ("c", 1, 1, 7), ("c", 1, 0, 3))
    result = judged(three, maxDifference={"equalOpportunity": 1}, positive=1)
    assert result.figures["equal-opportunity-difference"] == pytest.approx(0.4)


def test_the_rule_decides_what_counts() -> None:
    rules = ("estimate", "surely", "possibly")
    strict = [judged(UNEVEN, maxDifference={"equalOpportunity": 0.25}, failWhen=rule).passed for rule in rules]
    loose = [judged(UNEVEN, maxDifference={"equalOpportunity": 0.35}, failWhen=rule).passed for rule in rules]
    assert strict == [False, True, False]
    assert loose == [True, True, False]


def test_small_groups_are_named_and_not_judged() -> None:
    columns = rows(("north", 1, 1, 100), ("south", 1, 1, 100), ("island", 1, 0, 12))
    limits = {"demographicParity": 0.1}
    result = judged(columns, maxDifference=limits, minGroup=50)
    assert result.passed
    assert result.note == "rows.csv by region; fewer than 50 rows, not judged: demographic-parity of island (12)"
    assert "demographic-parity-island" not in result.figures
    failed = judged(columns, maxDifference=limits, minGroup=50, smallGroups="fail").failed
    assert [check.sentence for check in failed] == ["demographic-parity of island: expected at least 50 rows, got 12"]
    assert not judged(columns, maxDifference=limits, minGroup=10).passed


def test_one_group_is_nothing_to_compare() -> None:
    columns = rows(("north", 1, 1, 100), ("south", 1, 1, 10))
    (check,) = judged(columns, maxDifference={"demographicParity": 0.1}, minGroup=50).failed
    assert check.sentence == "demographic-parity: expected at least two groups of 50 rows, got 1"


def test_a_rate_needs_rows_of_its_own() -> None:
    """A large group with few positives has no true positive rate that could be judged."""
    columns = rows(("north", 1, 1, 60), ("north", 0, 0, 60), ("south", 1, 0, 5), ("south", 0, 0, 200))
    result = judged(columns, maxDifference={"equalOpportunity": 0.1, "falsePositiveRate": 0.1}, minGroup=50)
    assert [(check.name, check.passed) for check in result.checks] == [
        ("equal-opportunity", False),
        ("false-positive-rate", True),
    ]


def test_rows_without_a_group_are_one() -> None:
    columns = rows(("north", 1, 1, 100), (None, 1, 0, 100))
    (check,) = judged(columns, maxDifference={"demographicParity": 0.1}, positive=1).failed
    assert "north 100/100, without a group 0/100" in check.got


def test_demographic_parity_needs_no_labels() -> None:
    columns = {name: column for name, column in UNEVEN.items() if name != "label"}
    result = judged(columns, maxDifference={"demographicParity": 0.3})
    assert result.passed
    assert not any(name.startswith("accuracy") for name in result.figures)


def test_several_classes_have_one_that_is_positive() -> None:
    columns = {"region": ["n"] * 3 + ["s"] * 3, "label": list("abcabc"), "prediction": list("abcabb")}
    limits = {"equalOpportunity": 0.1, "accuracy": 0.1}
    result = judged(columns, maxDifference=limits, positive="a")
    assert result.figures["equal-opportunity-difference"] == 0
    assert result.figures["accuracy-difference"] == pytest.approx(1 / 3), "of the classes themselves"
    with pytest.raises(GitopsError, match="which of a, b and c is positive is not said"):
        judged(columns, maxDifference=limits)


def test_missing_predictions_fail_and_missing_labels_are_left_out() -> None:
    columns = {**rows(("n", 1, 1, 50), ("s", 1, 1, 50), ("s", 0, 0, 1))}
    columns["prediction"][0] = None
    columns["label"][99] = None
    result = judged(columns, maxDifference={"equalOpportunity": 0.1})
    assert [check.sentence for check in result.failed] == ["predictions: expected one in every row, got 1 missing"]
    assert result.figures["rows-left-out"] == 2


def test_an_identifier_is_no_group() -> None:
    columns = {"region": [str(i) for i in range(101)], "prediction": [0, 1] * 50 + [1]}
    with pytest.raises(GitopsError, match="column region has 101 groups, at most 100 are compared"):
        judged(columns, maxDifference={"demographicParity": 0.1})
