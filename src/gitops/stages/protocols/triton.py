"""The Open Inference Protocol (KServe v2) that Triton speaks over HTTP, with tensors as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any
from urllib.parse import quote

import orjson

from gitops.errors import GitopsError
from gitops.spec.problems import listed
from gitops.stages.protocols.base import (
    AskFailed,
    Content,
    Description,
    Piece,
    Question,
    Request,
    Tensor,
    TensorType,
    excerpt,
)


@dataclass(frozen=True, slots=True)
class Triton:
    """`model` is the directory's name in the model repository."""

    model: str

    @property
    def streams(self) -> bool:
        """Over HTTP, answers come whole."""
        return False

    @property
    def health(self) -> tuple[str, ...]:
        """The server's, and then the model's."""
        return "/v2/health/ready", f"{self.description}/ready"

    @property
    def description(self) -> str:
        """The model's metadata."""
        return f"/v2/models/{quote(self.model, safe='')}"

    def describe(self, document: Any) -> Description:
        """The types of inputs and outputs."""
        if not isinstance(document, Mapping) or not isinstance(document.get("inputs"), list):
            raise AskFailed("malformed", f"this is no metadata of a model: {excerpt(orjson.dumps(document))}")
        inputs, outputs = _types(document["inputs"]), _types(document.get("outputs") or [])
        return Description((str(document.get("name", "")),), inputs, outputs)

    def request(self, question: Question, description: Description) -> Request:
        """An inference request; types that the question leaves out are the model's."""
        if not question.inputs:
            raise GitopsError("the protocol triton needs `inputs`", hint="such as inputs: {INPUT0: [[1.0, 2.0]]}")
        inputs = [_input(name, value, description) for name, value in question.inputs.items()]
        body: dict[str, Any] = {"inputs": inputs}
        if question.settings.extra:
            body["parameters"] = dict(question.settings.extra)
        return Request("POST", f"{self.description}/infer", orjson.dumps(body))

    def answer(self, document: Any) -> Content:
        """The output tensors."""
        outputs = document.get("outputs") if isinstance(document, Mapping) else None
        if not isinstance(outputs, list):
            raise AskFailed("malformed", f"there are no outputs in {excerpt(orjson.dumps(document))}")
        return Content(tensors=dict(map(_output, outputs)))

    def piece(self, document: Any) -> Piece:
        """Nothing streams."""
        raise AskFailed("malformed", "Triton's answers do not stream over HTTP")


def tensor_of(value: Any, datatype: str) -> Tensor:
    """Nested lists as a tensor. Raises ValueError when they are ragged."""
    shape: list[int] = []
    level = [value]
    while all(isinstance(one, list) for one in level):
        lengths = {len(one) for one in level}
        if len(lengths) > 1:
            raise ValueError("its lists have different lengths")
        shape.append(lengths.pop() if lengths else 0)
        level = [inner for one in level for inner in one]
        if not level:
            break
    if any(isinstance(one, list) for one in level):
        raise ValueError("it mixes lists and values")
    return Tensor(datatype, tuple(shape), tuple(level))


def _input(name: str, value: Any, description: Description) -> dict[str, Any]:
    said = value if isinstance(value, Mapping) else {"data": value}
    known = description.inputs.get(name)
    if known is None and description.inputs:
        hint = f"the model has {listed(description.inputs)}"
        raise GitopsError(f"there is no input {name}", hint=hint)
    datatype = said.get("type") or (known.datatype if known else "")
    if not datatype:
        raise GitopsError(f"the type of input {name} is not known", hint="write {type: FP32, data: [[1.0]]}")
    try:
        tensor = tensor_of(said.get("data"), str(datatype))
    except ValueError as error:
        raise GitopsError(f"input {name} is no tensor: {error}") from None
    shape = tuple(said.get("shape") or tensor.shape)
    if prod(shape) != len(tensor.data):
        raise GitopsError(f"input {name} has {len(tensor.data)} values, not {prod(shape)} for the shape {list(shape)}")
    return {"name": name, "datatype": tensor.datatype, "shape": list(shape), "data": list(tensor.data)}


def _output(output: Any) -> tuple[str, Tensor]:
    try:
        name, datatype = str(output["name"]), str(output["datatype"])
        flat = tensor_of(output["data"], datatype).data
        shape = tuple(int(size) for size in output["shape"])
    except (KeyError, TypeError, ValueError):
        raise AskFailed("malformed", f"this is no output tensor: {excerpt(orjson.dumps(output))}") from None
    if prod(shape) != len(flat):
        raise AskFailed("malformed", f"output {name} has {len(flat)} values, not the {prod(shape)} of its shape")
    return name, Tensor(datatype, shape, flat)


def _types(listed_types: list[Any]) -> dict[str, TensorType]:
    try:
        return {
            str(one["name"]): TensorType(str(one["datatype"]), tuple(int(size) for size in one["shape"]))
            for one in listed_types
        }
    except (KeyError, TypeError, ValueError):
        shown = excerpt(orjson.dumps(listed_types))
        raise AskFailed("malformed", f"these are no inputs or outputs: {shown}") from None
