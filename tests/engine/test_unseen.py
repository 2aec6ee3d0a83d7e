"""What a version waits for that went back because nothing could be seen: clusters and metrics that answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gitops.engine.session import Session
from gitops.engine.unseen import unseen
from gitops.engine.watching import Sight
from gitops.errors import GitopsError
from gitops.plan.rollouts import Standing
from gitops.rollout.series import Answer, Answers, Question, Series, Unanswered
from gitops.spec.resolved import Spec
from tests.plan.repository import CHAT, Tree, write_spec

GATES = [{"metric": "error-rate", "rollback": "1%"}, {"metric": "gpu-memory", "rollback": "98%"}]
CAREFUL = {"strategy": "canary", "steps": [{"weight": 10, "bake": "10m"}, {"weight": 100}], "gates": GATES}
SEEN, DEAD = Sight({}, {}, {}), "connection refused"


class Source:
    def __init__(self, answer: Answer) -> None:
        self.answer, self.asked = answer, list[Question]()

    def read(self, questions: Sequence[Question], now: int) -> Answers:
        assert all(question.begin < now for question in questions)
        self.asked += questions
        return dict.fromkeys(questions, self.answer)


def spec(version: tuple[str, str]) -> Spec:
    return write_spec({"chat": version}, {"dev": {}}, rollout=CAREFUL)


@pytest.fixture
def went_back() -> Tree:
    """2.0.0 went back after a day in which its cluster did not answer."""
    tree = Tree()
    tree.release_spec(spec(("1.0.0", "a")))
    tree.release_spec(spec(("2.0.0", "b")))
    for later, kind in ((1800, "pause"), (86_400, "roll-back")):
        tree.now += later
        decision = tree.look(spec(("2.0.0", "b")), CHAT, unseen=f"dev-cluster: {DEAD}")
        assert decision
        assert decision.kind == kind
    assert [one.waits for one in tree.release(CHAT).returned] == ["sight"]
    return tree


def session(wanted: Spec, metrics: Callable[..., object]) -> Session:
    return cast(Session, SimpleNamespace(spec=wanted, world=SimpleNamespace(metrics=metrics)))


def standing(tree: Tree) -> Standing:
    return tree.standings(spec(("2.0.0", "b")))[CHAT]


def said(tree: Tree, source: object, sight: Sight = SEEN) -> str:
    def metrics(environment: str, shares: object) -> object:
        del environment, shares
        if isinstance(source, GitopsError):
            raise source
        return source

    wanted = spec(("2.0.0", "b"))
    return unseen(session(wanted, metrics), tree.stored(), {CHAT: standing(tree)}, sight, tree.now).get(CHAT, "")


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (Source(Series()), ""),
        (Source(Unanswered("prometheus: timed out")), "prometheus: timed out"),
        (GitopsError("no such Prometheus"), "no such Prometheus"),
        (None, ""),
    ],
)
def test_the_metrics_are_asked_about_stable(went_back: Tree, source: Any, why: str) -> None:
    assert said(went_back, source) == why
    if isinstance(source, Source):
        assert {question.version for question in source.asked} == {"1.0.0"}
        assert [question.metric for question in source.asked] == ["error-rate", "gpu-memory"]


def test_clusters_that_do_not_answer_are_named(went_back: Tree) -> None:
    (cluster,) = (name for wave in standing(went_back).waves for name in wave)
    blind = Sight({}, {cluster: DEAD, "other": DEAD}, {})
    assert said(went_back, Source(Series()), blind) == f"{cluster}: {DEAD}"


def test_it_starts_again_by_itself_once_everything_answers(went_back: Tree) -> None:
    wanted = spec(("2.0.0", "b"))
    held = went_back.look(wanted, CHAT, unseen=DEAD)
    assert held
    assert held.sentence.startswith(f"2.0.0 waits to be seen again ({DEAD})")
    started = went_back.look(wanted, CHAT)
    assert started
    assert started.kind == "start"
    source = Source(Series())
    assert said(went_back, source) == ""
    assert source.asked == [], "the gates of what is under way are asked anyhow"
