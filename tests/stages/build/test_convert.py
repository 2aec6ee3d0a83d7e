"""Conversion of every kind of source, by the real torch, tf2onnx and ONNX Runtime."""

import json
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gitops.errors import GitopsError
from gitops.spec.build import Build
from gitops.stages.build.runner import run_build
from gitops.stages.confinement import isolation
from gitops.stages.digest import digest_path
from tests.stages.build.projects import Project
from tests.stages.build.projects import written as written_build

FORMS = {"saved": "savedmodel", "frozen": "frozen-graph"}
ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def results(trained: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    directory = tmp_path_factory.mktemp("conversions")
    command = [trained.python, HERE / "conversions.py", ROOT / "src", trained.path, directory]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return directory, json.loads((directory / "results.json").read_text())


def passed(document: dict[str, Any]) -> bool:
    assert "error" not in document, document
    return all(check[1] for gate in document["gates"] for check in gate["checks"])


@pytest.mark.parametrize(
    "case", ["state-dict", "training-loop", "safetensors", "torch-export", "pickle-allowed", "several-outputs"]
)
def test_what_is_converted_computes_the_same(results: tuple[Path, dict[str, Any]], case: str) -> None:
    directory, documents = results
    assert passed(documents[case])
    assert [path.name for path in (directory / case / "output").iterdir()] == ["model.onnx"]


def test_names_and_open_sizes_are_as_declared(results: tuple[Path, dict[str, Any]]) -> None:
    document = results[1]["several-outputs"]
    assert document["signature"] == {
        "inputs": [
            {"name": "image", "dtype": "float32", "shape": ["batch", 1, "height", "width"]},
            {"name": "style", "dtype": "int64", "shape": ["batch"]},
        ],
        "outputs": [
            {"name": "seen", "dtype": "float32", "shape": ["batch", 4]},
            {"name": "score", "dtype": "float32", "shape": ["batch"]},
        ],
    }


def test_the_same_source_gives_the_same_bytes(results: tuple[Path, dict[str, Any]]) -> None:
    directory, _ = results
    first, again, wrapped, tensors = (
        digest_path(directory / case / "output").digest
        for case in ("state-dict", "again", "training-loop", "safetensors")
    )
    assert first == again == wrapped == tensors
    assert str(ROOT).encode() not in (directory / "state-dict" / "output" / "model.onnx").read_bytes()


def test_a_difference_beyond_the_tolerance_is_told_with_its_place_and_both_values(
    results: tuple[Path, dict[str, Any]],
) -> None:
    (gate,) = results[1]["restless"]["gates"]
    name, good, expected, got = gate["checks"][0]
    assert (name, good) == ("output scores", False)
    assert " at [" in expected
    assert " within " in expected
    assert "values are off" in got
    assert gate["checks"][1][0] == "class by scores"
    assert not passed(results[1]["tolerance-zero"])


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("pickle-refused", "loading one runs the code in it"),
        ("program-refused", "torch-export is a program and not weights"),
        ("pickled-weights", "says that a part is pickled, and unpickling runs the code in it"),
        ("pickled-samples", "holds more than tensors"),
        ("compiled", "model.so' is neither a tensor nor text"),
        ("pickle-as-state-dict", "this is more than a state dict"),
        ("other-arguments", "the weights do not fit the class: size mismatch for first.weight"),
        ("no-such-class", "the model cannot be made: AttributeError"),
    ],
)
def test_what_cannot_be_loaded_is_said(results: tuple[Path, dict[str, Any]], case: str, words: str) -> None:
    assert words in results[1][case]["error"]
    assert not (results[0] / "ran").exists(), "code of a checkpoint was run"


def test_tensorflow_is_converted_by_tf2onnx(build_tools: Path, tmp_path: Path) -> None:
    command = [build_tools, HERE / "frozen.py", ROOT / "src", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    documents = json.loads((tmp_path / "results.json").read_text())
    assert passed(documents["saved"])
    assert passed(documents["frozen"])
    assert documents["saved"]["signature"]["outputs"][0]["name"] == "shares"
    assert documents["frozen"]["signature"]["inputs"][0]["name"] == "features:0"
    for name in ("saved", "frozen"):
        assert f"{FORMS[name]} is a program and not weights" in documents[f"{name}-not-trusted"]["error"]

    # One that writes a file when it is asked: trusted by name, it runs, and all the same finds no such place.
    written = tmp_path / "written-by-the-graph"
    source = {"uri": f"file://{tmp_path}/evil", "digest": digest_path(tmp_path / "evil").digest, "format": "savedmodel"}
    project = Project(tmp_path / "project", build_tools)
    project.path.mkdir()
    convert = {"stage": "convert"}
    build = written_build(convert, python=str(build_tools), source={**source, "trustedCode": True})
    said: list[str] = []
    with suppress(GitopsError):
        run_build(
            Build.model_validate(build), project.path, model="m", version="1", commit=lambda: ("", 0), say=said.append
        )
    assert isolation() or not written.exists()
    assert said[0] == "m: stages run without network, and see their inputs and tools alone" or isolation() in said[0]
