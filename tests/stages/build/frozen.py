"""A SavedModel and a frozen graph, made by TensorFlow and converted: `python frozen.py SOURCE DIRECTORY`."""

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
sys.path.insert(0, sys.argv[1])

import numpy as np
import tensorflow as tf  # type: ignore
from tensorflow.python.framework.convert_to_constants import (  # type: ignore
    convert_variables_to_constants_v2,
)

from gitops.errors import GitopsError
from gitops.stages.build import convert
from gitops.stages.build.task import Task

DIRECTORY = Path(sys.argv[2])


class Softmax(tf.Module):  # type: ignore
    def __init__(self) -> None:
        super().__init__()
        self.weights = tf.Variable(np.random.Generator(np.random.PCG64(0)).normal(size=(4, 3)).astype("float32"))

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="features")])  # type: ignore
    def __call__(self, features: Any) -> Any:
        return {"shares": tf.nn.softmax(tf.matmul(features, self.weights))}


model = Softmax()
tf.saved_model.save(model, str(DIRECTORY / "saved"), signatures={"serving_default": model.__call__})


class Evil(Softmax):
    """Writes a file when it is asked."""

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="features")])  # type: ignore
    def __call__(self, features: Any) -> Any:
        with tf.control_dependencies([tf.io.write_file(str(DIRECTORY / "written-by-the-graph"), "the graph ran this")]):
            return {"shares": tf.nn.softmax(tf.matmul(features, self.weights))}


evil = Evil()
tf.saved_model.save(evil, str(DIRECTORY / "evil"), signatures={"serving_default": evil.__call__})
graph = convert_variables_to_constants_v2(model.__call__.get_concrete_function()).graph
(DIRECTORY / "frozen.pb").write_bytes(graph.as_graph_def().SerializeToString())

PLAIN: dict[str, Any] = {
    "opset": 18,
    "inputs": {},
    "outputs": [],
    "random": {"seed": 3, "rows": 5, "below": 10},
    "tolerance": {"absolute": 1e-5, "relative": 1e-4},
    "sameClass": True,
}
FROZEN = {"inputs": {"features:0": {}}, "outputs": ["Identity:0"]}
results: dict[str, Any] = {}
for name, form, given, changes, trusted in (
    ("saved", "savedmodel", DIRECTORY / "saved", {}, True),
    ("frozen", "frozen-graph", DIRECTORY / "frozen.pb", FROZEN, True),
    ("saved-not-trusted", "savedmodel", DIRECTORY / "saved", {}, False),
    ("frozen-not-trusted", "frozen-graph", DIRECTORY / "frozen.pb", FROZEN, False),
):
    output, scratch = DIRECTORY / name / "output", DIRECTORY / name / "scratch"
    output.mkdir(parents=True)
    scratch.mkdir()
    facts = {"trustedCode": trusted}
    task = Task("convert", {**PLAIN, **changes}, given, form, output, scratch, facts=facts, say=lambda _: None)
    try:
        results[name] = convert.run(task).document()
    except GitopsError as error:
        results[name] = {"error": str(error)}
(DIRECTORY / "results.json").write_text(json.dumps(results))
