"""`gitops history`: rollouts as people read them the morning after."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from gitops.rollout.events import Event
from gitops.rollout.history import entries
from gitops.rollout.message import Released, commit_message
from gitops.rollout.release import SpecSource
from gitops.rollout.step_message import step_message
from gitops.values import Commit, UnitKey
from gitops.view.history import history_data, history_text
from tests.rollout.looks import SHADOW, Walk
from tests.view import goldens
from tests.view.rollouts import CHAT, EVIL, HIGH, NOON, SLOW, begin, results

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
COMMITTED = "2026-11-21T11:00:00Z"


def commit(message: str, number: int = 0) -> Commit:
    """As the repository would return it; its time is not that of the decision."""
    subject, *middle, last = message.strip().split("\n\n")
    pairs = tuple(line.partition(": ")[::2] for line in last.splitlines())
    return Commit(f"{number:040x}", COMMITTED, "CI <ci@acme.example>", subject, "\n\n".join(middle), pairs)


def commits(walk: Walk) -> list[Commit]:
    """Every step of a walk, newest first."""
    messages = [
        step_message(CHAT, decision.event, decision.evidence, "R1", SpecSource())
        for decision in walk.decisions
        if decision.event
    ]
    return [commit(message, number) for number, message in enumerate(messages, 1)][::-1]


def eventful() -> Walk:
    """Paused by its gates, aborted by a person, tried again, rolled back."""
    walk = begin().until("baking")
    walk.look(1000)
    walk.look(400, results=results(errors=HIGH))
    walk.say("abort", by="alice@acme.example", seconds=60)
    walk.say("retry", by="alice@acme.example", seconds=600)
    walk.given(results=results()).until("baking")
    walk.look(1000)
    walk.look(400, results=results(latency=SLOW))
    walk.look(3600)
    return walk


def text(walk: Walk, **options: Any) -> str:
    return history_text(entries(commits(walk)), now=NOW, absolute=True, **options)


def test_golden() -> None:
    goldens.check("history.txt", text(eventful(), width=140))


def test_golden_narrow() -> None:
    goldens.check("history-narrow.txt", text(eventful(), width=80))


def test_golden_full() -> None:
    goldens.check("history-full.txt", text(eventful(), width=140, full=True))


def test_whole_reasons_without_a_terminal() -> None:
    whole = text(eventful())
    assert "(+60.8 %, pause above +10 %, roll back above +50 %), 18204 requests: fail" in whole
    assert "…" not in whole


@pytest.mark.parametrize("width", [80, 100, 120, 140])
def test_it_fits_the_terminal(width: int) -> None:
    shown = text(eventful(), width=width)
    assert max(map(len, shown.splitlines())) <= width
    assert "production/support-chat" not in shown, "who asks for one unit knows which"


def test_times_are_those_of_decisions() -> None:
    assert "2026-11-21 12:02" in text(begin().until("baking"))
    assert "2026-11-21 11:00" not in text(eventful())


def test_people_and_not_their_ci_have_decided() -> None:
    rows = [re.split(r"  +", line) for line in text(eventful()).splitlines()]
    by = {row[3]: row[-2] for row in rows if row[3] in ("retry", "pause")}
    assert by == {"retry": "alice@acme.example", "pause": "CI"}


def test_mirrored_requests_and_waves() -> None:
    assert "10 % mirrored (1/2)" in text(begin(SHADOW).until("baking"))
    event = Event("advance", NOON, CHAT_VERSION, "2.2.0", step=2, steps=4, weight=10, wave=1, waves=3)
    message = step_message(CHAT, event, (), "R", SpecSource())
    assert "10 % (wave 2/3, 2/4)" in history_text(entries([commit(message)]), now=NOW)


CHAT_VERSION = begin().seen.target


def test_a_version_that_is_removed_is_no_move() -> None:
    (line,) = [
        line for line in text(begin().until("idle").until("idle", every=3600)).splitlines() if " retire " in line
    ]
    assert "->" not in line
    assert " 2.2.0 " in line


def test_data() -> None:
    newest, *_, oldest = orjson.loads(orjson.dumps(history_data(entries(commits(eventful())))))
    assert (newest["decision"], newest["reason"]) == ("retire", "2.3.0 is kept no longer")
    assert (oldest["decision"], oldest["decided"], oldest["time"]) == ("start", "2026-11-21T12:01:00Z", COMMITTED)
    rejected = next(
        one for one in history_data(entries(commits(eventful()))) if one["decision"] == "roll-back" and not one["by"]
    )
    assert SLOW in rejected["said"]  # type: ignore[operator]


def test_a_commit_of_many_units_has_no_text_of_one() -> None:
    units = [Released(UnitKey("dev", name), "2", "1") for name in ("a", "b")]
    found = list(entries([commit(commit_message(units, [], [], "R", SpecSource(), time="2026-11-21T12:00:00Z"))]))
    assert [entry.said for entry in found] == [(), ()]
    assert {entry.moment for entry in found} == {"2026-11-21T12:00:00Z"}


@pytest.mark.parametrize("time", ["yesterday", "2026-11-21T12:00:00", "2026-11-21"])
def test_a_time_that_is_none_is_the_commits(time: str) -> None:
    message = f"by hand\n\nModel: chat\nEnvironment: dev\nVersion: 2\nDecision: advance\nTime: {time}"
    (entry,) = entries([commit(message)])
    assert entry.moment == COMMITTED


def test_nothing_drives_the_terminal() -> None:
    keys = ("Model", "Environment", "Version", "Weight", "Step", "Reason", "By", "Decision")
    found = Commit(EVIL, COMMITTED, EVIL, EVIL, f"{EVIL}\n{EVIL}", tuple((key, EVIL) for key in keys))
    for full in (True, False):
        shown = history_text(entries([found]), now=NOW, full=full, width=80)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)


def test_it_starts_without_the_specs_models() -> None:
    code = "import gitops.view.history, sys; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
