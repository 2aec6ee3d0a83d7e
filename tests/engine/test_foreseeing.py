"""What a plan asks the metrics before a rollout, and that it does without them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gitops.engine.foreseeing import with_outlook
from gitops.engine.session import Session
from gitops.errors import GitopsError
from gitops.plan.desired import render_stale
from gitops.plan.model import Base, LeftAlone, Plan
from gitops.rollout.series import Answer, Answers, Look, Question, Series, Unanswered
from gitops.rollout.statistics import Counts
from gitops.spec.resolved import Spec
from gitops.values import UnitKey
from tests.plan.repository import CHAT, LATER, Tree, renderer_of, write_spec

GATES = [{"metric": "error-rate", "rollback": "1%"}, {"metric": "gpu-memory", "rollback": "98%"}]
CAREFUL = {"strategy": "canary", "steps": [{"weight": 10, "bake": "10m"}, {"weight": 100}], "gates": GATES}
BOTH: dict[str, Any] = {"dev": {}, "prod": {}}

Shares = Callable[[UnitKey], Sequence[tuple[float, Mapping[str, float]]]]


class Source:
    """Metrics of one environment, which remember what they were asked."""

    def __init__(self, answer: Callable[[Question], Answer]) -> None:
        self.answer, self.asked = answer, list[Question]()

    def read(self, questions: Sequence[Question], now: int) -> Answers:
        del now
        self.asked += questions
        return {question: self.answer(question) for question in questions}


def busy(question: Question) -> Answer:
    data: dict[str, Any] = {"requests-per-second": 50.0, "error-rate": Counts(1000.0, 2.0)}
    return Series((Look(question.begin + question.look, data[question.metric]),))


def spec(version: tuple[str, str], **more: Any) -> Spec:
    return write_spec({"chat": version}, BOTH, rollout=CAREFUL, **more)


def foreseen(
    tree: Tree,
    wanted: Spec,
    source: object,
    *,
    offline: bool = False,
    only: frozenset[str] | None = None,
    alone: str = "",
) -> Plan:
    """The plan with what is foreseen; `source` is what `world.metrics` gives, or raises."""

    def metrics(environment: str, shares: Shares) -> object:
        del environment
        assert shares(LATER)[0] == (0.0, {"1.0.0": 100.0})
        if isinstance(source, Exception):
            raise source
        return source

    session = SimpleNamespace(
        spec=wanted,
        options=SimpleNamespace(offline=offline, progress=lambda line: None),
        world=SimpleNamespace(metrics=metrics),
    )
    stored = tree.stored()
    draft = Plan(
        Base("acme", None, "", "", "real", live=True), left_alone=(LeftAlone(alone, "newer"),) if alone else ()
    )
    courses = render_stale(wanted, renderer_of(wanted), stored, {}, tree.now)
    return with_outlook(cast(Session, session), stored, courses, draft, tree.now, only)


@pytest.fixture
def tree() -> Tree:
    made = Tree()
    made.release_spec(spec(("1.0.0", "a")))
    return made


def said(plan: Plan, unit: str = "dev/chat") -> str:
    return "\n".join(line for one in plan.outlook if one.unit == unit for line in one.lines)


def test_the_traffic_of_the_last_hour_is_asked_for(tree: Tree) -> None:
    source = Source(busy)
    found = foreseen(tree, spec(("2.0.0", "b")), source)
    assert "traffic: 50 requests/s over the last hour, 0.2 % of them errors" in said(found)
    assert {(one.unit.environment, one.version, one.metric, one.begin) for one in source.asked} == {
        (name, "1.0.0", metric, tree.now - 3600)
        for name in ("dev", "prod")
        for metric in ("requests-per-second", "error-rate")
    }
    assert [one.unit for one in found.outlook] == ["dev/chat", "prod/chat"]


@pytest.mark.parametrize(
    "source",
    [None, GitopsError("no route to host"), Source(lambda _: Unanswered("overloaded")), Source(lambda _: Series())],
)
def test_without_metrics_the_plan_is_made_all_the_same(tree: Tree, source: object) -> None:
    found = foreseen(tree, spec(("2.0.0", "b")), source)
    assert "traffic: not known" in said(found)
    declared = foreseen(tree, spec(("2.0.0", "b"), expectedRequestsPerSecond=7), source)
    assert "traffic: 7 requests/s as expectedRequestsPerSecond says" in said(declared)


def test_offline_nobody_is_asked(tree: Tree) -> None:
    source = Source(busy)
    assert "traffic: not known" in said(foreseen(tree, spec(("2.0.0", "b")), source, offline=True))
    assert source.asked == []


def test_nobody_is_asked_when_nothing_starts(tree: Tree) -> None:
    source = Source(busy)
    found = foreseen(tree, spec(("1.0.0", "a")), source)
    assert (found.outlook, source.asked) == ((), [])


def test_only_what_was_asked_for_is_foreseen(tree: Tree) -> None:
    found = foreseen(tree, spec(("2.0.0", "b")), Source(busy), only=frozenset({"prod/chat"}))
    assert [one.unit for one in found.outlook] == ["prod/chat"]


def test_what_is_left_alone_does_not_move(tree: Tree) -> None:
    found = foreseen(tree, spec(("2.0.0", "b")), Source(busy), alone="dev/chat")
    assert [one.unit for one in found.outlook] == ["prod/chat"]


def test_traffic_that_a_candidate_has_already_is_not_forgotten(tree: Tree) -> None:
    """3.0.0 takes the place of 2.0.0, which answers a tenth: 45 of stable are 50 in all."""
    two, three = spec(("2.0.0", "b")), spec(("3.0.0", "c"))
    tree.release_spec(two)
    tree.now += 60
    tree.look(two, CHAT, ready=100)
    since, tree.now = tree.now, tree.now + 120
    source = Source(lambda question: Series((Look(question.begin, 45.0),)))
    found = foreseen(tree, three, source)
    assert "traffic: 50 requests/s" in said(found)
    assert {one.begin for one in source.asked if one.unit == CHAT} == {since}
