"""Drift: the measures against their definitions and scipy, what the gate finds, and how often it is wrong by chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.spatial.distance import jensenshannon

from gitops.errors import GitopsError
from gitops.spec.validation_data import Drift
from gitops.stages.drift import (
    benjamini_hochberg,
    count_categories,
    count_numbers,
    edges_of,
    jensen_shannon,
    judge_drift,
    kolmogorov_smirnov,
    psi,
)
from gitops.stages.results import GateResult
from gitops.stages.tables import Categories, Table

counts = arrays(np.int64, 8, elements=st.integers(0, 10_000)).filter(lambda a: a.sum() > 0)
samples = arrays(
    np.float64, st.integers(1, 60), elements=st.one_of(st.floats(-1e6, 1e6), st.just(math.nan), st.just(0.0))
)


def table(where: str = "current", **columns: Any) -> Table:
    return Table(where, pa.table(columns))


def judged(reference: dict[str, Any], current: dict[str, Any], **settings: Any) -> GateResult:
    drift = Drift.model_validate({"reference": "r.csv", "current": "c.csv", "minRows": 1, **settings})
    return judge_drift(drift, table("r.csv", **reference), table("c.csv", **current))


def sentences(result: GateResult) -> list[str]:
    return [check.sentence for check in result.failed]


def normal(seed: int, rows: int = 2000, mean: float = 0.0) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(seed).normal(mean, 1, rows)


# --- measures ---


@given(counts, counts)
def test_the_indices_are_symmetric_and_zero_only_for_equal_shares(p: np.ndarray, q: np.ndarray) -> None:
    assert psi(p, p) == 0
    assert psi(p, p * 3) == pytest.approx(0, abs=1e-12)
    assert jensen_shannon(p, p) == 0
    assert psi(p, q) == pytest.approx(psi(q, p), abs=1e-12)
    assert jensen_shannon(p, q) == pytest.approx(jensen_shannon(q, p), abs=1e-9)
    assert psi(p, q) >= 0
    assert 0 <= jensen_shannon(p, q) <= 1


@given(counts, counts)
def test_the_distance_is_scipys(p: np.ndarray, q: np.ndarray) -> None:
    expected = jensenshannon(p, q, base=2)
    # scipy takes the root of a tiny negative sum as NaN where the two are nearly alike
    assert jensen_shannon(p, q) == pytest.approx(0 if math.isnan(expected) else expected, abs=1e-7)


def test_the_index_by_hand() -> None:
    shared = (0.4 - 0.5) * math.log(0.4 / 0.5) * 2
    before, now = np.array([50, 50, 0]), np.array([40, 40, 20])
    assert psi(before, now) == pytest.approx(shared + (0.2 - 0.005) * math.log(0.2 / 0.005)), "half of one in 100 rows"
    assert psi(before * 1000, now * 1000) == pytest.approx(shared + (0.2 - 1e-4) * math.log(0.2 / 1e-4))
    assert jensen_shannon(np.array([1, 0]), np.array([0, 1])) == 1
    assert math.isnan(psi(np.array([0, 0]), np.array([1, 1])))
    assert math.isnan(jensen_shannon(np.array([0, 0]), np.array([1, 1])))


def test_the_index_without_drift_is_what_chance_gives() -> None:
    """About (bins - 1) (1/n + 1/m): the source that the docstring names, here by simulation of fixed bins."""
    generator = np.random.default_rng(1)
    drawn = generator.multinomial(1000, np.full(10, 0.1), size=(400, 2))
    found = np.mean([psi(one, other) for one, other in drawn])
    assert found == pytest.approx(9 * 2 / 1000, rel=0.1)


@given(samples, samples)
def test_every_value_is_in_one_bin(reference: np.ndarray, current: np.ndarray) -> None:
    binned = count_numbers(reference, current, 10)
    assert binned.reference.sum() == reference.size
    assert binned.current.sum() == current.size
    assert len(binned.names) == binned.reference.size == binned.current.size
    assert binned.reference[-1] == np.isnan(reference).sum()


def test_bins_hold_equal_shares_of_the_reference() -> None:
    reference = normal(1, 10_000)
    binned = count_numbers(reference, reference, 10)
    inside = binned.reference[1:-2]
    assert binned.reference[0] == binned.reference[-2] == 0, "nothing lies outside of its own range"
    assert inside.size == 10
    assert np.abs(inside - 1000).max() <= 1


def test_a_value_that_fills_a_bin_is_one() -> None:
    """Zeros are told from numbers beside them, and so are the values of a column with few."""
    many_zeros = np.concatenate([np.zeros(800), np.linspace(1, 2, 200)])
    binned = count_numbers(many_zeros, np.concatenate([np.full(800, -0.001), np.linspace(1, 2, 200)]), 10)
    at = binned.names.index("at 0")
    assert (binned.reference[at], binned.current[at]) == (800, 0)
    grades = np.repeat([1.0, 2.0, 3.0], 100)
    names = count_numbers(grades, grades, 10).names
    assert [name for name in names if name.startswith("at")] == ["at 1", "at 2", "at 3"]
    assert edges_of(np.array([math.nan]), 10).size == 0


def test_common_categories_have_bins_and_rare_ones_share_one() -> None:
    labels = tuple(f"c{i}" for i in range(30))
    reference = Categories(np.repeat(np.arange(30), np.arange(30, 0, -1)), labels)
    current = Categories(np.array([0, 1, -1, 2]), ("c29", "brand new", "c0"))
    binned = count_categories(reference, current)
    named = dict(zip(binned.names, zip(binned.reference, binned.current, strict=True), strict=True))
    assert len(named) == 22
    assert named["c0"] == (30, 1)
    assert named["rare or new categories"] == (sum(range(1, 11)), 2)
    assert named["missing"] == (0, 1)
    back = count_categories(current, reference)
    assert dict(zip(back.names, back.current, strict=True)) == {
        "c29": 1,
        "brand new": 0,
        "c0": 30,
        "new categories": sum(range(2, 30)),
        "missing": 0,
    }


@settings(max_examples=50)
@given(samples, samples)
@example(np.zeros(5), np.array([1.0, 0, 0, 0, 0]))
def test_kolmogorov_smirnov_against_its_definition(one: np.ndarray, other: np.ndarray) -> None:
    distance, p = kolmogorov_smirnov(one, other)
    x, y = one[~np.isnan(one)], other[~np.isnan(other)]
    if not x.size or not y.size:
        assert math.isnan(distance)
        return
    points = np.concatenate([x, y])
    apart = [abs((x <= t).mean() - (y <= t).mean()) for t in points]
    assert distance == pytest.approx(max(apart))
    assert 0 <= p <= 1


@given(st.lists(st.floats(0, 1), max_size=30))
def test_the_correction_is_scipys(p_values: Sequence[float]) -> None:
    expected = stats.false_discovery_control(p_values) if p_values else []
    np.testing.assert_allclose(benjamini_hochberg(p_values), expected, atol=1e-15)


# --- the gate ---


def test_identical_samples_have_no_drift() -> None:
    columns = {"age": normal(1), "country": ["DE", "FR"] * 1000, "member": [True, None] * 1000}
    result = judged(columns, columns, ks={}, maxJensenShannon=0.1)
    assert result.passed
    assert [check.name for check in result.checks] == ["age", "age", "country", "country", "member", "member", "age"]
    assert {result.figures[f"psi-{name}"] for name in columns} == {0.0}


def test_a_shifted_sample_is_found_by_every_measure() -> None:
    result = judged({"x": normal(1)}, {"x": normal(2, mean=1)}, ks={}, maxJensenShannon=0.1)
    assert len(result.failed) == len(result.checks) == 3
    assert result.figures["psi-x"] == pytest.approx(1.0, abs=0.3), (
        "of normals one deviation apart Jeffreys' divergence is 1"
    )
    # The distance of the distribution functions is 2 Phi(1/2) - 1 = 0.383.
    assert result.figures["ks-x"] == pytest.approx(0.383, abs=0.03)
    assert sentences(result)[-1].startswith("x: expected KS distance at most 0.1 or insignificant at 0.01, got 0.3")


def test_values_beyond_what_was_seen_are_named() -> None:
    reference = np.linspace(18, 80, 1000)
    current = np.concatenate([np.linspace(18, 80, 880), np.linspace(81, 99, 120)])
    (said,) = sentences(judged({"age": reference}, {"age": current}))
    assert said == "age: expected PSI at most 0.2, got 0.67 (new: 12 % above 80)"


def test_new_categories_and_missing_values_are_named() -> None:
    reference = {"country": ["DE"] * 900 + ["FR"] * 100, "income": [1.0, 2.0] * 500}
    current = {"country": ["DE"] * 500 + ["PL"] * 500, "income": [1.0, None] * 500}
    said = sentences(judged(reference, current))
    assert said[0].startswith("country: expected PSI at most 0.2, got ")
    assert said[0].endswith("(new: 50 % new categories)")
    assert said[1].endswith("(new: 50 % missing)")


def test_a_share_that_moved_is_named() -> None:
    (said,) = sentences(judged({"c": ["a"] * 900 + ["b"] * 100}, {"c": ["a"] * 500 + ["b"] * 500}))
    assert said.endswith("(10 % b, now 50 %)")


@pytest.mark.parametrize("constant", [5.0, 0.0, -1e300])
def test_a_constant_column(constant: float) -> None:
    same = {"x": np.full(1000, constant)}
    assert judged(same, same, ks={}).passed
    changed = judged(same, {"x": np.full(1000, np.nextafter(constant, 1e301))}, ks={})
    assert len(changed.failed) == 2


def test_an_empty_column_is_nothing_new_but_one_that_emptied_is() -> None:
    void, full = pa.nulls(1000), np.arange(1000.0)
    assert judged({"x": void}, {"x": void}, ks={}).passed
    assert not judged({"x": full}, {"x": void}, ks={}).passed
    assert not judged({"x": void}, {"x": full}, ks={}).passed
    assert not judged({"x": ["a", "b"] * 500}, {"x": void}).passed


def test_an_empty_window_is_no_pass() -> None:
    result = judged({"x": normal(1)}, {"x": np.empty(0)}, minRows=500)
    assert sentences(result) == ["rows of c.csv: expected at least 500, got 0"]
    assert result.figures["rows-current"] == 0


def test_a_column_that_is_gone_or_another_kind_fails() -> None:
    said = sentences(judged({"x": normal(1), "y": normal(1)}, {"y": ["a"] * 2000}, ks={}))
    assert said == [
        "x: expected a column as in the reference, got none",
        "y: expected numbers as in the reference, got string",
    ]


def test_what_cannot_be_compared_is_said() -> None:
    columns = {
        "id": [f"u{i}" for i in range(1000)],
        "when": pa.array(range(1000), pa.timestamp("s")),
        "x": normal(1, 1000),
    }
    result = judged(columns, columns)
    assert result.passed
    assert (
        result.note == "c.csv against r.csv; not compared: id (nearly every value is another) and when (timestamp[s])"
    )
    assert [check.name for check in judged(columns, columns, features=["id"]).checks] == ["id"], (
        "named ones are compared"
    )
    with pytest.raises(GitopsError, match="column when holds timestamp"):
        judged(columns, columns, features=["when"])
    with pytest.raises(GitopsError, match="no column to compare"):
        judged({"id": columns["id"]}, columns)


def test_features_predictions_and_limits_of_their_own() -> None:
    reference = {"x": normal(1), "y": normal(2), "score": normal(3)}
    current = {"x": normal(4, mean=0.6), "y": normal(5, mean=0.6), "score": normal(6, mean=0.6)}
    result = judged(reference, current, features=["x"], predictions="score", perFeature={"x": {"maxPsi": 0.9}})
    assert [(check.name, check.passed) for check in result.checks] == [("x", True), ("score", False)]


def test_a_significant_difference_that_is_too_small_to_matter_passes() -> None:
    result = judged({"x": normal(1, 100_000)}, {"x": normal(2, 100_000, mean=0.1)}, ks={})
    assert result.figures["ks-p-x"] < 1e-10
    assert result.passed


def test_false_alarms_of_the_test_are_bounded() -> None:
    """Without drift and without a least distance, some of 20 features are reported in at most about 5 % of windows."""
    alarms, windows = 0, 200
    for seed in range(windows):
        generator = np.random.default_rng(seed)
        names = [f"f{i}" for i in range(20)]
        reference, current = ({name: generator.normal(size=100) for name in names} for _ in range(2))
        found = [kolmogorov_smirnov(reference[name], current[name])[1] for name in names]
        alarms += bool((benjamini_hochberg(found) <= 0.05).any())
    # With the true rate 5 %, more than 19 of 200 come by chance once in 300 such tests; the seeds are fixed.
    assert alarms <= 19
    assert sum(p <= 0.05 for p in found) <= 20


def test_false_alarms_of_the_whole_gate_at_its_least_number_of_rows() -> None:
    """500 rows, six shapes, default limits: the index gives no alarm in 60 windows, the test few."""
    alarms: list[str] = []
    names = ["DE", "FR", "PL", "IT", "ES"]
    for seed in range(60):
        generator = np.random.default_rng(seed)
        both: list[dict[str, Any]] = [
            {
                "normal": generator.normal(size=500),
                "heavy": generator.standard_cauchy(size=500),
                "zeros": generator.normal(size=500) * (generator.random(500) < 0.3),
                "whole": generator.poisson(4, size=500),
                "country": generator.choice(names, size=500, p=[0.6, 0.2, 0.15, 0.04, 0.01]).tolist(),
                "long-tail": [f"c{c}" for c in generator.zipf(1.6, size=500)],
            }
            for _ in range(2)
        ]
        result = judged(both[0], both[1], ks={}, minRows=500)
        alarms += sentences(result)
    assert [alarm for alarm in alarms if "PSI" in alarm] == []
    assert len(alarms) <= 2
