"""Ask the gates of every rollout that has traffic: one look at the metrics, for all units at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from gitops.engine.session import Session
from gitops.errors import GitopsError
from gitops.plan.rollouts import Standing
from gitops.plan.stored import Stored
from gitops.rollout.horizon import Horizon, horizon
from gitops.rollout.measuring import ALPHA, Asked, assess, levels
from gitops.rollout.pods import opinion, second, worth_asking
from gitops.rollout.series import Answer, Answers, Question, Unanswered, look_of
from gitops.rollout.state import ModelVersion
from gitops.rollout.verdicts import Result
from gitops.spec.pipeline import Gate
from gitops.values import UnitKey
from gitops.world.worlds import Shares


class Failures(NamedTuple):
    """Queries that failed in a row, and when the first of them did."""

    times: int
    since: int


@dataclass
class Memory:
    """What one process remembers between looks: only how often queries failed in a row, and since when.

    Losing it loses nothing but patience: a new process counts failures from one again.
    """

    failures: dict[tuple[UnitKey, str, str], Failures] = field(default_factory=dict)

    def count(self, question: Question, answer: Answer | None, now: int) -> Failures:
        """How many times in a row this question could not be asked, this time included."""
        key = question.unit, question.version, question.metric
        if isinstance(answer, Unanswered):
            before = self.failures.get(key, Failures(0, now))
            self.failures[key] = before._replace(times=before.times + 1)
        else:
            self.failures.pop(key, None)
        return self.failures.get(key, Failures(0, now))


class Inquiry(NamedTuple):
    """One gate of one rollout: what is asked about candidate and stable."""

    here: Standing
    gate: Gate
    candidate: Question
    stable: Question | None
    since: Horizon
    started: int
    """When the rollout began."""


def judge(
    session: Session, stored: Stored, watched: Sequence[Standing], now: int, memory: Memory
) -> dict[UnitKey, tuple[Result, ...]]:
    """What every gate of these rollouts says now. Each has traffic on its candidate.

    Before something stops a rollout, more is asked (`rollout.pods`).
    """
    inquiries = [one for here in watched for one in _inquiries(session, here, now)]
    questions = [question for one in inquiries for question in (one.candidate, one.stable) if question]
    answers = _answers(session, stored, watched, questions, now)
    asked = [_asked(one, answers, now, memory) for one in inquiries]
    results = [
        assess(one.gate, answers.get(one.candidate), _of_stable(one, answers), how)
        for one, how in zip(inquiries, asked, strict=True)
    ]
    accused = {
        index: second(one.gate, one.candidate, one.stable, one.started)
        for index, (one, result) in enumerate(zip(inquiries, results, strict=True))
        if worth_asking(one.gate, one.candidate.runtime, result)
    }
    questions = [question for asking in accused.values() for question in asking.questions]
    more = _answers(session, stored, watched, questions, now)
    found: dict[UnitKey, list[Result]] = {here.unit: [] for here in watched}
    for index, (one, how, result) in enumerate(zip(inquiries, asked, results, strict=True)):
        theirs, asking = _of_stable(one, answers), accused.get(index)
        said = opinion(one.gate, result, asking, more, theirs, how) if asking else result
        found[one.here.unit].append(said)
    return {unit: tuple(said) for unit, said in found.items()}


def _of_stable(one: Inquiry, answers: Answers) -> Answer | None:
    return answers.get(one.stable) if one.stable else None


def unanswered(session: Session, stored: Stored, waiting: Sequence[Standing], now: int) -> dict[UnitKey, str]:
    """Why the metrics of these units cannot be read now: what their gates would be told of stable."""
    asked: dict[UnitKey, list[Question]] = {}
    for here in waiting:
        monitoring, stable = here.environment.monitoring, here.state.stable
        look = look_of(monitoring.interval if monitoring else 15, 0)
        gates = session.spec.pipeline.rollouts[here.model.rollout].gates if stable else ()
        asked[here.unit] = [
            _question(session, here, stable, gate, now - 3 * look, look) for gate in gates if stable is not None
        ]
    answers = _answers(session, stored, (), [question for found in asked.values() for question in found], now)
    found = {unit: [answers.get(question) for question in questions] for unit, questions in asked.items()}
    silent = {unit: [one for one in said if isinstance(one, Unanswered)] for unit, said in found.items()}
    return {unit: said[0].reason for unit, said in silent.items() if said}


def _inquiries(session: Session, here: Standing, now: int) -> Iterator[Inquiry]:
    candidate, stable = here.state.candidate, here.state.stable
    assert candidate is not None, "only rollouts under way are watched"
    monitoring = here.environment.monitoring
    look = look_of(monitoring.interval if monitoring else 15, here.policy.bake(candidate.load))
    since = horizon(here.policy, candidate, look, now, past=here.state.traffic.stable <= 0)
    for gate in session.spec.pipeline.rollouts[here.model.rollout].gates:
        mine = _question(session, here, candidate.version, gate, since.first, look)
        theirs = _question(session, here, stable, gate, since.stable, look) if stable else None
        yield Inquiry(here, gate, mine, theirs, since, candidate.started)


def _question(session: Session, here: Standing, version: ModelVersion, gate: Gate, begin: int, look: int) -> Question:
    return Question(
        unit=here.unit,
        namespace=session.spec.namespace(here.unit.environment),
        version=version.version,
        runtime=here.models()[version.version].serve.runtime,
        metric=gate.key,
        begin=begin,
        look=look,
        query=gate.query or "",
    )


def _answers(
    session: Session, stored: Stored, watched: Sequence[Standing], questions: Iterable[Question], now: int
) -> Answers:
    by_environment: dict[str, list[Question]] = defaultdict(list)
    for question in questions:
        by_environment[question.unit.environment].append(question)
    if not by_environment:
        return {}
    shares = _shares_of(stored, watched)

    def read(environment: str) -> Mapping[Question, Answer]:
        try:
            source = session.world.metrics(environment, shares)
            return source.read(by_environment[environment], now) if source else {}
        except GitopsError as error:  # a source that cannot be had is that environment's trouble alone
            return dict.fromkeys(by_environment[environment], Unanswered(str(error).replace("\n", "; ")))

    found: dict[Question, Answer] = {}
    with ThreadPoolExecutor(len(by_environment), thread_name_prefix="metrics") as pool:
        for answers in pool.map(read, by_environment):
            found.update(answers)
    return found


def _asked(one: Inquiry, answers: Answers, now: int, memory: Memory) -> Asked:
    here, gate, candidate = one.here, one.gate, one.candidate
    asking = [question for question in (candidate, one.stable) if question]
    failures = max(memory.count(question, answers.get(question), now) for question in asking)
    level = levels(ALPHA, len(here.policy.gates), len(here.policy.steps), here.policy.waves)
    return Asked(
        now=now,
        begin=one.since.candidate,
        look=candidate.look,
        window=gate.window,
        samples=here.policy.samples,
        failures=failures.times,
        failing_for=now - failures.since,
        alpha=one.since.part * level.each,
        whole=one.since.whole(level.together),
        weight=here.state.candidate.load if here.state.candidate else 0,
        stable_weight=here.state.traffic.stable,
        before_weight=_before(here),
        lost=here.state.candidate.since if here.state.candidate else None,
        source=_source(here),
    )


def _before(here: Standing) -> int:
    """What stable answered before the present weight was set."""
    candidate = here.state.candidate
    earlier = [step.weight for step in here.policy.steps if candidate and step.weight < candidate.weight]
    return 100 - max(earlier, default=0)


def _source(here: Standing) -> str:
    monitoring = here.environment.monitoring
    return monitoring.prometheus if monitoring and monitoring.prometheus else ""


def _shares_of(stored: Stored, watched: Sequence[Standing]) -> Shares:
    """How the records split the traffic of each unit, for servers that only simulate it."""
    before = {here.unit: float(_before(here)) for here in watched}

    def shares(unit: UnitKey) -> list[tuple[float, dict[str, float]]]:
        release = stored.releases.get(unit)
        if release is None:
            return []
        stable, candidate = release.stable.version, release.candidate
        if candidate is None or unit not in before:
            return [(0.0, {stable: 100.0})]
        earlier, newcomer = before[unit], candidate.version.version
        present = {stable: 100.0 - candidate.weight, newcomer: float(candidate.load)}
        first = {stable: earlier} if earlier == 100 else {stable: earlier, newcomer: 100 - earlier}
        return [(0.0, {stable: 100.0}), (float(candidate.started), first), (float(candidate.since), present)]

    return shares
