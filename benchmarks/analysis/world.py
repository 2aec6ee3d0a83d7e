"""Simulated counters of a candidate and of stable: many runs at once, one look a minute, everything seeded."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

LOOKS = 60
HISTORY = 60
"""Looks at stable alone before the step: for its limits and its noise."""
SIGMA = 0.5
"""Latency is lognormal with this standard deviation of its logarithm: p99 is 3.2 times the median of 0.5 s."""
MEDIAN = 0.5
FINE = tuple(round(0.6 * 1.1**i, 4) for i in range(21))
VLLM = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0)
"""The bounds of vllm:e2e_request_latency_seconds up to 10 s."""

Array = NDArray[np.float64]
Hits = NDArray[np.bool_]
"""(runs, looks), true from the look on at which a rule rolls back."""
Shape = Callable[[Array], Array]
"""Looks since the step began (0, 1, …) to the logarithm of a factor on latency or on the error rate."""


@dataclass(frozen=True)
class Scenario:
    """What happens. Rates are requests a second; `noise` is the standard deviation, between looks, of the logarithm
    of latency (or of the error rate), separate for each version, `rho` its autocorrelation.

    `fault` is what the candidate suffers; `wrong` scenarios have nothing that deserves a rollback. `onset` is the
    look at which the fault begins. `burst` is a factor that hits both versions together, `own_burst` each by itself.
    """

    name: str
    wrong: bool = True
    errors: float = 0.0
    candidate: float = 100.0
    stable: float = 100.0
    noise: float = 0.02
    rho: float = 0.0
    fault: Shape = lambda look: 0.0 * look
    onset: int = 0
    candidate_noise: float = 1.0
    burst: float = 1.0
    own_burst: float = 1.0
    bounds: tuple[float, ...] = FINE


@dataclass(frozen=True)
class Arm:
    """Increments of one version: (runs, looks) requests, and (runs, looks, bounds) slower than each bound, or errors.

    `errors` counters have the one column of bad requests.
    """

    requests: Array
    above: Array


@dataclass(frozen=True)
class World:
    """One scenario, played `runs` times."""

    scenario: Scenario
    candidate: Arm
    stable: Arm
    history: Arm


def play(scenario: Scenario, runs: int, seed: int) -> World:
    """The counters of all runs."""
    rng = np.random.default_rng(seed)
    shared = _bursts(rng, (runs, HISTORY + LOOKS), scenario.burst)
    look = np.arange(LOOKS, dtype=float)
    fault = np.where(look >= scenario.onset, scenario.fault(np.maximum(look - scenario.onset, 0)), 0.0)
    own = _noise(rng, runs, LOOKS, scenario.rho, scenario.noise * scenario.candidate_noise)
    own += _bursts(rng, own.shape, scenario.own_burst) + shared[:, HISTORY:] + fault
    other = _noise(rng, runs, HISTORY + LOOKS, scenario.rho, scenario.noise)
    other += _bursts(rng, other.shape, scenario.own_burst) + shared
    candidate = _count(rng, scenario, scenario.candidate, own)
    stable = _count(rng, scenario, scenario.stable, other)
    later = Arm(stable.requests[:, HISTORY:], stable.above[:, HISTORY:])
    return World(scenario, candidate, later, Arm(stable.requests[:, :HISTORY], stable.above[:, :HISTORY]))


def value(arm: Arm, scenario: Scenario) -> Array:
    """The metric of every look that the peers judge: the error rate, or p99 as Prometheus's histogram_quantile.

    NaN without requests; the greatest bound when p99 lies beyond it.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        if scenario.errors:
            return np.asarray(arm.above[..., 0] / arm.requests)
        rank = 0.01 * arm.requests
        last = np.minimum((arm.above > rank[..., None]).sum(-1), len(scenario.bounds) - 1)
        edges = np.array((0.0, *scenario.bounds))
        before = np.concatenate((arm.requests[..., None], arm.above), axis=-1)
        lower = np.take_along_axis(before, last[..., None], -1)[..., 0]
        upper = np.take_along_axis(arm.above, last[..., None], -1)[..., 0]
        inside = np.clip((lower - rank) / (lower - upper), 0, 1)
        found = edges[last] + (edges[last + 1] - edges[last]) * inside
    return np.where(arm.requests > 0, found, np.nan)


def _noise(rng: np.random.Generator, runs: int, looks: int, rho: float, deviation: float) -> Array:
    """A stationary AR(1) of the given standard deviation."""
    noise = rng.standard_normal((runs, looks))
    for look in range(1, looks):
        noise[:, look] = rho * noise[:, look - 1] + math.sqrt(1 - rho * rho) * noise[:, look]
    return deviation * noise


def _bursts(rng: np.random.Generator, shape: tuple[int, ...], factor: float) -> Array:
    """Every 25 looks or so, three looks at a factor."""
    if factor == 1:
        return np.zeros(shape)
    begins = rng.random(shape) < 0.04
    lasts = begins.copy()
    lasts[:, 1:] |= begins[:, :-1]
    lasts[:, 2:] |= begins[:, :-2]
    return np.asarray(math.log(factor) * lasts)


def _count(rng: np.random.Generator, scenario: Scenario, rate: float, shift: Array) -> Arm:
    requests = rng.poisson(60 * rate, shift.shape)
    if scenario.errors:
        bad = rng.binomial(requests, np.minimum(0.9, scenario.errors * np.exp(shift)))
        return Arm(requests.astype(float), bad[..., None].astype(float))
    left, before = requests, np.ones(shift.shape)
    above = np.empty((*shift.shape, len(scenario.bounds)))
    for index, bound in enumerate(scenario.bounds):
        share = np.maximum(upper((math.log(bound / MEDIAN) - shift) / SIGMA), 1e-12)
        left = rng.binomial(left, np.minimum(1.0, share / before))
        above[..., index], before = left, share
    return Arm(requests.astype(float), above)


_GRID = np.linspace(-8, 8, 16001)
_LOG_UPPER = np.log([NormalDist().cdf(-x) for x in _GRID])


def upper(z: Array) -> Array:
    """P(Z > z) of a standard normal variable."""
    return np.asarray(np.exp(np.interp(z, _GRID, _LOG_UPPER)))
