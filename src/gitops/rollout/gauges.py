"""The verdict of a gate whose looks are plain values: GPU memory, a queue's length, a query of the user's own.

Beyond an absolute limit or a multiple of stable, the mean over the window has to be, with evidence of -log(alpha) from
all looks since `Asked.begin` (`evidence.of_gauge`): one look counts for little, so that a spike is never enough, and a
value that lies within its noise of the limit is not beyond it. How noisy it is comes from stable's looks before the
step; where there are too few of them, three looks running have to be beyond an absolute limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from gitops.rollout import evidence
from gitops.rollout.queries import QUANTILES, TRAFFIC
from gitops.rollout.series import Look
from gitops.rollout.statistics import LEAST_HISTORY
from gitops.rollout.verdicts import Measured, Result, Verdict, beyond, verdict
from gitops.rollout.windows import Asked, Seen, first_of, measured, since, stable_before
from gitops.spec.fields import Threshold
from gitops.spec.pipeline import Gate

LEAST_POINTS = 3
"""Looks that a gauge needs, and that have to be beyond an absolute limit in a row where its noise is not known."""


def judged(gate: Gate, mine: Seen, theirs: Seen, asked: Asked) -> Result:
    """What the gate says, of looks that are values."""
    points, others, short = mine.points(asked), theirs.points(asked), asked.now - asked.begin
    if len(points) < LEAST_POINTS:
        said = f"{gate.key}: {len(points)} of the {LEAST_POINTS} looks that are needed"
        return Verdict(gate.key, "too few samples", said, short)
    first, enough = first_of(asked, LEAST_POINTS, points), -math.log(asked.alpha)
    base = stable_before(gate, theirs, asked) if asked.past else measured(gate, since(others, first))
    history = _finite(_values(theirs.before))

    def doubt(limit: Threshold) -> str:
        if limit.relative:
            return chance(_level(gate, limit.value, points, others, history, asked), enough)
        if len(history) >= LEAST_HISTORY:
            return chance(_above_limit(gate, limit.value, points, history, asked), enough)
        over = sum(beyond(gate, value, limit.value) for value in list(_values(points).values())[-LEAST_POINTS:])
        return "" if over == LEAST_POINTS else f"beyond it in {over} of the last {LEAST_POINTS} looks"

    def excuse(limit: Threshold) -> str:
        if limit.relative or asked.past or base.value is None:
            return ""
        if len(history) < LEAST_HISTORY:
            return shared(gate, limit, base) if beyond(gate, base.value, limit.value) else ""
        worse = _beside_stable(gate, points, others, history, asked) >= enough
        return "" if worse else shared(gate, limit, base)

    return verdict(gate, measured(gate, since(points, first)), base._replace(missing_for=short), None, doubt, excuse)


def chance(peak: float, enough: float) -> str:
    """Why so much evidence is not enough; empty when it is."""
    return "" if peak >= enough else f"may be chance (p = {min(1.0, math.exp(-peak)):.2g})"


def shared(gate: Gate, limit: Threshold, base: Measured) -> str:
    """What speaks for a candidate that is beyond an absolute limit, and not shown to be worse than stable."""
    if base.value is not None and beyond(gate, base.value, limit.value):
        return "stable is beyond it too"
    return "but not shown to be worse than stable"


def _above_limit(gate: Gate, limit: float, points: Sequence[Look], history: Sequence[float], asked: Asked) -> float:
    spread = evidence.Spread(0.0, _own_variance(gate, history, asked))
    pairs = [(value, limit) for value in _values(points).values()]
    return evidence.of_gauge(pairs, 1.0, spread, higher=gate.measure.worse == "higher")


def _beside_stable(
    gate: Gate, points: Sequence[Look], others: Sequence[Look], history: Sequence[float], asked: Asked
) -> float:
    """Evidence that it is worse than stable at all."""
    spread = evidence.Spread(evidence.variance_of(history), _own_variance(gate, history, asked))
    return evidence.of_gauge(_pairs(points, _values(others)), 1.0, spread, higher=gate.measure.worse == "higher")


def _own_variance(gate: Gate, history: Sequence[float], asked: Asked) -> float:
    return evidence.variance_of(history) * max(1.0, _fewer(gate, asked))


def _level(
    gate: Gate, factor: float, points: Sequence[Look], others: Sequence[Look], history: Sequence[float], asked: Asked
) -> float:
    stable = _values(others)
    known = history or _finite(stable)
    if not known:
        return 0.0
    level = sum(known) / len(known)
    if asked.past:
        stable = dict.fromkeys((look.end for look in points), level)
    spread = evidence.spread_before(history, level, _fewer(gate, asked))
    return evidence.of_gauge(_pairs(points, stable), factor, spread, higher=gate.measure.worse == "higher")


def _pairs(points: Sequence[Look], stable: Mapping[int, float]) -> list[tuple[float, float]]:
    return [(value, stable[end]) for end, value in _values(points).items() if end in stable]


def _fewer(gate: Gate, asked: Asked) -> float:
    """How many times fewer requests the candidate's value is made of than stable's; 1 where it is not of requests."""
    if gate.metric not in QUANTILES and gate.metric not in TRAFFIC:
        return 1.0
    return (asked.before_weight if asked.past else asked.stable_weight) / max(asked.weight, 1e-9)


def _values(looks: Sequence[Look]) -> dict[int, float]:
    return {look.end: look.datum for look in looks if isinstance(look.datum, float)}


def _finite(values: Mapping[int, float]) -> list[float]:
    return [value for value in values.values() if math.isfinite(value)]
