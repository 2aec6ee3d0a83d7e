"""The peers' rules, as their sources tell them, each on the metric of every look (p99, or the error rate).

Every rule takes (runs, looks) of candidate and stable and gives (runs, looks), true where it rolls back.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from benchmarks.analysis.world import LOOKS, Array, Hits

FLAGGER_FAILURES = 5
KAYENTA_POINTS = 50
PIPECD_POINTS = 14
"""Looks in PipeCD's window: not documented; this length comes nearest to the false alarms that were measured of it."""


def fixed(candidate: Array, limit: Array | float, failures: int) -> Hits:
    """Flagger: rolls back at so many failed checks in all; no data is a failure. Argo: failureLimit + 1."""
    failed = ~(candidate <= np.reshape(limit, (-1, 1)))
    return np.asarray(failed.cumsum(1) >= failures)


def hindsight(null: Array, limit: Array, failures: int, alpha: float = 0.05) -> float:
    """The factor on the limit at which `fixed` has exactly `alpha` false alarms in these runs without a fault."""
    ratio = np.nan_to_num(null / np.reshape(limit, (-1, 1)), nan=np.inf)
    return float(np.quantile(np.sort(ratio, axis=1)[:, -failures], 1 - alpha, method="higher"))


def once(candidate: Array, stable: Array, points: int = LOOKS, alpha: float = 0.05) -> Hits:
    """One Mann-Whitney test (one-sided, normal approximation with ties) after so many looks."""
    found = np.zeros(candidate.shape, dtype=bool)
    found[:, points - 1 :] = (_surplus(candidate[:, :points], stable[:, :points]) > _z(alpha))[:, None]
    return found


def every_window(candidate: Array, stable: Array, points: int = PIPECD_POINTS, alpha: float = 0.05) -> Hits:
    """PipeCD: a Mann-Whitney test on the last points (four at least), at every look without a correction."""
    found = np.zeros(candidate.shape, dtype=bool)
    for look in range(3, candidate.shape[1]):
        window = slice(max(0, look + 1 - points), look + 1)
        found[:, look] = _surplus(candidate[:, window], stable[:, window]) > _z(alpha)
    return np.maximum.accumulate(found, axis=1)


def kayenta(candidate: Array, stable: Array, points: int = KAYENTA_POINTS) -> Hits:
    """High when the 98 % interval of the Hodges-Lehmann shift lies wholly above 0.25 of its estimate.

    Judged as soon as there are 50 points. Equal values everywhere, or a side without data, pass.
    """
    found = np.zeros(candidate.shape, dtype=bool)
    for run, (ours, theirs) in enumerate(zip(candidate[:, :points], stable[:, :points], strict=True)):
        ours, theirs = ours[~np.isnan(ours)], theirs[~np.isnan(theirs)]
        if len(ours) and len(theirs):
            found[run, points - 1 :] = _high(ours, theirs)
    return found


def _high(ours: Array, theirs: Array) -> bool:
    m, n = len(ours), len(theirs)
    differences = np.sort((ours[:, None] - theirs[None, :]).ravel())
    spread = math.sqrt(m * n * (m + n + 1) / 12)
    low = differences[max(0, math.floor(m * n / 2 - _z(0.01) * spread))]
    return bool(low > 0.25 * abs(np.median(differences)))


def _surplus(candidate: Array, stable: Array) -> Array:
    """The standardised Mann-Whitney statistic; no data is the worst value for neither side: it compares as equal."""
    m, n = candidate.shape[1], stable.shape[1]
    greater = (candidate[:, :, None] > stable[:, None, :]).sum((1, 2))
    less = (candidate[:, :, None] < stable[:, None, :]).sum((1, 2))
    both = np.concatenate((candidate, stable), axis=1)
    same = (both[:, :, None] == both[:, None, :]).sum(2)
    ties = (same**2 - 1).sum(1) / ((m + n) * (m + n - 1))
    variance = m * n / 12 * (m + n + 1 - ties)
    return np.asarray((greater - less) / 2 / np.sqrt(np.maximum(variance, 1e-9)))


def _z(alpha: float) -> float:
    return NormalDist().inv_cdf(1 - alpha)
