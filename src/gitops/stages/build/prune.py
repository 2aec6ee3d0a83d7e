"""The stage `prune`: global magnitude pruning of an ONNX model's weights.

The smallest weights of all layers together become zero (Han et al. 2015, "Learning both Weights and Connections for
Efficient Neural Networks"; one threshold for all layers as torch.nn.utils.prune.global_unstructured has it). Zeros
that lie anywhere make a dense runtime no faster: they pay when the file is compressed, or on hardware that skips them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gitops.errors import GitopsError
from gitops.stages.build import graph, judge
from gitops.stages.build.task import Outcome, Task, tool

_WEIGHT = {"MatMul": (0, 1), "Gemm": (0, 1), "Conv": (1,)}
"""At which inputs a node has weights; a MatMul may have them on either side."""


def run(task: Task) -> Outcome:
    """Make a pruned model; the gate `accuracy` says what that cost, where `labelled` samples are named."""
    onnx = tool("onnx")
    given, target = graph.onnx_file(task.given), task.output / graph.FILE
    was = judge.before(task, given)
    model = onnx.load(str(given))
    weights = _weights(model, set(task.parameters["exclude"]))
    if not weights:
        raise GitopsError("there are no weights to prune", hint="prune before `quantize`; look at `exclude`")
    task.say(f"pruning {len(weights)} weights to {task.parameters['sparsity']:.0%} zeros")
    arrays = [onnx.numpy_helper.to_array(weight) for weight in weights]
    pruned = smallest_to_zero(arrays, task.parameters["sparsity"])
    for weight, array in zip(weights, pruned, strict=True):
        weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    graph.save(model, target)
    graph.check(target)
    gates, measured, notes = judge.after(task, was, target)
    figures = {**_zeros(pruned), "pruned-weights": float(len(weights))}
    return Outcome(gates, {**figures, **measured}, notes, signature=graph.signature_of(target))


def smallest_to_zero(arrays: Sequence[Any], sparsity: float) -> list[Any]:
    """Copies of the arrays in which the smallest floor(sparsity x n) of all n values, by magnitude, are zero.

    Of equal ones the first goes first, so that the same arrays give the same result.
    """
    np = tool("numpy")
    flat = np.concatenate([np.abs(array).ravel() for array in arrays])
    # The share is what the user wrote, not its nearest binary fraction: 0.3 of 10 is 3.
    doomed = np.argsort(flat, kind="stable")[: int(sparsity * flat.size + 1e-9)]
    keep = np.ones(flat.size, dtype=bool)
    keep[doomed] = False
    parts = np.split(keep, np.cumsum([array.size for array in arrays])[:-1])
    return [
        np.where(part.reshape(array.shape), array, array.dtype.type(0))
        for array, part in zip(arrays, parts, strict=True)
    ]


def _weights(model: Any, exclude: set[str]) -> list[Any]:
    """The initializers with floating-point weights, each once, in the order of the nodes."""
    onnx = tool("onnx")
    floats = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE}
    known: Mapping[str, Any] = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type in floats}
    found: dict[str, Any] = {}
    for node in model.graph.node:
        if node.name in exclude:
            continue
        for place in _WEIGHT.get(node.op_type, ()):
            if place < len(node.input) and node.input[place] in known:
                found[node.input[place]] = known[node.input[place]]
    return list(found.values())


def _zeros(arrays: Sequence[Any]) -> dict[str, float]:
    total = sum(array.size for array in arrays)
    return {"sparsity": sum(int((array == 0).sum()) for array in arrays) / total, "weights": float(total)}
