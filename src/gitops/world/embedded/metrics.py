"""What a Prometheus of the embedded world would answer: drawn when it is asked, with no state of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from gitops.rollout.series import Answers, Question
from gitops.rollout.traffic import Scene, Share, answer
from gitops.spec.simulation import Simulation
from gitops.values import UnitKey

Shares = Callable[[UnitKey], Sequence[tuple[float, Mapping[str, float]]]]
"""Percent of requests that reach each version of a unit, answered or mirrored, from a moment on, in order of time.

Stable is named first; before the first entry it has everything. The release records know it.
"""


class EmbeddedMetrics:
    """Metrics of simulated model servers, which behave as `simulation.yaml` declares."""

    def __init__(self, simulation: Simulation, shares: Shares) -> None:
        self._simulation = simulation
        self._shares = shares

    def read(self, questions: Sequence[Question], now: float) -> Answers:
        """Every question answered, as of `now`. The same questions have the same answers in every process."""
        asked: dict[UnitKey, dict[str, str]] = {}
        for question in questions:
            asked.setdefault(question.unit, {})[question.version] = question.runtime
        scenes = {unit: self._scene(unit, versions) for unit, versions in asked.items()}
        return {question: answer(scenes[question.unit], question, now) for question in questions}

    def _scene(self, unit: UnitKey, asked: Mapping[str, str]) -> Scene:
        """The unit's traffic, with the behaviour of every version that has some or is asked about."""
        shares = [Share(*entry) for entry in self._shares(unit)]
        runtime = next(iter(asked.values()))
        versions: Iterable[str] = {*asked, *(version for share in shares for version in share.percents)}
        behaviours = {
            version: self._simulation.behaviour(unit, version, asked.get(version, runtime)) for version in versions
        }
        return Scene(unit, shares, behaviours, self._simulation.seed)
