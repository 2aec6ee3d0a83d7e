"""Recordings: answers of Prometheus in a file, and what is said about one that is something else."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gitops.errors import GitopsError
from gitops.rollout.series import Answers, Look, Question, Series, Unanswered
from gitops.rollout.statistics import Counts
from gitops.values import UnitKey
from gitops.world.recorded import read_recording, record


def answer(*series: tuple[dict[str, str], list[tuple[float, str]]]) -> dict[str, Any]:
    """As /api/v1/query_range says it."""
    result = [{"metric": labels, "values": [list(pair) for pair in values]} for labels, values in series]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


LATENCY = answer(
    ({"le": "+Inf"}, [(60, "10"), (120, "20")]),
    ({"le": "0.5"}, [(60, "4"), (120, "12")]),
    ({"le": "1.0"}, [(60, "9.5"), (120, "20")]),
)
ERRORS = {"requests": answer(({}, [(60, "10"), (120, "20")])), "bad": answer(({}, [(120, "1")]))}
MEMORY = answer(({"gitops_version": "2.0"}, [(120.4, "91.5"), (60, "NaN"), (59.8, "90")]))
GOOD = {
    "look": 60,
    "stable": {"latency": LATENCY},
    "candidate": {"latency": LATENCY, "error-rate": ERRORS, "gpu-memory": MEMORY, "refusals": answer()},
}


def written(path: Path, document: Any) -> Path:
    file = path / "recording.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    return file


def test_everything_in_a_recording(tmp_path: Path) -> None:
    found = read_recording(written(tmp_path, GOOD), "1.0", "2.0")
    assert found.length == 60
    first, second = found.looks["2.0", "latency-p99"]
    assert first == Look(60, {0.5: 4.0, 1.0: 9.5, math.inf: 10.0})
    assert isinstance(first.datum, dict)
    assert list(first.datum) == [0.5, 1.0, math.inf]
    assert second.end == 120
    assert found.looks["1.0", "latency-p50"] == found.looks["1.0", "latency-p99"] == (first, second)
    assert found.looks["2.0", "error-rate"] == (Look(60, Counts(10, 0)), Look(120, Counts(20, 1)))
    assert found.looks["2.0", "gpu-memory"] == (Look(60, 90.0), Look(120, 91.5))
    assert found.looks["2.0", "refusals"] == ()
    assert ("1.0", "error-rate") not in found.looks
    assert found.span("2.0") == (0, 120)


def changed(**parts: Any) -> dict[str, Any]:
    return {**GOOD, "candidate": parts}


@pytest.mark.parametrize(
    ("document", "where", "what"),
    [
        ("{", "recording.json", "this is not JSON"),
        ([], "recording.json", "a mapping is wanted here"),
        ({**GOOD, "look": "1m"}, "recording.json", "`look` has to be a whole number of seconds"),
        ({**GOOD, "look": 0}, "recording.json", "`look` has to be a whole number of seconds"),
        ({"look": 60, "candidate": {}}, "recording.json: stable", "a mapping is wanted here"),
        (changed(latency=3), "candidate.latency", "a mapping is wanted here"),
        (changed(latency={"status": "error", "error": "boom"}), "candidate.latency", "no answer to a range query"),
        (changed(**{"error-rate": {"requests": answer()}}), "candidate.error-rate.bad", "a mapping is wanted here"),
        (changed(memory=answer(({"pod": "a"}, []), ({"pod": "b"}, []))), "candidate.memory", "2 series where one"),
        (changed(latency=answer(({"le": "1"}, [(60, "1")]))), "candidate.latency", "has no bucket `+Inf`"),
        (changed(latency=answer(({"le": "1"}, []), ({}, []))), "candidate.latency", "no bucket bound"),
        (changed(memory=answer(({}, [(60, "much")]))), "candidate.memory", "a series cannot be read"),
        (changed(memory=answer(({}, [(60,)]))), "candidate.memory", "a series cannot be read"),  # type: ignore[list-item]
    ],
)
def test_what_is_no_recording(tmp_path: Path, document: Any, where: str, what: str) -> None:
    with pytest.raises(GitopsError) as raised:
        read_recording(written(tmp_path, document), "1.0", "2.0")
    assert raised.value.where.endswith(where)
    assert what in raised.value.what
    assert raised.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(GitopsError, match="cannot be read: No such file"):
        read_recording(tmp_path / "none.json", "1.0", "2.0")


class Answering:
    """A metric source that knows one answer."""

    def __init__(self, found: Series | Unanswered) -> None:
        self.found = found

    def read(self, questions: Sequence[Question], now: int, /) -> Answers:
        return dict.fromkeys(questions, self.found)


QUESTION = Question(UnitKey("production", "chat"), "ns", "2.0", "vllm", "error-rate", 0, 60)


def test_a_metric_source_can_be_recorded() -> None:
    looks = (Look(60, Counts(10, 1)),)
    found = record(Answering(Series(looks, Counts(3, 0))), [QUESTION], 90)
    assert found.looks == {("2.0", "error-rate"): looks}
    assert found.length == 60


def test_a_source_that_cannot_answer_is_named() -> None:
    with pytest.raises(GitopsError, match="connection refused") as raised:
        record(Answering(Unanswered("connection refused")), [QUESTION], 90)
    assert raised.value.where == "error-rate of 2.0"
