"""What scales a model by default, and what is said where nothing does."""

from __future__ import annotations

from typing import Any

import pytest

from gitops.spec.autoscaling import Scaling, scaling_of, unscaled
from gitops.spec.environment import Environment
from gitops.spec.pipeline import Model
from gitops.values import UnitKey

KEDA = {"kind": "keda"}
ADAPTER = {"kind": "metrics-adapter", "metrics": {"requests-running": "vllm_running"}}
VLLM = {"runtime": "vllm", "gpu": {"type": "L4"}}
TRITON = {"runtime": "triton", "gpu": {"type": "L4"}}
PLAIN = {"runtime": "custom", "image": "acme.example/a:1"}


def model(serve: dict[str, Any], **autoscaling: Any) -> Model:
    replicas = {"min": 1, "max": 4, "autoscaling": autoscaling}
    artifact = {"uri": "s3://m/a", "digest": f"sha256:{'a' * 64}", "format": "onnx"}
    said = {"version": "1.0.0", "artifact": artifact, "serve": {"replicas": replicas, **serve}, "rollout": "plain"}
    return Model.model_validate(said)


def environment(autoscaler: dict[str, Any] | None) -> Environment:
    said = {"apiVersion": "gitops/v1", "clusters": {"one": {"provider": "embedded"}}, "autoscaler": autoscaler}
    return Environment.model_validate(said)


@pytest.mark.parametrize(
    ("serve", "said", "autoscaler", "scaling"),
    [
        (VLLM, {}, None, None),
        (VLLM, {}, KEDA, Scaling("keda", "queue-length", 4)),
        (TRITON, {}, KEDA, Scaling("keda", "queue-length", 4)),
        (VLLM, {}, ADAPTER, Scaling("metrics-adapter", "requests-running", 80, "vllm_running")),
        ({**PLAIN, "gpu": {"type": "L4"}}, {}, KEDA, None),
        (PLAIN, {}, None, Scaling("cpu", "cpu", 80)),
        (PLAIN, {"target": 70}, KEDA, Scaling("cpu", "cpu", 70)),
        # Whoever says what they scale by gets that.
        (VLLM, {"metric": "cpu"}, KEDA, Scaling("cpu", "cpu", 80)),
        (VLLM, {"metric": "queue-length", "target": 9}, None, Scaling("keda", "queue-length", 9)),
        (
            VLLM,
            {"metric": "requests-running"},
            ADAPTER,
            Scaling("metrics-adapter", "requests-running", 80, "vllm_running"),
        ),
        ({**VLLM, "replicas": {"min": 2, "max": 2}}, {}, KEDA, None),
    ],
)
def test_what_scales_a_model(
    serve: dict[str, Any], said: dict[str, Any], autoscaler: dict[str, Any] | None, scaling: Scaling | None
) -> None:
    assert scaling_of(model(serve, **said).serve, environment(autoscaler)) == scaling


def test_what_nothing_scales_is_said() -> None:
    here = {"dev": environment(None), "prod": environment(KEDA)}
    models = {UnitKey(name, "chat"): model(VLLM) for name in here}
    models |= {UnitKey("dev", "fixed"): model({**VLLM, "replicas": {"min": 2, "max": 2}})}
    models |= {UnitKey("prod", "own"): model({**PLAIN, "gpu": {"type": "L4"}})}
    assert list(unscaled(models, here)) == [
        "dev: nothing scales chat (1), which stays at `replicas.min`: CPU scales no model on a GPU; declare what does "
        "with `autoscaler` in environments/dev.yaml",
        "prod: nothing scales own (1), which stays at `replicas.min`: a custom server on a GPU has no metric to scale "
        "by; set autoscaling.metric: cpu if that fits it",
    ]
