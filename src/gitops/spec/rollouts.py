"""What `rollouts` of `pipeline.yaml` may say: strategies, their steps, waits and gates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from gitops.spec.catalog import METRICS, Metric
from gitops.spec.fields import Duration, Name, Query, SpecModel, ThresholdField

MetricName = Literal[
    "latency-p50",
    "latency-p95",
    "latency-p99",
    "time-to-first-token-p99",
    "inter-token-latency-p99",
    "requests-per-second",
    "tokens-per-second",
    "error-rate",
    "queue-length",
    "kv-cache-use",
    "gpu-utilization",
    "gpu-memory",
    "prediction-accuracy",
    "prediction-drift",
]
assert MetricName.__args__ == tuple(METRICS)  # type: ignore[attr-defined]  # typing offers no public way to ask

Percentage = Annotated[int, Field(ge=1, le=100)]


class Step(SpecModel):
    """A share of traffic, and how long it is watched."""

    weight: Percentage
    """Percent of requests that the new version answers; with `strategy: shadow`, that are mirrored to it."""
    bake: Duration = 0
    """How long it is watched at this weight, after the warm-up; all gates have to pass at the end."""


class Gate(SpecModel):
    """A metric with a limit that pauses and a limit that rolls back; at least one of them.

    The metric is a built-in one (`metric`), or a PromQL query of your own (`name` and `query`).
    """

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["metric"]}, {"required": ["name", "query"]}]},
    )

    metric: MetricName | None = None
    """A built-in metric. Its unit and which direction is worse are known."""
    name: Name | None = None
    """What the metric of your own query is called, in plans and in commits."""
    query: Query | None = None
    """PromQL that gives one number for one version; `$namespace`, `$model` and `$version` are put in."""
    unit: Literal["s", "%", ""] | None = None
    """Of your own query: seconds, percent (0 to 100), or by default a plain number."""
    worse: Literal["higher", "lower"] | None = None
    """Which direction of your own query is worse; by default higher."""
    pause: ThresholdField | None = None
    """Beyond this the rollout stops at the present weight, for somebody to look."""
    rollback: ThresholdField | None = None
    """Beyond this all traffic goes back to stable at once."""
    window: Annotated[Duration, Field(ge=10)] = 300
    """The span of time over which one value of the metric is taken."""

    @property
    def key(self) -> str:
        """What the gate is called: its metric, or the name of the user's query."""
        return self.metric or self.name or ""

    @property
    def measure(self) -> Metric:
        """The unit of its limits, and which direction is worse."""
        return METRICS[self.metric] if self.metric else Metric(self.unit or "", self.worse or "higher")


Gates = Annotated[tuple[Gate, ...], Field(max_length=32, strict=False)]


class NoData(SpecModel):
    """What becomes of a rollout whose gates get no value at all."""

    after: Duration = 600
    """How long values may be missing."""
    then: Literal["pause", "roll-back"] = "pause"


class TooFewSamples(SpecModel):
    """What becomes of a rollout whose gates see too few requests to judge by."""

    minimum: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """So many requests a gate needs before it says anything."""
    after: Duration = 1800
    """How long there may be fewer."""
    then: Literal["pause", "roll-back", "advance"] = "pause"
    """`advance` lets a step pass that is too short of requests; gates that fail still stop it."""


class RolloutBase(SpecModel):
    """What every strategy understands."""

    ready_timeout: Duration | None = None
    """How long a new version may take until it is ready to serve; traffic stays where it is until then. By default 30
    minutes, or the model's `loadTime` and 15 minutes for a node and its image, if that is longer."""
    capacity_timeout: Duration = 3600
    """How long a rollout waits for room in the cluster before each weight; then it rolls back."""
    warm_up: Duration = 60
    """What is left out of every judgement after a change of weight."""
    keep_warm: Duration = 3600
    """How long the version before keeps its pods after a promotion, so that a rollback is one change of weights."""
    drain: Duration = 120
    """How long a version that lost its traffic keeps its pods, for requests that it still answers."""
    pause_timeout: Duration = 24 * 3600
    """How long a rollout may stay paused."""
    after_pause_timeout: Literal["roll-back", "hold"] = "roll-back"
    """`hold` waits for a person, for ever if need be."""
    lost_capacity: Literal["roll-back", "pause"] = "roll-back"
    """When the new version's ready replicas can no longer carry its weight."""
    on_hold: Literal["wait", "roll-back"] = "wait"
    """When a gate is beyond a limit that stable is beyond too: wait at the weight, or go back without a rejection."""
    revisions: Literal["walk", "at-once"] = "walk"
    """What becomes of a change of what pods run (image, arguments, environment, GPUs) under the same version: it walks
    like a version, or it replaces what runs at once, except where people approve or promote."""
    no_data: NoData = NoData()
    too_few_samples: TooFewSamples = TooFewSamples()
    gates: Gates = ()
    """Every one has to pass before each next step. No data never counts as a pass."""


NODE_TIME = 900
"""Seconds beyond the load time for a new GPU node and an image of 10 to 20 GB."""
READY_TIMEOUT = 1800


def ready_timeout(rollout: RolloutBase, load_time: int) -> int:
    """Seconds in which a version that loads for so long has to be ready."""
    return max(READY_TIMEOUT, load_time + NODE_TIME) if rollout.ready_timeout is None else rollout.ready_timeout


Holdback = Annotated[int, Field(ge=0, le=50)]


class Canary(RolloutBase):
    """Traffic moves in steps."""

    strategy: Literal["canary"]
    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=32, strict=False)]
    """Weights grow from step to step, up to 100."""
    holdback: Holdback = 0
    """Percent of requests that stable keeps until the last bake is over, so that there is something to compare with."""


class BlueGreen(RolloutBase):
    """A full second set, then all traffic at once."""

    strategy: Literal["blue-green"]
    holdback: Holdback = 0
    """Percent of requests that stable keeps until the bake is over, so that there is something to compare with."""
    bake: Duration = 600
    """How long the new version is watched with all traffic, before the old one goes."""


class Rolling(RolloutBase):
    """Replica by replica, for models whose versions may mix."""

    strategy: Literal["rolling"]
    stride: Percentage = 10
    """The smallest growth of the weight, in percent, so that a hundred replicas are not a hundred commits."""


class Shadow(RolloutBase):
    """Copies of requests in steps: stable answers, the new version's answers are thrown away. Then all traffic."""

    strategy: Literal["shadow"]
    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=32, strict=False)]
    """Percentages of requests mirrored; they grow from step to step, and the last may be any."""


Rollout = Annotated[Canary | BlueGreen | Rolling | Shadow, Field(discriminator="strategy")]
