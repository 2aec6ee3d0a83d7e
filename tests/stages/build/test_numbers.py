"""Comparison, pruning and random samples, by numpy alone."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from gitops.errors import GitopsError
from gitops.stages.build.compare import compare
from gitops.stages.build.prune import smallest_to_zero
from gitops.stages.build.samples import fitted, load_arrays, random_arrays

TOLERANCE = {"absolute": 1e-3, "relative": 0.1}
FINITE = st.floats(-1e6, 1e6, width=32)
SMALL = arrays("float32", array_shapes(max_dims=3, max_side=5), elements=FINITE)


@given(SMALL)
def test_a_model_agrees_with_itself(values: np.ndarray) -> None:
    gate = compare(["y"], [values], [values.copy()], {"absolute": 0.0, "relative": 0.0}, same_class=True)
    assert gate.passed
    assert gate.figures == {"max-difference-y": 0.0}


@given(SMALL, FINITE.filter(lambda shift: abs(shift) > 1e-2))
def test_the_rule_is_that_of_allclose(values: np.ndarray, shift: float) -> None:
    other = values.copy()
    other.flat[-1] += np.float32(shift)
    agrees = np.allclose(other.astype("float64"), values.astype("float64"), rtol=0.1, atol=1e-3)
    assert compare(["y"], [values], [other], TOLERANCE).passed == agrees


def test_the_worst_place_is_told_with_both_values() -> None:
    before = np.array([[1.0, 2.0], [3.0, 4.0]])
    after = np.array([[1.5, 2.0], [3.0, 14.0]])
    (check,) = compare(["scores"], [before], [after], TOLERANCE).checks
    assert check.sentence == "output scores: expected 4 at [1, 1] within 0.401, got 14 (2 of 4 values are off)"


@pytest.mark.parametrize("other", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_agrees_with_itself_alone(other: float) -> None:
    numbers, broken = np.array([1.0, 2.0]), np.array([1.0, other])
    assert compare(["y"], [broken], [broken], TOLERANCE).passed
    assert not compare(["y"], [numbers], [broken], TOLERANCE).passed
    assert not compare(["y"], [broken], [numbers], TOLERANCE).passed


def test_shapes_and_classes_are_compared() -> None:
    (check,) = compare(["y"], [np.zeros((2, 3))], [np.zeros((2, 4))], TOLERANCE).checks
    assert check.sentence == "output y: expected the shape [2, 3], got [2, 4]"
    before, after = np.array([[0.0, 0.0005]]), np.array([[0.0005, 0.0]])
    gate = compare(["y"], [before], [after], TOLERANCE, same_class=True)
    assert [check.passed for check in gate.checks] == [True, False]
    assert gate.checks[1].sentence == "class by y: expected 1 for sample 0, got 0 (1 of 1 differ)"


@given(st.lists(SMALL, min_size=1, max_size=4), st.floats(0.01, 0.99))
def test_pruning_takes_the_smallest_and_no_more(weights: list[np.ndarray], sparsity: float) -> None:
    pruned = smallest_to_zero(weights, sparsity)
    before = np.concatenate([weight.ravel() for weight in weights])
    after = np.concatenate([weight.ravel() for weight in pruned])
    gone = (after == 0) & (before != 0)
    total = int(sparsity * before.size + 1e-9)
    assert (after == 0).sum() >= total
    assert gone.sum() <= total
    assert np.array_equal(after[~gone], before[~gone])
    if gone.any():
        assert np.abs(before[gone]).max() <= np.abs(after[after != 0]).min(initial=np.inf)
    assert [weight.shape for weight in pruned] == [weight.shape for weight in weights]


def test_random_samples_come_from_the_seed() -> None:
    inputs: list[dict[str, Any]] = [
        {"name": "x", "dtype": "float32", "shape": ["batch", 2]},
        {"name": "token", "dtype": "int64", "shape": ["batch", "length"]},
        {"name": "mask", "dtype": "bool", "shape": [3]},
    ]
    one, same, other = (random_arrays(inputs, seed, 4, 7) for seed in (1, 1, 2))
    assert [(array.shape, str(array.dtype)) for array in one.values()] == [
        ((4, 2), "float32"),
        ((4, 4), "int64"),
        ((3,), "bool"),
    ]
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not np.array_equal(one["x"], other["x"])
    assert 0 <= one["token"].min() <= one["token"].max() < 7


def test_samples_from_files_have_to_fit(tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    np.savez(path, x=np.zeros((2, 3), "float64"), extra=np.zeros(1))
    inputs = [{"name": "x", "dtype": "float32", "shape": ["batch", 3]}]
    with pytest.raises(GitopsError, match="'x' is float64, the model takes float32"):
        fitted(load_arrays(path), inputs, "samples.npz")
    with pytest.raises(GitopsError, match=r"there is no array 'y' — it has extra, x"):
        fitted(load_arrays(path), [{**inputs[0], "name": "y"}], "")
    np.savez(path, x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(GitopsError, match="cannot be read"):  # a pickle in it is not loaded
        load_arrays(path)
