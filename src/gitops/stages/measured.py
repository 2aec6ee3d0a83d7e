"""How much is asked of an endpoint, and what came of it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from gitops.stages.histogram import Histogram


@dataclass(frozen=True, slots=True)
class Load:
    """How much is asked. Times are in seconds."""

    clients: int = 8
    """Of a closed load."""
    rate: float | None = None
    """Requests a second; a load with a rate is open."""
    poisson: bool = True
    """Whether an open load comes as from independent people, or evenly."""
    warm_up: float = 0.0
    duration: float = 60.0
    seed: int = 1

    @property
    def until(self) -> float:
        """When the last request is due, from the beginning."""
        return self.warm_up + self.duration


@dataclass(slots=True)
class Second:
    """What was due in one second after the warm-up."""

    latency: Histogram = field(default_factory=Histogram)
    errors: int = 0


@dataclass(slots=True)
class Measured:
    """What came of a load. What was due during the warm-up is in none of it, except for the throughput."""

    load: Load
    latency: Histogram = field(default_factory=Histogram)
    first: Histogram = field(default_factory=Histogram)
    """Times to the first token."""
    gaps: Histogram = field(default_factory=Histogram)
    """Between tokens."""
    late: Histogram = field(default_factory=Histogram)
    """How much later than due requests were sent; in a closed load, than the answer before was there."""
    lag: Histogram = field(default_factory=Histogram)
    """At most how long bytes lay there before their time was taken."""
    stalls: Histogram = field(default_factory=Histogram)
    """How much longer than asked the generator slept."""
    errors: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    """The first error of each kind."""
    answered: float = 0.0
    """Good answers that came between the end of the warm-up and the end of the load."""
    tokens: float = 0.0
    """Tokens that came meanwhile."""
    counted: bool = False
    """Whether the server itself counted tokens."""
    cpu: float = 0.0
    """Processor seconds of the generator for each second of the load."""
    seconds: list[Second] = field(default_factory=list)

    @property
    def asked(self) -> int:
        """Requests that were due after the warm-up."""
        return self.latency.count + sum(self.errors.values())


def due_times(load: Load) -> Iterator[float]:
    """The instants of an open load, in seconds from its beginning: fixed by its seed, whatever the answers."""
    assert load.rate
    if not load.poisson:
        for number in count():
            if (at := number / load.rate) >= load.until:
                return
            yield at
    dice = random.Random(load.seed)  # noqa: S311  # chance, not secrecy
    at = dice.expovariate(load.rate)
    while at < load.until:
        yield at
        at += dice.expovariate(load.rate)
