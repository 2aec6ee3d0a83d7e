"""The embedded world's metrics: what the release records and `simulation.yaml` say becomes answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gitops.rollout.series import Answers, Question, Series, Unanswered
from gitops.rollout.statistics import Counts
from gitops.spec.behaviour import Fault, Noise, Span, healthy, parse_change
from gitops.spec.simulation import Simulation
from gitops.values import UnitKey
from gitops.world.embedded.metrics import EmbeddedMetrics

CHAT, SEARCH = UnitKey("production", "chat"), UnitKey("production", "search")
NOW = 1_700_003_640
QUIET = replace(healthy("vllm"), noise=Noise(0.0))
BROKEN = QUIET.with_faults((Fault("error-rate", parse_change("50%")),))


def asked(version: str, unit: UnitKey = CHAT, metric: str = "error-rate", runtime: str = "vllm") -> Question:
    return Question(unit, "inference", version, runtime, metric, NOW - 600, 60)


def bad_share(answers: Answers, question: Question) -> float:
    found = answers[question]
    assert isinstance(found, Series)
    data = [look.datum for look in found.looks if isinstance(look.datum, Counts)]
    assert len(data) == 10
    return sum(one.bad for one in data) / sum(one.requests for one in data)


class Records:
    """Weights since when, as release records would tell; counts how often each unit was looked up."""

    def __init__(self, **units: Sequence[tuple[float, Mapping[str, float]]]) -> None:
        self.units = units
        self.looked_up: list[str] = []

    def __call__(self, unit: UnitKey) -> Sequence[tuple[float, Mapping[str, float]]]:
        self.looked_up.append(str(unit))
        return self.units[unit.model]


def test_each_version_behaves_as_declared() -> None:
    simulation = Simulation(1, {CHAT: QUIET}, {(CHAT, "2.0"): BROKEN})
    metrics = EmbeddedMetrics(simulation, Records(chat=[(NOW - 1000, {"1.0": 90, "2.0": 10})]))
    answers = metrics.read([asked("1.0"), asked("2.0")], NOW)
    assert bad_share(answers, asked("1.0")) < 0.01
    assert 0.4 < bad_share(answers, asked("2.0")) < 0.6


def test_units_are_told_apart_and_looked_up_once() -> None:
    records = Records(chat=[(0, {"1.0": 100})], search=[(0, {"1.0": 100})])
    simulation = Simulation(1, {CHAT: QUIET, SEARCH: BROKEN})
    questions = [asked("1.0", unit, metric) for unit in (CHAT, SEARCH) for metric in ("error-rate", "latency-p99")]
    answers = EmbeddedMetrics(simulation, records).read(questions, NOW)
    assert list(answers) == questions
    assert records.looked_up == [str(CHAT), str(SEARCH)]
    assert bad_share(answers, asked("1.0")) < 0.01 < 0.4 < bad_share(answers, asked("1.0", SEARCH))


def test_the_same_questions_have_the_same_answers() -> None:
    """Neither another reader, nor other questions beside them, nor a later look make a difference."""
    records = Records(chat=[(NOW - 1000, {"1.0": 90, "2.0": 10})])
    first = EmbeddedMetrics(Simulation(), records).read([asked("2.0")], NOW)
    second = EmbeddedMetrics(Simulation(), records)
    second.read([asked("1.0")], NOW - 300)
    assert second.read([asked("1.0"), asked("2.0")], NOW)[asked("2.0")] == first[asked("2.0")]
    other = EmbeddedMetrics(Simulation(seed=2), records).read([asked("2.0")], NOW)
    assert other != first


def test_an_outage_hides_every_version_of_the_unit_and_no_other() -> None:
    records: Any = Records(chat=[(NOW - 1000, {"1.0": 90, "2.0": 10})], search=[(0, {"1.0": 100})])
    blind = replace(QUIET, outages=(Span(600, 1200),))
    metrics = EmbeddedMetrics(Simulation(1, {CHAT: QUIET, SEARCH: QUIET}, {(CHAT, "2.0"): blind}), records)
    questions = [asked("1.0"), asked("2.0"), asked("1.0", SEARCH)]
    kinds = [type(answer) for answer in metrics.read(questions, NOW).values()]
    assert kinds == [Unanswered, Unanswered, Series]
    # Asked about stable alone, the outage of the candidate is there too.
    assert isinstance(metrics.read([asked("1.0")], NOW)[asked("1.0")], Unanswered)
    assert isinstance(metrics.read([asked("1.0")], NOW + 300)[asked("1.0")], Series)


def test_a_unit_that_the_spec_no_longer_has_behaves_by_its_runtime() -> None:
    metrics = EmbeddedMetrics(Simulation(), Records(chat=[(0, {"1.0": 100})]))
    question = asked("1.0", metric="kv-cache-use", runtime="triton")
    assert metrics.read([question], NOW)[question] == Series((), None)
    question = asked("1.0", metric="kv-cache-use")
    found = metrics.read([question], NOW)[question]
    assert isinstance(found, Series)
    assert len(found.looks) == 10


def test_nothing_is_known_about_a_unit_without_releases() -> None:
    metrics = EmbeddedMetrics(Simulation(), Records(chat=[]))
    assert metrics.read([asked("1.0")], NOW) == {asked("1.0"): Series((), None)}
    assert metrics.read([], NOW) == {}
