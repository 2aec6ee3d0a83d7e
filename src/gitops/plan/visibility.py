"""What gates could see of a new version: how much worse it has to be before a step of so many requests stops it.

A claim means: found with 95 % probability within this step, by the rule itself (`rollout.power`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from gitops.rollout.histograms import merged, quantile
from gitops.rollout.power import Watch, finds_errors, least_errors, least_slowdown
from gitops.rollout.queries import QUANTILES, shape_of
from gitops.rollout.series import Answer, Datum, Histogram, Question, Series
from gitops.rollout.statistics import Counts
from gitops.spec.fields import format_threshold
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


def blind_spot(gate: Gate, runtime: str, watch: Watch, traffic: Traffic) -> str:
    """What the gate cannot see in such a step, to follow "cannot see"; empty if it does not go by requests."""
    if not counts(gate, runtime):
        return ""
    if gate.metric != "error-rate":
        return _slowness(gate, watch, traffic)
    errors = traffic.errors or 0.0
    least, bound = least_errors(gate, watch, errors), _error_limit(gate, errors)
    if least is None:
        return "errors at all"
    if bound < errors:
        return ""  # stable itself is beyond the limit
    return f"an error rate under {percent(least)}{f' (its limit is {percent(bound)})' if bound else ''}"


def needed(gate: Gate, runtime: str, errors: float, watch: Watch) -> int | None:
    """Requests of the version without which the gate cannot see errors of twice its limit; None without such a limit.

    `watch` is the step with any number of requests.
    """
    rate = 2 * _error_limit(gate, errors)
    if gate.metric != "error-rate" or not counts(gate, runtime) or not 2 * errors < rate < 1:
        return None

    def found(requests: int) -> bool:
        part = requests / max(1, watch.candidate)
        stable, before = round(part * watch.stable), round(part * watch.before)
        scaled = watch._replace(candidate=requests, stable=stable, before=before)
        return finds_errors(gate, scaled, rate, errors)

    low, high = 1, 1
    while not found(high):
        low, high = high, 2 * high
        if high > _MOST:
            return None
    while high - low > high // 64:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


def percent(share: float) -> str:
    """A share of 0 to 1 with two digits or more."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


# --- Durations -----------------------------------------------------------------------------------------------


def _slowness(gate: Gate, watch: Watch, traffic: Traffic) -> str:
    metric, limit = gate.metric or "", gate.pause or gate.rollback
    assert limit is not None, "checked when the spec was loaded"
    known = traffic.durations.get(metric, {})
    now = quantile(known, QUANTILES[metric])
    if now and now.value > 0 and not now.open:
        if not limit.relative and now.value > limit.value:
            return ""  # stable itself is beyond the limit
        factor = least_slowdown(gate, watch, tuple(sorted(known.items())))
        return f"{metric} grow by less than {percent(factor - 1)}" if factor else f"slow requests at all ({metric})"
    tail = _as_errors(1 - QUANTILES[metric])
    least = least_errors(tail, watch, 0.0)
    if least is None:
        return f"slow requests at all ({metric})"
    where = f"{format_threshold(limit)}'s quantile" if limit.relative else format_threshold(limit)
    return f"fewer than {percent(least)} of requests beyond {where} ({metric})"


def _as_errors(share: float) -> Gate:
    """A gate on the share of requests that may be beyond a limit, where nothing is known of their durations."""
    return Gate.model_validate({"metric": "error-rate", "pause": f"{100 * share:.4f}%"})


def _error_limit(gate: Gate, errors: float) -> float:
    """Of the milder limit, as a share of requests."""
    limit = gate.pause or gate.rollback
    if limit is None:
        return 0.0
    return limit.value * errors if limit.relative else limit.value / 100


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
