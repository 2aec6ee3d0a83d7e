"""TensorFlow models: converted by tf2onnx's own command, and asked.

Reference: https://github.com/onnx/tensorflow-onnx (README, "CLI reference").
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gitops.errors import GitopsError
from gitops.stages.build import graph
from gitops.stages.build.samples import Arrays
from gitops.stages.build.task import only_file, tool

_SIGNATURE = "serving_default"


def frozen_file(given: Path) -> Path:
    """The graph among what was given."""
    return only_file(given, (".pb",))


def convert(arguments: Sequence[str], parameters: Mapping[str, Any], target: Path) -> None:
    """Run tf2onnx. Raises GitopsError with what it says."""
    raw = target.with_suffix(".raw")
    options = ["--output", str(raw), "--opset", str(parameters["opset"])]
    if "--saved-model" in arguments:
        options += ["--tag", "serve", "--signature_def", _SIGNATURE]
    _tensorflow()
    # Its command line is what it documents; this process is a stage's own, so that nobody else sees the arguments.
    sys.argv = ["tf2onnx", *arguments, *options]
    try:
        tool("tf2onnx.convert").main()
    except (Exception, SystemExit) as error:  # of TensorFlow, numpy, argparse, …
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise GitopsError(f"tf2onnx cannot convert it: {reason}", hint="see the log; try a higher `opset`") from error
    graph.save(tool("onnx").load(str(raw)), target)
    raw.unlink()


def ask_saved_model(path: Path, arrays: Arrays, outputs: Sequence[str]) -> list[Any]:
    """The answers of the signature `serving_default`, in the order of the names."""
    tf = _tensorflow()
    call = tf.saved_model.load(str(path)).signatures[_SIGNATURE]
    answers = call(**{name: tf.constant(array) for name, array in arrays.items()})
    if missing := [name for name in outputs if name not in answers]:
        raise GitopsError(f"the original has no output {missing[0]!r}", hint=f"it has {', '.join(sorted(answers))}")
    return [answers[name].numpy() for name in outputs]


def ask_frozen(path: Path, arrays: Arrays, outputs: Sequence[str]) -> list[Any]:
    """The same for the tensors of a frozen graph, by name."""
    tf = _tensorflow()
    definition = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    wrapped = tf.compat.v1.wrap_function(lambda: tf.compat.v1.import_graph_def(definition, name=""), [])
    ends = [wrapped.graph.as_graph_element(name) for name in outputs]
    call = wrapped.prune([wrapped.graph.as_graph_element(name) for name in arrays], ends)
    return [answer.numpy() for answer in call(*(tf.constant(array) for array in arrays.values()))]


def _tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    return tool("tensorflow")
