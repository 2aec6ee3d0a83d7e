"""Is a candidate worse than stable? A sequential test on counters that may be asked at every look.

Requests are good or bad (an error, or slower than a limit taken from stable beforehand); only the increments of
counters since the last look are used. The evidence is an e-process: it starts at 1, its expectation stays at most 1
while the candidate is not worse, so by Ville's inequality it *ever* reaches 1/alpha with probability at most alpha,
however often one looks and whenever one stops (Ramdas, Grünwald, Vovk and Shafer, "Game-theoretic statistics and
safe anytime-valid inference", 2023; the mixture over alternatives is Robbins's, as in the mSPRT of Johari et al. 2022).

One look brings n_c, k_c (requests and bad requests of the candidate), n_s, k_s and K = k_c + k_s. The null is that
the candidate's odds of a bad request are at most c = 1 + margin times stable's. Given K, with o = c n_c / n_s, each
bad request is the candidate's with a chance of at most o / (1 + o), so the factor for an alternative r >= 1 is

    L(r) = r^k_c ((1 + o) / (1 + r o))^K      and each look multiplies E by      sum over r of  w(r) L(r)^(1 / D).

The weights w follow the alternatives that did well, and a part `SHARED` of them is spread evenly again at each look
(fixed share, Herbster and Warmuth 1998), so that a fault that begins late, or grows, is found as well.

**Proved**: E[L] <= 1 for independent requests. The K bad ones are split like a sum of independent Bernoulli
variables (Fisher's noncentral hypergeometric law has a generating function with real zeros) whose mean is at most
K o / (1 + o), and the binomial dominates it in convex order (Hoeffding 1956). Nothing is asked of the common rate,
which may jump from look to look: what hits both versions alike cancels. D >= 1 is known before k_c is, and then
E[L^(1/D)] <= 1 by Jensen; the weights are known before the look. An average over several limits is again an
e-process, whatever their dependence.

**Shown by simulation only** (`make bench-analysis`): false alarms when each version has noise of its own between
looks. D = 1 + v t^2 (1 + a) / (1 - a) is the design effect: v = K o / (1 + o)^2 is the look's information, t the
standard deviation of the log odds ratio between looks, a its autocorrelation. t^2 is the estimate of DerSimonian and
Laird (1986) over earlier looks, corrected for a, shrunk to `noise` as if that had been seen in `PRIOR_LOOKS` looks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from gitops.rollout.binomial import root

ALTERNATIVES = (1.0, 1.2, 1.5, 2.0, 3.0, 6.0, 20.0)
"""Odds ratios, beyond the tolerated one, that the evidence bets on; 1 is not to bet."""
SHARED = 0.02
"""The part of the weights that is spread evenly again at each look: what it costs to find faults that begin late."""
CAUTION = 0.5
"""Standard errors that are added to an estimate of the noise."""
PRIOR_LOOKS = 12
UNKNOWN_NOISE = 0.25
"""Standard deviation of the log odds ratio between looks that is assumed where stable has no history."""
LEAST_NOISE = 0.1
DOUBT = 0.1
"""Standard deviation of the variances that are expected beyond that of `UNKNOWN_NOISE`. What is seen beyond it is
believed as far as it is surer than that."""
LEAST_HISTORY = 10


class Counts(NamedTuple):
    """Requests and how many of them were bad. Fractions are allowed: Prometheus extrapolates increases."""

    requests: float
    bad: float


class Look(NamedTuple):
    """Cumulative counts since the step's warm-up ended."""

    candidate: Counts
    stable: Counts


NOTHING = Look(Counts(0, 0), Counts(0, 0))


@dataclass(frozen=True, slots=True)
class Comparing:
    """What is asked. `alpha` bounds the chance of ever calling a candidate worse that is not.

    `margin` is tolerated: 0.1 allows odds of a bad request up to 1.1 times stable's (for rare ones that is the
    ratio of the rates). `autocorrelation` of the noise between looks is assumed, not estimated: too few looks.
    """

    alpha: float = 0.01
    margin: float = 0.1
    autocorrelation: float = 0.5
    shared: float = SHARED

    def __post_init__(self) -> None:
        if not (0 < self.alpha < 1 and 0 <= self.margin < math.inf and 0 <= self.autocorrelation < 1):
            raise ValueError(f"alpha in (0, 1), margin >= 0, autocorrelation in [0, 1): not {self}")


@dataclass(frozen=True, slots=True)
class Stream:
    """Evidence of one kind of bad request; `noise` as `noise_of` measured it on stable before the step."""

    noise: float = UNKNOWN_NOISE
    last: Look = NOTHING
    looks: int = 0
    information: float = 0.0
    squares: float = 0.0
    score: float = 0.0
    dispersion: float = 0.0
    expected: float = 0.0
    weights: tuple[float, ...] = (1 / len(ALTERNATIVES),) * len(ALTERNATIVES)
    log_evidence: float = 0.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything remembered between looks: fold `observe` over them, from `start`."""

    streams: tuple[Stream, ...]
    peak: float = 0.0
    """The greatest log evidence so far."""

    @property
    def log_evidence(self) -> float:
        """Logarithm of the average over the streams."""
        return _log_mean_exp([stream.log_evidence for stream in self.streams])


class Rate(NamedTuple):
    """A share of bad requests, and bounds that hold at all looks at once with confidence 1 - alpha.

    The bounds (a beta-binomial mixture, `_bounds`) are exact for independent requests of a constant rate; noise
    between looks only enters as the estimated design effect, and the verdict does not use them.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """A verdict and a sentence. `p_value` is always valid: its minimum over all looks so far, so it never grows.

    The rates are those of the stream with the most evidence.
    """

    worse: bool
    p_value: float
    candidate: Rate
    stable: Rate
    sentence: str


def start(noises: Sequence[float] = (UNKNOWN_NOISE,)) -> Evidence:
    """No evidence yet; one stream for each kind of bad request, with the noise that stable showed before the step."""
    return Evidence(tuple(Stream(max(LEAST_NOISE, noise)) for noise in noises))


def observe(
    evidence: Evidence, looks: Sequence[Look], asked: Comparing, gains: Sequence[Sequence[float]] = ()
) -> Evidence:
    """The evidence after one more look, which has one element for each stream.

    Where bad requests count as a part w each, `gains` are the sums of log(1 + (r - 1) w) over the candidate's new ones
    for each of `ALTERNATIVES`. Without them parts count as bad * log(r), which is valid and gives much away.

    Increments that make no sense (a counter went back, one version had no requests) change nothing but the start
    of the next increment.
    """
    won: Sequence[Sequence[float] | None] = gains or [None] * len(looks)
    new = zip(evidence.streams, looks, won, strict=True)
    streams = tuple(_observe(stream, look, asked, each) for stream, look, each in new)
    after = Evidence(streams, evidence.peak)
    return replace(after, peak=max(evidence.peak, after.log_evidence))


def compare(evidence: Evidence, asked: Comparing) -> Comparison:
    """What the evidence says."""
    p_value = math.exp(-evidence.peak)
    stream = max(evidence.streams, key=lambda each: each.log_evidence)
    worse = evidence.peak >= -math.log(asked.alpha)
    candidate, stable = (_rate(counts, stream, asked) for counts in stream.last)
    found = "worse than" if worse else "not shown to be worse than"
    sentence = (
        f"{candidate.value:.3g} of {stream.last.candidate.requests:,.0f} requests were bad, on stable "
        f"{stable.value:.3g} of {stream.last.stable.requests:,.0f}: {found} {1 + asked.margin:g} times stable "
        f"(p = {p_value:.2g}, limit {asked.alpha:g})"
    )
    return Comparison(worse, p_value, candidate, stable, sentence)


def noise_of(windows: Sequence[Counts], asked: Comparing) -> float:
    """Noise for `start`, from stable's increments in windows as long as the looks, before the step.

    The excess of Cochran's Q over its expectation (DerSimonian and Laird), `CAUTION` standard deviations of Q added,
    twice because the candidate is taken to be as noisy. Fewer than `LEAST_HISTORY` windows give `UNKNOWN_NOISE`; that
    is also the most that caution makes of windows with few bad requests, which say little of the noise. More than that
    is believed (`DOUBT`) where there are enough of them: few look noisier than they are.
    """
    windows = [window for window in windows if window.requests > 0]
    requests, bad = sum(w.requests for w in windows), sum(min(w.bad, w.requests) for w in windows)
    if len(windows) < LEAST_HISTORY or not 0 < bad < requests:
        return UNKNOWN_NOISE
    rate = bad / requests
    weights = [w.requests * rate * (1 - rate) for w in windows]
    q = sum((w.bad - w.requests * rate) ** 2 / v for w, v in zip(windows, weights, strict=True))
    free = len(windows) - 1
    scale = _spread(sum(weights), sum(v * v for v in weights), len(windows), asked.autocorrelation)
    error = math.sqrt(2 * free)
    seen, cautious = (2 * max(0.0, q - free + more) / scale for more in (0.0, CAUTION * error))
    more = max(0.0, seen - UNKNOWN_NOISE**2)
    believed = min(seen, UNKNOWN_NOISE**2) + more * DOUBT**2 / (DOUBT**2 + (2 * error / scale) ** 2)
    return max(LEAST_NOISE, math.sqrt(believed), min(math.sqrt(cautious), UNKNOWN_NOISE))


def limit_from_histogram(buckets: Mapping[float, float], quantile: float) -> float | None:
    """The finite bound of a cumulative histogram (`le` to count) with a share of slower requests nearest 1 - quantile.

    Near on a logarithmic scale; bounds that nothing exceeds count only when there is no other. None without a finite
    bound or without requests.
    """
    total = max((count for count in buckets.values() if math.isfinite(count)), default=0.0)
    bounds = sorted(bound for bound in buckets if math.isfinite(bound) and math.isfinite(buckets[bound]))
    if not bounds or total <= 0:
        return None
    shares = {bound: 1 - buckets[bound] / total for bound in bounds}
    used = [bound for bound in bounds if shares[bound] > 0]
    return min(used, key=lambda bound: abs(math.log(shares[bound] / (1 - quantile))), default=bounds[0])


def _observe(stream: Stream, look: Look, asked: Comparing, won: Sequence[float] | None) -> Stream:
    n_c, k_c, n_s, k_s = _increments(stream.last, look)
    total = k_c + k_s
    if not (n_c > 0 and n_s > 0 and total > 0):
        return replace(stream, last=look)
    odds = (1 + asked.margin) * n_c / n_s
    share = odds / (1 + odds)
    rho = asked.autocorrelation
    design = 1 + total * share * (1 - share) * _variance(stream, rho) * (1 + rho) / (1 - rho)
    won = [k_c * log for log in _LOGS] if won is None else won
    gain, weights = _bet(
        stream.weights,
        [(each - total * math.log1p((r - 1) * share)) / design for each, r in zip(won, ALTERNATIVES, strict=True)],
        asked.shared,
    )
    score, expected = stream.score + k_c - total * share, stream.expected + total * share
    # Where bad requests are rare and the candidate's share small, a real fault would look like noise
    # if its spread were expected to be that of the null.
    fitted = min(0.5, share * (score + expected + 1) / (expected + 1))
    information = total * max(share * (1 - share), fitted * (1 - fitted))
    return Stream(
        stream.noise,
        look,
        stream.looks + 1,
        stream.information + information,
        stream.squares + information**2,
        score,
        stream.dispersion + (k_c - total * share) ** 2 / information,
        expected,
        weights,
        stream.log_evidence + gain,
    )


_LOGS = tuple(math.log(r) for r in ALTERNATIVES)


def _bet(weights: Sequence[float], logs: Sequence[float], shared: float) -> tuple[float, tuple[float, ...]]:
    """The logarithm of the weighted mean of factors, and the weights of the next look."""
    top = max(logs)
    won = [weight * math.exp(log - top) for weight, log in zip(weights, logs, strict=True)]
    total = sum(won)
    return top + math.log(total), tuple((1 - shared) * each / total + shared / len(won) for each in won)


def _increments(last: Look, look: Look) -> tuple[float, float, float, float]:
    """n_c, k_c, n_s, k_s since the last look; zeros when a counter went back or is not a number."""
    (n_c, k_c), (n_s, k_s) = (
        (after.requests - before.requests, after.bad - before.bad) for before, after in zip(last, look, strict=True)
    )
    if not all(0 <= value < math.inf for value in (n_c, k_c, n_s, k_s)):
        return 0.0, 0.0, 0.0, 0.0
    return n_c, min(k_c, n_c), n_s, min(k_s, n_s)


def _variance(stream: Stream, rho: float) -> float:
    """t^2 of the module's text, from earlier looks only, with `CAUTION` standard errors added."""
    prior = stream.noise**2
    estimate, free = prior, max(0, stream.looks - 1)
    if free:
        q = stream.dispersion - stream.score**2 / stream.information
        weight = PRIOR_LOOKS * stream.information / stream.looks
        scale = _spread(stream.information, stream.squares, stream.looks, rho)
        estimate = max(0.0, weight * prior + q - free) / (weight + scale)
    return estimate * (1 + CAUTION * math.sqrt(2 / (PRIOR_LOOKS + free)))


def _spread(information: float, squares: float, looks: int, rho: float) -> float:
    """What Cochran's Q grows by for each unit of variance between looks.

    DerSimonian and Laird's sum(v) - sum(v^2) / sum(v), times what autocorrelated noise (AR(1)) leaves visible of its
    variance around the mean of so few looks.
    """
    tail = rho / (1 - rho) - rho * (1 - rho**looks) / (looks * (1 - rho) ** 2)
    visible = (1 - (1 + 2 * tail) / looks) * looks / (looks - 1)
    return max(information - squares / information, 0.0) * visible


def _log_mean_exp(values: Sequence[float]) -> float:
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values) / len(values))


def _rate(counts: Counts, stream: Stream, asked: Comparing) -> Rate:
    """The share with its bounds; counts are divided by the design effect of this version's own noise."""
    n, k = counts.requests, min(counts.bad, counts.requests)
    if not (n > 0 and k >= 0):
        return Rate(0.0, 0.0, 1.0)
    rate, rho = k / n, asked.autocorrelation
    looks = max(1, stream.looks)
    design = 1 + n * rate * (1 - rate) / looks * _variance(stream, rho) / 2 * (1 + rho) / (1 - rho)
    return Rate(rate, *_bounds(n / design, k / design, asked.alpha))


def _bounds(n: float, k: float, alpha: float) -> tuple[float, float]:
    """The rates p at which the uniform mixture's likelihood ratio is under 1/alpha.

    log B(k + 1, n - k + 1) - k log p - (n - k) log(1 - p) < log(1/alpha): Robbins (1970); Howard, Ramdas, McAuliffe
    and Sekhon (2021), beta-binomial mixture.
    """
    mixture = math.lgamma(k + 1) + math.lgamma(n - k + 1) - math.lgamma(n + 2) + math.log(alpha)

    def excess(p: float) -> float:
        return mixture - (k * math.log(p) if k else 0.0) - ((n - k) * math.log1p(-p) if n > k else 0.0)

    rate = k / n
    low = root(lambda p: -excess(p), 1e-300, rate, steps=24) if k else 0.0
    return low, root(excess, rate, 1 - 1e-16, steps=24) if n > k else 1.0
