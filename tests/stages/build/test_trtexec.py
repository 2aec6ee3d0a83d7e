"""trtexec's command lines, and what it prints: outputs as its documentation and its source have them."""

from pathlib import Path
from typing import Any

import pytest

from gitops.errors import GitopsError
from gitops.stages.build.optimize import judged
from gitops.stages.build.trtexec import (
    build_arguments,
    check_gpu,
    check_version,
    measure_arguments,
    parse_summary,
    parse_version,
    profile,
)
from tests.stages.build.projects import parsed

SUMMARY = """\
&&&& RUNNING TensorRT.trtexec [TensorRT v100700] [b23] # trtexec --loadEngine=model.plan --shapes=x:8x4
[11/21/2026-12:00:01] [I] === Trace details ===
[11/21/2026-12:00:01] [I] Average on 10 runs - GPU latency: 1.2 ms - Host latency: 1.3 ms (enqueue 0.3 ms)
[11/21/2026-12:00:06] [I]
[11/21/2026-12:00:06] [I] === Performance summary ===
[11/21/2026-12:00:06] [I] Throughput: 507.399 qps
[11/21/2026-12:00:06] [I] Latency: min = 1.96301 ms, max = 2.13855 ms, mean = 1.99417 ms, median = 1.99219 ms, \
percentile(99%) = 2.05060 ms
[11/21/2026-12:00:06] [I] Enqueue Time: min = 0.2 ms, max = 0.6 ms, mean = 0.3 ms, median = 0.3 ms, \
percentile(99%) = 0.5 ms
[11/21/2026-12:00:06] [I] H2D Latency: min = 0.01 ms, max = 0.02 ms, mean = 0.011 ms, median = 0.011 ms, \
percentile(99%) = 0.02 ms
[11/21/2026-12:00:06] [I] GPU Compute Time: min = 1.9 ms, max = 2.1 ms, mean = 1.97 ms, median = 1.96 ms, \
percentile(99%) = 2.0 ms
[11/21/2026-12:00:06] [I] D2H Latency: min = 0.004 ms, max = 9e-03 ms, mean = 0.005 ms, median = 0.005 ms, \
percentile(99%) = 0.008 ms
[11/21/2026-12:00:06] [I] Total Host Walltime: 3.00355 s
&&&& PASSED TensorRT.trtexec [TensorRT v100700] [b23]
"""
INPUTS: list[dict[str, Any]] = [
    {"name": "x", "dtype": "float32", "shape": ["batch", 4]},
    {"name": "mask", "dtype": "int64", "shape": ["batch", "length"]},
    {"name": "scale", "dtype": "float32", "shape": [1]},
]
SIZES = {"batch": {"min": 1, "best": 8, "max": 32}, "length": {"min": 1, "best": 128, "max": 512}}


def parameters(**changes: Any) -> dict[str, Any]:
    stage = {"stage": "optimize", "gpu": "L4", "tensorrt": "10.7", **changes}
    return parsed(stage).stages[0].model_dump(mode="json")


def test_the_summary_is_read() -> None:
    measured = parse_summary(SUMMARY)
    assert measured == (507.399, 1.99417, 2.0506, 1.97)


def test_older_summaries_with_end_to_end_latency_too() -> None:
    line = "[I] End-to-End Host Latency: min = 1 ms, max = 9 ms, mean = 5 ms, median = 5 ms, percentile(99%) = 8 ms\n"
    assert parse_summary(SUMMARY.replace("[11/21/2026-12:00:06] [I] Enqueue", line + "[I] Enqueue")).latency_mean < 2


@pytest.mark.parametrize("text", ["", "&&&& FAILED TensorRT.trtexec", SUMMARY.replace("mean = 1.99417 ms", "mean = ?")])
def test_without_a_summary_nothing_was_measured(text: str) -> None:
    with pytest.raises(GitopsError, match="no performance summary"):
        parse_summary(text)


@pytest.mark.parametrize(
    ("text", "version"),
    [("[TensorRT v100700] [b23]", "10.7.0"), ("[TensorRT v8502]", "8.5.2"), ("[TensorRT v101303]", "10.13.3")],
)
def test_versions(text: str, version: str) -> None:
    assert parse_version(f"&&&& RUNNING TensorRT.trtexec {text} # trtexec --help") == version


def test_an_engine_is_built_for_the_version_that_serves_it() -> None:
    check_version("10.7", "10.7.0")
    check_version("10.7.0", "10.7.0")
    for wanted in ("10.13", "10", "10.7.1", "10.70"):
        if wanted == "10":
            continue
        with pytest.raises(GitopsError, match=r"of TensorRT 10\.7\.0, the engine is wanted for"):
            check_version(wanted, "10.7.0")


@pytest.mark.parametrize(
    ("gpu", "smi"),
    [
        ("T4", "Tesla T4, 7.5\n"),
        ("A10G", "NVIDIA A10G, 8.6\n"),
        ("L4", "NVIDIA L4, 8.9\nNVIDIA L4, 8.9\n"),
        ("L40S", "NVIDIA L40S, 8.9\n"),
        ("A100", "NVIDIA A100-SXM4-40GB, 8.0\n"),
        ("A100-80GB", "NVIDIA A100-SXM4-80GB, 8.0\n"),
        ("A100-80GB", "NVIDIA A100 80GB PCIe, 8.0\n"),
        ("H100", "NVIDIA H100 80GB HBM3, 9.0\n"),
        ("H200", "NVIDIA H200, 9.0\n"),
    ],
)
def test_gpus_are_known_by_name_and_capability(gpu: str, smi: str) -> None:
    check_gpu(gpu, smi)
    other = "L40S" if gpu == "L4" else "L4"
    with pytest.raises(GitopsError, match=f"the engine is wanted for {other}"):
        check_gpu(other, smi)


def test_no_gpu_is_another_gpu() -> None:
    with pytest.raises(GitopsError, match="this GPU is none"):
        check_gpu("L4", "")


def test_the_command_lines() -> None:
    shapes = profile(INPUTS, SIZES)
    assert shapes == [
        "--minShapes=x:1x4,mask:1x1",
        "--optShapes=x:8x4,mask:8x128",
        "--maxShapes=x:32x4,mask:32x512",
    ]
    command = build_arguments(Path("/in/model.onnx"), Path("/out/model.plan"), parameters(precision="int8"), shapes)
    assert command == [
        "trtexec",
        "--onnx=/in/model.onnx",
        "--saveEngine=/out/model.plan",
        "--memPoolSize=workspace:4096M",
        "--int8",
        "--fp16",
        *shapes,
        "--skipInference",
    ]
    assert "--shapes" not in " ".join(measure_arguments(Path("model.plan"), ""))
    assert profile(INPUTS[2:], {}) == []


def test_every_open_size_needs_bounds() -> None:
    with pytest.raises(GitopsError, match="size 'length' is open"):
        profile(INPUTS, {"batch": SIZES["batch"]})


def test_the_speed_up_is_against_onnx_runtime_on_the_same_gpu() -> None:
    measured = parse_summary(SUMMARY)
    (gate,), figures = judged(measured, 3.98834, 1.5)
    assert gate.passed
    assert figures["speedup"] == pytest.approx(2.0)
    assert not judged(measured, 2.5, 1.5)[0][0].passed
    assert not judged(measured, None, 1.5)[0][0].passed
    assert judged(measured, 3.9, None)[0] == ()
