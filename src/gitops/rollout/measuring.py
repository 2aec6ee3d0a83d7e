"""From the looks at candidate and stable to the verdict of one gate.

**The value** is taken over the gate's last `window`, never from before `Asked.begin`; while it has too few requests
(or a gauge fewer than `LEAST_POINTS` looks) the window reaches back, as far as `begin`. Data older than that, with
nothing new, are no data. Stable is measured over the same looks. `latest`, the span of one look up to now, is judged
by itself as well if it lies after `begin` entirely: what is broken outright is seen before its look is over.

**Beyond a limit** by chance is no reason to act:

- Counters (errors, durations) need evidence of -log(alpha) from all looks since `begin` (`evidence`), or from those at
  all weights of the wave together (`Asked.together`): it is the same version beside the same stable. Their value has to
  be beyond the limit at the present weight all the same.
- Gauges: see `gauges`.

**Once stable has lost its traffic** (the last step, or blue-green) candidates are compared with its looks before
that. It was another time of day, so the comparison is weaker: its rate of bad requests is taken to be as great as it
may have been.

**False alarms.** `levels` divides what is allowed over a whole rollout among its gates and waves, and there between the
evidence of each weight, which begins anew, and of all of them together; a union bound, whatever their dependence. It
holds for rollbacks and again for pauses: a gate with both limits is one, since beyond the stricter it is beyond the
milder as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from gitops.rollout import evidence, gauges, histograms
from gitops.rollout.binomial import tail
from gitops.rollout.evidence import Weighed
from gitops.rollout.gauges import chance, shared
from gitops.rollout.histograms import bounds_for, merged
from gitops.rollout.queries import QUANTILES
from gitops.rollout.series import Answer, Datum, Histogram, Look, Unanswered
from gitops.rollout.statistics import Counts
from gitops.rollout.verdicts import Measured, Result, Rules, Verdict, beyond, relative, verdict
from gitops.rollout.windows import NOISE_LOOKS as NOISE_LOOKS
from gitops.rollout.windows import Asked as Asked
from gitops.rollout.windows import Seen, alike, first_of, measured, seen, since, size, stable_before
from gitops.spec.fields import Threshold
from gitops.spec.pipeline import Gate

ALPHA = 0.01
"""How likely a whole rollout of a version that is no worse is rolled back (or, once more, paused) by its gates."""
WITHIN = 0.001
"""The chance of so few bad requests of stable at the limit with which it counts as within it."""
OFTEN = math.log(4)
"""Evidence from `latest` has to be so much greater: spans that overlap are looked at again and again."""


TOGETHER = 0.5
"""The part of it for evidence from all weights of a wave together; the rest is for the evidence of each alone."""


class Levels(NamedTuple):
    """How likely one gate may be wrong: at one weight, and over all weights of one wave together."""

    each: float
    together: float


def levels(total: float, gates: int, steps: int, waves: int) -> Levels:
    """The shares of one gate, of `total` for a whole rollout."""
    one, steps, waves = total / max(1, gates), max(1, steps), max(1, waves)
    together = TOGETHER if steps > 1 else 0.0
    return Levels(one * (1 - together) / (steps * waves), one * together / waves)


def assess(gate: Gate, candidate: Answer | None, stable: Answer | None, asked: Asked) -> Result:
    """Judge one gate. None is an answer that was never asked for: no data."""
    compared = stable if relative(gate) else None
    for who, answer in (("", candidate), ("of stable, ", compared)):
        if isinstance(answer, Unanswered):
            failed = Measured(None, None, max(1, asked.failures), asked.failing_for, who + answer.reason)
            return verdict(gate, failed)
    mine, theirs = alike(gate, seen(gate, candidate, asked), seen(gate, stable, asked, stable=True))
    if mine.latest is None and not any(look.end > asked.now - asked.span for look in mine.looks):
        silent = asked.now - max([asked.begin, *(look.end for look in mine.looks)])
        return verdict(gate, Measured(None, missing_for=max(0, silent), reason=asked.source))
    if mine.is_gauge:
        return gauges.judged(gate, mine, theirs, asked)
    both = relative(gate) and not asked.past
    first = first_of(asked, asked.samples, *((mine.looks, theirs.looks) if both else (mine.looks,)))
    found = [_counter(gate, mine, theirs, asked, first)]
    if together := asked.together:
        mine, theirs = seen(gate, candidate, together), seen(gate, stable, together, stable=True)
        found.append(_judged(gate, *alike(gate, mine, theirs), together, first))
    return max(found, key=_rank)


# --- Counters ------------------------------------------------------------------------------------------------


def _counter(gate: Gate, mine: Seen, theirs: Seen, asked: Asked, first: int) -> Result:
    result = _judged(gate, mine, theirs, asked, first)
    if mine.latest is None or (relative(gate) and not asked.past and theirs.latest is None):
        return result
    often = 0.0 if asked.by_value else OFTEN
    fresh = _judged(gate, mine.up_to_now(asked), theirs.up_to_now(asked), asked, asked.now, often)
    return fresh if _rank(fresh) > _rank(result) else result


def _rank(result: Result) -> int:
    return {"hold": 1, "warn": 2, "fail": 3}.get(result.status, 0) if isinstance(result, Verdict) else 0


def _judged(gate: Gate, mine: Seen, theirs: Seen, asked: Asked, first: int, often: float = 0.0) -> Result:
    """The value since the look that ends at `first`; the evidence of all looks."""
    enough, short = often - math.log(asked.alpha), asked.now - asked.begin
    value = measured(gate, since(mine.looks, first))._replace(missing_for=short)
    base = stable_before(gate, theirs, asked) if asked.past else measured(gate, since(theirs.looks, first))

    def doubt(limit: Threshold) -> str:
        if limit.relative:
            peak = _against_stable(gate, limit.value, mine, theirs, asked, enough)
        else:
            peak = _against_limit(gate, limit.value, mine, theirs, asked, enough)
        return chance(peak, enough)

    def excuse(limit: Threshold) -> str:
        if limit.relative or asked.past:
            return ""
        counted = _beside(gate, limit.value, mine)
        streams = [_stream(mine, theirs, asked, count, count) for count in counted]
        if not streams or sum(stables.requests for _, stables in streams[0][0]) < asked.samples:
            return ""
        if _within(gate, limit.value, since(theirs.looks, first), mine, theirs):
            calm = _calm(gate, limit.value, mine, theirs)
            sure = _against_limit(gate, limit.value, calm, theirs, asked, enough) >= enough
            return "" if sure else "stable was beyond it too before"
        pairs_of, noises = [pairs for pairs, _ in streams], [noise for _, noise in streams]
        peak = evidence.of_counts(pairs_of, noises, 0.0, enough=enough, again=asked.again)
        return "" if peak >= enough else shared(gate, limit, base)

    known = base._replace(missing_for=short) if base.samples is not None else None
    return verdict(gate, value, known, Rules(asked.samples), doubt, excuse)


_Count = Callable[[Datum], Counts]
"""Requests of a look, and how many of them were bad."""


def _errors(datum: Datum) -> Counts:
    return datum if isinstance(datum, Counts) else Counts(0, 0)


def _pieces(gate: Gate, limit: float, mine: Seen, theirs: Seen) -> list[histograms.Piece]:
    """For a fixed limit on durations."""
    spread = histograms.least_spread(_together(theirs.before))
    return histograms.pieces_at(limit, QUANTILES[gate.metric or ""], _latest(mine), spread)


def _beside(gate: Gate, limit: float, mine: Seen) -> list[_Count]:
    """What to compare with stable where both are beyond a fixed limit: slower than either edge of its bucket."""
    if gate.metric not in QUANTILES:
        return [_errors]
    return [cut.counts for cut in histograms.edges_at(limit, _latest(mine))]


def _within(gate: Gate, limit: float, others: Sequence[Datum], mine: Seen, theirs: Seen) -> bool:
    """Whether stable is within a fixed limit beyond chance: then the candidate alone is beyond it."""
    if gate.metric not in QUANTILES:
        return _below([_errors(one) for one in others], limit / 100)
    chords = [piece[0] for piece in _pieces(gate, limit, mine, theirs)]
    return any(_below([line.cut.counts(one) for one in others], line.rate) for line in chords)


def _calm(gate: Gate, limit: float, mine: Seen, theirs: Seen) -> Seen:
    """Without the looks in which stable was beyond the limit too: what both suffered, and is over, accuses nobody."""
    storms = {look.end for look in theirs.looks if _over(gate, limit, look.datum)}
    return mine._replace(looks=tuple(look for look in mine.looks if look.end not in storms))


def _over(gate: Gate, limit: float, datum: Datum) -> bool:
    value = measured(gate, [datum]).value
    return value is not None and beyond(gate, value, limit)


def _below(counts: Sequence[Counts], rate: float) -> bool:
    requests, bad = sum(one.requests for one in counts), sum(one.bad for one in counts)
    return requests > 0 and 1 - tail(round(requests), math.floor(bad) + 1, min(1.0, rate)) <= WITHIN


def _against_limit(gate: Gate, limit: float, mine: Seen, theirs: Seen, asked: Asked, enough: float) -> float:
    if gate.metric not in QUANTILES:
        noise = evidence.own_noise([_errors(look.datum) for look in theirs.before])
        errors = [_errors(look.datum) for look in mine.looks]
        weighed = [Weighed(one.requests, ((one.bad, 1.0),)) for one in errors]
        return evidence.of_limit([(weighed, limit / 100)], enough, noise, again=asked.again)
    pieces = _pieces(gate, limit, mine, theirs)
    peak = math.inf if pieces else 0.0
    for piece in pieces:
        counted = [([_weighed(line.cut, look.datum) for look in mine.looks], line.rate) for line in piece]
        peak = min(peak, evidence.of_limit(counted, enough, again=asked.again))
        if peak < enough:
            break
    return peak


def _weighed(cut: histograms.Cut, datum: Datum) -> Weighed:
    return Weighed(cut.counts(datum).requests, cut.parts(datum))


def _against_stable(gate: Gate, factor: float, mine: Seen, theirs: Seen, asked: Asked, enough: float) -> float:
    share = QUANTILES.get(gate.metric or "")
    if share is None:
        pairs, noise = _stream(mine, theirs, asked, _errors, _errors)
        return evidence.of_counts([pairs], [noise], factor - 1, enough=enough, again=asked.again)
    if sum(size(look.datum) for look in theirs.before) < asked.samples:
        theirs = _borrowing(theirs, asked)
    bounds = bounds_for(_together(theirs.before), _latest(mine), share, factor)
    streams = [_stream(mine, theirs, asked, one.candidate.counts, one.stable.counts) for one in bounds]
    pairs_of, noises = [pairs for pairs, _ in streams], [noise for _, noise in streams]
    if not streams:
        return 0.0
    return evidence.of_counts(pairs_of, noises, evidence.SLACK, enough=enough, again=asked.again)


def _latest(mine: Seen) -> Histogram:
    return next((look.datum for look in reversed(mine.looks) if isinstance(look.datum, Mapping)), {})


def _together(looks: Sequence[Look]) -> Histogram:
    return merged([look.datum for look in looks if isinstance(look.datum, Mapping)])


def _borrowing(theirs: Seen, asked: Asked) -> Seen:
    """Without a history, limits come from stable's first looks, which then are no evidence."""
    have, looks, before = 0.0, list(theirs.looks), list(theirs.before)
    while looks and have < asked.samples:
        have += size(looks[0].datum)
        before.append(looks.pop(0))
    return theirs._replace(before=tuple(before), looks=tuple(looks))


def _stream(
    mine: Seen, theirs: Seen, asked: Asked, bad: _Count, stables_bad: _Count
) -> tuple[list[evidence.Pair], float]:
    """Increments of the same looks, and the noise that stable showed before."""
    before = [stables_bad(look.datum) for look in theirs.before]
    noise = evidence.noise_before(before)
    if asked.past:
        rate = evidence.rate_before(before, noise)
        return evidence.beside([bad(look.datum) for look in mine.looks], rate) if rate else [], noise
    others = {look.end: look.datum for look in theirs.looks}
    return [(bad(look.datum), stables_bad(others[look.end])) for look in mine.looks if look.end in others], noise
