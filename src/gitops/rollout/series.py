"""What a metric source is asked about one version of a model, and what it answers: increments, look by look.

A *look* is a span of time; looks end at multiples of their length, so that the same data always fall into the same
look and a past look never changes. What is judged as one number, and what is tested sequentially, both come from
these increments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from gitops.rollout.statistics import Counts
from gitops.values import UnitKey

Shape = Literal["ratio", "histogram", "gauge"]
"""How a metric is counted: bad requests among requests, requests by duration, or a plain value."""

Histogram = Mapping[float, float]
"""Upper bound in seconds (`le`, the last one infinite) to the increment of requests up to it (cumulative)."""

Datum = Counts | Histogram | float
"""One look at one metric of one version, by shape."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of one version: `metric` is a built-in name, or the name of a gate with a query of its own.

    Times are seconds of the epoch. Looks that begin before `begin` are left out.
    """

    unit: UnitKey
    namespace: str
    version: str
    runtime: str
    metric: str
    begin: int
    look: int
    query: str = ""
    """The user's PromQL, empty for a built-in metric."""
    by_pod: bool = False
    """Each pod is wanted by itself as well, of a built-in metric that counts requests."""


class Look(NamedTuple):
    """What one look saw. `end` is a multiple of the look's length."""

    end: int
    datum: Datum


@dataclass(frozen=True, slots=True)
class Series:
    """The answer: looks in order of time (those without data are absent), and the span of one look up to now."""

    looks: tuple[Look, ...] = ()
    latest: Datum | None = None
    pods: Mapping[str, Series] = field(default_factory=dict, hash=False)
    """The same of each pod, where the question was `by_pod` and the source knows pods."""


class Unanswered(NamedTuple):
    """A query failed: that says nothing about the model. `reason` is one line."""

    reason: str


Answer = Series | Unanswered
Answers = Mapping[Question, Answer]


LADDER = (15, 30, 60, 120)
"""Lengths of looks in seconds: few different ones, so that many units share a query. The longest is for any bake:
what is broken is seen soon, and a look is over long before data count as missing."""
_LOOKS_A_BAKE = 30
_SCRAPES_A_LOOK = 4


def look_of(interval: int, bake: int) -> int:
    """The length of a look, in seconds, at a step that bakes so long where metrics are scraped every `interval`.

    At least four scrapes, so that an increase is not made of two samples; else about thirty looks a bake, so that an
    hour is not asked for second by second, and never longer than `LADDER` goes.
    """
    least = max(interval * _SCRAPES_A_LOOK, 1)
    wanted = max(least, bake // _LOOKS_A_BAKE)
    return least if wanted <= least else max(least, next((rung for rung in LADDER if rung >= wanted), LADDER[-1]))
