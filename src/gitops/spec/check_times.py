"""Checks of times that contradict each other: deadlines in which what has to happen cannot happen."""

from __future__ import annotations

from collections.abc import Iterator

from gitops.spec.documents import Finding
from gitops.spec.draft import Draft
from gitops.spec.fields import format_duration
from gitops.spec.problems import Path
from gitops.spec.rollouts import NODE_TIME, Rollout
from gitops.values import UnitKey

_SCRAPES = 2
"""An increase needs two scrapes: before the second nothing can be known."""


def times(draft: Draft) -> Iterator[Finding]:
    """No deadline of a policy ends before what it waits for can have happened, wherever the policy is used."""
    for name, rollout in draft.pipeline.rollouts.items():
        users = [unit for unit, model in draft.models.items() if model.rollout == name]
        yield from _ready(draft, name, rollout, users)
        yield from _room(name, rollout)
        yield from _data(draft, name, rollout, users)


def _ready(draft: Draft, name: str, rollout: Rollout, users: list[UnitKey]) -> Iterator[Finding]:
    slowest = max(users, key=lambda unit: draft.models[unit].serve.load_time, default=None)
    if slowest is None or rollout.ready_timeout is None:
        return
    load = draft.models[slowest].serve.load_time
    if rollout.ready_timeout < load:
        given, takes = format_duration(rollout.ready_timeout), format_duration(load)
        message = f"after {given} a rollout gives up, and {slowest} may load for {takes} (`loadTime`)"
        hint = f"remove it, or write {format_duration(load + NODE_TIME)}, which leaves time for a node and its image"
        yield Finding(("rollouts", name, "readyTimeout"), message, hint)


def _room(name: str, rollout: Rollout) -> Iterator[Finding]:
    if rollout.capacity_timeout < rollout.drain:
        given, drain = format_duration(rollout.capacity_timeout), format_duration(rollout.drain)
        message = f"after {given} a rollout gives up, and the version before may hold its place for {drain} (`drain`)"
        yield Finding(("rollouts", name, "capacityTimeout"), message, f"write {drain} or more, or lower `drain`")


def _data(draft: Draft, name: str, rollout: Rollout, users: list[UnitKey]) -> Iterator[Finding]:
    """Of policies with gates, by the slowest scraping of the environments that use them."""
    if not rollout.gates:
        return
    intervals = {
        unit.environment: monitoring.interval
        for unit in users
        if unit.environment not in draft.damaged and (monitoring := draft.environments[unit.environment].monitoring)
    }
    slowest = max(intervals, key=lambda environment: intervals[environment], default=None)
    if slowest is None:
        return
    least = _SCRAPES * intervals[slowest]
    waits: list[tuple[Path, int, str]] = [
        (("noData", "after"), rollout.no_data.after, "a gate counts as without data"),
        (("tooFewSamples", "after"), rollout.too_few_samples.after, "a gate counts as without enough requests"),
    ]
    if rollout.after_pause_timeout == "roll-back":
        waits.append((("pauseTimeout",), rollout.pause_timeout, "a paused rollout rolls back"))
    for path, given, what in waits:
        if given < least:
            message = (
                f"after {format_duration(given)} {what}, and two scrapes in {slowest} take {format_duration(least)}"
            )
            yield Finding(("rollouts", name, *path), message, f"write {format_duration(least)} or more")
