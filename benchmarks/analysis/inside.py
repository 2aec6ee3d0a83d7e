"""A fixed limit inside a bucket: `python -m benchmarks.analysis.inside [--runs N]`.

One step of a gate that pauses above 4 s, between vLLM's edges of 2.5 and 5 s, asked at every third look.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

import numpy as np

from gitops.rollout.measuring import assess
from gitops.rollout.series import Histogram, Look, Series
from gitops.rollout.traffic import bounds_of
from gitops.rollout.verdicts import Verdict
from gitops.rollout.windows import Asked
from gitops.spec.rollouts import Gate

GATE = Gate.model_validate({"metric": "latency-p99", "pause": "4s"})
Z99, USUAL, NOISE, LOOK, HISTORY = 2.3263, math.log(2.8) / 2.3263, 0.02, 60, 20


class Times(NamedTuple):
    """Log-normal, by their p99 in seconds and the standard deviation of their logarithm."""

    p99: float
    spread: float = USUAL


class Step(NamedTuple):
    """Requests of a look, to the candidate and to stable, and looks."""

    candidate: int
    stable: int
    looks: int


STEPS = (Step(360, 3240, 15), Step(3600, 3600, 30))
STABLE, TIGHT = Times(2.2), Times(2.2, 0.1)
ROWS = (
    *((STABLE, Times(p99)) for p99 in (2.2, 3.8, 4.0, 4.3, 4.6, 5.2)),
    *((TIGHT, Times(p99, 0.1)) for p99 in (2.6, 3.0, 3.5, 4.1, 4.6)),
    (STABLE, Times(3.9, 0.2)),
)


def main() -> int:
    """Print how many were stopped, and the median look."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.analysis.inside", description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    for stable, candidate in ROWS:
        cells = []
        for step in STEPS:
            stops = [stop for seed in range(runs) if (stop := play(stable, candidate, step, seed))]
            cells.append(f"{len(stops)} of {runs}" + (f" @{median(stops):.0f}" if stops else ""))
        print(f"p99 {candidate.p99} s, spread {candidate.spread:.2f}".ljust(28), "   ".join(cells), flush=True)
    return 0


def play(stable: Times, candidate: Times, step: Step, seed: int) -> int | None:
    """The look at which it is stopped."""
    rng = np.random.default_rng(seed)
    before = list(_looks(rng, stable, step.candidate + step.stable, HISTORY))
    theirs = _series([*before, *_looks(rng, stable, step.stable, step.looks)], 1 - HISTORY)
    mine = _series(list(_looks(rng, candidate, step.candidate, step.looks)), 1)
    share = 100 * step.candidate / (step.candidate + step.stable)
    for look in range(3, step.looks + 1, 3):
        asked = Asked(look * LOOK, 0, LOOK, alpha=0.001, weight=share, stable_weight=100 - share)
        found = assess(
            GATE, *(Series(tuple(o for o in one.looks if o.end <= asked.now)) for one in (mine, theirs)), asked
        )
        if isinstance(found, Verdict) and found.status in ("warn", "fail"):
            return look
    return None


def _series(data: list[Histogram], first: int) -> Series:
    return Series(tuple(Look((first + index) * LOOK, datum) for index, datum in enumerate(data)))


def _looks(rng: np.random.Generator, times: Times, requests: int, count: int) -> Iterator[Histogram]:
    bounds = bounds_of("vllm", "latency")
    middle = math.log(times.p99) - Z99 * times.spread
    for _ in range(count):
        shift = middle + NOISE * rng.standard_normal()
        drawn = np.sort(np.exp(shift + times.spread * rng.standard_normal(rng.poisson(requests))))
        below = np.searchsorted(drawn, bounds, side="right")
        yield {**dict(zip(bounds, map(float, below), strict=True)), math.inf: float(len(drawn))}


if __name__ == "__main__":
    sys.exit(main())
