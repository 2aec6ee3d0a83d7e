"""The gate `benchmark`: limits, a baseline, the generator's own share of the blame, and the report."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gitops.errors import GitopsError
from gitops.spec.resolved import SourceFile
from gitops.spec.validation import Benchmark, Validation, contradictions
from gitops.stages.baseline import Baseline, compared, parse_baseline
from gitops.stages.benchmark import Distorted, Earlier, baseline_of, figures_of, judge, load_of, run_benchmark
from gitops.stages.endpoints import Target
from gitops.stages.golden_file import load_golden
from gitops.stages.histogram import Histogram
from gitops.stages.measured import Load, Measured, Second
from gitops.stages.protocols.base import Request
from gitops.stages.protocols.openai import OpenAI
from gitops.stages.protocols.plain import PlainJson
from gitops.stages.report import NO_PLOT, write_report
from gitops.stages.results import Check, GateResult
from gitops.world.files import write_atomically
from tests.stages.endpoint import MODEL, Server

CASES = load_golden(SourceFile("cases.yaml", b"apiVersion: gitops/v1\ncases: {a: {prompt: q}, b: {prompt: r}}"))


def spec(**said: Any) -> Benchmark:
    return Benchmark.model_validate({"duration": "10s", "warmUp": "0s", **said})


def measured(**other: Any) -> Measured:
    """A hundred answers of 1 s, with 10 tokens each."""
    found = Measured(Load(clients=10, duration=10), cpu=0.2)
    found.latency.record(1.0, 100)
    found.first.record(0.2, 100)
    found.gaps.record(0.08, 900)
    found.lag.record(0.001, 1000)
    found.late.record(0.001, 100)
    found.answered, found.tokens = 100, 1000
    found.seconds = [Second(Histogram([1.0] * 10)) for _ in range(10)]
    for name, value in other.items():
        setattr(found, name, value)
    return found


@pytest.mark.parametrize(
    ("limits", "failed"),
    [
        ({"maxLatencyP99": "1100ms", "minTokensPerSecond": 100, "minRequestsPerSecond": 10, "maxErrorRate": "1%"}, []),
        ({"maxLatencyP99": "900ms"}, ["latency-p99: expected at most 900 ms, got 1 s"]),
        ({"maxLatencyP50": "1ms"}, ["latency-p50: expected at most 1 ms, got 1 s"]),
        ({"minTokensPerSecond": 101}, ["tokens-per-second: expected at least 101, got 100"]),
        ({"minRequestsPerSecond": 11}, ["requests-per-second: expected at least 11, got 10"]),
        ({"maxTimeToFirstTokenP99": "100ms"}, ["time-to-first-token-p99: expected at most 100 ms, got 200 ms"]),
        ({"maxInterTokenLatencyP99": "50ms"}, ["inter-token-latency-p99: expected at most 50 ms, got 80 ms"]),
    ],
)
def test_limits(limits: dict[str, Any], failed: list[str]) -> None:
    result = judge(measured(), spec(**limits))
    assert [check.sentence for check in result.failed] == failed
    assert result.passed is (not failed)


def test_errors_fail_unless_some_are_allowed() -> None:
    found = measured(errors=Counter({"status 500": 3, "timeout": 1}), examples={"status 500": "no memory"})
    [check] = judge(found, spec()).failed
    assert check.sentence == "error-rate: expected at most 0%, got 3.85% of 104 (3 x status 500, 1 x timeout)"
    assert "3 x status 500: no memory" in judge(found, spec()).note
    assert judge(found, spec(maxErrorRate="4%")).passed


def test_no_answer_at_all_is_no_pass() -> None:
    empty = Measured(Load())
    result = judge(empty, spec(maxErrorRate="100%", minTokensPerSecond=1))
    assert [check.name for check in result.failed] == ["tokens-per-second", "error-rate"]


def test_tokens_have_to_be_told_where_they_are_limited() -> None:
    with pytest.raises(GitopsError, match="tells how many tokens"):
        judge(measured(tokens=0), spec(minTokensPerSecond=1))


# --- the generator ---


@pytest.mark.parametrize(
    ("name", "seconds", "said"),
    [
        ("lag", 0.06, "the generator's own delays (p99 60 ms) are up to 6% of the latency's p99"),
        ("stalls", 0.06, "up to 6% of the latency's p99"),
        ("lag", 0.02, "up to 10% of the time to first token's p99"),
        ("lag", 0.0045, "up to 6% of the inter-token latency's p99"),
        ("late", 0.06, "clients took 60 ms to ask again after answers that took 1 s"),
    ],
)
def test_a_slow_generator_is_not_a_slow_model(name: str, seconds: float, said: str) -> None:
    slow = measured(**{name: Histogram([seconds] * 100)})
    if name == "lag" and seconds == 0.02:
        slow.gaps = Histogram()
    with pytest.raises(Distorted) as caught:
        judge(slow, spec(maxLatencyP99="900ms"))
    assert said in caught.value.what
    assert "the load generator was the bottleneck, not the model" in caught.value.what
    assert not caught.value.result.passed
    assert caught.value.result.note.startswith("invalid: ")
    assert caught.value.result.figures["latency-p99-seconds"] == pytest.approx(1, rel=0.01)
    # What holds although the generator added to it, holds.
    passed = judge(slow, spec(maxLatencyP99="1100ms"))
    assert passed.passed
    assert said in passed.note


def test_a_saturated_generator() -> None:
    with pytest.raises(Distorted, match="used 97% of its processor core"):
        judge(measured(cpu=0.97), spec(minRequestsPerSecond=20))


def test_errors_are_the_models_whatever_the_generator() -> None:
    slow = measured(lag=Histogram([0.5] * 100), errors=Counter({"status 500": 50}))
    assert {check.name for check in judge(slow, spec(maxLatencyP99="900ms")).failed} == {"latency-p99", "error-rate"}


# --- baseline ---


def earlier(**figures: float) -> Earlier:
    before = baseline_of(measured(), MODEL, "1.0.0", (Request("POST", "/x", b"{}"),))
    changed = Baseline(before.model, before.version, before.load, {**before.figures, **figures})
    return Earlier(parse_baseline(changed.document(), "base.json"), "base.json")


def now(found: Measured) -> Baseline:
    return baseline_of(found, MODEL, "1.1.0", (Request("POST", "/x", b"{}"),))


def test_a_baseline_is_what_was_measured() -> None:
    result = judge(measured(), spec(), now=now(measured()), earlier=earlier())
    assert result.passed
    assert len(result.checks) == 1 + 10


@pytest.mark.parametrize(
    ("was", "failed"),
    [
        ({"latency-p99-seconds": 0.92}, []),
        ({"latency-p99-seconds": 0.9}, ["latency-p99-seconds against the baseline"]),
        ({"tokens-per-second": 110}, []),
        ({"tokens-per-second": 112}, ["tokens-per-second against the baseline"]),
        ({"error-percent": 5}, []),
    ],
)
def test_worse_than_before_by_more_than_the_tolerance(was: dict[str, float], failed: list[str]) -> None:
    result = judge(measured(), spec(tolerance="10%"), now=now(measured()), earlier=earlier(**was))
    assert [check.name for check in result.failed] == failed
    assert all("1.0.0 had" in check.expected for check in result.failed)


def test_another_load_is_no_comparison() -> None:
    other = measured(load=Load(rate=5.0, duration=10))
    with pytest.raises(GitopsError, match="requests closed instead of open"):
        list(compared(now(other), earlier().baseline, 10, "base.json"))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"apiVersion":"gitops/v1","kind":"Other"}', b"\xff"])
def test_what_is_no_baseline(data: bytes) -> None:
    with pytest.raises(GitopsError, match="no baseline of a benchmark"):
        parse_baseline(data, "base.json")


# --- a real run ---


def test_a_benchmark_of_a_server() -> None:
    with Server(answers={"q": "a b c", "r": "d e f"}, token_delay=0.02) as server:
        benchmark = spec(concurrency=4, duration="1s", minTokensPerSecond=1, maxTimeToFirstTokenP99="30s")
        found, requests = run_benchmark(Target(server.url, OpenAI(MODEL), MODEL), benchmark, CASES, lambda line: None)
        assert {one.json["messages"][0]["content"] for one in server.questions} == {"q", "r"}
        assert all(one.json["stream"] for one in server.questions)
    assert len(requests) == 2
    figures = figures_of(found)
    assert figures["tokens-per-second"] > 0
    assert judge(found, benchmark).passed


def test_limits_on_tokens_that_do_not_come_one_by_one() -> None:
    target, benchmark = Target("http://localhost:1", PlainJson("/predict"), MODEL), spec(maxTimeToFirstTokenP99="1s")
    with pytest.raises(GitopsError, match="which this protocol does not send one by one"):
        run_benchmark(target, benchmark, CASES, lambda line: None)


@pytest.mark.parametrize(
    ("said", "paths"),
    [
        ({"benchmark": {"requests": "open"}, "golden": "a.yaml"}, [("benchmark",)]),
        (
            {"benchmark": {"requests": "open", "rate": 5, "concurrency": 3}, "golden": "a.yaml"},
            [("benchmark", "concurrency")],
        ),
        ({"benchmark": {"rate": 5, "cases": "a.yaml"}}, [("benchmark", "rate")]),
        ({"benchmark": {}}, [("benchmark",)]),
        (
            {"benchmark": {"cases": "a.yaml", "stream": False, "maxTimeToFirstTokenP99": "1s"}},
            [("benchmark", "maxTimeToFirstTokenP99")],
        ),
        ({"endpoint": {"protocol": "json"}}, [("endpoint",)]),
        ({"endpoint": {"protocol": "triton", "answer": "x"}}, [("endpoint", "answer")]),
        ({"benchmark": {"requests": "open", "rate": 5, "cases": "a.yaml"}}, []),
    ],
)
def test_specs_that_contradict_themselves(said: dict[str, Any], paths: list[tuple[str, ...]]) -> None:
    assert [found.path for found in contradictions(Validation.model_validate(said))] == paths


def test_a_spec_says_the_load() -> None:
    said = spec(requests="open", rate=20, arrivals="constant", warmUp="5s")
    assert load_of(said) == Load(clients=8, rate=20, poisson=False, warm_up=5, duration=10)
    assert Benchmark.model_validate(said.model_dump(mode="json", by_alias=True)) == said


# --- the report ---


RESULTS = [
    GateResult("loads", (Check("ready", True),)),
    GateResult("golden", (Check("one", False, "`a | b`", "<script>\n![x](y)"),), note="[here]"),
]


def test_a_report_is_the_same_for_the_same_results(tmp_path: Path) -> None:
    first = write_report(tmp_path / "a", RESULTS, {"unit": "dev/chat"}, measured(), write=write_atomically)
    second = write_report(tmp_path / "b", RESULTS, {"unit": "dev/chat"}, measured(), write=write_atomically)
    assert first == second
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert names == {"report.json", "report.md", "latency.svg"}
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)
    document = json.loads((tmp_path / "a" / "report.json").read_bytes())
    assert document["passed"] is False
    assert [second["answers"] for second in document["benchmark"]["timeline"]] == [10] * 10
    text = (tmp_path / "a" / "report.md").read_text()
    assert "![Latency](latency.svg)" in text
    assert "| one | **fail** | 'a \\| b' | &lt;script> \\!\\[x](y) |" in text


def test_a_report_without_matplotlib_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    (tmp_path / "latency.svg").write_text("of an earlier run")
    write_report(tmp_path, RESULTS, {}, measured(), write=write_atomically)
    assert not (tmp_path / "latency.svg").exists()
    assert NO_PLOT in (tmp_path / "report.md").read_text()
