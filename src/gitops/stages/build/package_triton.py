"""The stage `package` as a Triton model repository: `<model>/config.pbtxt` and `<model>/<version>/model.onnx`.

Reference: https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_configuration.html
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gitops.errors import GitopsError
from gitops.stages.build import graph
from gitops.stages.build.task import Outcome, Signature, Task, tool
from gitops.stages.results import Check, GateResult

BACKENDS = {"onnx": ("onnxruntime", "model.onnx"), "tensorrt": ("tensorrt", "model.plan")}
DATA_TYPES = {
    "bool": "TYPE_BOOL",
    "uint8": "TYPE_UINT8",
    "uint16": "TYPE_UINT16",
    "uint32": "TYPE_UINT32",
    "uint64": "TYPE_UINT64",
    "int8": "TYPE_INT8",
    "int16": "TYPE_INT16",
    "int32": "TYPE_INT32",
    "int64": "TYPE_INT64",
    "float16": "TYPE_FP16",
    "float32": "TYPE_FP32",
    "float64": "TYPE_FP64",
    "bfloat16": "TYPE_BF16",
    "string": "TYPE_STRING",
}


def run(task: Task) -> Outcome:
    """Make the repository; the gate `configuration` reads it back by Triton's own protobuf, where tritonclient is."""
    backend, file = BACKENDS[task.form]
    signature = task.facts.get("signature") or graph.signature_of(graph.onnx_file(task.given))
    name = task.parameters["name"] or task.facts["model"]
    directory = task.output / name
    config = config_pbtxt(name, backend, signature, task.parameters)
    version = directory / str(task.parameters["version"])
    version.mkdir(parents=True)
    _copy(task.given, version, file)
    (directory / "config.pbtxt").write_text(config)
    gate = _read_back(config, name)
    notes = () if gate else ("tritonclient is not installed: config.pbtxt was not read back",)
    return Outcome((gate,) if gate else (), notes=notes, signature=signature)


def config_pbtxt(name: str, backend: str, signature: Signature, parameters: Mapping[str, Any]) -> str:
    """The model configuration in protobuf's text format, every field explicit.

    With `maxBatchSize` the first size of every tensor is Triton's and left out. Raises GitopsError where it is not
    open, and for types that Triton does not have.
    """
    batch = parameters["maxBatchSize"]
    lines = [f"name: {_text(name)}", f"backend: {_text(backend)}", f"max_batch_size: {batch}"]
    for field in ("input", "output"):
        for tensor in signature[f"{field}s"]:
            lines += _tensor(field, tensor, batch > 0)
    instances = parameters["instances"]
    lines.append(f"instance_group [{{ kind: KIND_{instances['device'].upper()}, count: {instances['count']} }}]")
    lines += _batching(parameters["batching"])
    lines.append(_versions(parameters["versions"]))
    return "\n".join(lines) + "\n"


def _tensor(field: str, tensor: Mapping[str, Any], batched: bool) -> Iterator[str]:
    name, shape = tensor["name"], list(tensor["shape"])
    if tensor["dtype"] not in DATA_TYPES:
        raise GitopsError(f"Triton has no data type for {name!r}, which is {tensor['dtype']}")
    if batched:
        if not shape or isinstance(shape[0], int):
            hint = "open it in `convert.inputs`, or leave `maxBatchSize` at 0"
            raise GitopsError(f"the first size of {name!r} is not open, so Triton cannot batch it", hint=hint)
        shape = shape[1:]
    dims = [size if isinstance(size, int) else -1 for size in shape]
    yield f"{field} ["
    yield "  {"
    yield f"    name: {_text(name)}"
    yield f"    data_type: {DATA_TYPES[tensor['dtype']]}"
    yield f"    dims: {dims or [1]}"
    if not dims:
        # Triton's dims are never empty; a scalar is reshaped.
        yield "    reshape: { shape: [] }"
    yield "  }"
    yield "]"


def _batching(batching: Mapping[str, Any] | None) -> Iterator[str]:
    if batching is not None:
        yield "dynamic_batching {"
        if batching["preferred"]:
            yield f"  preferred_batch_size: {list(batching['preferred'])}"
        if batching["maxQueueDelay"] is not None:
            milliseconds = float(batching["maxQueueDelay"].removesuffix("ms"))
            yield f"  max_queue_delay_microseconds: {round(milliseconds * 1000)}"
        yield "}"


def _versions(policy: Mapping[str, Any]) -> str:
    if policy["specific"]:
        return f"version_policy: {{ specific: {{ versions: {list(policy['specific'])} }} }}"
    return f"version_policy: {{ latest: {{ num_versions: {policy['latest']} }} }}"


def _text(value: str) -> str:
    """A string literal of protobuf's text format: JSON's escapes are among its own."""
    return json.dumps(value)


def _copy(given: Path, version: Path, file: str) -> None:
    """The model under the name that Triton looks for; its external weights keep theirs."""
    sources: Sequence[Path] = [given] if given.is_file() else sorted(given.iterdir())
    suffix = Path(file).suffix
    models = [path for path in sources if path.suffix == suffix]
    if len(models) != 1:
        raise GitopsError(f"{len(models)} files with the suffix {suffix}, one is wanted", where=str(given))
    for path in sources:
        target = version / (file if path == models[0] else path.name)
        shutil.copytree(path, target) if path.is_dir() else shutil.copyfile(path, target)


def _read_back(config: str, name: str) -> GateResult | None:
    try:
        messages, text_format = tool("tritonclient.grpc.model_config_pb2"), tool("google.protobuf.text_format")
    except (ImportError, GitopsError):
        return None
    try:
        parsed = text_format.Parse(config, messages.ModelConfig())
    except text_format.ParseError as error:
        return GateResult("configuration", (Check("config.pbtxt", False, "Triton's format", str(error)),))
    return GateResult("configuration", (Check("config.pbtxt", parsed.name == name, name, parsed.name),))
