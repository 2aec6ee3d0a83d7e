"""The traffic of what is about to be rolled out, as the metrics show it: all units asked about at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from gitops.engine.session import Session
from gitops.errors import GitopsError
from gitops.plan.capacity import Ahead
from gitops.plan.rehearsal import Rehearsal
from gitops.plan.visibility import Traffic, traffic_of
from gitops.rollout.queries import QUANTILES, answerable
from gitops.rollout.series import Answer, Answers, Question
from gitops.values import UnitKey
from gitops.world.worlds import Shares

PAST = 3600
"""Seconds over which traffic is taken."""
LOOK = 300
_MOST = 200
"""Of more rollouts at once the traffic is not asked for: nobody reads so much, and it would take a while."""


def traffic(session: Session, ahead: Ahead, now: int) -> dict[UnitKey, Traffic]:
    """What the metrics show of the units whose rollouts start; nothing of what cannot be asked."""
    asked: dict[str, list[Question]] = defaultdict(list)
    for unit, rehearsal in ahead.items():
        if rehearsal.begins and rehearsal.standing.policy.gates:
            asked[unit.environment] += _questions(session, rehearsal, now)
    if session.options.offline or not asked or sum(one.begins for one in ahead.values()) > _MOST:
        return {}
    session.options.progress("looking at the traffic of what is rolled out")
    shares = _shares_of(ahead)

    def read(environment: str) -> Answers:
        try:
            source = session.world.metrics(environment, shares)
            return source.read(asked[environment], now) if source else {}
        except GitopsError:
            return {}  # a plan needs no metrics

    answers: dict[UnitKey, dict[Question, Answer]] = defaultdict(dict)
    with ThreadPoolExecutor(len(asked), thread_name_prefix="traffic") as pool:
        for found in pool.map(read, asked):
            for question, answer in found.items():
                answers[question.unit][question] = answer
    return {unit: traffic_of(found, _share_of_stable(ahead[unit])) for unit, found in answers.items()}


def _questions(session: Session, rehearsal: Rehearsal, now: int) -> Iterator[Question]:
    here = rehearsal.standing
    stable = here.release.stable.version
    runtime = here.models()[stable].serve.runtime
    gates = session.spec.pipeline.rollouts[here.model.rollout].gates
    used = {gate.metric for gate in gates if gate.metric == "error-rate" or gate.metric in QUANTILES}
    since = here.state.candidate.since if here.state.candidate else 0
    for metric in ("requests-per-second", *sorted(filter(None, used))):
        if not answerable(metric, runtime):
            namespace = session.spec.namespace(here.unit.environment)
            begin = max(now - PAST, since)
            yield Question(here.unit, namespace, stable, runtime, metric, begin, LOOK)


def _share_of_stable(rehearsal: Rehearsal) -> float:
    """Percent of its requests that the unit's stable version answers now."""
    return float(rehearsal.standing.state.traffic.stable)


def _shares_of(ahead: Ahead) -> Shares:
    """How the records split the traffic, for servers that only simulate it."""

    def shares(unit: UnitKey) -> Sequence[tuple[float, Mapping[str, float]]]:
        if unit not in ahead:
            return []
        state, stable = ahead[unit].standing.state, ahead[unit].standing.release.stable.version
        candidate, split = state.candidate, [(0.0, {stable: 100.0})]
        if candidate:
            new = {stable: 100.0 - candidate.weight, candidate.version.version: float(candidate.load)}
            split.append((float(candidate.since), new))
        return split

    return shares
