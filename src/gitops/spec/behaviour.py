"""What a simulated model server does: its healthy levels, how they vary, and what is different about one version.

Values only; `gitops.spec.simulation` reads them from `simulation.yaml`, `gitops.rollout.traffic` makes traffic of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from types import MappingProxyType
from typing import Literal, NamedTuple

from gitops.spec.problems import suggestion

Unit = Literal["s", "%", ""]

TRAITS: Mapping[str, Unit] = MappingProxyType(
    {
        "latency": "s",
        "time-to-first-token": "s",
        "inter-token-latency": "s",
        "error-rate": "%",
        "requests-per-second": "",
        "tokens-per-request": "",
        "queue-length": "",
        "kv-cache-use": "%",
        "gpu-utilization": "%",
        "gpu-memory": "%",
        "prediction-accuracy": "%",
        "prediction-drift": "",
    }
)
"""What a server can be good or bad at, with its unit. Times are given by their median."""

OTHER_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "errors": "error-rate",
        "memory": "gpu-memory",
        "latency-p50": "latency",
        "latency-p95": "latency",
        "latency-p99": "latency",
        "time-to-first-token-p99": "time-to-first-token",
        "inter-token-latency-p99": "inter-token-latency",
        "tokens-per-second": "tokens-per-request",
    }
)
"""Names of metrics, and short ones, that mean a trait as well."""

HOUR = 3600
_Z99 = NormalDist().inv_cdf(0.99)
_NUMBER = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(x|ms|s|m|%)?")
_SCALE: Mapping[str, tuple[float, Unit]] = {"ms": (0.001, "s"), "s": (1, "s"), "m": (60, "s"), "%": (1, "%")}


class Misshapen(ValueError):
    """A text that is not what it has to be: `noun` completes "is not", `form` says what it looks like."""

    def __init__(self, noun: str, form: str) -> None:
        super().__init__(f"this is not {noun}; {form}")
        self.noun = noun
        self.form = form


class Change(NamedTuple):
    """What a fault does to a healthy level: multiplies it, takes its place, or adds to it each hour.

    `amount` is a factor for `times`; otherwise it is in `unit` (seconds, percent, a plain number).
    """

    kind: Literal["times", "becomes", "grows"]
    amount: float
    unit: Unit = ""

    def __str__(self) -> str:
        if self.kind == "times":
            return f"x{self.amount:g}"
        shown = f"{self.amount * 1000:g}ms" if self.unit == "s" and self.amount < 1 else f"{self.amount:g}{self.unit}"
        return f"+{shown}/h" if self.kind == "grows" else shown


def parse_change(text: str) -> Change:
    """`1.8x` multiplies; `3%`, `800ms`, `2s` or `40` is the new level. Raises Misshapen."""
    match = _NUMBER.fullmatch(text)
    if not match:
        raise Misshapen("a change", "write a factor such as 1.8x, or a level such as 3%, 800ms or 40")
    if match[2] == "x":
        return Change("times", float(match[1]))
    scale, unit = _SCALE.get(match[2], (1.0, ""))
    return Change("becomes", float(match[1]) * scale, unit)


def parse_growth(text: str) -> Change:
    """`5%`, `50ms` or `2`: so much more each hour; `+5%/h` is the same. Raises Misshapen."""
    match = _NUMBER.fullmatch(text.removeprefix("+").removesuffix("/h"))
    if not match or match[2] == "x":
        raise Misshapen("a growth", "write what is added each hour, such as 5%, 50ms or 2")
    scale, unit = _SCALE.get(match[2], (1.0, ""))
    return Change("grows", float(match[1]) * scale, unit)


class Span(NamedTuple):
    """Seconds after the version got its first traffic; without an end it lasts for ever."""

    begins: int = 0
    ends: int | None = None

    def covers(self, elapsed: float) -> bool:
        """Whether so many seconds after the first traffic lie in it."""
        return self.begins <= elapsed < (math.inf if self.ends is None else self.ends)


ALWAYS = Span()


@dataclass(frozen=True, slots=True)
class Fault:
    """One trait of a version is different for a while."""

    trait: str
    change: Change
    span: Span = ALWAYS

    def changed(self, healthy: float | None, level: float | None, elapsed: float) -> float | None:
        """The level with this fault, `elapsed` seconds after the first traffic. None is a trait that is not there."""
        if not self.span.covers(elapsed):
            return level
        kind, amount, unit = self.change
        if kind == "becomes":
            return amount
        if level is None or healthy is None:
            return None
        if kind == "times":
            return level * amount
        # 5 % of a percentage are five points; of anything else they are a share of what is healthy.
        step = healthy * amount / 100 if unit == "%" and TRAITS.get(self.trait, "%") != "%" else amount
        return level + step * (elapsed - self.span.begins) / HOUR


def fits(trait: str, change: Change) -> str:
    """Why a change cannot apply to a trait; empty when it can. Traits of the user's own take plain numbers and %."""
    unit = TRAITS.get(trait)
    if change.kind == "times" or unit is None or change.unit == unit or (change.kind == "grows" and change.unit == "%"):
        return ""
    return {
        "s": f"{trait} is a time, such as 800ms",
        "%": f"{trait} is a percentage, such as 3%",
        "": f"{trait} is a plain number, such as 40",
    }[unit]


def trait_of(name: str, own: Mapping[str, float]) -> str:
    """The trait that a name means; empty for an unknown one. `own` are metrics of the user's own queries."""
    if name in TRAITS or name in own:
        return name
    return OTHER_NAMES.get(name, "")


def known_traits(wrong: str, own: Mapping[str, float]) -> str:
    """A hint for an unknown name."""
    return suggestion(wrong, [*TRAITS, *own])


@dataclass(frozen=True, slots=True)
class Noise:
    """Between looks, the logarithm of a level varies by `deviation` and remembers by `autocorrelation` (AR(1))."""

    deviation: float = 0.02
    autocorrelation: float = 0.5


@dataclass(frozen=True, slots=True)
class Bursts:
    """Once in every `every` seconds, for `lasts` seconds: more requests, and slower answers, of all versions alike."""

    every: int
    lasts: int
    requests: float = 2.0
    latency: float = 1.2


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the servers of one version behave.

    `levels` has the healthy level of each trait that they have, in its unit, with percentages from 0 to 100; of times
    it is the median. `requests-per-second` is what the model gets from its clients, all versions together.
    """

    levels: Mapping[str, float]
    p99: Mapping[str, float] = field(default_factory=dict)
    """For each time, its p99 as a multiple of the median; times are log-normal."""
    noise: Noise = Noise()
    bursts: Bursts | None = None
    faults: tuple[Fault, ...] = ()
    outages: tuple[Span, ...] = ()
    """When the metrics cannot be read, for any version of the model."""

    def level(self, trait: str, elapsed: float = -1) -> float | None:
        """The level of a trait so many seconds after the first traffic; healthy before it, None for one it lacks."""
        healthy = level = self.levels.get(trait)
        for fault in self.faults:
            if fault.trait == trait:
                level = fault.changed(healthy, level, elapsed)
        if level is None or TRAITS.get(trait) != "%":
            return level
        return min(100.0, level)

    def spread(self, trait: str) -> float:
        """The standard deviation of a time's logarithm."""
        return math.log(self.p99.get(trait, 3.0)) / _Z99

    def with_faults(self, faults: tuple[Fault, ...] = (), outages: tuple[Span, ...] = ()) -> Behaviour:
        """The same servers with more that is wrong with them."""
        return replace(self, faults=(*self.faults, *faults), outages=(*self.outages, *outages))


_Given = Mapping[str, float | tuple[float, float]]
_VLLM: _Given = {
    "latency": (0.8, 2.8),
    "time-to-first-token": (0.12, 3.2),
    "inter-token-latency": (0.012, 2.6),
    "error-rate": 0.05,
    "requests-per-second": 60.0,
    "tokens-per-request": 60.0,
    "queue-length": 1.0,
    "kv-cache-use": 45.0,
    "gpu-utilization": 70.0,
    "gpu-memory": 90.0,
}
_TRITON: _Given = {
    "latency": (0.006, 2.2),
    "error-rate": 0.05,
    "requests-per-second": 150.0,
    "queue-length": 0.5,
    "gpu-utilization": 55.0,
    "gpu-memory": 60.0,
}
_CUSTOM: _Given = {"latency": (0.04, 3.0), "error-rate": 0.05, "requests-per-second": 60.0}
_ANY: _Given = {"prediction-accuracy": 95.0, "prediction-drift": 0.05}
_HEALTHY: Mapping[str, _Given] = {
    "vllm": {**_VLLM, **_ANY},
    "triton": {**_TRITON, **_ANY},
    "custom": {**_CUSTOM, **_ANY},
}
GPU_TRAITS = ("gpu-utilization", "gpu-memory")


def healthy(runtime: str) -> Behaviour:
    """What servers of a runtime do unless `simulation.yaml` says otherwise; an unknown runtime behaves as a custom one.

    Plausible for a mid-sized model on its GPU, not measured. With these, the example's gates pass.
    """
    given = _HEALTHY.get(runtime, _HEALTHY["custom"])
    levels = {trait: value[0] if isinstance(value, tuple) else value for trait, value in given.items()}
    return Behaviour(levels, {trait: value[1] for trait, value in given.items() if isinstance(value, tuple)})
