"""Which looks at a version count, and their one value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from gitops.rollout.histograms import merged, quantile
from gitops.rollout.queries import QUANTILES, TRAFFIC
from gitops.rollout.series import Answer, Datum, Look, Series
from gitops.rollout.statistics import Counts
from gitops.rollout.verdicts import Measured
from gitops.spec.pipeline import Gate

NOISE_LOOKS = 20
"""Looks at stable before the step that are worth asking for: its noise, and the limits taken from it."""


class Whole(NamedTuple):
    """Evidence from all weights: since when, without which spans after changes of weight, and at which level."""

    begin: int
    left_out: tuple[tuple[int, int], ...]
    alpha: float


@dataclass(frozen=True, slots=True)
class Asked:
    """What a gate is to be judged by. Times are seconds, weights percent of all requests."""

    now: int
    begin: int
    """The first second that counts: the present weight was set, and the warm-up is over."""
    look: int
    window: int = 300
    samples: int = 100
    failures: int = 0
    """How many times in a row the metrics could not be read, this time included."""
    failing_for: int = 0
    """Seconds since the first of these times."""
    alpha: float = 0.01
    """How likely a version that is not worse may be called so, over all looks since `begin`; see `levels`.

    With 1 nothing counts as chance: the value decides."""
    weight: float = 100.0
    """What the candidate answers; with mirrored traffic, what is mirrored to it."""
    stable_weight: float = 100.0
    """0 once stable answers nothing any more."""
    before_weight: float = 100.0
    """What stable answered before the present weight was set."""
    lost: int | None = None
    """When stable lost its traffic; None for `begin`."""
    whole: Whole | None = None
    """What looks at earlier weights may say as well."""
    left_out: tuple[tuple[int, int], ...] = ()
    """Spans, from and until, whose looks do not count."""
    again: bool = True
    """Evidence begins anew every so often, since faults may begin late."""
    source: str = ""
    """Where the data should come from, for the sentence that says that there are none."""

    @property
    def by_value(self) -> bool:
        """Whether the value alone decides, since nothing counts as chance."""
        return self.alpha >= 1

    @property
    def past(self) -> bool:
        """Whether stable is a thing of the past."""
        return self.stable_weight <= 0

    def counts(self, end: int) -> bool:
        """Whether a look that ends then is of a time that counts."""
        first = end - self.look
        inside = self.begin <= first and end <= self.now
        return inside and not any(first < until and begin < end for begin, until in self.left_out)

    @property
    def together(self) -> Asked | None:
        """The same question about all weights of the rollout together, where looks at earlier ones count."""
        if self.whole is None or self.past or self.by_value:
            return None
        begin, left_out, alpha = self.whole
        return replace(self, begin=begin, left_out=left_out, alpha=alpha, whole=None, again=False)

    @property
    def span(self) -> int:
        """The window. A look is known a little after its end, so the last one may have ended more than a look ago."""
        return max(self.window, 2 * self.look)


class Seen(NamedTuple):
    """Of one version: looks before `begin`, looks since, and the span up to now if all of it lies after `begin`."""

    before: tuple[Look, ...] = ()
    looks: tuple[Look, ...] = ()
    latest: Datum | None = None

    @property
    def is_gauge(self) -> bool:
        """Whether its looks are plain values; False when there are none."""
        first = next((look.datum for look in (*self.looks, *self.before)), self.latest)
        return isinstance(first, float)

    def turned(self, change: Callable[[Datum], Datum | None]) -> Seen:
        """Every datum changed; None removes it."""
        before, looks = (
            tuple(Look(end, new) for end, old in part if (new := change(old)) is not None)
            for part in (self.before, self.looks)
        )
        return Seen(before, looks, None if self.latest is None else change(self.latest))

    def points(self, asked: Asked) -> list[Look]:
        """The looks, and `latest` as one of its own if most of it is later than they are."""
        looks = list(self.looks)
        if self.latest is not None and (not looks or asked.now - looks[-1].end >= asked.look / 2):
            looks.append(Look(asked.now, self.latest))
        return looks

    def up_to_now(self, asked: Asked) -> Seen:
        """`latest` in the place of the looks that it overlaps."""
        if self.latest is None:
            return self
        looks = (look for look in self.looks if look.end <= asked.now - asked.look)
        return Seen(self.before, (*looks, Look(asked.now, self.latest)))


def seen(gate: Gate, answer: Answer | None, asked: Asked, *, stable: bool = False) -> Seen:
    """What counts of an answer. Rates of traffic come as they would be with all of it."""
    if not isinstance(answer, Series):
        return Seen()
    until = asked.lost if stable and asked.past and asked.lost is not None else asked.begin
    least = until - (NOISE_LOOKS - 1) * asked.look
    before = tuple(look for look in answer.looks if least <= look.end <= until)
    looks = tuple(look for look in answer.looks if asked.counts(look.end))
    found = Seen((), looks, answer.latest if asked.counts(asked.now) else None)

    def known(datum: Datum) -> Datum | None:
        return datum if not isinstance(datum, float) or _says_something(gate, datum) else None

    if gate.metric not in TRAFFIC:
        return found._replace(before=before).turned(known)
    share = asked.stable_weight if stable else asked.weight
    earlier = Seen(before).turned(lambda datum: _per_traffic(datum, asked.before_weight))
    return found.turned(lambda datum: _per_traffic(datum, share))._replace(before=earlier.before).turned(known)


def _says_something(gate: Gate, value: float) -> bool:
    """A number, or infinitely bad. Infinitely good is what divides by nothing: no measurement."""
    return math.isfinite(value) or value == (math.inf if gate.measure.worse == "higher" else -math.inf)


def _per_traffic(datum: Datum, share: float) -> Datum | None:
    return datum * 100 / share if isinstance(datum, float) and share > 0 else None


def alike(gate: Gate, mine: Seen, theirs: Seen) -> tuple[Seen, Seen]:
    """Two runtimes may count the same metric differently: then every look of both is one value."""
    known = [one.is_gauge for one in (mine, theirs) if one.looks or one.before or one.latest is not None]
    if len(set(known)) < 2:
        return mine, theirs

    def value(datum: Datum) -> Datum | None:
        return datum if isinstance(datum, float) else measured(gate, [datum]).value

    return mine.turned(value), theirs.turned(value)


def measured(gate: Gate, data: Sequence[Datum], *, past: bool = False) -> Measured:
    """Looks of one shape joined to one value: the share, the quantile, or the mean."""
    if all(isinstance(datum, float) for datum in data):
        values = [datum for datum in data if isinstance(datum, float)]
        return Measured(sum(values) / len(values) if values else None, past=past)
    if counts := [datum for datum in data if isinstance(datum, Counts)]:
        requests, bad = sum(one.requests for one in counts), sum(min(one.bad, one.requests) for one in counts)
        return Measured(100 * bad / requests if requests > 0 else None, round(requests), past=past)
    buckets = merged([datum for datum in data if isinstance(datum, Mapping)])
    found = quantile(buckets, QUANTILES[gate.metric or ""])
    requests = max(buckets.values(), default=0.0)
    return Measured(found.value if found else None, round(requests), open=bool(found and found.open), past=past)


def size(datum: Datum) -> float:
    """The requests of a look; a gauge's look is one."""
    if isinstance(datum, Counts):
        return datum.requests
    return max(datum.values(), default=0.0) if isinstance(datum, Mapping) else 1.0


def first_of(asked: Asked, needed: float, *both: Sequence[Look]) -> int:
    """The end of the window's first look: further back while a version has less than is needed."""
    ends = sorted({look.end for looks in both for look in looks}, reverse=True)
    sizes = [{look.end: size(look.datum) for look in looks} for looks in both]
    have, first = [0.0] * len(both), asked.now
    for end in ends:
        if end <= asked.now - asked.span and all(one >= needed for one in have):
            break
        have = [one + each.get(end, 0.0) for one, each in zip(have, sizes, strict=True)]
        first = end
    return first


def since(looks: Sequence[Look], first: int) -> list[Datum]:
    """The data of these looks, from the one that ends at `first` on."""
    return [look.datum for look in looks if look.end >= first]


def stable_before(gate: Gate, theirs: Seen, asked: Asked) -> Measured:
    """Stable while it had traffic, over the last window that has enough; looks at the change of weight have few."""
    last = theirs.before[-1].end if theirs.before else asked.begin
    first = first_of(Asked(last, 0, asked.look, asked.window), asked.samples, theirs.before)
    return measured(gate, since(theirs.before, first), past=True)
