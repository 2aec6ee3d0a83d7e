"""The gates together, on real files: what the documentation shows, paths, fetching, and missing packages."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from gitops.errors import GitopsError
from gitops.spec.validation_data import DataGates, Parity
from gitops.stages.data import inside, run_data_gates
from gitops.stages.parity import read_fingerprint, run_parity
from gitops.stages.results import GateResult, report_json, summary

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "validation-data.md").read_text()
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)]


def gates(**settings: Any) -> DataGates:
    return DataGates.model_validate(settings)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The files that the documentation names, of a model that is as good as it has to be."""
    generator = np.random.default_rng(8)
    for folder in ("validation", "training", "serving"):
        (tmp_path / folder).mkdir()
    label = generator.choice(["refund", "other"], 1000)
    for name, right in (("labelled", 0.9), ("labelled-2.3.0", 0.89)):
        answer = np.where(generator.random(1000) < right, label, np.where(label == "refund", "other", "refund"))
        write(tmp_path / f"validation/{name}.parquet", label=label, prediction=answer)
    for name in ("reference", "current"):
        write(
            tmp_path / f"validation/{name}.parquet",
            age=generator.integers(18, 80, 2000),
            country=generator.choice(["DE", "FR", "PL"], 2000),
            score=generator.beta(2, 5, 2000),
        )
    cells = [f"{region},{i % 2},{i % 2 if i % 10 else 1 - i % 2}" for region in ("north", "south") for i in range(300)]
    (tmp_path / "validation/approvals.csv").write_text("\n".join(["region,label,prediction", *cells]))
    for name in ("training", "serving"):
        (tmp_path / name / "support-chat.yaml").write_text(yaml.safe_dump(BLOCKS[1]))
    return tmp_path


def write(path: Path, **columns: Any) -> None:
    pq.write_table(pa.table(columns), path)


def documented() -> dict[str, Any]:
    settings: dict[str, Any] = BLOCKS[0]["validate"]
    return settings


def failed(results: list[GateResult]) -> list[str]:
    return [f"{result.gate}: {check.sentence}" for result in results for check in result.failed]


def test_the_documented_gates_run(project: Path) -> None:
    results = run_data_gates(DataGates.model_validate(documented()["data"]), project)
    assert [result.gate for result in results] == ["accuracy", "drift", "bias"]
    assert failed(results) == []
    assert set(results[0].figures) >= {"f1", "f1-low", "f1-high", "drop", "baseline-f1", "rows"}
    assert set(results[1].figures) >= {"psi-age", "psi-score", "ks-age", "jensen-shannon-country"}
    assert set(results[2].figures) >= {"equal-opportunity-difference", "demographic-parity-north"}
    assert report_json(results)["passed"]


def test_the_documented_parity_runs(project: Path) -> None:
    parity = Parity.model_validate(documented()["parity"])
    assert run_parity(parity, project).passed
    text = (project / "serving/support-chat.yaml").read_text()
    (project / "serving/support-chat.yaml").write_text(text.replace("2.7.1", "2.6.0"))
    assert failed([run_parity(parity, project)]) == ["parity: dependencies.torch: expected 2.7.1, got 2.6.0"]


def test_the_documented_fingerprint_is_one(project: Path) -> None:
    assert set(read_fingerprint(project / "training/support-chat.yaml")) == set(BLOCKS[1]) - {"apiVersion", "kind"}


def test_the_documented_code_takes_a_fingerprint(tmp_path: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text('{"torch_dtype": "bfloat16"}')
    (tmp_path / "training").mkdir()
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(ROOT / "src")})
    assert done.returncode == 0
    found = read_fingerprint(tmp_path / "training/support-chat.yaml")
    assert found["dtype"] == "bfloat16"
    assert "pydantic" in found["dependencies"]


def test_documented_defaults_are_the_real_ones() -> None:
    fields = DataGates.model_validate(documented()["data"])
    assert fields.accuracy
    assert fields.drift
    assert fields.drift.ks
    assert fields.bias
    said = dict(re.findall(r"`(\w+)` \(([\d.]+)\)", DOCUMENT))
    assert float(said["maxPsi"]) == fields.drift.max_psi
    assert float(said["bins"]) == fields.drift.bins
    assert float(said["minDistance"]) == fields.drift.ks.min_distance
    assert float(said["falseDiscoveryRate"]) == fields.drift.ks.false_discovery_rate
    assert float(said["minGroup"]) == fields.bias.min_group
    minima = [int(n) for n in re.findall(r"`minRows` \((\d+)\)", DOCUMENT)]
    assert minima == [fields.accuracy.min_rows, fields.drift.min_rows]


def test_a_worse_model_on_other_data_is_found_everywhere(project: Path) -> None:
    generator = np.random.default_rng(9)
    label = generator.choice(["refund", "other"], 1000)
    answers = np.where(generator.random(1000) < 0.7, label, "other")
    write(project / "validation/labelled.parquet", label=label, prediction=answers)
    age = np.where(generator.random(2000) < 0.12, generator.integers(81, 99, 2000), generator.integers(18, 80, 2000))
    write(project / "validation/current.parquet", age=age, score=generator.beta(5, 2, 2000))
    approvals = (project / "validation/approvals.csv").read_text()
    (project / "validation/approvals.csv").write_text(approvals.replace("south,1,1", "south,1,0"))
    results = run_data_gates(DataGates.model_validate(documented()["data"]), project)
    said = failed(results)
    assert any(line.startswith("accuracy: f1 drop: expected at most 0.02 worse than") for line in said)
    assert "drift: country: expected a column as in the reference, got none" in said
    assert any("drift: age: expected PSI at most 0.3" in line and "above 79)" in line for line in said)
    assert any(line.startswith("drift: score: expected KS distance at most 0.1") for line in said)
    assert any(line.startswith("bias: equal-opportunity: expected difference at most 0.1, got 1 (") for line in said)
    assert any(line.startswith("drift: fail (") for line in summary(results))


def test_nothing_asked_is_nothing_done(tmp_path: Path) -> None:
    assert run_data_gates(gates(), tmp_path) == []


def test_paths_cannot_lead_out_of_the_project(tmp_path: Path) -> None:
    project, outside = tmp_path / "project", tmp_path / "secret.csv"
    project.mkdir()
    outside.write_text("label,prediction\n1,1\n")
    (project / "link.csv").symlink_to(outside)
    (project / "folder").symlink_to(tmp_path)
    (project / "loop.csv").symlink_to(project / "loop.csv")
    for path in ("link.csv", "folder/secret.csv", "../secret.csv", str(outside)):
        with pytest.raises(GitopsError, match="this lies outside of the project"):
            inside(project, path)
    with pytest.raises(GitopsError, match="outside"):
        run_data_gates(gates(accuracy={"data": "folder/secret.csv", "min": 0}), project)
    for path in ("none.csv", "loop.csv", "a\0b"):
        with pytest.raises(GitopsError, match=r"not found|cannot be read"):
            inside(project, path)
    (project / "real.csv").write_text("label,prediction\n1,1\n")
    (project / "alias.csv").symlink_to("real.csv")
    assert inside(project, "alias.csv") == (project / "real.csv").resolve()


def test_artifacts_are_fetched_by_whoever_can(tmp_path: Path) -> None:
    asked: list[str] = []

    def fetch(uri: str) -> Path:
        asked.append(uri)
        (tmp_path / "rows.csv").write_text("label,prediction\n" + "1,1\n" * 100)
        return tmp_path / "rows.csv"

    settings = gates(accuracy={"data": "s3://acme/rows.csv", "min": 0.9})
    assert run_data_gates(settings, tmp_path, fetch)[0].passed
    assert asked == ["s3://acme/rows.csv"]
    with pytest.raises(GitopsError, match=r"s3://acme/rows\.csv: artifacts are not fetched here"):
        run_data_gates(settings, tmp_path)


def test_contradictions_are_said_before_any_file_is_read(tmp_path: Path) -> None:
    with pytest.raises(GitopsError, match=r"validate.data.accuracy: there is no limit — write `min`"):
        run_data_gates(gates(accuracy={"data": "none.csv"}), tmp_path)


@pytest.mark.parametrize("package", ["numpy", "pyarrow"])
def test_a_missing_package_is_no_traceback(project: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(GitopsError, match=rf"need the package {package} — pip install 'gitops-models\[validation\]'"):
        run_data_gates(DataGates.model_validate(documented()["data"]), project)


def test_the_package_itself_is_light() -> None:
    """numpy, scipy and pyarrow are loaded by the first gate, not by the modules that plan and validate import."""
    code = "import gitops.spec.validation_data, gitops.stages.data, gitops.stages.parity, sys; print(*sys.modules)"
    env = {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert not {"numpy", "scipy", "pyarrow"} & set(done.stdout.split())
