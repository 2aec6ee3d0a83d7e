"""NVIDIA Triton."""

from __future__ import annotations

import json

from gitops.render.runtimes.base import MODELS_DIR, Container, LoadMetric, image_of
from gitops.spec.pipeline import Model, TritonServe

_BACKENDS = {"onnx": ("onnxruntime", "model.onnx"), "tensorrt": ("tensorrt", "model.plan")}
"""Backend and expected file name of the formats that Triton serves from one file."""

_ARGS = (
    f"--model-repository={MODELS_DIR}",
    "--http-port=8000",
    "--allow-grpc=false",
    "--metrics-port=8002",
    # Without it Triton has means only, and no p99 to judge a rollout by.
    "--metrics-config=summary_latencies=true",
)


class Triton:
    """ONNX and TensorRT artifacts are one model, for which the repository's layout and config.pbtxt are made here.

    Such an artifact is the file itself or a directory with `model.onnx` or `model.plan` (and external weights)
    in it. An artifact of any other format is a whole model repository and brings its own configuration.
    """

    def container(self, name: str, model: Model, /) -> Container:
        serve = model.serve
        assert isinstance(serve, TritonServe)
        single = model.artifact.format in _BACKENDS
        root = f"{MODELS_DIR}/{name}"
        return Container(
            image=image_of(serve),
            command=("tritonserver",),
            args=_ARGS,
            env={"HOME": "/tmp"},  # noqa: S108  # a volume of the pod's own
            http_port=8000,
            metrics_port=8002,
            ready="/v2/health/ready",
            health="/v2/health/live",
            # Two mounts side by side: a file cannot be mounted into a volume that is mounted read-only.
            models_path=f"{root}/1" if single else MODELS_DIR,
            files={"config.pbtxt": config_pbtxt(name, model, serve)} if single else {},
            file_paths={"config.pbtxt": f"{root}/config.pbtxt"} if single else {},
            writable={"tmp": "/tmp"},  # noqa: S108
        )

    def load_query(self, metric: LoadMetric, labels: str, /) -> str | None:
        if metric == "queue-length":
            return f"sum(nv_inference_pending_request_count{{{labels}}})"
        # Little's law: seconds spent in requests per second is the mean number of requests in flight.
        return f"sum(rate(nv_inference_request_duration_us{{{labels}}}[2m])) / 1e6"


def config_pbtxt(name: str, model: Model, serve: TritonServe) -> str:
    """The model configuration; inputs and outputs are left out because Triton reads them from the file."""
    backend, expected = _BACKENDS[model.artifact.format]
    lines = [f'name: "{name}"', f'backend: "{backend}"']
    file = model.artifact.uri.rstrip("/").rpartition("/")[2]
    if file.endswith((".onnx", ".plan", ".engine", ".trt")) and file != expected:
        lines.append(f"default_model_filename: {json.dumps(file)}")
    lines += [
        f"max_batch_size: {serve.max_batch_size}",
        f"instance_group [{{ kind: KIND_GPU, count: {serve.instances} }}]",
    ]
    if serve.max_batch_size:
        lines.append("dynamic_batching { }")
    return "\n".join(lines) + "\n"
