"""Our rule over many runs at once: the arithmetic of gitops.rollout.statistics on arrays.

A test holds it against the real one, look by look.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from benchmarks.analysis.world import HISTORY, LOOKS, Arm, Array, Hits, World
from gitops.rollout.statistics import (
    ALTERNATIVES,
    CAUTION,
    PRIOR_LOOKS,
    SHARED,
    UNKNOWN_NOISE,
    Comparing,
    Counts,
    limit_from_histogram,
    noise_of,
)

QUANTILES = (0.9, 0.95, 0.99)
"""For latency: the evidence is averaged over these three limits."""


def log_evidence(world: World, asked: Comparing, history: int = HISTORY) -> Array:
    """(runs, looks) logarithms of the averaged e-value; `history` looks of stable are known, 0 for none."""
    limits = _limits(world)
    streams = [_stream(world, column, asked, history) for column in limits.T]
    top = np.max(streams, axis=0)
    return np.asarray(top + np.log(np.mean(np.exp(np.asarray(streams) - top), axis=0)))


def hits(world: World, asked: Comparing, history: int = HISTORY) -> Hits:
    """(runs, looks), true where the verdict is `worse`."""
    return np.asarray(log_evidence(world, asked, history) >= -math.log(asked.alpha))


def limit_columns(history: Arm, bounds: Sequence[float], run: int) -> list[int]:
    """Which bounds our rule takes as limits, from the histogram that stable showed before."""
    total = float(history.requests[run].sum())
    slower = history.above[run].sum(0)
    buckets = {bound: total - float(above) for bound, above in zip(bounds, slower, strict=True)}
    found = [limit_from_histogram(buckets | {math.inf: total}, quantile) for quantile in QUANTILES]
    return [bounds.index(limit) for limit in found if limit is not None]


def _limits(world: World) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    runs = len(world.history.requests)
    if world.scenario.errors:
        return np.zeros((runs, 1), dtype=np.int64)
    return np.array([limit_columns(world.history, world.scenario.bounds, run) for run in range(runs)])


def _stream(world: World, columns: np.ndarray[tuple[int], np.dtype[np.int64]], asked: Comparing, history: int) -> Array:
    def bad(arm: Arm) -> Array:
        return np.take_along_axis(arm.above, columns[:, None, None], -1)[..., 0]

    before, slow = world.history.requests[:, HISTORY - history :], bad(world.history)[:, HISTORY - history :]
    noise = np.array([_noise(n, k, asked) for n, k in zip(before.tolist(), slow.tolist(), strict=True)])
    return _follow(
        world.candidate.requests, bad(world.candidate), world.stable.requests, bad(world.stable), noise, asked
    )


def _noise(requests: list[float], bad: list[float], asked: Comparing) -> float:
    return noise_of([Counts(n, k) for n, k in zip(requests, bad, strict=True)], asked) if requests else UNKNOWN_NOISE


def _follow(n_c: Array, k_c: Array, n_s: Array, k_s: Array, noise: Array, asked: Comparing) -> Array:
    runs, rho = len(n_c), asked.autocorrelation
    looks, information, squares, score, dispersion, expected, evidence = np.zeros((7, runs))
    weights, found = np.full((runs, len(ALTERNATIVES)), 1 / len(ALTERNATIVES)), np.zeros((runs, LOOKS))
    alternatives = np.array(ALTERNATIVES)
    for look in range(LOOKS):
        total = k_c[:, look] + k_s[:, look]
        counts = (n_c[:, look] > 0) & (n_s[:, look] > 0) & (total > 0)
        odds = (1 + asked.margin) * n_c[:, look] / np.maximum(n_s[:, look], 1)
        share = odds / (1 + odds)
        variance = _variance(noise, looks, information, squares, score, dispersion, rho)
        design = 1 + total * share * (1 - share) * variance * (1 + rho) / (1 - rho)
        chances = np.log1p((alternatives - 1) * share[:, None])
        logs = (k_c[:, look, None] * np.log(alternatives) - total[:, None] * chances) / design[:, None]
        gain, bet = _bet(weights, logs)
        evidence = evidence + np.where(counts, gain, 0.0)
        weights = np.where(counts[:, None], bet, weights)
        surplus = np.where(counts, k_c[:, look] - total * share, 0.0)
        score, expected = score + surplus, expected + np.where(counts, total * share, 0.0)
        fitted = np.minimum(0.5, share * (score + expected + 1) / (expected + 1))
        here = np.where(counts, total * np.maximum(share * (1 - share), fitted * (1 - fitted)), 0.0)
        looks, information, squares = looks + counts, information + here, squares + here**2
        dispersion = dispersion + surplus**2 / np.where(counts, here, 1.0)
        found[:, look] = evidence
    return found


def _bet(weights: Array, logs: Array) -> tuple[Array, Array]:
    top = logs.max(1)
    won = weights * np.exp(logs - top[:, None])
    total = won.sum(1)
    return top + np.log(total), (1 - SHARED) * won / total[:, None] + SHARED / len(ALTERNATIVES)


def _variance(
    noise: Array, looks: Array, information: Array, squares: Array, score: Array, dispersion: Array, rho: float
) -> Array:
    free, m = np.maximum(looks - 1, 0), np.maximum(looks, 2)
    known = np.where(information > 0, information, 1.0)
    tail = rho / (1 - rho) - rho * (1 - rho**m) / (m * (1 - rho) ** 2)
    scale = np.maximum(information - squares / known, 0) * (1 - (1 + 2 * tail) / m) * m / (m - 1)
    weight = PRIOR_LOOKS * known / np.maximum(looks, 1)
    q = dispersion - score**2 / known
    estimate = np.maximum(weight * noise**2 + q - free, 0) / (weight + scale)
    return np.asarray(np.where(free > 0, estimate, noise**2) * (1 + CAUTION * np.sqrt(2 / (PRIOR_LOOKS + free))))
