"""A whole rollout in no time: the state machine and the gates as they are, a clock that jumps, and simulated servers.

What is left out: people, freezes, and clusters that have no room. Replicas are ready `load_time` after they are
asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from gitops.rollout.horizon import Horizon, horizon
from gitops.rollout.machine import Decision, step
from gitops.rollout.measuring import ALPHA, Asked, assess, levels
from gitops.rollout.observation import Observation
from gitops.rollout.pods import opinion, second, worth_asking
from gitops.rollout.policy import Policy
from gitops.rollout.series import Answer, Answers, Datum, Look, Question, Series, Unanswered, look_of
from gitops.rollout.state import ModelVersion, RolloutState
from gitops.rollout.timeline import Moment, Outcome, Timeline
from gitops.rollout.traffic import Scene, Share, answer
from gitops.rollout.verdicts import Result
from gitops.spec.behaviour import Behaviour
from gitops.spec.rollouts import Gate
from gitops.values import UnitKey

BEGIN = 472_222 * 3600
"""When simulations begin, in seconds of the epoch; a whole hour."""
PATIENCE = 10
"""While a rollout is paused, looks come further apart: a part, one in so many, of the time that it has been paused."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What is rolled out, and by which rules."""

    unit: UnitKey
    policy: Policy
    gates: tuple[Gate, ...]
    stable: str
    candidate: str
    runtime: str
    namespace: str = ""
    load_time: int = 0
    """Seconds until new replicas are ready."""
    interval: int = 15
    """Seconds between scrapes."""
    look: int = 0
    """Seconds of a look; 0 for what suits each step (`series.look_of`)."""
    every: int = 60
    """Seconds between two decisions."""
    alpha: float = ALPHA


class Source(Protocol):
    """Metrics of stable and candidate."""

    def read(self, questions: Sequence[Question], now: int, shares: Sequence[Share]) -> Answers:
        """An answer to every question. `shares` is who has had how much traffic up to now."""


def simulate(trial: Trial, source: Source, *, begin: int = BEGIN, until: int | None = None) -> Timeline:
    """Drive one rollout to its end, or to the second `until` of the epoch."""
    return _Rollout(trial, source, begin, until).drive()


# --- Where metrics come from ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Simulated:
    """Servers that behave as declared, by version."""

    unit: UnitKey
    behaviours: Mapping[str, Behaviour]
    seed: int = 1
    memory: MutableMapping[tuple[str, str, int, int], Datum | None] = field(default_factory=dict, compare=False)

    def read(self, questions: Sequence[Question], now: int, shares: Sequence[Share]) -> Answers:
        """What their metrics say."""
        scene = Scene(self.unit, shares, self.behaviours, self.seed, self.memory)
        return {question: answer(scene, question, now) for question in questions}


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was measured once, by version and metric; played back whatever weight the simulation gives."""

    looks: Mapping[tuple[str, str], Sequence[Look]]
    length: int
    """Seconds of a look."""

    def read(self, questions: Sequence[Question], now: int, shares: Sequence[Share]) -> Answers:
        """What had been recorded by then; nothing for a version before it gets traffic."""
        return {question: self._answer(question, now) for question in questions}

    def _answer(self, question: Question, now: int) -> Answer:
        looks = self.looks.get((question.version, question.metric))
        if looks is None:
            return Unanswered(f"the recording has no {question.metric} of {question.version}")
        known = tuple(look for look in looks if question.begin <= look.end - self.length and look.end <= now)
        latest = known[-1].datum if known and known[-1].end == now else None
        return Series(known, latest)

    def span(self, version: str) -> tuple[int, int] | None:
        """The first and the last second of what was recorded of a version; None without anything."""
        ends = [look.end for (of, _), looks in self.looks.items() if of == version for look in looks]
        return (min(ends) - self.length, max(ends)) if ends else None


# --- One rollout ---------------------------------------------------------------------------------------------


class _Rollout:
    """A rollout under way; `now` only grows."""

    def __init__(self, trial: Trial, source: Source, begin: int, until: int | None) -> None:
        self.trial, self.source, self.begin, self.now = trial, source, begin, begin
        # Who approves, and which waves have which clusters, is nothing that can be simulated.
        self.policy = replace(trial.policy, approvals=0)
        self.until = until if until is not None else begin + self.policy.longest + 7 * 24 * 3600
        self.target = _version(trial.candidate)
        self.state = RolloutState(stable=_version(trial.stable))
        self.shares: list[Share] = [Share(begin, {trial.stable: 100.0})]
        self.scaled = (begin, (0,) * self.waves, (0,) * self.waves)
        self.failing: dict[tuple[str, str], tuple[int, int]] = {}
        self.moments: list[Moment] = []
        self.load = 0

    @property
    def waves(self) -> int:
        return max(1, self.policy.waves)

    def drive(self) -> Timeline:
        """Look and decide until nothing is under way any more."""
        while self.now <= self.until:
            decision = step(self.policy, self.state, self._observed())
            self._remember(decision)
            if decision.event and self.state.candidate is None:
                outcome: Outcome = "promoted" if decision.kind == "promote" else "rolled back"
                return self._ended(outcome, decision.sentence)
            if self._waits_for_ever():
                return self._ended("paused", decision.sentence)
            self.now += self._pace()
        self.now = self.until
        return self._ended("unfinished", "the data end before the rollout does")

    def _ended(self, outcome: Outcome, sentence: str) -> Timeline:
        onset = self._onset()
        seconds = self.now - self.begin
        return Timeline(tuple(self.moments), outcome, seconds, self.load, sentence, onset)

    def _remember(self, decision: Decision) -> None:
        event = decision.event
        if event is None:
            return
        at = self.now - self.begin
        before = self.state.scales(self.waves)
        self.state = decision.state
        candidate = self.state.candidate
        weight, mirror, wave = (candidate.weight, candidate.mirror, candidate.wave) if candidate else (0, 0, event.wave)
        if event.kind == "promote":
            weight = 100
        self.load = max(weight, mirror) if event.kind != "roll-back" else self.load
        self.moments.append(Moment(at, event.kind, weight, mirror, wave, decision.sentence, decision.evidence))
        if (after := self.state.scales(self.waves)) != before:
            self.scaled = (self.now, before, after)
        percents = self._percents()
        if percents != self.shares[-1].percents:
            self.shares.append(Share(self.now, percents))

    def _percents(self) -> dict[str, float]:
        """Percent of all requests for each version: the mean over waves, as if each had the same traffic."""
        traffic = self.state.weights(self.waves)
        stable = sum(one.stable for one in traffic) / len(traffic)
        candidate = sum(max(one.candidate, one.mirror) for one in traffic) / len(traffic)
        return {self.trial.stable: stable, self.trial.candidate: candidate}

    def _observed(self) -> Observation:
        since, before, after = self.scaled
        ready = after if self.now >= since + self.trial.load_time else before
        candidate = self.state.candidate
        wave = min(candidate.wave, self.waves - 1) if candidate else 0
        results = self._results() if candidate and candidate.load else ()
        return Observation(self.now, self.target, ready=ready[wave], ready_waves=ready, results=results)

    def _pace(self) -> int:
        """Seconds until the next look, in whole periods."""
        candidate, every = self.state.candidate, self.trial.every
        if not candidate or not candidate.pause:
            return every
        waited = self.now - candidate.entered
        left = max(0, self.policy.pause_timeout - waited)
        return every * max(1, -(-min(left, waited // PATIENCE) // every))

    def _waits_for_ever(self) -> bool:
        candidate = self.state.candidate
        if not candidate or not candidate.pause or self.policy.pause_outcome != "hold":
            return False
        return self.now - candidate.entered >= self.policy.pause_timeout

    def _onset(self) -> int | None:
        """When the first fault of the candidate began, if it got so far."""
        if not isinstance(self.source, Simulated):
            return None
        behaviour, first = self.source.behaviours[self.trial.candidate], self._first_traffic()
        spans = [*(fault.span for fault in behaviour.faults), *behaviour.outages]
        begun = [int(first + span.begins) for span in spans if first + span.begins <= self.now]
        return min(begun) - self.begin if begun else None

    def _first_traffic(self) -> float:
        """When the candidate got its first request; never, if it has not."""
        candidate = self.trial.candidate
        return next((share.since for share in self.shares if share.percents.get(candidate)), math.inf)

    # --- Gates -----------------------------------------------------------------------------------------------

    def _results(self) -> tuple[Result, ...]:
        candidate = self.state.candidate
        assert candidate, "only a candidate with traffic is judged"
        look = self.trial.look or look_of(self.trial.interval, self.policy.bake(candidate.load))
        past = self.shares[-1].percents[self.trial.stable] <= 0
        since = horizon(self.policy, candidate, look, self.now, past=past)
        pairs = [
            (
                self._question(self.trial.candidate, gate, since.first, look),
                self._question(self.trial.stable, gate, since.stable, look),
            )
            for gate in self.trial.gates
        ]
        answers = self.source.read([one for pair in pairs for one in pair], self.now, self.shares)
        found = [
            (gate, mine, theirs, self._asked(gate, mine, theirs, answers, since))
            for gate, (mine, theirs) in zip(self.trial.gates, pairs, strict=True)
        ]
        return tuple(self._second(*one, answers) for one in found)

    def _second(self, gate: Gate, mine: Question, theirs: Question, asked: Asked, answers: Answers) -> Result:
        """What stops the rollout is asked by pod as well."""
        result = assess(gate, answers[mine], answers[theirs], asked)
        if not worth_asking(gate, self.trial.runtime, result):
            return result
        assert self.state.candidate, "only a candidate with traffic is judged"
        asking = second(gate, mine, theirs, self.state.candidate.started)
        more = self.source.read(asking.questions, self.now, self.shares)
        return opinion(gate, result, asking, more, answers[theirs], asked)

    def _question(self, version: str, gate: Gate, begin: int, look: int) -> Question:
        trial = self.trial
        return Question(trial.unit, trial.namespace, version, trial.runtime, gate.key, begin, look, gate.query or "")

    def _asked(self, gate: Gate, mine: Question, theirs: Question, answers: Answers, since: Horizon) -> Asked:
        failed = [self._failures(question, answers[question]) for question in (mine, theirs)]
        failures, failing_since = max(failed)
        percents, before = self.shares[-1].percents, self.shares[-2].percents
        level = levels(self.trial.alpha, len(self.trial.gates), len(self.policy.steps), self.waves)
        return Asked(
            now=self.now,
            begin=since.candidate,
            look=mine.look,
            window=gate.window,
            samples=self.policy.samples,
            failures=failures,
            failing_for=self.now - failing_since if failures else 0,
            alpha=since.part * level.each,
            whole=since.whole(level.together),
            weight=percents[self.trial.candidate],
            stable_weight=percents[self.trial.stable],
            before_weight=before[self.trial.stable],
            lost=since.lost,
        )

    def _failures(self, question: Question, found: Answer) -> tuple[int, int]:
        """How many times in a row the question failed, and since when."""
        key = (question.version, question.metric)
        if not isinstance(found, Unanswered):
            self.failing.pop(key, None)
            return 0, self.now
        times, since = self.failing.get(key, (0, self.now))
        self.failing[key] = (times + 1, since)
        return self.failing[key]


def _version(name: str) -> ModelVersion:
    return ModelVersion(name, f"sha256:{name}")
