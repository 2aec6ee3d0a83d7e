"""Checks of rollout policies by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from gitops.spec.catalog import METRICS, Metric
from gitops.spec.documents import Finding
from gitops.spec.draft import Draft
from gitops.spec.fields import Threshold, format_threshold
from gitops.spec.pipeline import Canary, Gate, Rollout
from gitops.spec.problems import Path

_UNIT_FORMS = {"s": "a time such as 800ms or 2s", "%": 'a percentage such as "1%"', "": "a plain number such as 40"}


def rollouts(draft: Draft) -> Iterator[Finding]:
    """Steps go up to 100 %, and every gate has limits that make sense."""
    for name, rollout in draft.pipeline.rollouts.items():
        top: Path = ("rollouts", name)
        if isinstance(rollout, Canary):
            yield from _steps(top, rollout)
        yield from _gates(top, rollout)


def _steps(top: Path, rollout: Canary) -> Iterator[Finding]:
    before = 0
    for index, step in enumerate(rollout.steps):
        if step.weight <= before:
            message = f"{step.weight} does not come after {before}"
            yield Finding((*top, "steps", index, "weight"), message, "weights go up from step to step")
        before = step.weight
    if before != 100:
        message = f"the last step has weight {before}, not 100"
        yield Finding((*top, "steps", len(rollout.steps) - 1, "weight"), message, "add {weight: 100}")


def _gates(top: Path, rollout: Rollout) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for index, gate in enumerate(rollout.gates):
        place = (*top, "gates", index)
        if gate.metric in first:
            message = f"there is a gate on {gate.metric} already"
            yield Finding((*place, "metric"), message, "join the two")
        first.setdefault(gate.metric, index)
        yield from _gate(place, gate)


def _gate(place: Path, gate: Gate) -> Iterator[Finding]:
    metric = METRICS[gate.metric]
    limits: tuple[tuple[Literal["pause", "rollback"], Threshold | None], ...] = (
        ("pause", gate.pause),
        ("rollback", gate.rollback),
    )
    wrong = False
    for name, limit in limits:
        if limit and (said := _limit(gate.metric, metric, limit)):
            wrong = True
            yield Finding((*place, name), *said)
    if not gate.pause and not gate.rollback:
        yield Finding(place, "the gate has no limit", "give it `pause`, `rollback` or both")
    elif gate.pause and gate.rollback and not wrong and not _is_milder(metric, gate.pause, gate.rollback):
        pause, rollback = format_threshold(gate.pause), format_threshold(gate.rollback)
        message = f"pausing at {pause} is not milder than rolling back at {rollback}"
        worse = "higher" if metric.worse == "higher" else "lower"
        yield Finding((*place, "pause"), message, f"{worse} is worse for {gate.metric}; pause has to come first")


def _limit(name: str, metric: Metric, limit: Threshold) -> tuple[str, str] | None:
    """What is wrong with one limit by itself."""
    shown = format_threshold(limit)
    if not limit.relative:
        if limit.unit == metric.unit:
            return None
        return f"{shown} does not fit {name}", f'write {_UNIT_FORMS[metric.unit]}, or "1.1x stable"'
    if metric.worse == "higher" and limit.value <= 1:
        return f"{shown} would stop a version that is as good as stable", "use a factor above 1"
    if metric.worse == "lower" and limit.value >= 1:
        return f"{shown} would stop a version that is as good as stable", "use a factor below 1"
    return None


def _is_milder(metric: Metric, pause: Threshold, rollback: Threshold) -> bool:
    if pause.relative != rollback.relative:
        return True
    return pause.value < rollback.value if metric.worse == "higher" else pause.value > rollback.value
