"""Whether int8 products of a model can overflow on some processor, by the range of its weights.

x86 processors without VNNI multiply in pairs: VPMADDUBSW takes two unsigned and two signed bytes and adds their
products in 16 bits with saturation, so 255 x 127 + 255 x 127 becomes 32,767. ONNX Runtime's kernels use it there for
signed factors (the others are moved to 0 ... 255 first), and the same model answers differently on another machine.
Where no signed factor is beyond 64, two products are at most 2 x 255 x 64 = 32,640, and nothing can saturate. Factors
that are both unsigned are widened to 16 bits before they are multiplied, and need no bound.

References: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html ("When to use reduce-range"),
and onnxruntime/core/mlas/lib/qgemm_kernel_avx2.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gitops.errors import GitopsError
from gitops.stages.build.task import tool

MOST = 64
"""The largest magnitude of a weight with which no pair of products saturates in 16 bits."""
_PRODUCTS = {
    "MatMul": 1,
    "Gemm": 1,
    "Conv": 1,
    "ConvTranspose": 1,
    "MatMulInteger": 1,
    "ConvInteger": 1,
    "MatMulIntegerToFloat": 1,
    "DynamicQuantizeMatMul": 1,
    "QAttention": 1,
    "QLinearMatMul": 3,
    "QLinearConv": 3,
    "QGemm": 3,
}
"""At which input a node has what it multiplies by."""
_RECURRENT = {"DynamicQuantizeLSTM": (1, 2)}
"""Of these there are two: for the input and for the state."""
_QUANTIZE = frozenset({"QuantizeLinear", "DynamicQuantizeLinear"})
_MOVES = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Flatten")
"""Nodes that change no value."""


def check(path: Path) -> float:
    """The largest magnitude of a signed 8-bit weight. Raises GitopsError where products could saturate.

    Of two activations that are multiplied with one another nothing bounds the second: it has to be unsigned.
    """
    onnx = tool("onnx")
    graph = onnx.load(str(path)).graph
    weights = {weight.name: weight for weight in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    widest = 0.0
    for node, name in _multiplied(graph.node):
        origin = _origin(name, makers)
        if origin in makers:
            if not _is_unsigned(makers[origin], weights):
                what = f"{node.name or node.op_type} multiplies by signed activations, which can saturate without VNNI"
                raise GitopsError(what, hint="exclude what makes them")
            continue
        weight = weights.get(origin)
        if weight is not None and weight.data_type == onnx.TensorProto.INT8:
            widest = max(widest, float(abs(onnx.numpy_helper.to_array(weight).astype("int16")).max(initial=0)))
            if widest > MOST:
                what = f"{node.name or node.op_type} has weights up to {widest:g}, which can saturate without VNNI"
                raise GitopsError(what, hint=f"weights up to {MOST} cannot")
    return widest


def multiplies_activations(path: Path) -> bool:
    """Whether a floating-point model has a product of two activations, as attention has."""
    graph = tool("onnx").load(str(path), load_external_data=False).graph
    weights = {weight.name for weight in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}
    return any(_source(name, makers) not in weights for _, name in _multiplied(graph.node))


def _is_unsigned(quantizer: Any, weights: Mapping[str, Any]) -> bool:
    """A node quantizes to the type of its zero point, and without one to unsigned bytes."""
    zero = quantizer.input[2] if quantizer.op_type == "QuantizeLinear" and len(quantizer.input) > 2 else ""
    return not zero or (zero in weights and weights[zero].data_type == tool("onnx").TensorProto.UINT8)


def _multiplied(nodes: Any) -> Iterator[tuple[Any, str]]:
    for node in nodes:
        places = (_PRODUCTS[node.op_type],) if node.op_type in _PRODUCTS else _RECURRENT.get(node.op_type, ())
        for place in places:
            if place < len(node.input):
                yield node, node.input[place]


def _origin(name: str, makers: Mapping[str, Any]) -> str:
    """The initializer, input or quantized activation that a node multiplies by; empty for computed floats."""
    while name in makers and makers[name].op_type not in _QUANTIZE:
        if makers[name].op_type not in (*_MOVES, "DequantizeLinear"):
            return ""
        name = makers[name].input[0]
    return name


def _source(name: str, makers: Mapping[str, Any]) -> str:
    while name in makers and makers[name].op_type in _MOVES:
        name = makers[name].input[0]
    return name
