"""The stage `quantize`: int8 by ONNX Runtime, or llm-compressor's methods for language models.

Signed weights have seven bits and not eight, so that no processor answers differently from another (`saturation.py`).
Reference: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gitops.errors import GitopsError
from gitops.stages.build import graph, judge, llm, saturation
from gitops.stages.build.samples import fitted, load_arrays
from gitops.stages.build.task import Outcome, Task, tool

_DYNAMIC = ("MatMul", "Gemm", "Attention", "LSTM")
"""What ONNX Runtime quantizes dynamically; of convolutions it does not have the signed form on every CPU."""


def run(task: Task) -> Outcome:
    """Make a quantized model; the gate `accuracy` says what that cost, where `labelled` samples are named."""
    if task.parameters["method"] in ("dynamic-int8", "static-int8"):
        return _int8(task)
    return llm.run(task)


def _int8(task: Task) -> Outcome:
    given, target = graph.onnx_file(task.given), task.output / graph.FILE
    was = judge.before(task, given)
    prepared, made = task.scratch / "prepared.onnx", task.scratch / "made.onnx"
    tool("onnxruntime.quantization.shape_inference").quant_pre_process(str(given), str(prepared))
    task.say(f"quantizing: {task.parameters['method']}")
    if task.parameters["method"] == "dynamic-int8":
        _dynamic(prepared, made, task.parameters)
    else:
        _static(prepared, made, task)
    graph.save(tool("onnx").load(str(made)), target)
    graph.check(target)
    changed = _quantized(target)
    if not changed:
        raise GitopsError("there was nothing to quantize", hint="convolutions need `static-int8`; look at `exclude`")
    widest = saturation.check(target)
    figures = {"quantized-nodes": float(changed), "largest-weight": widest, **_sizes(given, target)}
    gates, measured, notes = judge.after(task, was, target)
    return Outcome(gates, {**figures, **measured}, notes, signature=graph.signature_of(target))


def _dynamic(given: Path, made: Path, parameters: Mapping[str, Any]) -> None:
    quantization = tool("onnxruntime.quantization")
    quantization.quantize_dynamic(
        str(given),
        str(made),
        op_types_to_quantize=list(_DYNAMIC),
        per_channel=parameters["perChannel"],
        weight_type=quantization.QuantType.QInt8,
        reduce_range=True,
        nodes_to_exclude=list(parameters["exclude"]),
    )


def _static(given: Path, made: Path, task: Task) -> None:
    quantization, parameters = tool("onnxruntime.quantization"), task.parameters
    path = task.files["calibration"]
    inputs = graph.signature_of(given)["inputs"]
    arrays = fitted(load_arrays(path), inputs, str(path))
    # TensorRT wants signed activations; where they are multiplied with each other, only unsigned ones cannot saturate.
    unsigned = saturation.multiplies_activations(given)
    kinds = quantization.QuantType
    methods = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}
    quantization.quantize_static(
        str(given),
        str(made),
        _reader(arrays, inputs),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=parameters["perChannel"],
        activation_type=kinds.QUInt8 if unsigned else kinds.QInt8,
        weight_type=kinds.QInt8,
        reduce_range=True,
        nodes_to_exclude=list(parameters["exclude"]),
        calibrate_method=getattr(quantization.CalibrationMethod, methods[parameters["calibrate"]]),
    )


def _reader(arrays: Mapping[str, Any], inputs: list[dict[str, Any]]) -> Any:
    """Rows for calibration, as many at a time as the model takes."""
    rows = min(array.shape[0] for array in arrays.values())
    first = inputs[0]["shape"][0]
    size = first if isinstance(first, int) else 32
    starts = range(0, rows - size + 1, size) if isinstance(first, int) else range(0, rows, size)
    parts: Iterator[dict[str, Any]] = iter(
        [{name: array[start : start + size] for name, array in arrays.items()} for start in starts]
    )
    base = tool("onnxruntime.quantization").CalibrationDataReader
    return type("Rows", (base,), {"get_next": lambda _: next(parts, None)})()


def _quantized(path: Path) -> int:
    model = tool("onnx").load(str(path), load_external_data=False)
    kinds = {"DynamicQuantizeLinear", "QuantizeLinear", "DynamicQuantizeLSTM", "QAttention"}
    return sum(node.op_type in kinds for node in model.graph.node)


def _sizes(given: Path, target: Path) -> dict[str, float]:
    before, after = (_bytes(path) for path in (given, target))
    return {"bytes-before": before, "bytes": after}


def _bytes(path: Path) -> float:
    beside = path.with_name(f"{path.name}.data")
    return float(path.stat().st_size + (beside.stat().st_size if beside.exists() else 0))
