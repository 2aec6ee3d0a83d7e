"""Whether two models give the same numbers: which output differs, where, and how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gitops.stages.build.task import tool
from gitops.stages.results import Check, GateResult


def compare(
    names: Sequence[str],
    original: Sequence[Any],
    converted: Sequence[Any],
    tolerance: Mapping[str, float],
    same_class: bool = False,
) -> GateResult:
    """The gate `conversion`: every value within absolute + relative x |original| (numpy.allclose's rule).

    NaN agrees with NaN alone, infinity with the same infinity. With `same_class` the largest of the first output,
    along its last axis, has to be at the same place in every row.
    """
    checks = [
        check
        for name, before, after in zip(names, original, converted, strict=True)
        for check in _output(name, before, after, tolerance)
    ]
    figures = {
        f"max-difference-{name}": _furthest(*pair) for name, *pair in zip(names, original, converted, strict=True)
    }
    if same_class and original[0].shape == converted[0].shape:
        checks.append(_classes(names[0], original[0], converted[0]))
    return GateResult("conversion", tuple(checks), figures)


def _output(name: str, before: Any, after: Any, tolerance: Mapping[str, float]) -> Sequence[Check]:
    np = tool("numpy")
    if before.shape != after.shape:
        return [Check(f"output {name}", False, f"the shape {list(before.shape)}", str(list(after.shape)))]
    if before.dtype.kind in "bOUS":
        before, after = before.astype("int8"), after.astype("int8")
    before, after = before.astype("float64"), after.astype("float64")
    close = np.isclose(after, before, rtol=tolerance["relative"], atol=tolerance["absolute"], equal_nan=True)
    if close.all():
        return [Check(f"output {name}", True)]
    with np.errstate(invalid="ignore"):  # infinity less infinity
        distance = np.where(close, -1.0, np.nan_to_num(np.abs(after - before), nan=np.inf))
    worst = np.unravel_index(int(distance.argmax()), distance.shape)
    place = f"[{', '.join(map(str, worst))}]"
    allowed = tolerance["absolute"] + tolerance["relative"] * abs(before[worst])
    expected = f"{before[worst]:.7g} at {place} within {allowed:.3g}"
    share = f"{int((~close).sum())} of {close.size} values are off"
    return [Check(f"output {name}", False, expected, f"{after[worst]:.7g} ({share})")]


def _furthest(before: Any, after: Any) -> float:
    """The largest difference; -1 where they cannot be compared."""
    np = tool("numpy")
    if before.shape != after.shape or before.dtype.kind in "OUS" or not before.size:
        return -1.0
    with np.errstate(invalid="ignore"):
        distance = np.abs(after.astype("float64") - before.astype("float64"))
    return float(np.nan_to_num(distance, nan=0.0, posinf=np.finfo("float64").max).max())


def _classes(name: str, before: Any, after: Any) -> Check:
    np = tool("numpy")
    ours, theirs = before.argmax(-1).ravel(), after.argmax(-1).ravel()
    wrong = np.flatnonzero(ours != theirs)
    if not wrong.size:
        return Check(f"class by {name}", True)
    row = int(wrong[0])
    return Check(
        f"class by {name}",
        False,
        f"{ours[row]} for sample {row}",
        f"{theirs[row]} ({wrong.size} of {ours.size} differ)",
    )
