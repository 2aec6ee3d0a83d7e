"""Simulated servers behind the production path: counters by minute and pod, for `gitops.rollout.simulation`.

Everything that a situation says is a function of the minutes since the rollout began: stable has a past as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.analysis.world import Array, upper
from gitops.rollout.queries import QUANTILES
from gitops.rollout.series import Answer, Datum, Look, Question, Series
from gitops.rollout.simulation import BEGIN
from gitops.rollout.statistics import Counts
from gitops.rollout.traffic import Share, bounds_of
from gitops.spec.behaviour import trait_of

STABLE, CANDIDATE = "stable", "candidate"
PAST = 64
"""Minutes of stable's past that are drawn."""
_MINUTE, _AT_ONCE = 60, 32

Course = Callable[[str, Array], Array]
"""A version and minutes since the rollout began (negative before it) to a value for each of them."""


def _nothing(_version: str, minutes: Array) -> Array:
    return 0.0 * minutes


@dataclass(frozen=True)
class Servers:
    """What one situation's servers do. Times are log-normal around `median`, `shift` is added to their logarithm.

    `noise` is the standard deviation of each version's own noise from minute to minute, of latency's logarithm;
    of the error rate's it is `error_noise`. Autocorrelation is one half.
    """

    requests: float = 60.0
    """A second, to both versions together."""
    traffic: Course = lambda _version, minutes: 1.0 + 0.0 * minutes
    errors: Course = lambda _version, minutes: 0.0005 + 0.0 * minutes
    shift: Course = _nothing
    gauge: Course | None = None
    gauge_noise: float = 0.5
    median: float = 0.8
    p99: float = 2.8
    """As a multiple of the median."""
    trait: str = "latency"
    noise: float = 0.02
    error_noise: float = 0.2
    replicas: int = 6
    sick: Callable[[str, int, Array], Array] = lambda _version, _pod, minutes: 0.0 * minutes
    """Errors of one pod more, by version, the pod's number and minutes."""
    elasticity: float = 0.0
    """Latency's growth from an idle pod to one that gets its share of all traffic, as a logarithm."""
    lost: float = 0.0
    """Share of looks that nobody scraped."""


@dataclass
class Source:
    """One run of a situation, as a source of metrics for `simulate`."""

    servers: Servers
    seed: int
    minutes: int = 1536
    drawn: dict[tuple[str, str, int, int], Array] = field(default_factory=dict)
    noises: dict[tuple[str, str], Array] = field(default_factory=dict)
    looks: dict[tuple[str, str, int, int, int | None], Datum | None] = field(default_factory=dict)

    def read(self, questions: Sequence[Question], now: int, shares: Sequence[Share]) -> dict[Question, Answer]:
        """Every question answered."""
        return {question: self._answer(question, now, shares) for question in questions}

    def _answer(self, question: Question, now: int, shares: Sequence[Share]) -> Answer:
        length = question.look
        first = -(-question.begin // length) * length + length
        found = [(end, self._look(question, end, shares)) for end in range(first, now + 1, length)]
        looks = tuple(Look(end, datum) for end, datum in found if datum is not None)
        latest = self._look(question, now, shares) if now - length >= question.begin else None
        if not question.by_pod:
            return Series(looks, latest)
        pods = {}
        for pod in range(self.servers.replicas):
            alone = [(end, self._look(question, end, shares, pod)) for end in range(first, now + 1, length)]
            known = tuple(Look(end, datum) for end, datum in alone if datum is not None)
            if known:
                last = self._look(question, now, shares, pod) if latest is not None else None
                pods[f"{question.version}-{pod}"] = Series(known, last)
        return Series(looks, latest, pods)

    def _look(self, question: Question, end: int, shares: Sequence[Share], pod: int | None = None) -> Datum | None:
        key = question.version, question.metric, question.look, end, pod
        if key not in self.looks:
            self.looks[key] = self._drawn(question, end, shares, pod)
        return self.looks[key]

    def _drawn(self, question: Question, end: int, shares: Sequence[Share], pod: int | None) -> Datum | None:
        trait = trait_of(question.metric, {}) or question.metric
        last, count = (end - BEGIN) // _MINUTE, max(1, question.look // _MINUTE)
        if self.servers.lost and self._rng("lost", question.version, end).random() < self.servers.lost:
            return None
        found = [self._minute(question.version, trait, minute, shares) for minute in range(last - count, last)]
        rows = [one.sum(0) if pod is None else one[pod] for one in found if one is not None and len(one) > (pod or 0)]
        return self._datum(question.metric, trait, np.asarray(rows)) if rows else None

    def _datum(self, metric: str, trait: str, rows: Array) -> Datum:
        if trait == "error-rate":
            requests, bad = rows.sum(0)
            return Counts(float(requests), float(bad))
        if metric in QUANTILES:
            edges = (*bounds_of("vllm", self.servers.trait), math.inf)
            return dict(zip(edges, map(float, rows.sum(0)), strict=True))
        return float(rows.mean())

    def _minute(self, version: str, trait: str, minute: int, shares: Sequence[Share]) -> Array | None:
        """A row for each pod; None without traffic."""
        share = _share(shares, version, BEGIN + minute * _MINUTE)
        if share <= 0:
            return None
        key = version, trait, minute // _AT_ONCE, round(10 * share)
        if key not in self.drawn:
            self.drawn[key] = self._draw(version, trait, key[2] * _AT_ONCE, share)
        return np.asarray(self.drawn[key][minute % _AT_ONCE])

    def _draw(self, version: str, trait: str, first: int, share: float) -> Array:
        """Minutes by pods by what is counted."""
        servers, at = self.servers, np.arange(first, first + _AT_ONCE) + 0.5
        pods = servers.replicas if version == STABLE else max(1, math.ceil(servers.replicas * share / 100))
        rng = self._rng(trait, version, first)
        noise = self._noise(version, trait)[np.arange(first, first + _AT_ONCE) + PAST]
        mean = servers.requests * servers.traffic(version, at) * share / 100 * _MINUTE
        requests = rng.poisson(np.repeat(mean[:, None] / pods, pods, axis=1))
        if trait == "error-rate":
            own = servers.errors(version, at) * np.exp(servers.error_noise * noise - servers.error_noise**2 / 2)
            sick = np.stack([servers.sick(version, pod, at) for pod in range(pods)], axis=1)
            bad = rng.binomial(requests, np.minimum(1.0, own[:, None] + sick))
            return np.stack([requests, bad], axis=2).astype(float)
        if trait == servers.trait:
            load = share / 100 * servers.replicas / pods * servers.traffic(version, at)
            shift = servers.shift(version, at) + servers.elasticity * load + servers.noise * noise
            return self._durations(rng, requests, shift)
        assert servers.gauge, trait
        values = servers.gauge(version, at) + servers.gauge_noise * noise
        return np.asarray(values[:, None, None])

    def _durations(self, rng: np.random.Generator, requests: Array, shift: Array) -> Array:
        """Requests split among the buckets one after the other, each time by what is left."""
        spread = math.log(self.servers.p99) / 2.3263
        left, before = requests, np.ones((len(shift), 1))
        counts = []
        for bound in bounds_of("vllm", self.servers.trait):
            above = np.maximum(upper((math.log(bound / self.servers.median) - shift[:, None]) / spread), 1e-12)
            left, before = rng.binomial(left, np.minimum(1.0, above / before)), above
            counts.append(requests - left)
        return np.stack([*counts, requests], axis=2).astype(float)

    def _noise(self, version: str, trait: str) -> Array:
        key = version, trait
        if key not in self.noises:
            rng, whole = self._rng("noise " + trait, version, 0), PAST + self.minutes
            found = rng.standard_normal(whole)
            for index in range(1, whole):
                found[index] = 0.5 * found[index - 1] + math.sqrt(0.75) * found[index]
            self.noises[key] = found
        return self.noises[key]

    def _rng(self, purpose: str, version: str, at: int) -> np.random.Generator:
        words = [self.seed, *map(ord, purpose + version), at & 0xFFFFFFFF]
        return np.random.Generator(np.random.SFC64(np.random.SeedSequence(words)))


def _share(shares: Sequence[Share], version: str, moment: float) -> float:
    present = shares[0].percents
    for share in shares:
        if share.since <= moment:
            present = share.percents
    return present.get(version, 0.0)
