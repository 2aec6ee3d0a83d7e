"""Models whose int8 products overflow in 16 bits if weights have eight bits: `python saturating.py SOURCE DIRECTORY`.

`pairs` computes as VPMADDUBSW does, so that what a processor without VNNI answers is known on every machine.
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, sys.argv[1])

import numpy as np
import onnx  # type: ignore[import-not-found,unused-ignore]
import onnxruntime  # type: ignore[import-not-found,unused-ignore]
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic  # type: ignore[import-not-found,unused-ignore]

from gitops.errors import GitopsError
from gitops.stages.build import quantize, saturation
from gitops.stages.build.task import Task

DIRECTORY = Path(sys.argv[2])
GENERATOR = np.random.Generator(np.random.PCG64(5))
WEIGHTS = GENERATOR.uniform(0.9, 1.0, (64, 8)).astype("float32")
ROWS = GENERATOR.uniform(0.9, 1.0, (32, 64)).astype("float32")


def save(name: str, nodes: list[Any], outputs: list[str]) -> Path:
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None) for output in outputs],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = DIRECTORY / f"{name}.onnx"
    onnx.save(model, str(path))
    return path


def pairs(left: Any, right: Any) -> Any:
    """The product of unsigned and signed bytes, each pair of products added in 16 bits with saturation."""
    terms = left.astype("int32")[:, :, None] * right.astype("int32")[None, :, :]
    return np.clip(terms[:, 0::2] + terms[:, 1::2], -32768, 32767).sum(axis=1)


def weights_of(path: Path) -> Any:
    found = [numpy_helper.to_array(one) for one in onnx.load(str(path)).graph.initializer if one.data_type == 3]
    return next(array for array in found if array.shape == (64, 8))


def answers(path: Path) -> Any:
    return onnxruntime.InferenceSession(str(path)).run(None, {"x": ROWS})[0]


def report(path: Path, plain: Any) -> dict[str, Any]:
    right, left = weights_of(path), np.rint(ROWS / ROWS.max() * 255).astype("uint8")
    exact = left.astype("int64") @ right.astype("int64")
    return {
        "largest": int(np.abs(right.astype("int32")).max()),
        "lost-without-vnni": float(np.abs(pairs(left, right) - exact).max() / np.abs(exact).max()),
        "error-here": float(np.abs(answers(path) - plain).max() / np.abs(plain).max()),
    }


def quantized(given: Path, name: str, method: str) -> dict[str, Any]:
    output, scratch = DIRECTORY / name / "output", DIRECTORY / name / "scratch"
    output.mkdir(parents=True)
    scratch.mkdir()
    parameters = {"method": method, "perChannel": True, "exclude": [], "calibrate": "minmax"}
    files = {"calibration": DIRECTORY / "rows.npz"}
    outcome = quantize.run(Task("quantize", parameters, given, "onnx", output, scratch, files, say=lambda _: None))
    return dict(outcome.figures)


np.savez(DIRECTORY / "rows.npz", x=ROWS)
product = save("product", [helper.make_node("MatMul", ["x", "w"], ["y"], "product")], ["y"])
plain = answers(product)
found: dict[str, Any] = {}

quantize_dynamic(str(product), str(DIRECTORY / "eight.onnx"), weight_type=QuantType.QInt8)
found["eight-bits"] = report(DIRECTORY / "eight.onnx", plain)
try:
    saturation.check(DIRECTORY / "eight.onnx")
except GitopsError as error:
    found["eight-bits"]["refused"] = str(error)

for method in ("dynamic-int8", "static-int8"):
    figures = quantized(product, method, method)
    found[method] = {**report(DIRECTORY / method / "output" / "model.onnx", plain), "figures": figures}

nodes = [
    helper.make_node("MatMul", ["x", "w"], ["a"]),
    helper.make_node("Transpose", ["a"], ["t"], perm=[1, 0]),
    helper.make_node("MatMul", ["a", "t"], ["y"]),
]
attention = save("attention", nodes, ["y"])
quantized(attention, "attention", "static-int8")
made = onnx.load(str(DIRECTORY / "attention" / "output" / "model.onnx")).graph
types = {one.name: one.data_type for one in made.initializer}
zeros = {types[node.input[2]] for node in made.node if node.op_type == "QuantizeLinear"}
found["attention"] = {
    "unsigned": zeros == {TensorProto.UINT8},
    "error-here": float(
        np.abs(answers(DIRECTORY / "attention" / "output" / "model.onnx") - answers(attention)).max()
        / np.abs(answers(attention)).max()
    ),
}
(DIRECTORY / "results.json").write_text(json.dumps(found))
