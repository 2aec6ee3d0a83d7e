"""The analysis benchmark: the peers behave as they are known to, and the fast copy of our rule is our rule."""

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.analysis import ours, peers
from benchmarks.analysis.judge import RULES
from benchmarks.analysis.scenarios import WITH_FAULT, WITHOUT_FAULT
from benchmarks.analysis.world import HISTORY, VLLM, Arm, Array, Scenario, play, value
from benchmarks.harness import ROOT, environment
from gitops.rollout.statistics import Comparing, Counts, Look, noise_of, observe, start

ASKED = Comparing()


def test_quick(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks.analysis", "--quick", "--json", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report = json.loads(out.read_text())
    results, whole = report["results"], report["situations"]
    assert [(one["runs"], one["stopped"]) for one in whole] == [(1, 0), (1, 0), (1, 1)]
    assert len(results) == len(RULES) * len(WITHOUT_FAULT + WITH_FAULT)
    assert all(scenario.name in done.stdout for scenario in WITHOUT_FAULT + WITH_FAULT)


def noise(rho: float, runs: int = 800) -> tuple[Array, Array]:
    """The simulation that the numbers come from: one number a look for each version, nothing different between them."""
    rng = np.random.default_rng(11)
    both = rng.standard_normal((2, runs, 60))
    for look in range(1, 60):
        both[..., look] = rho * both[..., look - 1] + math.sqrt(1 - rho**2) * both[..., look]
    return both[0], both[1]


@pytest.mark.parametrize(("rho", "known"), [(0.0, 0.49), (0.5, 0.86)])
def test_mann_whitney_on_every_window(rho: float, known: float) -> None:
    """The numbers of a simulation by others, roughly: it does not tell PipeCD's window."""
    assert peers.every_window(*noise(rho))[:, -1].mean() == pytest.approx(known, abs=0.1)


def test_mann_whitney_once_holds_its_level_for_independent_noise_only() -> None:
    assert peers.once(*noise(0))[:, -1].mean() == pytest.approx(0.05, abs=0.02)
    assert peers.once(*noise(0.5))[:, -1].mean() > 0.1


def test_kayenta() -> None:
    ours, theirs = noise(0, 50)
    assert peers.kayenta(ours, theirs)[:, -1].mean() < 0.1
    found = peers.kayenta(ours + 5, theirs)
    assert found[:, 49:].all()
    assert not found[:, :49].any()
    sparse = np.where(np.arange(60) % 10 == 0, 1.0, 0.0)[None, :]
    assert not peers.kayenta(sparse, np.zeros((1, 60))).any()


def test_flagger_never_forgets_a_failure_and_counts_no_data() -> None:
    candidate = np.where(np.arange(60) % 10 == 0, np.nan, 1.0)[None, :]
    assert peers.fixed(candidate, 2.0, 5)[0].argmax() == 40
    assert peers.fixed(np.full((1, 60), 3.0), 2.0, 5)[0].argmax() == 4
    assert not peers.fixed(np.full((1, 60), 2.0), 2.0, 1).any()


def test_hindsight_gives_five_percent() -> None:
    null, limit = np.exp(noise(0)[0]), np.ones(800)
    factor = peers.hindsight(null, limit, 5)
    assert peers.fixed(null, factor * limit, 5)[:, -1].mean() == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario("latency", candidate=10, stable=90, rho=0.5, noise=0.05),
        Scenario("few", candidate=0.05, stable=1, fault=lambda look: 0.1 * look, bounds=VLLM),
        Scenario("errors", errors=0.001, candidate=10, stable=90, noise=0.3),
    ],
)
def test_the_fast_copy_is_our_rule(scenario: Scenario) -> None:
    world = play(scenario, 5, seed=2)
    fast = ours.log_evidence(world, ASKED)
    for run in range(5):
        columns = [0] if scenario.errors else ours.limit_columns(world.history, scenario.bounds, run)
        history = [increments(world.history, run, column) for column in columns]
        candidate, stable = (
            [np.cumsum(increments(arm, run, column), axis=0) for column in columns]
            for arm in (world.candidate, world.stable)
        )
        evidence = start([noise_of(windows, ASKED) for windows in history])
        for look in range(60):
            looks = [Look(Counts(*c[look]), Counts(*s[look])) for c, s in zip(candidate, stable, strict=True)]
            evidence = observe(evidence, looks, ASKED)
            assert evidence.log_evidence == pytest.approx(float(fast[run, look]), abs=1e-6)


def increments(arm: Arm, run: int, column: int) -> list[Counts]:
    return [Counts(n, k) for n, k in zip(arm.requests[run].tolist(), arm.above[run, :, column].tolist(), strict=True)]


@pytest.mark.parametrize("rho", [0.0, 0.5])
@pytest.mark.parametrize("candidate", [100.0, 10.0])
def test_false_rollbacks_stay_under_one_percent(rho: float, candidate: float) -> None:
    """Nothing tolerated, so that equal versions are the edge of the null; 400 runs, so at most 8 by chance."""
    world = play(Scenario("null", candidate=candidate, noise=0.04, rho=rho), 400, seed=5)
    assert ours.hits(world, Comparing(margin=0)).any(1).sum() <= 8


def test_ten_percent_on_p99_is_found_before_the_peers_that_hold_five_percent() -> None:
    world = play(Scenario("fault", rho=0.5, fault=lambda look: math.log(1.1) + 0 * look), 200, seed=6)
    hits = ours.hits(world, ASKED)
    assert hits.any(1).all()
    assert np.median(hits.argmax(1)) < peers.KAYENTA_POINTS / 2


def test_the_metric_is_the_quantile() -> None:
    world = play(Scenario("p99", noise=0.0), 3, seed=1)
    p99 = value(world.stable, world.scenario)
    assert p99.mean() == pytest.approx(0.5 * math.exp(0.5 * 2.326), rel=0.02)
    assert world.history.requests.shape == (3, HISTORY)
    assert np.isnan(value(replace(world.stable, requests=np.zeros((3, 60))), world.scenario)).all()
