"""Model servers. A new one is a module here, one line in `RUNTIMES`, and its fields in `gitops.spec.pipeline`."""

from __future__ import annotations

from gitops.render.runtimes import custom, triton, vllm
from gitops.render.runtimes.base import Container, Runtime
from gitops.spec.pipeline import Model

__all__ = ["RUNTIMES", "Container", "Runtime", "runtime_of"]

RUNTIMES: dict[str, Runtime] = {
    "vllm": vllm.Vllm(),
    "triton": triton.Triton(),
    "custom": custom.Custom(),
}


def runtime_of(model: Model) -> Runtime:
    """The runtime that serves this model."""
    return RUNTIMES[model.serve.runtime]
