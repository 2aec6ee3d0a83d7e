import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.stages.histogram import RELATIVE_ERROR, Histogram

TIMES = st.floats(min_value=1e-9, max_value=1e9)
SHARES = st.sampled_from([0.0, 0.07, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0]) | st.floats(0, 1)


def exact(values: list[float], share: float) -> float:
    """The nearest rank."""
    return sorted(values)[max(math.ceil(share * len(values) - 1e-9), 1) - 1]


@given(st.lists(TIMES, min_size=1, max_size=300), SHARES)
def test_quantiles_are_within_the_bound_of_the_exact_ones(values: list[float], share: float) -> None:
    wanted = exact(values, share)
    assert abs(Histogram(values).quantile(share) - wanted) <= RELATIVE_ERROR * wanted * (1 + 1e-9)


@given(st.lists(TIMES, max_size=50), st.lists(TIMES, max_size=50))
def test_merging_is_recording_both(one: list[float], other: list[float]) -> None:
    merged, both = Histogram(one), Histogram(one + other)
    merged.merge(Histogram(other))
    assert (merged.count, merged.lowest, merged.highest) == (both.count, both.lowest, both.highest)
    assert merged.total == pytest.approx(both.total)
    for share in (0.0, 0.5, 0.9, 0.99, 1.0):
        assert merged.quantile(share) == both.quantile(share)


@given(TIMES, st.integers(1, 1000))
def test_a_value_can_be_counted_often(value: float, times: int) -> None:
    found = Histogram()
    found.record(value, times)
    assert found.count == times
    assert found.mean == pytest.approx(value)
    assert found.quantile(0.5) == value


def test_what_has_no_place() -> None:
    assert Histogram().quantile(0.99) == Histogram().mean == 0.0
    assert Histogram([0.0, -1.0]).quantile(1) == pytest.approx(1e-9)
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not a time"):
            Histogram([value])
    with pytest.raises(ValueError, match="no share"):
        Histogram([1.0]).quantile(1.1)
