"""A second opinion on an accused version: is it the version, or one of its pods?

Requests of one pod fail together: on a sick node, with a broken GPU, while it is cold. The tests count each request
as if it were alone, and would reject the version for it. So before a gate that counts requests stops a rollout, the
same is asked pod by pod, and

- the first minutes of pods that joined since the present weight was set are left out, while others are there;
- the value has to be beyond the limit without any single pod as well, where there are two or more. Concentrated in one
  pod it holds, and names it: delete that pod. The version is accused if it returns in its successor, or spreads.

- where there is only one, nothing tells the pod from the version. If it served well at this weight before, the rollout
  goes back to stable without a verdict: started again, the version gets another pod. What is bad from the beginning is
  the version.

- where its pods get more requests each than stable's (stable keeps all of its pods while it loses traffic), a version
  that is slower than stable now has to be slower than stable was before the rollout as well: with all requests on the
  same pods, which is what the candidate's are sized for.

This only ever takes back an accusation, so that nothing is asked of the evidence itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from gitops.rollout.histograms import merged
from gitops.rollout.measuring import NOISE_LOOKS, assess
from gitops.rollout.queries import QUANTILES, shape_of
from gitops.rollout.series import Answer, Answers, Datum, Look, Question, Series
from gitops.rollout.statistics import Counts
from gitops.rollout.verdicts import Result, Verdict, relative
from gitops.rollout.windows import Asked, size
from gitops.spec.rollouts import Gate

YOUNG = 180
"""Seconds of a pod's first traffic that say nothing of its version, while other pods are older."""
BUSIER = 1.1
"""Times stable's requests for each pod from which on loads are not alike."""
_GRAVITY = {"warn": 1, "fail": 2}


def worth_asking(gate: Gate, runtime: str, result: Result) -> bool:
    """Whether a result would stop the rollout, and pods can be told apart."""
    counted = gate.metric is not None and shape_of(gate.metric, runtime) != "gauge"
    return counted and _gravity(result) > 0


class Second(NamedTuple):
    """What is asked about one gate before it stops a rollout."""

    candidate: Question
    stable: Question | None
    before: Question | None
    """Stable before the rollout began, where durations are compared with it."""
    started: int

    @property
    def questions(self) -> tuple[Question, ...]:
        """All of them."""
        return tuple(one for one in (self.candidate, self.stable, self.before) if one)


def second(gate: Gate, mine: Question, theirs: Question | None, started: int) -> Second:
    """What to ask; `started` is the begin of the rollout."""
    if theirs is None or gate.metric not in QUANTILES or not relative(gate):
        return Second(replace(mine, by_pod=True), None, None, started)
    pods = replace(theirs, begin=mine.begin, by_pod=True)
    return Second(replace(mine, by_pod=True), pods, replace(theirs, begin=started - NOISE_LOOKS * mine.look), started)


def opinion(
    gate: Gate, result: Result, asking: Second, answers: Answers, stable: Answer | None, asked: Asked
) -> Result:
    """The result, or a milder one."""
    mine = answers.get(asking.candidate)
    found = reconsidered(gate, result, mine, stable, asked)
    theirs, before = (answers.get(one) if one else None for one in (asking.stable, asking.before))
    if not _gravity(found) or asked.past or not isinstance(before, Series) or not _busier(mine, theirs, asked):
        return found
    alone = replace(asked, stable_weight=0.0, before_weight=100.0, lost=asking.started)
    again = assess(gate, joined(mine.pods) if isinstance(mine, Series) else None, before, alone)
    return _told(again, "at equal load") if _gravity(again) < _gravity(found) else found


def _busier(mine: Answer | None, theirs: Answer | None, asked: Asked) -> bool:
    """Whether the candidate's pods get more requests each than stable's."""
    loads = []
    for answer in (mine, theirs):
        pods = [
            _requests(one, asked, asked.now - asked.span)
            for one in (answer.pods.values() if isinstance(answer, Series) else ())
        ]
        serving = [requests for requests in pods if requests > 0]
        loads.append(sum(serving) / len(serving) if serving else 0.0)
    return loads[0] > BUSIER * loads[1] > 0


def reconsidered(gate: Gate, result: Result, candidate: Answer | None, stable: Answer | None, asked: Asked) -> Result:
    """By pod alone. `candidate` is the answer by pod; without pods the result stands."""
    pods = candidate.pods if isinstance(candidate, Series) else {}
    if len(pods) < 2:
        return next((_only(gate, result, name, one, stable, asked) for name, one in pods.items()), result)
    grown = {name: _grown(one, asked) for name, one in pods.items()}
    if grown != pods and any(_requests(one, asked, asked.begin) for one in grown.values()):
        again = assess(gate, joined(grown), stable, asked)
        if _gravity(again) < _gravity(result):
            return _told(again, "without the first minutes of new pods")
        pods = grown
    mildest = result
    for name in pods:
        others = {other: one for other, one in pods.items() if other != name}
        if any(_requests(one, asked, asked.now - asked.span) for one in others.values()):
            without = _without(gate, joined(others), stable, asked)
            if _gravity(without) < _gravity(mildest):
                mildest = _concentrated(result, without, name)
    return mildest


def _only(gate: Gate, result: Result, name: str, pod: Series, stable: Answer | None, asked: Asked) -> Result:
    """A failure of the only pod, which may be to blame itself if the version was well on it until the last window."""
    looks = tuple(look for look in pod.looks if asked.counts(look.end) and look.end <= asked.now - asked.span)
    if not isinstance(result, Verdict) or result.status != "fail":
        return result
    if not (looks and sum(size(look.datum) for look in looks) >= asked.samples):
        return result
    until = looks[-1].end
    before = assess(gate, Series(looks), stable, replace(asked, now=until, window=until - asked.begin, alpha=1.0))
    if _gravity(before) or not isinstance(before, Verdict) or before.status != "pass":
        return result
    said = result.sentence.removesuffix(": fail")
    return replace(result, sentence=f"{said}, on its only pod {name}, which served well before: fail", only=True)


def _without(gate: Gate, others: Series, stable: Answer | None, asked: Asked) -> Result:
    """By the value of the other pods, in the window or since the begin: a fault that moves is not a single pod's."""
    spans = (asked.window, asked.now - asked.begin)
    found = (assess(gate, others, stable, replace(asked, alpha=1.0, window=max(1, span))) for span in spans)
    return max(found, key=_gravity)


def joined(pods: Mapping[str, Series]) -> Series:
    """All pods as one version."""
    looks: dict[int, list[Datum]] = {}
    for one in pods.values():
        for look in one.looks:
            looks.setdefault(look.end, []).append(look.datum)
    latest = [one.latest for one in pods.values() if one.latest is not None]
    return Series(tuple(Look(end, _sum(looks[end])) for end in sorted(looks)), _sum(latest) if latest else None)


def _concentrated(result: Result, without: Result, pod: str) -> Result:
    assert isinstance(result, Verdict), "only verdicts accuse"
    said = result.sentence.removesuffix(f": {result.status}")
    if _gravity(without):
        return Verdict(result.gate, "warn", f"{said}, mostly on pod {pod}: warn")
    return Verdict(result.gate, "hold", f"{said}, but only on pod {pod} (delete it): hold")


def _told(result: Result, note: str) -> Result:
    if not isinstance(result, Verdict):
        return result
    said, _, status = result.sentence.rpartition(": ")
    return replace(result, sentence=f"{said}, {note}: {status}")


def _gravity(result: Result) -> int:
    return _GRAVITY.get(result.status, 0) if isinstance(result, Verdict) else 0


def _grown(one: Series, asked: Asked) -> Series:
    """Without its first minutes, if it joined later than the present weight."""
    if not one.looks or one.looks[0].end - asked.look < asked.begin + asked.look:
        return one
    adult = one.looks[0].end - asked.look + YOUNG
    looks = tuple(look for look in one.looks if look.end - asked.look >= adult)
    return Series(looks, one.latest if asked.now - asked.look >= adult else None)


def _requests(one: Series, asked: Asked, begin: int) -> float:
    """At the present weight, since then."""
    latest = [] if one.latest is None else [one.latest]
    return sum(
        size(datum)
        for datum in (*(look.datum for look in one.looks if look.end > begin and asked.counts(look.end)), *latest)
    )


def _sum(data: Sequence[Datum]) -> Datum:
    counts = [datum for datum in data if isinstance(datum, Counts)]
    if counts:
        return Counts(sum(one.requests for one in counts), sum(one.bad for one in counts))
    return merged([datum for datum in data if isinstance(datum, Mapping)])
