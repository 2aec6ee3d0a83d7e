"""The stage `convert`: to ONNX, checked, and compared with the original on samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gitops.errors import GitopsError
from gitops.stages.build import graph, pytorch, tensorflow
from gitops.stages.build.compare import compare
from gitops.stages.build.samples import Arrays, fitted, load_arrays, random_arrays
from gitops.stages.build.task import Outcome, Signature, Task

PROGRAMS = frozenset({"torch-export", "savedmodel", "frozen-graph"})
"""Formats that cannot be read without running what their author put into them; `gitops.spec.build` says why."""

Original = Callable[[Arrays], Sequence[Any]]
"""Asks the original model; outputs in the order of the converted one's."""


def run(task: Task) -> Outcome:
    """Make `model.onnx`. The gate `conversion` says whether it computes what the original does.

    Raises GitopsError when the source cannot be loaded or has no ONNX equivalent.
    """
    target = task.output / graph.FILE
    if task.form in PROGRAMS and not task.facts.get("trustedCode"):
        hint = "if you trust whoever made it, add `trustedCode: true` to `build.source`"
        raise GitopsError(f"{task.form} is a program and not weights", where=str(task.given), hint=hint)
    original = _SOURCES[task.form](task, target)
    task.say("checking the ONNX file")
    graph.check(target)
    signature = graph.signature_of(target)
    arrays = _samples(task, signature)
    task.say("comparing it with the original")
    names = [tensor["name"] for tensor in signature["outputs"]]
    before, after = original(arrays), graph.ask(target, arrays)
    if len(before) != len(after):
        raise GitopsError(f"the original gives {len(before)} outputs, the ONNX file {len(after)}")
    parameters = task.parameters
    gate = compare(names, before, after, parameters["tolerance"], parameters["sameClass"])
    return Outcome((gate,), {"bytes": float(target.stat().st_size)}, signature=signature)


def _samples(task: Task, signature: Signature) -> Arrays:
    inputs = signature["inputs"]
    if "samples" in task.files:
        path = task.files["samples"]
        return fitted(load_arrays(path), inputs, str(path))
    settings: Mapping[str, int] = task.parameters["random"]
    return random_arrays(inputs, settings["seed"], settings["rows"], settings["below"])


def _from_pytorch(task: Task, target: Path) -> Original:
    task.say("loading the PyTorch model")
    model = pytorch.load(task)
    task.say("exporting it to ONNX")
    pytorch.export(model, task.parameters, target)
    return lambda arrays: pytorch.ask(model, list(arrays.values()))


def _from_saved_model(task: Task, target: Path) -> Original:
    task.say("converting the SavedModel")
    tensorflow.convert(["--saved-model", str(task.given)], task.parameters, target)
    return lambda arrays: tensorflow.ask_saved_model(task.given, arrays, _outputs(target))


def _from_frozen_graph(task: Task, target: Path) -> Original:
    task.say("converting the frozen graph")
    inputs, outputs = list(task.parameters["inputs"]), list(task.parameters["outputs"])
    file = tensorflow.frozen_file(task.given)
    arguments = ["--graphdef", str(file), "--inputs", ",".join(inputs), "--outputs", ",".join(outputs)]
    tensorflow.convert(arguments, task.parameters, target)
    return lambda arrays: tensorflow.ask_frozen(file, arrays, _outputs(target))


def _outputs(target: Path) -> list[str]:
    return [tensor["name"] for tensor in graph.signature_of(target)["outputs"]]


_SOURCES: Mapping[str, Callable[[Task, Path], Original]] = {
    "pytorch": _from_pytorch,
    "safetensors": _from_pytorch,
    "torch-export": _from_pytorch,
    "savedmodel": _from_saved_model,
    "frozen-graph": _from_frozen_graph,
}
