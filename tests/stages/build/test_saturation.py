"""An int8 model answers the same on processors with and without VNNI."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gitops.stages.build.processor import features

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def found(build_tools: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = tmp_path_factory.mktemp("saturating")
    done = subprocess.run(
        [build_tools, HERE / "saturating.py", ROOT / "src", directory], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads((directory / "results.json").read_text())
    return results


def test_eight_bits_overflow_where_there_is_no_vnni(found: dict[str, Any]) -> None:
    """What was wrong: a third of the product is lost, and on such a machine ONNX Runtime shows it."""
    eight = found["eight-bits"]
    assert eight["largest"] == 127
    assert eight["lost-without-vnni"] > 0.3
    assert "weights up to 127, which can saturate without VNNI" in eight["refused"]
    if "with avx2 and without avx_vnni, avx512f" in features():
        assert eight["error-here"] > 0.3, "the arithmetic of this test is not that of the processor"


@pytest.mark.parametrize("method", ["dynamic-int8", "static-int8"])
def test_what_is_quantized_here_cannot(found: dict[str, Any], method: str) -> None:
    ours = found[method]
    assert ours["largest"] == ours["figures"]["largest-weight"] == 64
    assert ours["lost-without-vnni"] == 0
    assert ours["error-here"] < 0.02


def test_products_of_two_activations_are_of_unsigned_bytes(found: dict[str, Any]) -> None:
    """Nothing bounds them, whatever the weights have; unsigned ones are widened before they are multiplied."""
    assert found["attention"]["unsigned"]
    assert found["attention"]["error-here"] < 0.04


@pytest.mark.parametrize(
    ("text", "machine", "said"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx avx2\n", "x86_64", "with avx2 and without avx_vnni, avx512f, "),
        ("flags : avx2 avx512f avx512_vnni avx_vnni amx_int8", "x86_64", "with avx2, avx_vnni, avx512f, avx512_vnni, "),
        ("Features\t: fp asimd asimddp i8mm", "aarch64", "aarch64 with asimddp, i8mm and without sve"),
        ("nothing", "x86_64", "x86_64 (the system does not tell its features)"),
    ],
)
def test_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, machine: str, said: str) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    (tmp_path / "cpuinfo").write_text(text)
    assert said in features(tmp_path / "cpuinfo")
    assert "does not tell" in features(tmp_path / "absent")
