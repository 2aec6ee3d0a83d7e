"""History: what the trailers say, filtered and shown."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gitops.errors import GitopsError
from gitops.rollout.history import HistoryFilter, entries, parse_filter
from gitops.rollout.message import Released, commit_message
from gitops.rollout.release import SpecSource
from gitops.values import UnitKey
from gitops.view.history import history_data, history_text
from gitops.world.git.repository import open_repository
from gitops.world.ports import Commit

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DEV, PRODUCTION = UnitKey("dev", "chat"), UnitKey("production", "chat")


def commit(message: str, time: str = "2026-11-21T11:30:00Z", author: str = "Ada <a@b>") -> Commit:
    """As the repository would return it."""
    subject, *rest = message.strip().split("\n\n")
    found = tuple(line.partition(": ")[::2] for line in rest[-1].splitlines()) if rest else ()
    return Commit("0123456789abcdef" * 2 + "01234567", time, author, subject, "", found)


MANY = commit_message(
    [Released(DEV, "2", "1"), Released(PRODUCTION, "1", "1"), Released(UnitKey("dev", "embed"), "1", "")],
    [UnitKey("dev", "old")],
    ["aws"],
    "R2",
    SpecSource("a" * 40, modified=True),
)
ONE = commit_message([Released(PRODUCTION, "2", "1")], [], [], "R1", SpecSource("b" * 40))


def test_one_unit() -> None:
    (entry,) = entries([commit(ONE)])
    assert (entry.environment, entry.model, entry.version, entry.previous) == ("production", "chat", "2", "1")
    assert (entry.decision, entry.rollout, entry.spec_commit, entry.weight) == ("release", "R1", "b" * 40, "100")
    assert not entry.spec_modified


def test_many_units() -> None:
    found = list(entries([commit(MANY)]))
    assert [(f"{e.environment}/{e.model}", e.version, e.previous, e.decision) for e in found] == [
        ("dev/chat", "2", "1", "release"),
        ("production/chat", "1", "1", "update"),
        ("dev/embed", "1", "", "release"),
        ("dev/old", "", "", "remove"),
    ]
    assert {entry.spec_commit for entry in found} == {"a" * 40}
    assert all(entry.spec_modified for entry in found)


def test_a_step_of_a_later_kind_and_foreign_commits() -> None:
    trailers = "Model: chat\nEnvironment: production\nVersion: 2\nWeight: 10\nDecision: advance"
    step = f"rollout(production/chat): 2 to 10 %\n\n{trailers}"
    (entry,) = entries([commit(step)])
    assert (entry.environment, entry.model, entry.version, entry.decision) == ("production", "chat", "2", "advance")
    (entry,) = entries([commit("fix by hand")])
    assert (entry.environment, entry.model, entry.decision, entry.subject) == ("", "", "", "fix by hand")


@pytest.mark.parametrize(
    ("text", "wanted", "count"),
    [
        ("", HistoryFilter(), 6),
        ("chat", HistoryFilter(model="chat"), 3),
        ("dev/", HistoryFilter("dev"), 3),
        ("production/chat", HistoryFilter("production", "chat"), 2),
        ("staging/chat", HistoryFilter("staging", "chat"), 0),
    ],
)
def test_filters(text: str, wanted: HistoryFilter, count: int) -> None:
    assert parse_filter(text) == wanted
    assert len(list(entries([commit(MANY), commit(ONE), commit("by hand")], wanted))) == count


@pytest.mark.parametrize("text", ["a/b/c", "/chat", "/"])
def test_filters_that_are_none(text: str) -> None:
    with pytest.raises(GitopsError, match="names no unit"):
        parse_filter(text)


def test_text() -> None:
    commits = [
        commit(ONE, "2026-11-21T11:59:30Z"),
        commit("by\x1b[31m hand", "2026-11-21T10:59:30Z", "Mallory\x07 <m@x>"),
        commit(MANY, "2026-11-19T10:00:00+02:00"),
    ]
    assert history_text(entries(commits), now=NOW) == (
        "WHEN              COMMIT      UNIT             DECISION  VERSION  BY\n"
        "now               0123456789  production/chat  release   1 -> 2   Ada\n"
        "1 h ago           0123456789  -                by hand   by hand  Mallory\n"
        "2026-11-19 08:00  0123456789  dev/chat         release   1 -> 2   Ada\n"
        "2026-11-19 08:00  0123456789  production/chat  update    1        Ada\n"
        "2026-11-19 08:00  0123456789  dev/embed        release   1        Ada\n"
        "2026-11-19 08:00  0123456789  dev/old          remove    -        Ada\n"
    )
    absolute = history_text(entries(commits[:1]), now=NOW, absolute=True)
    assert absolute.splitlines()[1].startswith("2026-11-21 11:59")
    assert history_text([], now=NOW) == "No release has been recorded yet.\n"


@pytest.mark.parametrize("time", ["%cI", "3170843-11-07T09:46:39+00:00", "0001-01-01T00:00:00+23:59", ""])
def test_a_commit_of_no_time(time: str) -> None:
    """Git keeps any number as the date of a commit, and tells some of them in no form of a date."""
    assert history_text(entries([commit(ONE, time)]), now=NOW).splitlines()[1].startswith("unknown  0123456789")
    decided = commit(ONE.rstrip() + f"\nTime: {time}\n")
    assert "30 min ago" in history_text(entries([decided]), now=NOW)


def test_data() -> None:
    (data,) = json.loads(json.dumps(history_data(entries([commit(ONE)]))))
    assert data["specCommit"] == "b" * 40
    assert data["author"] == "Ada <a@b>"


def test_through_a_real_repository(tmp_path: Path) -> None:
    repository = open_repository("r.git", "main", state=tmp_path, project=tmp_path)
    head = repository.commit(None, {"a": b"1"}, MANY)
    repository.commit(head, {"a": b"2"}, ONE)
    wanted = parse_filter("production/chat")
    found = list(entries(repository.log(models=wanted.models), wanted))
    assert [(entry.version, entry.decision, entry.rollout) for entry in found] == [
        ("2", "release", "R1"),
        ("1", "update", "R2"),
    ]
