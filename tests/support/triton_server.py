"""A small server of Triton's v2 protocol over HTTP, for a model repository with ONNX models.

    python triton_server.py REPOSITORY PORT

It stands in for Triton, which no package registry has: health, metadata and inference with JSON tensors, by ONNX
Runtime. Runs in the Python of the build, without the project's own environment.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-not-found,unused-ignore]

TYPES = {"tensor(float)": "FP32", "tensor(int64)": "INT64", "tensor(double)": "FP64"}
ARRAYS = {"FP32": np.float32, "INT64": np.int64, "FP64": np.float64}


class Model:
    """One model of the repository, in its newest version."""

    def __init__(self, directory: Path) -> None:
        version = max((path for path in directory.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
        self.name = directory.name
        self.session = onnxruntime.InferenceSession(str(version / "model.onnx"))

    def metadata(self) -> dict[str, Any]:
        """What it takes and gives; open sizes are -1."""
        return {
            "name": self.name,
            "inputs": [_described(one) for one in self.session.get_inputs()],
            "outputs": [_described(one) for one in self.session.get_outputs()],
        }

    def infer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Tensors in, tensors out."""
        given = {
            one["name"]: np.array(one["data"], ARRAYS[one["datatype"]]).reshape(one["shape"]) for one in asked["inputs"]
        }
        outputs = self.session.get_outputs()
        found = self.session.run([one.name for one in outputs], given)
        return {
            "model_name": self.name,
            "outputs": [
                {
                    "name": one.name,
                    "datatype": TYPES[one.type],
                    "shape": list(array.shape),
                    "data": array.ravel().tolist(),
                }
                for one, array in zip(outputs, found, strict=True)
            ],
        }


def _described(one: Any) -> dict[str, Any]:
    shape = [size if isinstance(size, int) else -1 for size in one.shape]
    return {"name": one.name, "datatype": TYPES[one.type], "shape": shape}


class Handler(BaseHTTPRequestHandler):
    """The protocol's paths."""

    protocol_version = "HTTP/1.1"
    models: dict[str, Model] = {}  # set once, before it serves

    def do_GET(self) -> None:
        if self.path == "/v2/health/ready":
            return self._send(200, {})
        parts = self.path.split("/")
        if parts[:3] == ["", "v2", "models"] and parts[3] in self.models:
            return self._send(200, {} if parts[4:] == ["ready"] else self.models[parts[3]].metadata())
        return self._send(404, {"error": f"{self.path}: unknown"})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        model = self.models.get(self.path.split("/")[3])
        if model is None or not self.path.endswith("/infer"):
            return self._send(404, {"error": f"{self.path}: unknown"})
        try:
            return self._send(200, model.infer(asked))
        except Exception as error:  # whatever the runtime dislikes is the request's fault
            return self._send(400, {"error": str(error)})

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _send(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    repository, port = Path(sys.argv[1]), int(sys.argv[2])
    Handler.models = {path.name: Model(path) for path in repository.iterdir() if (path / "config.pbtxt").exists()}
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
