"""ONNX files: read, written, checked and asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gitops.errors import GitopsError
from gitops.stages.build.samples import LABELS, Arrays, fitted, load_arrays
from gitops.stages.build.task import Signature, only_file, tool

FILE = "model.onnx"
ROWS = 256
"""Samples that a model with an open batch is asked at once."""
_INSIDE = 1 << 30
"""Weights of more bytes lie in a file beside: a protobuf message holds two GiB at most."""


def onnx_file(given: Path) -> Path:
    """The model among what a stage was given."""
    return only_file(given, (".onnx",))


def save(model: Any, path: Path) -> None:
    """Write a model without what differs from run to run and from machine to machine, such as source paths."""
    onnx = tool("onnx")
    _strip(model)
    beside = model.ByteSize() > _INSIDE
    onnx.save_model(model, path, save_as_external_data=beside, location=f"{path.name}.data", size_threshold=1024)


def check(path: Path) -> None:
    """ONNX's own checker, with shape inference. Raises GitopsError with what it says."""
    onnx = tool("onnx")
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).strip().splitlines()[0]
        raise GitopsError(f"the result is not valid ONNX: {reason}", hint="try another `opset`") from error


def signature_of(path: Path) -> Signature:
    """Inputs and outputs of a model. Raises GitopsError for anything but tensors."""
    onnx = tool("onnx")
    graph = onnx.load(str(path), load_external_data=False).graph
    weights = {weight.name for weight in graph.initializer}
    inputs = [_tensor(value) for value in graph.input if value.name not in weights]
    return {"inputs": inputs, "outputs": [_tensor(value) for value in graph.output]}


def _tensor(value: Any) -> dict[str, Any]:
    onnx = tool("onnx")
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise GitopsError(f"{value.name!r} is a {kind}, not a tensor", hint="leave it out of the exported model")
    tensor = value.type.tensor_type
    dtype = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    sizes = enumerate(tensor.shape.dim)
    shape = [size.dim_value if size.HasField("dim_value") else size.dim_param or f"d{axis}" for axis, size in sizes]
    return {"name": value.name, "dtype": "string" if dtype == "object" else dtype, "shape": shape}


def session(path: Path, providers: Sequence[str] = ("CPUExecutionProvider",)) -> Any:
    """The model in ONNX Runtime. Raises GitopsError when it does not load."""
    ort = tool("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # pybind raises types of its own
        reason = str(error).splitlines()[0]
        raise GitopsError(f"ONNX Runtime does not load the model: {reason}") from error


def ask(path: Path, arrays: Arrays) -> list[Any]:
    """The outputs for all rows of the arrays, in the order of the signature."""
    np = tool("numpy")
    model = session(path)
    first = model.get_inputs()[0].shape[:1]
    fixed = first[0] if first and isinstance(first[0], int) else None
    rows = max((array.shape[0] for array in arrays.values() if array.ndim), default=0)
    if not rows or rows == fixed:
        return list(model.run(None, arrays))
    if fixed is None and rows <= ROWS:
        return list(model.run(None, arrays))
    parts = [model.run(None, part) for part in _chunks(arrays, rows, fixed or ROWS, fixed is not None)]
    return [np.concatenate(outputs)[:rows] for outputs in zip(*parts, strict=True)]


def _chunks(arrays: Arrays, rows: int, size: int, fixed: bool) -> Iterator[Arrays]:
    """So many rows at a time; where the model takes no fewer, the last row again until there are enough."""
    np = tool("numpy")
    for start in range(0, rows, size):
        part = {
            name: array[start : start + size] if array.ndim and array.shape[0] == rows else array
            for name, array in arrays.items()
        }
        missing = size - min(size, rows - start)
        if fixed and missing:
            part = {name: np.concatenate([array, array[-1:].repeat(missing, 0)]) for name, array in part.items()}
        yield part


def accuracy(path: Path, labelled: Path, output: str | None) -> tuple[float, int]:
    """The percentage of labelled samples whose largest score is at the label, and how many samples there are."""
    np = tool("numpy")
    signature, arrays = signature_of(path), load_arrays(labelled)
    if LABELS not in arrays:
        raise GitopsError(f"there is no array {LABELS!r}", where=str(labelled), hint="it holds the class of each row")
    labels = arrays[LABELS].ravel()
    names = [tensor["name"] for tensor in signature["outputs"]]
    if output is not None and output not in names:
        raise GitopsError(f"the model has no output {output!r}", hint=f"it has {', '.join(names)}")
    scores = ask(path, fitted(arrays, signature["inputs"], str(labelled)))[names.index(output) if output else 0]
    found = scores.reshape(len(labels), -1).argmax(-1) if scores.shape[0] == len(labels) else None
    if found is None:
        raise GitopsError(f"{len(labels)} labels for {scores.shape[0]} answers", where=str(labelled))
    return float(np.mean(found == labels) * 100), len(labels)


def _strip(model: Any) -> None:
    model.doc_string = ""
    for graph in (model.graph, *model.functions):
        _strip_graph(graph)


def _strip_graph(graph: Any) -> None:
    for field in ("node", "input", "output", "value_info", "initializer"):
        for item in getattr(graph, field, ()):
            if isinstance(item, str):
                continue
            item.doc_string = ""
            del item.metadata_props[:]
            for attribute in getattr(item, "attribute", ()):
                if attribute.HasField("g"):
                    _strip_graph(attribute.g)
    graph.doc_string = ""
    del graph.metadata_props[:]
