"""What is played: worlds without a fault, where every rollback is wrong, and worlds with one."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.analysis.world import VLLM, Array, Scenario, Shape


def _times(factor: float) -> Shape:
    return lambda look: math.log(factor) + 0.0 * look


def _leak(share: float) -> Shape:
    return lambda look: share * look


def _cold(factor: float, warm_up: int = 3) -> Shape:
    """Slow after the start, half as much each look; the first three looks are the step's warm-up, left out."""
    return lambda look: np.log(1 + (factor - 1) * 0.5 ** (look + warm_up))


def _spike(factor: float, every: int) -> Shape:
    def shape(look: Array) -> Array:
        return np.asarray(np.where(look % every == 0, math.log(factor), 0.0))

    return shape


WITHOUT_FAULT = (
    Scenario("independent noise"),
    Scenario("autocorrelated noise", rho=0.5),
    Scenario("wide autocorrelated noise (6 %)", noise=0.06, rho=0.5),
    Scenario("10 of 100 requests/s", candidate=10, stable=90, rho=0.5),
    Scenario("1 of 100 requests/s", candidate=1, stable=99, rho=0.5),
    Scenario("few: 0.1 of 3 requests/s", candidate=0.1, stable=2.9, rho=0.5),
    Scenario("vLLM's coarse buckets", rho=0.5, bounds=VLLM),
    Scenario("bursts that hit both (x1.5)", rho=0.5, burst=1.5),
    Scenario("bursts of each alone (x1.3)", rho=0.5, own_burst=1.3),
    Scenario("candidate twice as noisy", rho=0.5, candidate_noise=2),
    Scenario("candidate 4 times as noisy", rho=0.5, candidate_noise=4),
    Scenario("cold start x2, warm-up left out", rho=0.5, fault=_cold(2)),
    Scenario("errors 0.1 %, 100 requests/s", errors=0.001, noise=0.2, rho=0.5),
    Scenario("errors 0.1 %, 10 of 100", errors=0.001, candidate=10, stable=90, noise=0.2, rho=0.5),
    Scenario("sparse errors 0.01 %, 10 of 100", errors=1e-4, candidate=10, stable=90, noise=0.2, rho=0.5),
    Scenario("errors 1 %, own noise 60 %", errors=0.01, candidate=10, stable=90, noise=0.6, rho=0.5),
    Scenario("errors 1.1 x 1 %: the margin", errors=0.01, noise=0.0, fault=_times(1.1)),
)

WITH_FAULT = (
    Scenario("p99 +10 %, independent noise", False, fault=_times(1.1)),
    Scenario("p99 +10 %, autocorrelated", False, rho=0.5, fault=_times(1.1)),
    Scenario("p99 +10 %, wide noise (6 %)", False, noise=0.06, rho=0.5, fault=_times(1.1)),
    Scenario("p99 +10 %, 10 of 100", False, candidate=10, stable=90, rho=0.5, fault=_times(1.1)),
    Scenario("p99 +10 %, 1 of 100", False, candidate=1, stable=99, rho=0.5, fault=_times(1.1)),
    Scenario("p99 +10 %, vLLM's buckets", False, rho=0.5, bounds=VLLM, fault=_times(1.1)),
    Scenario("p99 +30 %, 1 of 100", False, candidate=1, stable=99, rho=0.5, fault=_times(1.3)),
    Scenario("p99 +30 % from look 20, 10 of 100", False, candidate=10, stable=90, rho=0.5, fault=_times(1.3), onset=20),
    Scenario("p99 x2, few: 0.1 of 3", False, candidate=0.1, stable=2.9, rho=0.5, fault=_times(2)),
    Scenario("slow leak, +0.5 % a look", False, candidate=10, stable=90, rho=0.5, fault=_leak(0.005)),
    Scenario("errors 0.1 -> 0.5 %, 100 requests/s", False, errors=0.001, noise=0.2, rho=0.5, fault=_times(5)),
    Scenario(
        "errors 0.1 -> 0.5 %, 10 of 100", False, 0.001, candidate=10, stable=90, noise=0.2, rho=0.5, fault=_times(5)
    ),
    Scenario(
        "sparse errors 0.01 -> 0.1 %, 10 of 100",
        False,
        1e-4,
        candidate=10,
        stable=90,
        noise=0.2,
        rho=0.5,
        fault=_times(10),
    ),
    Scenario("errors 0.1 -> 11 %, few: 0.03 of 3", False, 0.001, 0.03, 2.97, noise=0.2, rho=0.5, fault=_times(110)),
    Scenario(
        "spikes: x20 errors every 10th look", False, 0.001, candidate=10, stable=90, noise=0.2, fault=_spike(20, 10)
    ),
)
