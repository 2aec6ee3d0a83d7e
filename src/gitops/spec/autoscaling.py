"""What adds replicas to a model in an environment: as its spec says, else what fits it and is there; else nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from gitops.spec.environment import Environment
from gitops.spec.pipeline import Model, ScalingMetric, Serve
from gitops.values import UnitKey

Scaler = Literal["cpu", "keda", "metrics-adapter"]
TARGETS: Mapping[ScalingMetric, int] = {"cpu": 80, "queue-length": 4, "requests-running": 80}
"""Percent of CPU, waiting or running requests a replica, where the spec says none.

A few waiting requests for each replica mean that all of them are busy, whatever the model and its batches.
"""
_BY_LOAD: tuple[ScalingMetric, ...] = ("queue-length", "requests-running")


class Scaling(NamedTuple):
    """An autoscaler: who it is, what it goes by, and how much of that a replica should have."""

    by: Scaler
    metric: ScalingMetric
    target: int
    name: str = ""
    """The metric's name in the metrics adapter."""


def scaling_of(serve: Serve, environment: Environment) -> Scaling | None:
    """The autoscaler of a model; None where equal bounds need none, and where nothing that is there fits it.

    CPU scales no model on a GPU: the processor feeds it, and is as busy with ten waiting requests as with none.
    """
    if serve.replicas.min >= serve.replicas.max:
        return None
    wanted, scaler = serve.replicas.autoscaling, environment.autoscaler
    if metric := wanted.metric or _by_default(serve, environment):
        target = wanted.target or TARGETS[metric]
        if metric == "cpu":
            return Scaling("cpu", metric, target)
        if scaler and scaler.kind == "metrics-adapter":
            return Scaling("metrics-adapter", metric, target, scaler.metrics.get(metric, ""))
        return Scaling("keda", metric, target)
    return None


def _by_default(serve: Serve, environment: Environment) -> ScalingMetric | None:
    if serve.gpu is None:
        return "cpu"
    scaler = environment.autoscaler
    if scaler is None or serve.runtime == "custom":
        return None
    there = _BY_LOAD if scaler.kind == "keda" else [one for one in _BY_LOAD if one in scaler.metrics]
    return next(iter(there), None)


def unscaled(models: Mapping[UnitKey, Model], environments: Mapping[str, Environment]) -> Iterator[str]:
    """A sentence for each environment with models that would scale but have nothing that scales them."""
    found: dict[tuple[str, bool], list[str]] = {}
    for unit, model in models.items():
        environment, bounds = environments.get(unit.environment), model.serve.replicas
        if environment and bounds.min < bounds.max and scaling_of(model.serve, environment) is None:
            key = unit.environment, model.serve.runtime == "custom"
            found.setdefault(key, []).append(f"{unit.model} ({bounds.min})")
    for (name, custom), units in found.items():
        shown = ", ".join(units[:3]) + (f" and {len(units) - 3} more" if len(units) > 3 else "")
        why = (
            "a custom server on a GPU has no metric to scale by; set autoscaling.metric: cpu if that fits it"
            if custom
            else f"CPU scales no model on a GPU; declare what does with `autoscaler` in environments/{name}.yaml"
        )
        yield f"{name}: nothing scales {shown}, which {'stays' if len(units) == 1 else 'stay'} at `replicas.min`: {why}"
