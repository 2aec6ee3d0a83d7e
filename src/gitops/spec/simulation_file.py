"""`simulation.yaml`, beside `pipeline.yaml`: what the embedded world's model servers do.

The file may be absent, and may leave out anything: `gitops.spec.behaviour.healthy` has the rest. An example:

```yaml
apiVersion: gitops/v1
models:
  support-chat:
    requestsPerSecond: 40
    latency: {median: 1.2s, p99: 4s}
    errorRate: 0.1%
    bursts: {every: 30m, lasts: 2m, requests: 2x}
    environments:
      dev: {requestsPerSecond: 2}
    versions:
      2.4.0:
        faults:
          - {metric: latency, becomes: 1.3x, from: 5m}
          - {metric: error-rate, becomes: 2%, from: 5m, until: 20m}
          - {metric: gpu-memory, grows: 5%} # an hour
        metricsOutage: {from: 10m, until: 25m}
```

Times of faults count from the version's first traffic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from gitops.spec.behaviour import Change, Misshapen, parse_change, parse_growth
from gitops.spec.fields import Duration, Name, SpecModel, Version


def _amount(kind: Literal["times", "becomes"], unit: str, noun: str, form: str) -> Callable[[object], float]:
    """Text to one number of a unit."""

    def parse(value: object) -> float:
        try:
            change = parse_change(_text(value))
        except Misshapen:
            raise Misshapen(noun, form) from None
        if change.kind != kind or change.unit != unit:
            raise Misshapen(noun, form)
        return change.amount

    return parse


def _text(value: object) -> str:
    return f"{value}" if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _written(pattern: str, *examples: str) -> WithJsonSchema:
    return WithJsonSchema({"type": ["string", "number"], "pattern": pattern, "examples": list(examples)})


_NUMBER = r"\d+(\.\d+)?"
Seconds = Annotated[
    float,
    BeforeValidator(_amount("becomes", "s", "a time", "write it like 800ms or 2s")),
    Field(gt=0, le=3600),
    _written(rf"^{_NUMBER}(ms|s|m)$", "800ms", "2s"),
]
Percent = Annotated[
    float,
    BeforeValidator(_amount("becomes", "%", "a percentage", "write it like 0.5%")),
    Field(ge=0, le=100),
    _written(rf"^{_NUMBER}%$", "0.5%"),
]
Factor = Annotated[
    float,
    BeforeValidator(_amount("times", "", "a factor", "write it like 1.5x")),
    Field(gt=0, le=1000),
    _written(rf"^{_NUMBER}x$", "1.5x"),
]
ChangeField = Annotated[
    Change,
    BeforeValidator(lambda value: parse_change(_text(value))),
    PlainSerializer(str, return_type=str),
    _written(rf"^{_NUMBER}(x|ms|s|m|%)?$", "1.8x", "3%", "800ms"),
]
GrowthField = Annotated[
    Change,
    BeforeValidator(lambda value: parse_growth(_text(value))),
    PlainSerializer(str, return_type=str),
    _written(rf"^\+?{_NUMBER}(ms|s|m|%)?(/h)?$", "5%", "50ms"),
]
Needed = Annotated[int, Field(ge=1, le=1000)]
Rate = Annotated[float, Field(ge=0, le=1_000_000, strict=False)]


class SimulatedTime(SpecModel):
    """Log-normal times: half of them are below the median, one in a hundred is above p99."""

    median: Seconds
    p99: Seconds


class SimulatedNoise(SpecModel):
    """How much levels vary from look to look by themselves; error rates ten times as much."""

    deviation: Percent = 2.0
    autocorrelation: Annotated[float, Field(ge=0, le=0.95, strict=False)] = 0.5
    """How much of a deviation is left one look later."""


class SimulatedBursts(SpecModel):
    """Now and then all clients come at once; every version feels it."""

    every: Annotated[Duration, Field(ge=60)]
    lasts: Annotated[Duration, Field(ge=1)]
    requests: Factor = 2.0
    latency: Factor = 1.2


class SimulatedSpan(SpecModel):
    """A span of time that begins after the version got its first traffic."""

    begin: Annotated[Duration, Field(alias="from")] = 0
    until: Duration | None = None
    """Without it there is no end."""


class SimulatedFault(SimulatedSpan):
    """Something that is different about a version: `becomes` or `grows` says how."""

    metric: Annotated[str, Field(max_length=40, examples=["latency", "error-rate", "gpu-memory"])]
    """`latency`, `error-rate`, `gpu-memory` and so on, or a metric of your own under `metrics`."""
    becomes: ChangeField | None = None
    """A factor such as `1.8x`, or the new level such as `3%` or `2s` (of times: the median)."""
    grows: GrowthField | None = None
    """What is added each hour: a leak."""


class SimulatedVersion(SpecModel):
    """What is different about one version."""

    faults: Annotated[tuple[SimulatedFault, ...], Field(max_length=32, strict=False)] = ()
    metrics_outage: SimulatedSpan | None = None
    """When Prometheus neither scrapes nor answers."""


class SimulatedEnvironment(SpecModel):
    """What is different in one environment; its versions take the place of those of the model."""

    requests_per_second: Rate | None = None
    replicas: Needed | None = None
    versions: dict[Version, SimulatedVersion] = {}


class SimulatedModel(SpecModel):
    """How a model's servers behave while they are healthy, and what is wrong with single versions."""

    requests_per_second: Rate | None = None
    """What clients ask, of all versions together."""
    replicas: Needed | None = None
    """How many replicas that takes: what autoscalers go by, within their bounds. By default the least."""
    latency: SimulatedTime | None = None
    time_to_first_token: SimulatedTime | None = None
    inter_token_latency: SimulatedTime | None = None
    tokens_per_request: Annotated[float, Field(ge=0, le=1_000_000, strict=False)] | None = None
    error_rate: Percent | None = None
    queue_length: Annotated[float, Field(ge=0, le=1_000_000, strict=False)] | None = None
    kv_cache_use: Percent | None = None
    gpu_utilization: Percent | None = None
    gpu_memory: Percent | None = None
    prediction_accuracy: Percent | None = None
    prediction_drift: Annotated[float, Field(ge=0, le=1_000_000, strict=False)] | None = None
    metrics: dict[Name, Annotated[float, Field(ge=0, le=1e12, strict=False)]] = {}
    """What a gate's own query gives, by the gate's name; without an entry such a query fails."""
    noise: SimulatedNoise = SimulatedNoise()
    bursts: SimulatedBursts | None = None
    environments: dict[Name, SimulatedEnvironment] = {}
    versions: dict[Version, SimulatedVersion] = {}


class SimulationFile(SpecModel):
    """The whole of `simulation.yaml`."""

    api_version: Literal["gitops/v1"]
    seed: Annotated[int, Field(ge=0, le=2**31)] = 1
    """Another seed is another run of luck."""
    models: dict[Name, SimulatedModel] = {}
