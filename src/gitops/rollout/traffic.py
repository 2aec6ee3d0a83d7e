"""Simulated traffic: what a metric source would have seen of servers whose behaviour is declared.

Every look is drawn by itself from a seed, the unit, the version and its end, so that the same question has the same
answer in any process at any time, and a past look never changes. Requests come at random (Poisson), each fails with
the error rate's chance and takes a log-normal time, independently of the others; levels vary from look to look by
autocorrelated noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

from gitops.rollout.dice import binomial, normal, poisson, uniforms
from gitops.rollout.queries import QUANTILES, shape_of
from gitops.rollout.series import Answer, Datum, Look, Question, Series, Unanswered
from gitops.rollout.statistics import Counts
from gitops.spec.behaviour import TRAITS, Behaviour, trait_of
from gitops.values import UnitKey

SETTLED = 7 * 24 * 3600
"""So many seconds after its first traffic a version no longer changes. Before anything is known it had it so long."""
ERROR_NOISE = 10
"""Error rates vary so many times as much as latencies."""
CALM = ("gpu-memory", "prediction-accuracy")
"""These hardly vary by themselves."""
_CALM_NOISE = 0.1
_NORMAL = NormalDist()

_VLLM_REQUEST = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
_VLLM_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10, 20, 40, 80)
_VLLM_NEXT = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10, 20, 40, 80)
_FINE = tuple(float(f"{0.001 * 1.25**step:.3g}") for step in range(50))
BOUNDS: Mapping[tuple[str, str], tuple[float, ...]] = {
    ("vllm", "latency"): _VLLM_REQUEST,
    ("vllm", "time-to-first-token"): (*_VLLM_FIRST, 160, 640, 2560),
    ("vllm", "inter-token-latency"): _VLLM_NEXT,
}
"""Finite bucket bounds in seconds, by runtime and trait, as vLLM's own metrics have them; others are finer.

Triton has no buckets: `gitops.rollout.queries.shape_of` knows which metric of which runtime has which shape.
"""


class Share(NamedTuple):
    """Percent of requests that reach each version, answered or mirrored, from a moment on. Stable is named first."""

    since: float
    percents: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Scene:
    """Who gets how much of one unit's traffic, and how each version behaves.

    `shares` are in order of time; before the first one the version that it names first has all traffic.
    """

    unit: UnitKey
    shares: Sequence[Share]
    behaviours: Mapping[str, Behaviour]
    seed: int = 1
    memory: MutableMapping[tuple[str, str, int, int], Datum | None] = field(default_factory=dict, compare=False)
    """Whole looks that were drawn before; only a matter of speed."""


def answer(scene: Scene, question: Question, now: float) -> Answer:
    """What a metric source would answer at that moment, about the present servers and every look since `begin`."""
    behaviour = scene.behaviours[question.version]
    outages = list(_outages(scene))
    if any(begins <= now < ends for begins, ends in outages):
        return Unanswered("declared outage")
    trait = question.metric if question.query else trait_of(question.metric, {})
    if question.query and behaviour.level(trait) is None:
        return Unanswered(f"nothing is declared for {question.metric}; give it a value under `metrics` of the model")
    drawing = _Drawing(scene, question, behaviour, trait, tuple(outages))
    last = int(now)
    latest = drawing.look(last) if last - question.look >= question.begin else None
    return Series(tuple(drawing.looks(last)), latest)


def runs(shares: Sequence[Share], version: str) -> Iterator[tuple[float, float]]:
    """When a version had traffic without a break: from and until, the last one perhaps without an end."""
    begun: float | None = None
    for index, share in enumerate(shares):
        has_traffic = share.percents.get(version, 0) > 0
        if has_traffic and begun is None:
            had_before = index == 0 and version == next(iter(share.percents))
            begun = share.since - SETTLED if had_before else share.since
        elif not has_traffic and begun is not None:
            yield begun, share.since
            begun = None
    if begun is not None:
        yield begun, math.inf


def _outages(scene: Scene) -> Iterator[tuple[float, float]]:
    """When nothing can be read about the unit."""
    for version, behaviour in scene.behaviours.items():
        for span in behaviour.outages:
            for begun, ended in runs(scene.shares, version):
                yield begun + span.begins, min(ended, math.inf if span.ends is None else begun + span.ends)


@dataclass(frozen=True, slots=True)
class _Drawing:
    """Everything about one question that its looks share."""

    scene: Scene
    question: Question
    behaviour: Behaviour
    trait: str
    outages: tuple[tuple[float, float], ...]
    innovations: dict[int, float] = field(default_factory=dict)

    def looks(self, now: int) -> Iterator[Look]:
        """Every whole look with data, in order."""
        length = self.question.look
        first = -(-self.question.begin // length) * length + length
        for end in range(first, now + 1, length):
            if (datum := self._remembered(end)) is not None:
                yield Look(end, datum)

    def _remembered(self, end: int) -> Datum | None:
        key = (self.question.version, self.question.metric, self.question.look, end)
        memory = self.scene.memory
        if key not in memory:
            memory[key] = self.look(end)
        return memory[key]

    def look(self, end: int) -> Datum | None:
        """What the span of one look up to then saw; None without traffic, or when nobody scraped."""
        begin = end - self.question.look
        if any(begin < ends and begins < end for begins, ends in self.outages):
            return None
        load = self._load(begin, end)
        if load <= 0:
            return None
        middle = end - self.question.look / 2
        level = self.behaviour.level(self.trait, self._elapsed(middle))
        if level is None:
            return None
        return self._datum(level, load, begin, end)

    def _datum(self, level: float, load: float, begin: int, end: int) -> Datum | None:
        draws = uniforms(self._key("requests", end))
        burst = self._burst(begin, end)
        requests = poisson(self._rate(burst) * load, next(draws))
        noise = self._noise(end // self.question.look)
        if self.question.query:
            return level * math.exp(noise)
        if self.trait == "error-rate":
            share = min(1.0, level / 100 * math.exp(ERROR_NOISE * noise))
            return Counts(float(requests), float(binomial(requests, share, next(draws))))
        if TRAITS.get(self.trait) == "s":
            shift = math.log(max(level, 1e-9)) + noise + burst * self._slowing()
            if shape_of(self.question.metric, self.question.runtime) == "gauge":
                return self._quantile(requests, shift, next(draws)) if requests else None
            return self._histogram(requests, shift, end)
        if self.trait in ("requests-per-second", "tokens-per-request"):
            each = level if self.trait == "tokens-per-request" else level / max(self._rate(0), 1e-9)
            return requests * each / self.question.look
        shown = level * math.exp(noise * (_CALM_NOISE if self.trait in CALM else 1))
        return min(100.0, shown) if TRAITS.get(self.trait) == "%" else shown

    def _histogram(self, requests: int, shift: float, end: int) -> dict[float, float]:
        """Requests split among the buckets one after the other, each time by what is left."""
        bounds = bounds_of(self.question.runtime, self.trait)
        scale = 1 / (self.behaviour.spread(self.trait) * math.sqrt(2))
        draws = uniforms(self._key(self.trait, end))
        buckets: dict[float, float] = {}
        left, above = requests, 1.0
        for bound, logarithm in zip(bounds, _logarithms(bounds), strict=True):
            if left:
                slower = 0.5 * math.erfc((logarithm - shift) * scale)
                inside = 1 - slower / above if above > 0 else 1.0
                left -= binomial(left, inside, next(draws)) if inside > 1e-12 else 0
                above = slower
            buckets[bound] = float(requests - left)
        buckets[math.inf] = float(requests)
        return buckets

    def _quantile(self, requests: int, shift: float, uniform: float) -> float:
        """What a server that sums up its own requests says of their quantile, which varies with their number."""
        share = QUANTILES[self.question.metric]
        at, spread = _NORMAL.inv_cdf(share), self.behaviour.spread(self.trait)
        error = math.sqrt(share * (1 - share) / requests) / _NORMAL.pdf(at)
        return math.exp(shift + spread * (at + min(error, 1.0) * _NORMAL.inv_cdf(uniform)))

    def _load(self, begin: int, end: int) -> float:
        """Seconds of all traffic that the version had in that span: a tenth of it for a minute are 6."""
        shares, version = self.scene.shares, self.question.version
        if not shares:
            return 0.0
        total = 0.0
        if begin < shares[0].since and version == next(iter(shares[0].percents), ""):
            total = min(end, shares[0].since) - begin
        for index, share in enumerate(shares):
            until = shares[index + 1].since if index + 1 < len(shares) else math.inf
            if share.since < end and until > begin:
                total += (min(end, until) - max(begin, share.since)) * share.percents.get(version, 0) / 100
        return total

    def _rate(self, burst: float) -> float:
        """Requests a second that clients send to all versions and this one completes."""
        bursts, clients = self.behaviour.bursts, self.behaviour.levels.get("requests-per-second", 0.0)
        return clients * (1 + burst * (bursts.requests - 1)) if bursts else clients

    def _elapsed(self, moment: float) -> float:
        """Seconds since the version's first traffic, of the run of traffic that the moment lies in."""
        for begun, ended in runs(self.scene.shares, self.question.version):
            if moment < ended:
                return min(max(0.0, moment - begun), SETTLED)
        return 0.0

    def _slowing(self) -> float:
        return math.log(self.behaviour.bursts.latency) if self.behaviour.bursts else 0.0

    def _burst(self, begin: int, end: int) -> float:
        """The part of a span that lies in bursts; the same for all versions."""
        bursts = self.behaviour.bursts
        if not bursts:
            return 0.0
        inside = 0.0
        for window in range(begin // bursts.every, (end - 1) // bursts.every + 1):
            place = next(uniforms(f"{self.scene.seed}/{self.scene.unit}/burst/{window}"))
            start = window * bursts.every + place * (bursts.every - bursts.lasts)
            inside += max(0.0, min(end, start + bursts.lasts) - max(begin, start))
        return inside / (end - begin)

    def _noise(self, index: int) -> float:
        """Autocorrelated noise of one look: a moving average of innovations, which needs no beginning of time."""
        deviation, rho = self.behaviour.noise.deviation, self.behaviour.noise.autocorrelation
        if deviation <= 0:
            return 0.0
        weights = _weights(rho)
        return deviation * sum(weight * self._innovation(index - back) for back, weight in enumerate(weights))

    def _innovation(self, index: int) -> float:
        if index not in self.innovations:
            self.innovations[index] = normal(self._key(f"noise {self.trait} {self.question.look}", index))
        return self.innovations[index]

    def _key(self, purpose: str, moment: int) -> str:
        scene = self.scene
        return f"{scene.seed}/{scene.unit}/{self.question.version}/{purpose}/{moment}"


def bounds_of(runtime: str, trait: str) -> tuple[float, ...]:
    """The finite bucket bounds of a time, in seconds."""
    return BOUNDS.get((runtime, trait), _FINE)


@lru_cache(maxsize=64)
def _logarithms(bounds: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(math.log(bound) for bound in bounds)


@lru_cache(maxsize=64)
def _weights(rho: float) -> tuple[float, ...]:
    """Of an AR(1) as a moving average, cut where little is left, with unit variance."""
    length = 1 if rho <= 0 else max(1, math.ceil(math.log(0.05) / math.log(rho)))
    weights = [rho**back for back in range(length)]
    norm = math.sqrt(sum(weight * weight for weight in weights))
    return tuple(weight / norm for weight in weights)
