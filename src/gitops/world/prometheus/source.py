"""Questions about many versions as few queries, and their results as answers.

Versions of one runtime that are asked about the same thing, look by look, share a query (see `gitops.rollout.queries`):
one over the looks that have ended, and one for the span up to now. Looks that were read before are not asked for again,
but for the last one. Gates with a query of the user's own are asked one by one, over all looks, and not up to now.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

from gitops.rollout.pods import joined
from gitops.rollout.queries import Scope, answerable, filled, matching, promql, shape_of
from gitops.rollout.series import Answer, Answers, Look, Question, Series, Shape, Unanswered
from gitops.spec.load import collector_paused
from gitops.world.prometheus.client import Client, Failed
from gitops.world.prometheus.matrix import Served, Strange, looks_of, values_of

CONNECTIONS = 4
MOST_POINTS = 11_000
"""Of one series in one answer: Prometheus refuses more."""
_MOST_SAMPLES = 1_000_000
"""Of all series in one answer, about 25 MB: expected, not known, since nobody counted the buckets."""
_SERIES = {"histogram": 25, "ratio": 2, "gauge": 1}
_PODS = 8
"""Of a version, expected."""
_LATE = 5.0
"""Seconds after its end (or a scrape interval, if that is less) until the last samples of a look have been stored."""


class _Round(NamedTuple):
    """One reading: whom to ask and about when, up to when looks are settled, and how long to try (time.monotonic())."""

    client: Client
    now: int
    settled: float
    until: float


class _Known(NamedTuple):
    """What the last reading found of versions that share a query: looks that end from `first` to `last`."""

    first: int
    last: int
    table: Mapping[Served, Sequence[Look]]


class _Key(NamedTuple):
    """The same for questions that one query answers."""

    query: str
    look: int
    by_pod: bool


class PrometheusSource:
    """Reads from the Prometheus at `url`; see `gitops.world.ports.MetricSource` and `client` for credentials.

    `interval` is the scrape interval of the models' pods and `deadline` the longest time for one `read`, retries
    included, both in seconds. Nothing is connected before the first `read`.
    """

    def __init__(self, url: str, *, interval: float = 15, deadline: float = 10.0) -> None:
        self._url = url
        self._interval = interval
        self._deadline = deadline
        self._client: Client | None = None
        self._known: dict[_Key, _Known] = {}

    def read(self, questions: Sequence[Question], now: int) -> Answers:
        """Every question answered as of `now`, in seconds of the epoch, with `CONNECTIONS` queries at once."""
        found: dict[Question, Answer] = {}
        groups: dict[_Key, list[Question]] = {}
        for question in questions:
            if not question.query and (why := answerable(question.metric, question.runtime)):
                found[question] = Unanswered(why)
            else:
                groups.setdefault(self._key(question), []).append(question)
        try:
            self._client = self._client or Client(self._url, CONNECTIONS)
        except Failed as failed:
            return dict.fromkeys(questions, Unanswered(str(failed))) | found
        settled = min(now, time.time() - min(self._interval, _LATE))
        asking = _Round(self._client, now, settled, time.monotonic() + self._deadline)
        with collector_paused(), ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="prometheus") as pool:
            for answers in pool.map(lambda group: self._answers(asking, group), groups.values()):
                found.update(answers)
        kinds = {key.by_pod for key in groups}
        for key in [key for key in self._known if key not in groups and key.by_pod in kinds]:
            self._known.pop(key, None)
        return found

    def _key(self, question: Question) -> _Key:
        """Quantiles of one histogram and versions of one runtime share a query."""
        if question.query:
            query = filled(question.query, question.namespace, question.unit.model, question.version)
        else:
            query = _of_everything(
                question.metric, question.runtime, question.look, self._interval, by_pod=question.by_pod
            )
        return _Key(query, question.look, question.by_pod)

    def _answers(self, asking: _Round, group: Sequence[Question]) -> Mapping[Question, Answer]:
        """Answers to questions that have one key."""
        try:
            return (self._of_user if group[0].query else self._built_in)(asking, group)
        except Strange as strange:
            return dict.fromkeys(group, Unanswered(f"{asking.client.name}: {strange}"))
        except Failed as failed:
            return dict.fromkeys(group, Unanswered(str(failed)))

    def _of_user(self, asking: _Round, group: Sequence[Question]) -> Mapping[Question, Answer]:
        query, look, _ = self._key(group[0])
        first, last = _ends(asking, group)
        looks = [one for data in _ranges(asking, query, look, first, last, MOST_POINTS) for one in values_of(data)]
        return {question: Series(_since(question, looks)) for question in group}

    def _built_in(self, asking: _Round, group: Sequence[Question]) -> Mapping[Question, Answer]:
        metric, runtime, look, by_pod = group[0].metric, group[0].runtime, group[0].look, group[0].by_pod
        shape, versions = shape_of(metric, runtime), {_served(question) for question in group}
        models = matching({one.namespace for one in versions}, {one.model for one in versions})
        query = promql(metric, runtime, Scope(models, look, self._interval, by_pod))
        points = min(MOST_POINTS, _MOST_SAMPLES // (len(versions) * _SERIES[shape]))
        first, last = _ends(asking, group)
        if by_pod:
            return _of_pods(asking, group, shape, query, first, last, points // _PODS)
        kept, begin = self._kept(self._key(group[0]), versions, first, last)
        table: dict[Served, list[Look]] = {one: list(kept.get(one, ())) for one in versions}
        for data in _ranges(asking, query, look, begin, last, points):
            for served, looks in looks_of(shape, data).items():
                if served in table:
                    table[served].extend(looks)
        self._known[self._key(group[0])] = _Known(first, last, table)
        latest: Mapping[Served, Sequence[Look]] = {}
        if any(question.begin <= asking.now - look for question in group):
            latest = looks_of(shape, _ask(asking, "query", query=query, time=asking.now))
        return {question: _series_of(question, asking.now, _served(question), table, latest) for question in group}

    def _kept(
        self, key: _Key, versions: Set[Served], first: int, last: int
    ) -> tuple[Mapping[Served, Sequence[Look]], int]:
        """What need not be asked again, and the end of the first look that has to be."""
        known = self._known.get(key)
        if not known or first < known.first or not versions <= known.table.keys():
            return {}, first
        begin = max(first, min(known.last, last))
        return {one: _between(known.table[one], first, begin) for one in versions}, begin


def _of_pods(
    asking: _Round, group: Sequence[Question], shape: Shape, query: str, first: int, last: int, points: int
) -> Mapping[Question, Answer]:
    """Asked seldom, of the few versions that are about to be stopped: nothing of it is kept."""
    look, table = group[0].look, defaultdict[Served, list[Look]](list)
    for data in _ranges(asking, query, look, first, last, points):
        for pod, looks in looks_of(shape, data).items():
            table[pod].extend(looks)
    latest = looks_of(shape, _ask(asking, "query", query=query, time=asking.now))
    found: dict[Question, Answer] = {}
    for question in group:
        mine = [pod for pod in {*table, *latest} if pod.pod and pod[:3] == _served(question)[:3]]
        pods = {pod.pod: _series_of(question, asking.now, pod, table, latest) for pod in sorted(mine)}
        found[question] = replace(joined(pods), pods=pods)
    return found


@lru_cache(maxsize=256)
def _of_everything(metric: str, runtime: str, look: int, interval: float, *, by_pod: bool) -> str:
    return promql(metric, runtime, Scope("", look, interval, by_pod))


def _ends(asking: _Round, group: Sequence[Question]) -> tuple[int, int]:
    """The ends of the first look that a question wants and of the last one that is over."""
    look = group[0].look
    first = -(-min(question.begin for question in group) // look) * look + look
    return first, int(asking.settled // look) * look


def _ranges(asking: _Round, query: str, look: int, first: int, last: int, points: int) -> Iterator[Any]:
    """Results over looks that end from `first` to `last`, in stretches of so many."""
    stretch = max(1, points) * look
    for begin in range(first, last + 1, stretch):
        yield _ask(asking, "query_range", query=query, start=begin, end=min(last, begin + stretch - look), step=look)


def _ask(asking: _Round, path: str, **form: str | int) -> Any:
    return asking.client.ask(path, {name: str(value) for name, value in form.items()}, asking.until)


def _served(question: Question) -> Served:
    return Served(question.namespace, question.unit.model, question.version)


def _series_of(
    question: Question,
    now: int,
    served: Served,
    table: Mapping[Served, Sequence[Look]],
    latest: Mapping[Served, Sequence[Look]],
) -> Series:
    looks = _since(question, table.get(served, ()))
    span = latest.get(served, ()) if question.begin <= now - question.look else ()
    return Series(looks, span[0].datum if span else None)


def _since(question: Question, looks: Sequence[Look]) -> tuple[Look, ...]:
    return tuple(looks[_index(looks, question.begin + question.look) :])


def _between(looks: Sequence[Look], first: int, end: int) -> Sequence[Look]:
    return looks[_index(looks, first) : _index(looks, end)]


def _index(looks: Sequence[Look], end: int) -> int:
    return bisect_left(looks, end, key=lambda look: look.end)
