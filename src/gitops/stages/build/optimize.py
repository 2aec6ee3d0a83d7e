"""The stage `optimize`: a TensorRT engine, and how much faster it is than ONNX Runtime on the same GPU."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gitops.stages.build import graph, trtexec
from gitops.stages.build.samples import random_arrays
from gitops.stages.build.task import Outcome, Task, tool
from gitops.stages.results import Check, GateResult

FILE = "model.plan"
_WARM_UP, _SECONDS = 20, 5.0


def run(task: Task) -> Outcome:
    """Build `model.plan`; the gate `speed` holds it to `minSpeedup`.

    Raises GitopsError on another GPU or TensorRT than the wanted ones, for an engine would not run there. Timings of
    kernels decide what TensorRT chooses: two engines from one model differ in their bytes.
    """
    given, target = graph.onnx_file(task.given), task.output / FILE
    parameters, machine = task.parameters, trtexec.machine()
    trtexec.check_gpu(parameters["gpu"], machine["gpu"])
    trtexec.check_version(parameters["tensorrt"], machine["tensorrt"])
    signature = graph.signature_of(given)
    inputs, dimensions = signature["inputs"], parameters["dimensions"]
    shapes = trtexec.profile(inputs, dimensions)
    task.say(f"building an engine for {parameters['gpu']}")
    trtexec.call(trtexec.build_arguments(given, target, parameters, shapes))
    task.say("measuring it")
    best = trtexec.shapes_at(inputs, dimensions, "best")
    measured = trtexec.parse_summary(trtexec.call(trtexec.measure_arguments(target, best)))
    base = _onnxruntime(given, inputs, dimensions)
    gates, figures = judged(measured, base, parameters["minSpeedup"])
    notes = () if base else ("ONNX Runtime has no CUDA here: the speed-up was not measured",)
    return Outcome(gates, figures, notes, signature)


def judged(
    measured: trtexec.Measured, base: float | None, least: float | None
) -> tuple[tuple[GateResult, ...], dict[str, float]]:
    """The gate `speed` and the figures. `base` is ONNX Runtime's mean in ms; where it is missing a limit fails."""
    figures = {
        "throughput-queries-per-second": measured.throughput,
        "latency-mean-milliseconds": measured.latency_mean,
        "latency-p99-milliseconds": measured.latency_p99,
        "gpu-compute-mean-milliseconds": measured.compute_mean,
    }
    speedup = base / measured.latency_mean if base else None
    if base and speedup:
        figures |= {"onnxruntime-mean-milliseconds": base, "speedup": speedup}
    if least is None:
        return (), figures
    got = f"{speedup:.2f} times" if speedup else "no measurement: ONNX Runtime has no CUDA here"
    check = Check("speed-up", bool(speedup and speedup >= least), f"at least {least:g} times", got)
    return (GateResult("speed", (check,), figures),), figures


def _onnxruntime(path: Path, inputs: Sequence[Mapping[str, Any]], dimensions: Mapping[str, Any]) -> float | None:
    """The unoptimized model's mean from host to host, in ms, as trtexec's latency; None without CUDA."""
    if "CUDAExecutionProvider" not in tool("onnxruntime").get_available_providers():
        return None
    model = graph.session(path, ["CUDAExecutionProvider"])
    sized = [
        {**tensor, "shape": [dimensions[s]["best"] if isinstance(s, str) else s for s in tensor["shape"]]}
        for tensor in inputs
    ]
    arrays = random_arrays(sized, 0, 1, 2)
    for _ in range(_WARM_UP):
        model.run(None, arrays)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < _SECONDS:
        model.run(None, arrays)
        count += 1
    return (time.perf_counter() - start) / count * 1000
