"""`gitops simulate`: what a newcomer sees, what a program gets, and what is said about a mistake."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from gitops.cli.console import guarded
from gitops.cli.simulate import Wanted, parse_fault, run
from gitops.errors import GitopsError
from gitops.spec.behaviour import Change, Fault, Span

PIPELINE = """\
apiVersion: gitops/v1
name: acme
promotion: [dev]
rollouts:
  careful:
    strategy: canary
    steps: [{weight: 10, bake: 10m}, {weight: 100, bake: 10m}]
    gates:
      - {metric: latency-p99, pause: 1.1x stable, rollback: 1.5x stable}
      - {metric: error-rate, pause: 0.5%, rollback: 1%}
      - {metric: gpu-memory, pause: 95%, rollback: 98%}
models:
  chat:
    version: 2.4.0
    artifact:
      uri: s3://acme-models/chat/2.4.0
      digest: "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      format: safetensors
    serve: {runtime: vllm, gpu: {type: L4}, loadTime: 2m}
    rollout: careful
"""
DEV = """\
apiVersion: gitops/v1
clusters:
  local: {provider: embedded, speed: 1000, nodePools: {l4: {gpu: {type: L4}, max: 4}}}
gateway: {name: models, namespace: gateway}
monitoring: {prometheus: "http://prometheus:9090"}
"""
SIMULATION = """\
apiVersion: gitops/v1
models:
  chat:
    requestsPerSecond: 80
    versions:
      2.4.0: {faults: [{metric: error-rate, becomes: 5%, from: 3m}]}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "environments").mkdir()
    (tmp_path / "pipeline.yaml").write_text(PIPELINE)
    (tmp_path / "environments/dev.yaml").write_text(DEV)
    return tmp_path


def document(project: Path, capsys: pytest.CaptureFixture[str], **options: Any) -> Any:
    assert run(project, Wanted("dev/chat", form="json", **options)) == 0
    return json.loads(capsys.readouterr().out)


def text(project: Path, capsys: pytest.CaptureFixture[str], **options: Any) -> str:
    assert run(project, Wanted("dev/chat", **options)) == 0
    return capsys.readouterr().out


def refusal(project: Path, **options: Any) -> GitopsError:
    with pytest.raises(GitopsError) as raised:
        run(project, Wanted(**{"unit": "dev/chat", **options}))
    assert raised.value.hint
    return raised.value


HEALTHY = """\
dev/chat: 2.4.0 by the policy careful
60 requests/s, nothing is wrong

TIME  TRAFFIC  DECISION  WHY
  0s      0 %  start     2.4.0 to replace stable
  2m     10 %  advance   2.4.0 gets 10 % of traffic
 13m     10 %  scale     get ready to carry 100 %
 15m    100 %  advance   2.4.0 gets 100 % of traffic
 26m    100 %  promote   2.4.0 replaces stable

Promoted after 26m.
"""


def test_a_healthy_version_is_a_timeline(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert text(project, capsys) == HEALTHY


def test_a_fault_is_found_and_told(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = text(project, capsys, faults=["errors=5%,from=3m"])
    lines = shown.splitlines()
    assert lines[:3] == [
        "dev/chat: 2.4.0 by the policy careful",
        "60 requests/s, wrong with 2.4.0: error-rate 5% from 3m",
        "(its times count from its first request)",
    ]
    assert max(map(len, lines)) <= 80
    assert any(line.split()[1:4] == ["0", "%", "roll-back"] for line in lines)
    assert "Rolled back after" in shown
    assert " at 10 %: error-rate " in shown
    assert lines[-1].startswith("It was first stopped ")
    assert "\x1b" not in shown


def test_all_kinds_of_faults_at_once(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faults = ["latency=1.3x,from=5m", "leak=gpu-memory:5%/h", "outage=metrics,from=10m,until=25m"]
    found = document(project, capsys, faults=faults)
    assert found["faults"] == ["latency x1.3 from 5m", "gpu-memory +5%/h", "no metrics from 10m until 25m"]
    assert found["outcome"] in ("rolled back", "paused")


def test_programs_get_the_same(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(project, capsys, faults=["errors=5%,from=3m"], stable="2.3.0", candidate="2.4.1")
    keys = {"schema", "unit", "policy", "stable", "candidate", "traffic", "faults", "outcome", "seconds", "load"}
    keys |= {"faultBegan", "stopped", "detectedAfter", "sentence", "events"}
    assert found.keys() == keys
    assert (found["schema"], found["stable"], found["candidate"]) == ("gitops/simulation/v1", "2.3.0", "2.4.1")
    assert found["outcome"] == "rolled back"
    assert found["faultBegan"] == 120 + 180
    assert found["stopped"] == found["faultBegan"] + found["detectedAfter"]
    number = {"type": "integer"}
    event = {
        "type": "object",
        "required": ["at", "decision", "weight", "mirror", "wave", "sentence", "evidence"],
        "properties": {"at": number, "weight": number, "evidence": {"items": {"type": "string"}}},
    }
    jsonschema.validate(found["events"], {"type": "array", "items": event, "minItems": 3})
    assert any(line.startswith("error-rate") for line in found["events"][-1]["evidence"])


def test_repeating_gives_a_summary(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = text(project, capsys, faults=["errors=5%,from=3m"], repeat=10, seed=5)
    assert "10 rollouts with other luck (--seed 5 to 14):" in shown
    assert "rolled back  10  (at 10 %: 10; such as --seed 5)" in shown
    assert "The fault was found in 10 of 10, " in shown
    found = document(project, capsys, faults=["errors=5%,from=3m"], repeat=10, seed=5)
    assert found["outcomes"] == {"rolled back": 10}
    assert [one["seed"] for one in found["rollouts"]] == list(range(5, 15))
    assert 0 < found["medianDetectionSeconds"] < 1800
    alone = document(project, capsys, faults=["errors=5%,from=3m"], seed=9)
    assert {key: alone[key] for key in ("outcome", "seconds", "load")}.items() <= found["rollouts"][4].items()


def test_few_requests_take_longer_or_are_too_few(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(project, capsys, requests_per_second=0.3)
    sentences = [one["sentence"] for one in found["events"] if one["decision"] == "pause"]
    assert "requests, 100 are needed" in sentences[0]
    assert found["traffic"] == "0.3 requests/s"


def test_what_simulation_yaml_declares_is_simulated(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "simulation.yaml").write_text(SIMULATION)
    found = document(project, capsys)
    assert found["traffic"] == "80 requests/s"
    assert found["faults"] == ["error-rate 5% from 3m"]
    assert found["outcome"] == "rolled back"
    assert document(project, capsys, candidate="2.5.0")["outcome"] == "promoted"


def test_a_broken_simulation_yaml_is_told_with_its_place(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "simulation.yaml").write_text(SIMULATION.replace("5%", "often"))
    assert guarded(lambda: run(project, Wanted("dev/chat"))) == 1
    assert capsys.readouterr().err.startswith("simulation.yaml:6:54: models.chat.versions.2.4.0.faults[0].becomes: ")


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ("latency=1.3x,from=5m", Fault("latency", Change("times", 1.3), Span(300))),
        ("errors=2%", Fault("error-rate", Change("becomes", 2, "%"))),
        ("latency-p99=2s,from=1m,until=1h30m", Fault("latency", Change("becomes", 2, "s"), Span(60, 5400))),
        ("leak=gpu-memory:5%/h", Fault("gpu-memory", Change("grows", 5, "%"))),
        ("gpu-memory=+5%/h", Fault("gpu-memory", Change("grows", 5, "%"))),
        ("refusals=4", Fault("refusals", Change("becomes", 4))),
        ("outage=metrics,from=10m,until=25m", Span(600, 1500)),
    ],
)
def test_faults_as_they_are_written(written: str, fault: Fault | Span) -> None:
    assert parse_fault(written, {"refusals": 2.0}) == fault


@pytest.mark.parametrize(
    ("written", "what", "hint"),
    [
        ("latncy=2x", "latncy is not known", "did you mean latency? valid: latency, time-to-first-token,"),
        ("leak=gpu:5%", "gpu is not known", "gpu-utilization, gpu-memory"),
        ("", "nothing is not known", "valid: latency,"),
        ("latency", "nothing is not a change", "1.8x"),
        ("latency=fast", "fast is not a change", "1.8x"),
        ("leak=gpu-memory", "+ is not a growth", "5%"),
        ("errors=2s", "2s does not fit: error-rate is a percentage", "errors=2%"),
        ("outage=network", "there is no outage of network", "outage=metrics"),
        ("errors=2%,form=5m", "form is not known", "from=5m"),
        ("errors=2%,from=5m,from=6m", "from is there twice", "from=5m"),
        ("errors=2%,from=5min", "5min is not a duration", "15m"),
        ("errors=2%,from=5m,until=1m", "it ends before it begins", "first request"),
    ],
)
def test_faults_that_are_none(project: Path, written: str, what: str, hint: str) -> None:
    error = refusal(project, faults=[written])
    assert error.where == f"--fault {written}"
    assert what in error.what
    assert hint in error.hint


def test_options_that_contradict_one_another(project: Path) -> None:
    assert "did you mean dev/chat?" in refusal(project, unit="dev/chet").hint
    assert refusal(project, unit="chat").what == "there is no such release"
    assert refusal(project, stable="2.4.0").what == "stable and candidate are the same version"
    data = Path("recording.json")
    assert refusal(project, data=data, prometheus="http://x").what == "--data and --prometheus are two sources"
    assert refusal(project, begin="2026-01-01T00:00:00Z").what == "--from and --to belong to --prometheus"
    for option in ({"faults": ["errors=2%"]}, {"repeat": 2}, {"seed": 1}, {"requests_per_second": 1.0}):
        assert "is for simulated traffic" in refusal(project, data=data, **option).what
    source: dict[str, Any] = {"prometheus": "http://localhost:1"}
    assert "which versions to compare" in refusal(project, **source).what
    source |= {"stable": "2.3.0", "candidate": "2.4.0"}
    assert refusal(project, **source).where == "--from"
    assert refusal(project, **source, begin="2026-01-01T00:00:00").what == "2026-01-01T00:00:00 is not an instant"
    times = {"begin": "2026-01-01T01:00:00Z", "end": "2026-01-01T00:00:00Z"}
    assert refusal(project, **source, **times).what == "--to is not after --from"


def series(values: dict[int, float], **labels: str) -> dict[str, Any]:
    return {"metric": labels, "values": [[at, str(value)] for at, value in values.items()]}


def matrix(*found: dict[str, Any]) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": "matrix", "result": list(found)}}


def recording(project: Path, bad: float, looks: int = 60) -> Path:
    """An hour of stable before, and so many minutes of both."""
    start = 1_800_000_000

    def part(first: int, errors: float) -> dict[str, Any]:
        ends = [start + 60 * index for index in range(first, looks + 1)]
        buckets = {"0.5": 300.0, "1.0": 550.0, "2.0": 598.0, "+Inf": 600.0}
        return {
            "latency": matrix(*(series(dict.fromkeys(ends, count), le=le) for le, count in buckets.items())),
            "error-rate": {
                "requests": matrix(series(dict.fromkeys(ends, 600.0))),
                "bad": matrix(series(dict.fromkeys(ends, 600.0 * errors))),
            },
            "gpu-memory": matrix(series(dict.fromkeys(ends, 90.0))),
        }

    file = project / "recording.json"
    file.write_text(json.dumps({"look": 60, "stable": part(-60, 0.001), "candidate": part(1, bad)}))
    return file


def test_recorded_data_are_played_back(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = document(project, capsys, data=recording(project, 0.001))
    assert good["outcome"] == "promoted"
    assert good["traffic"] == f"recorded in {project / 'recording.json'}"
    bad = document(project, capsys, data=recording(project, 0.04))
    assert (bad["outcome"], bad["load"]) == ("rolled back", 10)
    assert math.isclose(bad["seconds"], 300, abs_tol=120)


def test_a_short_recording_is_not_over(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = text(project, capsys, data=recording(project, 0.001, looks=8))
    assert "Not over after 9m at 10 %: the data end before the rollout does" in shown
