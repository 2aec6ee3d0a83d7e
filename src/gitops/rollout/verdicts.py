"""One gate's assessment: a measured candidate and stable against the gate's limits give a verdict and a sentence.

Semantics, and what they avoid (the peers' rules are in their own sources):

- Without data a gate says so; it never passes (Kayenta scores a group without data 100).
- A failed query is no verdict on the model (Flagger counts it as a failed check; Argo Rollouts aborts at the fifth
  in a row, `consecutiveErrorLimit` 4). Here it is a `QueryFailure`, and the fifth in a row an outage.
- A limit is crossed beyond it, not at it: "roll back above 1 %" lets exactly 1 % pass.
- A value beyond a limit that may be there by chance passes, and the sentence says so (`Doubt`).
- What is beyond a limit for sure needs no number of requests; only a value without such a test waits for one.
- What is beyond a limit through no fault of the candidate holds: it neither passes nor accuses (`Excuse`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from gitops.spec.fields import Threshold
from gitops.spec.pipeline import Gate

Status = Literal["pass", "warn", "fail", "hold", "no data", "too few samples"]


class Measured(NamedTuple):
    """What a query gave: seconds, percent (0 to 100) or a plain number, over one window without the warm-up.

    Rates that depend on the share of traffic (requests or tokens per second) come per unit of traffic, so that
    candidate and stable compare. `samples` is None for what is not counted in requests, such as GPU memory.
    """

    value: float | None
    samples: int | None = None
    failures: int = 0
    """How many times in a row the query failed, this time included; 0 when it worked."""
    missing_for: int = 0
    """Seconds for which there has been no value, or too few samples for one."""
    reason: str = ""
    """Why the query failed, or why there is no value."""
    open: bool = False
    """The true value is this or greater: a quantile beyond the greatest bucket of its histogram."""
    past: bool = False
    """Of stable, before it lost its traffic: there is nothing to see of it now."""


class Rules(NamedTuple):
    """What a measurement needs before it is judged."""

    samples: int = 100
    failures: int = 4
    """So many failed queries in a row are noise; more are an outage. Argo Rollouts has the same default."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one gate says about the candidate. `lasting`: seconds for which data or samples have been missing.

    `doubtful` is a pass of a value that is beyond a limit, by what may be chance. `only` is a failure of the version's
    only pod, which served well before: of the version, or of that pod.
    """

    gate: str
    status: Status
    sentence: str
    lasting: int = 0
    doubtful: bool = False
    only: bool = False


@dataclass(frozen=True, slots=True)
class QueryFailure:
    """The metrics could not be read: that says nothing about the model."""

    gate: str
    sentence: str
    outage: bool = False
    lasting: int = 0


Result = Verdict | QueryFailure
"""What became of one gate."""

Doubt = Callable[[Threshold], str]
"""Why a value beyond this limit may be there by chance; empty when it is sure. Asked only about what is beyond."""

Excuse = Callable[[Threshold], str]
"""Why the candidate is not to blame for being beyond this limit; empty when it is. Asked only about what is sure."""


class _Found(NamedTuple):
    """One limit: whether the value is beyond it (None when that cannot be known), and what speaks for the candidate."""

    beyond: bool | None = False
    chance: str = ""
    excuse: str = ""

    @property
    def crossed(self) -> bool | None:
        return False if self.chance or self.excuse else self.beyond


def verdict(
    gate: Gate,
    measured: Measured,
    stable: Measured | None = None,
    rules: Rules | None = None,
    doubt: Doubt | None = None,
    excuse: Excuse | None = None,
) -> Result:
    """Assess one gate. `stable` is needed for limits relative to it; without it such a limit has no data."""
    rules = rules or Rules()
    stable = stable if relative(gate) else None
    for who, one in (("", measured), ("stable's ", stable)):
        if one is not None and one.failures:
            return _failure(gate.key, who, one, rules)
    few = _too_few(gate.key, measured, stable, rules)
    if few and (doubt is None or _value(measured) is None):
        return few
    if _value(measured) is None:
        reason = f" ({measured.reason})" if measured.reason else ""
        return Verdict(gate.key, "no data", f"{gate.key}: no data{reason}", measured.missing_for)
    found = _assess(gate, measured, stable, doubt or _nothing, excuse or _nothing)
    return few if few and found.status not in ("warn", "fail", "hold") else found


def _nothing(_limit: Threshold) -> str:
    return ""


def _too_few(gate: str, measured: Measured, stable: Measured | None, rules: Rules) -> Verdict | None:
    for who, one in (("", measured), ("stable has ", stable)):
        if one is not None and one.samples is not None and one.samples < rules.samples:
            said = f"{gate}: {who}{one.samples} requests, {rules.samples} are needed"
            return Verdict(gate, "too few samples", said, one.missing_for)
    return None


def relative(gate: Gate) -> bool:
    """Whether a limit of the gate is a multiple of stable's value."""
    return any(limit is not None and limit.relative for limit in (gate.pause, gate.rollback))


def _failure(gate: str, who: str, measured: Measured, rules: Rules) -> QueryFailure:
    times = "once" if measured.failures == 1 else f"{measured.failures} times in a row"
    reason = f": {measured.reason}" if measured.reason else ""
    said = f"{gate}: {who}query failed {times}{reason}"
    return QueryFailure(gate, said, measured.failures > rules.failures, measured.missing_for)


def _assess(gate: Gate, measured: Measured, stable: Measured | None, doubt: Doubt, excuse: Excuse) -> Verdict:
    """The milder limit cannot excuse the stricter one: a limit that lacks stable's data leaves the other in force."""
    critical, doubtful = (_found(gate, limit, measured, stable, doubt, excuse) for limit in (gate.rollback, gate.pause))
    status: Status
    if critical.crossed and not _ratio_to_nothing(gate.rollback, stable):
        status = "fail"
    elif critical.crossed or doubtful.crossed:
        status = "warn"
    elif critical.excuse or doubtful.excuse:
        status = "hold"
    elif critical.beyond is None or doubtful.beyond is None:
        return _incomparable(gate, measured, stable)
    else:
        status = "pass"
    said = {"hold": critical.excuse or doubtful.excuse, "pass": critical.chance or doubtful.chance}.get(status)
    sentence = f"{_words(gate, measured, stable)}{f', {said}' if said else ''}: {status}"
    return Verdict(gate.key, status, sentence, doubtful=status == "pass" and bool(said))


def _found(
    gate: Gate, limit: Threshold | None, measured: Measured, stable: Measured | None, doubt: Doubt, excuse: Excuse
) -> _Found:
    beyond = _beyond(gate, limit, measured, stable) if limit else False
    if not (limit and beyond):
        return _Found(beyond)
    chance = doubt(limit)
    return _Found(beyond, chance, "" if chance else excuse(limit))


def _ratio_to_nothing(limit: Threshold | None, stable: Measured | None) -> bool:
    # Any error at all is infinitely many times none: reason to look, not to reject a model.
    return limit is not None and limit.relative and _value(stable) == 0


def _beyond(gate: Gate, limit: Threshold, measured: Measured, stable: Measured | None) -> bool | None:
    """Whether the value lies beyond the limit; None when that cannot be known."""
    value, base = _value(measured), _value(stable)
    if value is None or (limit.relative and base is None):
        return None
    over = beyond(gate, value, limit.value * (base or 0) if limit.relative else limit.value)
    if gate.measure.worse == "lower":
        return over
    if over:
        return None if limit.relative and stable and stable.open else True
    return None if measured.open else False


def beyond(gate: Gate, value: float, limit: float) -> bool:
    """Whether a value is worse than a limit."""
    return value > limit if gate.measure.worse == "higher" else value < limit


def _incomparable(gate: Gate, measured: Measured, stable: Measured | None) -> Verdict:
    if _value(stable) is None and not measured.open:
        missing = stable.missing_for if stable else 0
        return Verdict(gate.key, "no data", f"{gate.key}: no data of stable to compare with", missing)
    bucket = _shown((measured if measured.open else stable or measured).value or 0, gate.measure.unit)
    said = f"{gate.key}: no data above the greatest bucket, {bucket}, and the limit is there"
    return Verdict(gate.key, "no data", said)


def _value(measured: Measured | None) -> float | None:
    if measured is None or measured.value is None or math.isnan(measured.value):
        return None
    return measured.value


# --- Words ---------------------------------------------------------------------------------------------------


def _words(gate: Gate, measured: Measured, stable: Measured | None) -> str:
    """`latency-p99 412 ms, stable 398 ms (+3.5 %, pause above +10 %), 18204 requests`."""
    unit, base = gate.measure.unit, _value(stable)
    said = f"{gate.key} {_shown(measured.value or 0, unit)}"
    if base is not None and stable is not None:
        said += f", stable {_shown(base, unit)}{' before' if stable.past else ''}"
    comparable = base and math.isfinite(base) and math.isfinite(measured.value or 0)
    change = f"{((measured.value or 0) / base - 1) * 100:+.1f} %" if base and comparable else ""
    notes = ", ".join(note for note in (change, _limit(gate, "pause"), _limit(gate, "rollback")) if note)
    requests = f", {measured.samples} requests" if measured.samples is not None else ""
    return f"{said} ({notes}){requests}"


def _limit(gate: Gate, which: Literal["pause", "rollback"]) -> str:
    limit: Threshold | None = getattr(gate, which)
    if limit is None:
        return ""
    verb = "pause" if which == "pause" else "roll back"
    side = "above" if gate.measure.worse == "higher" else "below"
    shown = f"{(limit.value - 1) * 100:+.4g} %" if limit.relative else _shown(limit.value, limit.unit)
    return f"{verb} {side} {shown}"


def _shown(value: float, unit: str) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"
    return f"{value:.4g} %" if unit == "%" else f"{value:.4g}"
