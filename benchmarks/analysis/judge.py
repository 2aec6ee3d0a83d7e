"""Plays a scenario, asks every rule, and counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np

from benchmarks.analysis import ours, peers
from benchmarks.analysis.world import Array, Hits, World, play, value
from gitops.rollout.statistics import Comparing

OURS = "ours"
RULES = (
    OURS,
    "ours, nothing tolerated (margin 0)",
    "ours, stable's noise unknown",
    "fixed 1.25x, 5 fail (Flagger)",
    "fixed 1.25x, failureLimit 0 (Argo)",
    "fixed, 5 fail, set in hindsight",
    "Mann-Whitney once (look 60)",
    "Mann-Whitney, every window (PipeCD)",
    "Kayenta (look 50)",
)


@dataclass(frozen=True)
class Result:
    """One rule in one scenario. Shares of runs; `delay` is the median of looks from the onset, of the runs found.

    `wrong` counts rollbacks without a fault or before its onset, `found` those after it.
    """

    scenario: str
    rule: str
    wrong: float
    found: float
    delay: float | None


def judge(world: World) -> list[Result]:
    """Every rule on all runs of one scenario."""
    return [_count(world, rule, hits) for rule, hits in zip(RULES, verdicts(world), strict=True)]


def verdicts(world: World) -> list[Hits]:
    """(runs, looks) for each of `RULES`."""
    scenario = world.scenario
    candidate, stable, history = (value(arm, scenario) for arm in (world.candidate, world.stable, world.history))
    limit = _limit(world, history)
    null = play(replace(scenario, fault=lambda look: 0.0 * look), len(candidate), seed_of(scenario.name) + 1)
    factor = peers.hindsight(value(null.candidate, scenario), _limit(null, value(null.history, scenario)), 5)
    return [
        ours.hits(world, Comparing()),
        ours.hits(world, Comparing(margin=0)),
        ours.hits(world, Comparing(), history=0),
        peers.fixed(candidate, 1.25 * limit, peers.FLAGGER_FAILURES),
        peers.fixed(candidate, 1.25 * limit, 1),
        peers.fixed(candidate, factor * limit, peers.FLAGGER_FAILURES),
        peers.once(candidate, stable),
        peers.every_window(candidate, stable),
        peers.kayenta(candidate, stable),
    ]


def seed_of(name: str) -> int:
    """The same for the same scenario, whatever else is played."""
    return crc32(name.encode()) & 0xFFFFFF


def _limit(world: World, history: Array) -> Array:
    """What a fixed limit is a multiple of: stable's mean p99 of the hour before.

    For errors so that 1.25 times it is 1 %, Flagger's default, or twice stable's rate where that is more.
    """
    if world.scenario.errors:
        return np.full(len(history), max(0.01, 2 * world.scenario.errors) / 1.25)
    return np.asarray(np.nanmean(history, axis=1))


def _count(world: World, rule: str, hits: Hits) -> Result:
    scenario = world.scenario
    first = np.where(hits.any(1), hits.argmax(1), hits.shape[1])
    early = hits.any(1) & (scenario.wrong | (first < scenario.onset))
    found = hits.any(1) & ~early
    delay = float(np.median(first[found] - scenario.onset + 1)) if found.any() else None
    return Result(scenario.name, rule, float(early.mean()), float(found.mean()), delay)
