"""PyTorch models: loaded without running what is in the file, exported by torch.export, asked."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from gitops.errors import GitopsError
from gitops.stages.build import graph, pt2
from gitops.stages.build.task import Task, only_file, tool

_WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Where checkpoints of training loops keep the state dict."""
_SAVE = "save model.state_dict() and name its class with `module`"


def load(task: Task) -> Any:
    """The model, ready to be asked: an ExportedProgram for `.pt2`, else a Module in evaluation mode.

    A file is read as tensors only, unless `trustedCode` says that its author is trusted. Raises GitopsError.
    """
    torch = tool("torch")
    torch.manual_seed(0)
    if task.form == "torch-export":
        return _exported(only_file(task.given, (".pt2",)), task.scratch)
    if "code" in task.files:
        sys.dont_write_bytecode = True
        sys.path.insert(0, str(task.files["code"]))
    if task.parameters["module"]:
        model = _construct(task)
        _fill(model, _state(task), str(task.given))
        return model.eval()
    return _pickled(only_file(task.given, (".pt", ".pth", ".bin")), bool(task.facts.get("trustedCode"))).eval()


def export(model: Any, parameters: Mapping[str, Any], target: Path) -> None:
    """Write the model as ONNX. Raises GitopsError with what torch.export cannot follow.

    Reference: https://docs.pytorch.org/docs/stable/onnx_export.html
    """
    torch, onnx = tool("torch"), tool("onnx")
    tool("onnxscript")
    inputs: Mapping[str, Any] = parameters["inputs"]
    program = hasattr(model, "graph_signature")
    open_sizes = tuple(
        {axis: name for axis, name in enumerate(tensor["shape"]) if isinstance(name, str)} for tensor in inputs.values()
    )
    try:
        made = torch.onnx.export(
            model,
            () if program else _examples(inputs),
            dynamo=True,
            verbose=False,
            opset_version=parameters["opset"],
            input_names=list(inputs),
            output_names=list(parameters["outputs"]) or None,
            # What is open in an ExportedProgram was decided when it was exported.
            dynamic_shapes=None if program else open_sizes,
        )
    except Exception as error:  # torch raises many types, and the first line of most says nothing
        raise GitopsError(f"the model cannot be exported: {_reason(error)}", hint=f"see the log; {_HINT}") from error
    raw = target.with_suffix(".raw")
    made.save(raw)
    graph.save(onnx.load(str(raw)), target)
    for left in raw.parent.glob(f"{raw.name}*"):
        left.unlink()


_HINT = "control flow that depends on values, and sizes that are not open, are what it stumbles over most"


def ask(model: Any, arrays: Sequence[Any]) -> list[Any]:
    """The model's outputs as numpy arrays, however it nests them."""
    torch = tool("torch")
    call = model.module() if hasattr(model, "graph_signature") else model
    with torch.no_grad():
        answer = call(*(torch.from_numpy(array) for array in arrays))
    return [tensor.detach().cpu().numpy() for tensor in _flat(answer)]


def _flat(answer: Any) -> list[Any]:
    if isinstance(answer, Mapping):
        return [tensor for value in answer.values() for tensor in _flat(value)]
    if isinstance(answer, list | tuple):
        return [tensor for value in answer for tensor in _flat(value)]
    return [] if answer is None else [answer]


def _examples(inputs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Tensors to trace with; open sizes differ from one another, and from 0 and 1, which torch.export treats apart."""
    torch = tool("torch")
    sizes: dict[str, int] = {}
    tensors = []
    for tensor in inputs.values():
        shape = [sizes.setdefault(size, 2 + len(sizes)) if isinstance(size, str) else size for size in tensor["shape"]]
        tensors.append(torch.zeros(shape, dtype=getattr(torch, tensor["dtype"])))
    return tuple(tensors)


def _construct(task: Task) -> Any:
    """The module as its class makes it, before it has its weights."""
    name, _, kind = task.parameters["module"].partition(":")
    where = f"{task.parameters['code']}: {name}:{kind}"
    try:
        found = getattr(import_module(name), kind)
        model = found(**task.parameters["arguments"])
    except Exception as error:  # the user's code can do anything
        what = f"the model cannot be made: {type(error).__name__}: {error}"
        raise GitopsError(what, where=where, hint="check `module`, `code` and `arguments`") from error
    if not isinstance(model, tool("torch").nn.Module):
        raise GitopsError(f"this is no torch.nn.Module but {type(model).__name__}", where=where)
    return model


def _state(task: Task) -> Mapping[str, Any]:
    if task.form == "safetensors":
        load_file = tool("safetensors.torch").load_file
        files = [task.given] if task.given.is_file() else sorted(task.given.glob("*.safetensors"))
        if not files:
            raise GitopsError("no .safetensors file", where=str(task.given))
        return {name: tensor for file in files for name, tensor in load_file(file).items()}
    state = _tensors(only_file(task.given, (".pt", ".pth", ".bin")))
    for wrapper in _WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping):
        raise GitopsError(f"this holds {type(state).__name__}, not a state dict", where=str(task.given), hint=_SAVE)
    return state


def _fill(model: Any, state: Mapping[str, Any], where: str) -> None:
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = " ".join(lines[1:3]) or lines[0]
        hint = "check `module` and `arguments` against the training"
        raise GitopsError(f"the weights do not fit the class: {reason}", where=where, hint=hint) from error


def _tensors(path: Path) -> Any:
    """What the file holds, if that is tensors and plain containers."""
    from pickle import UnpicklingError

    torch = tool("torch")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        what = f"this is more than a state dict: {_reason(error)}"
        raise GitopsError(what, where=str(path), hint=_SAVE) from error


def _pickled(path: Path, allowed: bool) -> Any:
    torch = tool("torch")
    if not allowed:
        what = "this may be a whole pickled module, and loading one runs the code in it"
        raise GitopsError(what, where=str(path), hint=f"{_SAVE}, or trust its author with `trustedCode: true`")
    if zipfile.is_zipfile(path) and any("/code/" in name for name in zipfile.ZipFile(path).namelist()):
        raise GitopsError("this is TorchScript", where=str(path), hint="save it with torch.export.save as .pt2")
    try:
        model = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # unpickling runs the file's own code
        what = f"it cannot be loaded: {type(error).__name__}: {_reason(error)}"
        raise GitopsError(what, where=str(path), hint="its classes must be importable: name `code`") from error
    if not isinstance(model, torch.nn.Module):
        raise GitopsError(f"this holds {type(model).__name__}, not a module", where=str(path), hint=_SAVE)
    return model


def _exported(path: Path, scratch: Path) -> Any:
    plain = pt2.checked(path, scratch)
    try:
        return tool("torch").export.load(plain)
    except Exception as error:  # one of many
        what = f"it cannot be loaded: {_reason(error)}"
        raise GitopsError(what, where=str(path), hint="write it with torch.export.save, by the same torch") from error


def _reason(error: BaseException) -> str:
    """The line that says most: the cause's, if there is one, without the essay around it."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
