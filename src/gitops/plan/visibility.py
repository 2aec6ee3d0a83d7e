"""What gates could see of a new version: how much worse it has to be before so many requests can show it at all.

These are bounds that no test gets below (`rollout.binomial.detectable`), taken for a version whose stable is known
exactly. The gates themselves look again and again, and ask for evidence that a limit is exceeded: they need more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from gitops.rollout.binomial import detectable
from gitops.rollout.histograms import NEAR, merged, quantile
from gitops.rollout.queries import QUANTILES, shape_of
from gitops.rollout.series import Answer, Datum, Histogram, Question, Series
from gitops.rollout.statistics import Counts
from gitops.spec.fields import Threshold, format_threshold
from gitops.spec.rollouts import Gate

_MOST = 10**8
"""More requests than that no step has."""


class Traffic(NamedTuple):
    """What is known of a unit's requests. `errors` is stable's share of bad ones, 0 to 1."""

    rate: float | None = None
    """Requests a second, to all versions together."""
    measured: bool = False
    """Seen in the metrics, not declared."""
    errors: float | None = None
    durations: Mapping[str, Histogram] = MappingProxyType({})
    """Of stable's requests, by metric."""


def counts(gate: Gate, runtime: str) -> bool:
    """Whether the gate judges by single requests; others judge by looks at one value."""
    return gate.metric is not None and shape_of(gate.metric, runtime) != "gauge"


def blind_spot(gate: Gate, runtime: str, requests: int, traffic: Traffic, alpha: float) -> str:
    """What the gate cannot see in so many requests, to follow "cannot see"; empty if it does not go by requests."""
    if not counts(gate, runtime):
        return ""
    if gate.metric != "error-rate":
        return _slowness(gate, requests, traffic, alpha)
    least = _least(requests, traffic.errors or 0.0, alpha)
    if least >= 1:
        return "errors at all"
    limit = gate.rollback or gate.pause
    bound = _error_limit(limit, traffic.errors or 0.0) if limit else 0.0
    hidden = f" (its limit of {percent(bound)} is out of sight)" if 0 < bound < least else ""
    return f"an error rate under {percent(least)}{hidden}"


def needed(gate: Gate, runtime: str, errors: float, alpha: float) -> int | None:
    """Requests without which the gate cannot see errors at its limit; None if it has no such limit."""
    limit = gate.rollback or gate.pause
    if gate.metric != "error-rate" or not limit or not counts(gate, runtime):
        return None
    rate = _error_limit(limit, errors)
    return _needed(rate, errors, alpha) if errors < rate < 1 else None


def percent(share: float) -> str:
    """A share of 0 to 1 with two digits or more."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


# --- Durations -----------------------------------------------------------------------------------------------


def _slowness(gate: Gate, requests: int, traffic: Traffic, alpha: float) -> str:
    metric, limit = gate.metric or "", gate.pause or gate.rollback
    assert limit is not None, "checked when the spec was loaded"
    if factors := list(_factors(metric, limit, requests, traffic.durations.get(metric, {}), alpha)):
        # Below 1 stable itself is beyond the limit.
        return f"{metric} grow by less than {percent(min(factors) - 1)}" if min(factors) > 1 else ""
    least = _least(requests, 1 - QUANTILES[metric], alpha)
    if least >= 1:
        return f"slow requests at all ({metric})"
    where = f"{format_threshold(limit)}'s quantile" if limit.relative else format_threshold(limit)
    return f"fewer than {percent(least)} of requests beyond {where} ({metric})"


def _factors(metric: str, limit: Threshold, requests: int, durations: Histogram, alpha: float) -> Iterator[float]:
    """By how much everything has to slow down until enough requests are slower than a bound.

    A bound is passed by `share` of the requests where the candidate is exactly at the limit. Everything slower by a
    factor moves the quantile that has to pass it up to the bound.
    """
    asked = QUANTILES[metric]
    for at in NEAR[asked] if limit.relative else (asked,):
        least = _least(requests, 1 - at, alpha)
        bound, reached = quantile(durations, at), quantile(durations, 1 - least)
        if least < 1 and bound and reached and reached.value > 0 and not (bound.open or reached.open):
            yield (limit.value * bound.value if limit.relative else limit.value) / reached.value


def _error_limit(limit: Threshold, errors: float) -> float:
    """As a share of requests."""
    return limit.value * errors if limit.relative else limit.value / 100


# --- Numbers -------------------------------------------------------------------------------------------------


@lru_cache(maxsize=10_000)
def _least(requests: int, baseline: float, alpha: float) -> float:
    return detectable(requests, baseline, alpha)


@lru_cache(maxsize=1000)
def _needed(rate: float, baseline: float, alpha: float) -> int | None:
    low, high = 1, 1
    while _least(high, baseline, alpha) > rate:
        low, high = high, 2 * high
        if high > _MOST:
            return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _least(middle, baseline, alpha) <= rate else (middle + 1, high)
    return high


# --- What is known -------------------------------------------------------------------------------------------


def traffic_of(answers: Mapping[Question, Answer], share: float) -> Traffic:
    """What the metrics said of one unit's stable version, which answers `share` percent of its requests."""
    data = {question.metric: _data(answer) for question, answer in answers.items()}
    rates = [datum for datum in data.get("requests-per-second", ()) if isinstance(datum, float)]
    counted = [datum for datum in data.get("error-rate", ()) if isinstance(datum, Counts)]
    requests, bad = sum(one.requests for one in counted), sum(one.bad for one in counted)
    durations = {
        metric: merged([datum for datum in found if isinstance(datum, Mapping)])
        for metric, found in data.items()
        if metric in QUANTILES
    }
    rate = sum(rates) / len(rates) * 100 / share if rates and share > 0 else 0.0
    return Traffic(rate or None, rate > 0, bad / requests if requests else None, durations)


def _data(answer: Answer) -> Sequence[Datum]:
    if not isinstance(answer, Series):
        return ()
    looks = [look.datum for look in answer.looks]
    return looks or ([answer.latest] if answer.latest is not None else [])
