"""`simulation.yaml`: what it may say, what is wrong with it, and what becomes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gitops.spec.behaviour import (
    Change,
    Misshapen,
    Span,
    healthy,
    parse_change,
    parse_growth,
)
from gitops.spec.load import load_spec
from gitops.spec.problems import SpecError
from gitops.spec.resolved import SourceFile, Spec
from gitops.spec.simulation import Simulation, load_simulation
from gitops.values import UnitKey

ROOT = Path(__file__).parents[2]
CHAT = UnitKey("production", "support-chat")


@pytest.fixture(scope="module")
def spec() -> Spec:
    """The example's."""
    environments = sorted((ROOT / "environments").glob("*.yaml"))
    return load_spec(
        SourceFile("pipeline.yaml", (ROOT / "pipeline.yaml").read_bytes()),
        [SourceFile(f"environments/{path.name}", path.read_bytes()) for path in environments],
    )


def load(spec: Spec, text: str) -> Simulation:
    return load_simulation(SourceFile("simulation.yaml", f"apiVersion: gitops/v1\n{text}".encode()), spec)


def problems(spec: Spec, text: str) -> list[str]:
    with pytest.raises(SpecError) as raised:
        load(spec, text)
    return str(raised.value).splitlines()


def test_without_a_file_everything_is_healthy(spec: Spec) -> None:
    simulation = load_simulation(None, spec)
    assert simulation.units.keys() == spec.models.keys()
    assert simulation.behaviour(CHAT, "9.9.9", "vllm") == simulation.units[CHAT]
    assert not simulation.units[CHAT].faults
    # What has no GPU has no GPU memory either.
    assert simulation.units[UnitKey("dev", "reranker")].level("gpu-memory") is None
    assert simulation.units[UnitKey("dev", "fraud-scoring")].level("gpu-memory") == 60


EVERYTHING = """
seed: 7
models:
  support-chat:
    requestsPerSecond: 40
    latency: {median: 800ms, p99: 4s}
    tokensPerRequest: 300
    errorRate: 0.2%
    gpuMemory: 88%
    metrics: {refusals: 2.5}
    noise: {deviation: 4%, autocorrelation: 0.7}
    bursts: {every: 30m, lasts: 2m, requests: 3x}
    environments:
      dev: {requestsPerSecond: 2, versions: {2.4.0: {}}}
    versions:
      2.4.0:
        faults:
          - {metric: latency, becomes: 1.3x, from: 5m}
          - {metric: errors, becomes: 3%, from: 5m, until: 20m}
          - {metric: gpu-memory, grows: 5%}
          - {metric: refusals, becomes: 4}
        metricsOutage: {from: 10m, until: 25m}
"""


def test_everything_that_it_says_is_in_the_behaviour(spec: Spec) -> None:
    simulation = load(spec, EVERYTHING)
    assert simulation.seed == 7
    good, new = simulation.units[CHAT], simulation.behaviour(CHAT, "2.4.0", "vllm")
    assert good.level("requests-per-second") == 40
    assert good.level("latency") == 0.8
    assert good.p99["latency"] == pytest.approx(5)
    assert good.level("time-to-first-token") == healthy("vllm").level("time-to-first-token")
    assert (good.noise.deviation, good.noise.autocorrelation) == (0.04, 0.7)
    assert good.bursts
    assert (good.bursts.every, good.bursts.lasts, good.bursts.requests, good.bursts.latency) == (1800, 120, 3, 1.2)
    assert [new.level("latency", at) for at in (-1, 299, 300, 9999)] == pytest.approx([0.8, 0.8, 1.04, 1.04])
    assert [new.level("error-rate", at) for at in (0, 300, 1199, 1200)] == [0.2, 3, 3, 0.2]
    assert [new.level("gpu-memory", at) for at in (0, 3600, 36_000)] == [88, 93, 100]
    assert [good.level("refusals"), new.level("refusals", 0)] == [2.5, 4]
    assert new.outages == (Span(600, 1500),)


def test_an_environment_has_its_own_traffic_and_versions(spec: Spec) -> None:
    simulation = load(spec, EVERYTHING)
    dev = UnitKey("dev", "support-chat")
    assert simulation.units[dev].level("requests-per-second") == 2
    assert simulation.behaviour(dev, "2.4.0", "vllm") == simulation.units[dev]


def test_every_problem_is_told_with_its_place(spec: Spec) -> None:
    text = """
models:
  support-chat:
    requestsPerSecond: -1
    latency: {median: 1.2, p99: 4s}
    errorRate: 0.1x
    burst: {every: 30m, lasts: 2m}
    versions:
      2.4.0:
        faults:
          - {metric: latency, becomes: fast, from: 5min}
          - {metric: gpu-memory, grows: 5 percent}
"""
    assert problems(spec, text) == [
        "simulation.yaml:5:24: models.support-chat.requestsPerSecond: -1 is out of range: at least 0",
        "simulation.yaml:6:23: models.support-chat.latency.median: 1.2 is not a time — write it like 800ms or 2s",
        'simulation.yaml:7:16: models.support-chat.errorRate: "0.1x" is not a percentage — write it like 0.5%',
        "simulation.yaml:8:5: models.support-chat.burst: unknown key — did you mean bursts? valid: requestsPerSecond, "
        "replicas, latency, timeToFirstToken, interTokenLatency, tokensPerRequest, errorRate, queueLength, kvCacheUse, "
        "gpuUtilization, gpuMemory, predictionAccuracy, predictionDrift, metrics, noise, bursts, environments and "
        "versions",
        'simulation.yaml:12:40: models.support-chat.versions.2.4.0.faults[0].becomes: "fast" is not a change — write '
        "a factor such as 1.8x, or a level such as 3%, 800ms or 40",
        'simulation.yaml:12:52: models.support-chat.versions.2.4.0.faults[0].from: "5min" is not a duration — write '
        "it like 90s, 15m or 1h30m",
        'simulation.yaml:13:41: models.support-chat.versions.2.4.0.faults[1].grows: "5 percent" is not a growth — '
        "write what is added each hour, such as 5%, 50ms or 2",
    ]


def test_contradictions_are_told_too(spec: Spec) -> None:
    text = """
models:
  suport-chat:
    latency: {median: 5s, p99: 4s}
    bursts: {every: 2m, lasts: 2m}
    environments:
      devel: {requestsPerSecond: 2}
    versions:
      2.4.0:
        faults:
          - {metric: latncy, becomes: 1.3x}
          - {metric: error-rate, becomes: 2s, from: 5m, until: 5m}
          - {metric: gpu-memory}
        metricsOutage: {from: 10m, until: 5m}
"""
    said = problems(spec, text)
    assert [line.split(": ", 2)[0] for line in said] == [
        f"simulation.yaml:{place}"
        for place in ("4:3", "5:32", "6:32", "8:7", "12:22", "13:43", "13:64", "14:13", "15:43")
    ]
    assert said[0].endswith(
        "there is no model suport-chat — did you mean support-chat? models: "
        + ("support-chat, assistant, code-completion, text-embeddings, fraud-scoring and reranker")
    )
    assert "latncy is not known — did you mean latency? valid: latency, time-to-first-token," in said[4]
    assert "2s does not fit: error-rate is a percentage, such as 3%" in said[5]
    assert "a fault says either `becomes` or `grows`" in said[7]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("models: &a {}\n", "2:9: models: anchors and aliases are not allowed"),
        ("models: {}\nmodels: {}\n", "3:1: models: this key is there twice"),
        ("models: !!python/object:os.system {}\n", "2:9: models: the tag"),
    ],
)
def test_it_is_read_as_safely_as_the_spec(spec: Spec, text: str, line: str) -> None:
    assert problems(spec, text)[0].startswith(f"simulation.yaml:{line}")


def test_it_says_which_version_of_it_is_meant(spec: Spec) -> None:
    with pytest.raises(SpecError, match=r"simulation.yaml:1:1: `apiVersion` is missing — write gitops/v1"):
        load_simulation(SourceFile("simulation.yaml", b"models: {}\n"), spec)


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("1.8x", Change("times", 1.8)),
        ("3%", Change("becomes", 3, "%")),
        ("800ms", Change("becomes", 0.8, "s")),
        ("2s", Change("becomes", 2, "s")),
        ("40", Change("becomes", 40)),
    ],
)
def test_changes(text: str, change: Change) -> None:
    found = parse_change(text)
    assert found[0::2] == change[0::2]
    assert found.amount == pytest.approx(change.amount)


@pytest.mark.parametrize("text", ["5%", "+5%", "+5%/h", "5%/h"])
def test_growths(text: str) -> None:
    assert parse_growth(text) == Change("grows", 5, "%")
    assert str(parse_growth(text)) == "+5%/h"


@pytest.mark.parametrize("text", ["", "x", "-3%", "1.8", "3 %", "1e9x", "٣%", "1.5xx", "9" * 12])
def test_what_is_neither(text: str) -> None:
    if text != "1.8":
        with pytest.raises(Misshapen):
            parse_change(text)
    with pytest.raises(Misshapen):
        parse_growth(f"{text}x")
