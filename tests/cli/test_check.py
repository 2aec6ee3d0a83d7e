"""`gitops check`: gates against a real endpoint, what is printed, what is written, and the exit code."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops.cli.check import check
from gitops.errors import GitopsError
from gitops.world.files import example_files
from tests.stages.endpoint import MODEL, Server

UNIT = f"dev/{MODEL}"
CASES = """apiVersion: gitops/v1
cases:
  capital: {prompt: the capital, expect: {contains: [Paris]}}
"""
BENCHMARK = {"concurrency": 2, "warmUp": "0s", "duration": "1s", "maxLatencyP99": "30s"}


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(answers={"capital": "It is Paris."}, token_delay=0.01) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The example, whose model has a golden file."""
    for path, data in example_files().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    (tmp_path / "validation").mkdir(exist_ok=True)
    (tmp_path / "validation/cases.yaml").write_text(CASES)
    declare(tmp_path, {"golden": "validation/cases.yaml"})
    return tmp_path


def declare(project: Path, validate: dict[str, Any] | None) -> None:
    path = project / "pipeline.yaml"
    spec = yaml.safe_load(path.read_text())
    spec["models"][MODEL].pop("validate", None)
    if validate is not None:
        spec["models"][MODEL]["validate"] = validate
    path.write_text(yaml.safe_dump(spec))


def test_all_gates_pass(project: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    declare(project, {"golden": "validation/cases.yaml", "benchmark": BENCHMARK})
    assert check(project, UNIT, server.url, output=project / "out") == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["loads: pass (2 of 2)", "golden: pass (1 of 1)", "benchmark: pass (2 of 2)"]
    data = (project / "out/report.json").read_bytes()
    assert f"sha256:{hashlib.sha256(data).hexdigest()}" in printed.err
    document = json.loads(data)
    assert document["passed"] is True
    assert document["subject"]["unit"] == UNIT
    assert document["benchmark"]["timeline"][0]["answers"] > 0
    assert (project / "out/latency.svg").read_bytes().startswith(b"<?xml")


def test_a_gate_says_no(project: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.answers["capital"] = "It is\x1b[31m Rome."
    assert check(project, UNIT, server.url) == 2
    out = capsys.readouterr().out
    assert 'capital: expected "Paris", got "It is' in out
    assert "\x1b" not in out
    assert not (project / "out").exists()


def test_as_json(project: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(project, UNIT, server.url, only=["golden"], form="json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["kind"] == "ValidationReport"
    assert [gate["gate"] for gate in document["gates"]] == ["golden"]


def test_a_model_that_is_not_ready_is_asked_nothing_else(
    project: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.healthy = False
    assert check(project, UNIT, server.url) == 2
    assert "golden: nothing was checked" in capsys.readouterr().out
    assert not server.questions


def test_nothing_listens(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(project, UNIT, "http://127.0.0.1:1") == 1
    printed = capsys.readouterr()
    assert "nothing answers there: Connection refused" in printed.err
    assert "loads: nothing was checked" in printed.out


def test_a_baseline_is_saved_and_held_to(project: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    declare(project, {"golden": "validation/cases.yaml", "benchmark": BENCHMARK})
    saved = project / "base.json"
    assert check(project, UNIT, server.url, only=["benchmark"], save_baseline=saved) == 0
    document = json.loads(saved.read_bytes())
    for factor, codes in ((1000, {0}), (0.001, {1, 2})):
        figures = {
            name: value / factor if name.endswith("per-second") else value * factor
            for name, value in document["figures"].items()
        }
        saved.write_text(json.dumps({**document, "figures": figures}))
        # Worse than what nobody reaches; on a busy machine the generator may have to take the blame for it.
        assert check(project, UNIT, server.url, only=["benchmark"], baseline=saved) in codes
    document["load"]["concurrency"] = 99
    saved.write_text(json.dumps(document))
    assert check(project, UNIT, server.url, only=["benchmark"], baseline=saved) == 1
    assert "concurrency 99 instead of 2" in capsys.readouterr().err


def test_a_failed_run_is_no_baseline(project: Path, server: Server) -> None:
    declare(project, {"golden": "validation/cases.yaml", "benchmark": BENCHMARK})
    server.fault = "500"
    assert check(project, UNIT, server.url, only=["benchmark"], save_baseline=project / "base.json") == 2
    assert not (project / "base.json").exists()


def test_gates_on_data_need_no_endpoint(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "validation/labelled.csv").write_text("label,prediction\n" + "a,a\n" * 150)
    declare(project, {"data": {"accuracy": {"data": "validation/labelled.csv", "min": 0.9}}})
    assert check(project, UNIT) == 0
    assert capsys.readouterr().out.startswith("accuracy: pass")


@pytest.mark.parametrize(
    ("unit", "options", "said"),
    [
        ("dev/nobody", {}, "there is no such release"),
        (UNIT, {}, "need an endpoint"),
        (UNIT, {"endpoint": "http://u:p@h/"}, "must not hold a user or a password"),
        (UNIT, {"endpoint": "http://h", "only": ["speed"]}, "there is no gate speed"),
        (UNIT, {"endpoint": "http://h", "only": ["parity"]}, "does not declare parity"),
        (UNIT, {"endpoint": "http://h", "wait": "soon"}, "is not a duration"),
        (UNIT, {"endpoint": "http://h", "tolerance": 200.0}, "is no percentage"),
    ],
)
def test_what_cannot_be_asked(project: Path, unit: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(GitopsError, match=said):
        check(project, unit, **options)


def test_a_model_without_gates(project: Path) -> None:
    declare(project, None)
    with pytest.raises(GitopsError, match="declares no gates"):
        check(project, UNIT, "http://127.0.0.1:1")


def test_files_do_not_lead_out_of_the_project(project: Path) -> None:
    (project / "validation/cases.yaml").unlink()
    (project / "validation/cases.yaml").symlink_to("/etc/hostname")
    with pytest.raises(GitopsError, match="outside of the project"):
        check(project, UNIT, "http://127.0.0.1:1")
