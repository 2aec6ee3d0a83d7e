"""Projects of any size: a mix of runtimes that renders about eight manifests a unit, in three environments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ENVIRONMENTS = ("dev", "staging", "production")
NEXT = "-next"
"""What a version's name gets when a new one is released."""
BEGAN = 480
"""Seconds for which rollouts stand at their present weight: less than its bake."""
_GPU = "L4"
_NODES = 1000
"""The most nodes that a pool may have; there are as many pools as the GPUs need."""


def write_project(directory: Path, models: int, *, url: str = "", context: str = "") -> None:
    """Write `pipeline.yaml` and `environments/` for so many models; the same bytes every time.

    With `context` there is only one environment, on the cluster of that kubeconfig context.
    """
    environments = ENVIRONMENTS[-1:] if context else ENVIRONMENTS
    (directory / "environments").mkdir(parents=True, exist_ok=True)
    repository = f"repository:\n  url: {url}\n" if url else ""
    head = f"apiVersion: gitops/v1\nname: bench\n{repository}promotion: [{', '.join(environments)}]\n"
    text = head + "models:\n" + "".join(_model(number) for number in range(models)) + _ROLLOUTS
    (directory / "pipeline.yaml").write_text(text)
    for environment in environments:
        text = "".join(_environment(environment, models, context))
        (directory / "environments" / f"{environment}.yaml").write_text(text)


def change_one_model(directory: Path) -> None:
    """Release a new version of one model, as a person would."""
    path = directory / "pipeline.yaml"
    lines = path.read_text().splitlines(keepends=True)
    start = lines.index("  model-00003:\n")
    lines[start + 1] = "    version: 9.9.9\n"
    lines[start + 4] = f"      digest: sha256:{'9' * 64}\n"
    path.write_text("".join(lines))


def change_every_model(directory: Path) -> None:
    """Release a new version of every model."""
    path = directory / "pipeline.yaml"
    text = re.sub(r"\n    version: (\S+)\n", rf"\n    version: \1{NEXT}\n", path.read_text())
    path.write_text(re.sub(r"digest: sha256:0", "digest: sha256:f", text))


def _model(number: int) -> str:
    name = f"model-{number:05d}"
    version = f"{1 + number % 4}.{number % 10}.0"
    digest = f"{number + 1:064x}"
    serve, format_ = _SERVES[number % len(_SERVES)]
    built_for = "      builtFor: {gpu: L4, tensorrt: '10.7'}\n" if format_ == "tensorrt" else ""
    return (
        f"  {name}:\n    version: {version}\n    artifact:\n"
        f"      uri: s3://bench-models/{name}/{version}\n      digest: sha256:{digest}\n      format: {format_}\n"
        f"{built_for}    owner: team-{number % 40}\n    serve:\n{serve}"
        f"    route:\n      hostnames: [{name}.models.example.com]\n"
        f"    rollout: {('careful', 'quick')[number % 2]}\n"
    )


_SERVES = (
    # A language model that follows its load: nine manifests.
    (
        """\
      runtime: vllm
      gpu: {type: L4}
      args: {max-model-len: 16384, gpu-memory-utilization: 0.92, enable-prefix-caching: true}
      resources: {cpu: 3, memory: 12Gi}
      loadTime: 4m
      replicas: {min: 1, max: 4, autoscaling: {metric: requests-running, target: 24}}
      network:
        ingress: [{namespace: support}]
""",
        "safetensors",
    ),
    # One that runs once: seven.
    (
        """\
      runtime: vllm
      gpu: {type: L4}
      args: {max-model-len: 8192}
      env:
        HF_HOME: /tmp/cache
        HF_TOKEN: {secret: hugging-face, key: token}
      resources: {cpu: 3, memory: 24Gi}
      loadTime: 6m
      network:
        egress: [{cidr: 0.0.0.0/0, ports: [443]}]
""",
        "safetensors",
    ),
    # Triton, with its configuration in a ConfigMap: eight.
    (
        """\
      runtime: triton
      gpu: {type: L4}
      maxBatchSize: 64
      instances: 2
      resources: {cpu: 3, memory: 8Gi}
      loadTime: 90s
""",
        "onnx",
    ),
    # A service on CPU that runs once: seven.
    (
        """\
      runtime: custom
      image: ghcr.io/bench/service:1.8.0
      args: [--workers, '4']
      resources: {cpu: 2, memory: 4Gi}
      loadTime: 30s
""",
        "onnx",
    ),
    # A TensorRT engine with a fixed number of replicas: nine.
    (
        """\
      runtime: triton
      gpu: {type: L4}
      maxBatchSize: 256
      resources: {cpu: 3, memory: 8Gi}
      loadTime: 45s
      replicas: {min: 2, max: 2}
      network:
        ingress: [{namespace: payments}]
""",
        "tensorrt",
    ),
)

_ROLLOUTS = """\
rollouts:
  careful:
    strategy: canary
    steps:
      - {weight: 1, bake: 15m}
      - {weight: 10, bake: 15m}
      - {weight: 50, bake: 30m}
      - {weight: 100, bake: 1h}
    gates:
      - {metric: latency-p99, pause: 1.1x stable, rollback: 1.5x stable}
      - {metric: error-rate, pause: "0.5%", rollback: "1%"}
  quick:
    strategy: blue-green
    bake: 10m
    gates:
      - {metric: error-rate, rollback: "2%"}
"""


def _environment(name: str, models: int, context: str) -> Iterator[str]:
    yield "apiVersion: gitops/v1\n"
    cluster = context or f"bench-{name}"
    yield f"clusters:\n  {cluster}:\n    provider: existing\n    context: {cluster}\n"
    yield "    nodePools:\n"
    # One pool for all, or the first one would be asked for every model.
    yield f"      gpus: {{gpu: {{type: {_GPU}, count: 16}}, max: {_NODES}, hourlyPrice: 9.8}}\n"
    yield "gateway: {name: models, namespace: gateway}\n"
    yield "monitoring: {prometheus: 'http://prometheus.monitoring:9090'}\n"
    if name == "dev" and models >= 5:
        yield "models:\n"
        for number in range(0, models, 5):
            yield f"  model-{number:05d}: {{serve: {{replicas: {{min: 1, max: 2}}}}, rollout: quick}}\n"
