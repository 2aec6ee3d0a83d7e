"""Passes as lines: aligned, nothing said twice, nothing that could drive a terminal."""

from __future__ import annotations

import re
from dataclasses import replace

import orjson
import pytest
from jsonschema import Draft202012Validator

from gitops.values import UnitKey
from gitops.view.journal import HEARTBEAT, Journal
from gitops.view.passes import outcome, pass_document, pass_text
from gitops.view.schema import schema_of
from gitops.view.terminal import display_width, paint
from tests.plan.test_document import closed
from tests.rollout.looks import NEXT, Walk
from tests.view import goldens
from tests.view.rollouts import (
    EMBEDDER,
    EVIL,
    HIGH,
    PHASES,
    SLOW,
    Failure,
    Pass,
    after,
    baking,
    begin,
    passed,
    paused,
    results,
    waiting,
)


def told(journal: Journal, *passes: Pass, every: float = 15.0) -> str:
    """What the journal says of these passes, `every` so many seconds of the reader."""
    lines = [line for number, one in enumerate(passes) for line in journal.lines(one, number * every)]
    return paint(lines, color=False)


def story(walk: Walk, *, looks: int = 400) -> list[Pass]:
    """Every pass of a rollout until nothing is left of it."""
    found = []
    for _ in range(looks):
        walk.look(60)
        found.append(after(walk))
        if walk.state.candidate is None and not walk.state.kept:
            break
    return found


def test_a_rollout_that_goes_well() -> None:
    goldens.check("passes-promoted.txt", told(Journal(), *story(begin(stable_ready=100)), every=0))


def test_a_rollout_that_goes_back() -> None:
    walk = baking()
    passes = [after(walk)]
    for seen in ({"errors": HIGH}, {}, {"latency": SLOW}, {}, {}):
        walk.look(120, results=results(**seen))
        passes.append(after(walk))
    text = told(Journal(), *passes, every=0)
    goldens.check("passes-rolled-back.txt", text)
    (line,) = [line for line in text.splitlines() if "roll-back" in line]
    assert "2.2.0 serves all traffic; latency-p99 640 ms" in line
    assert text.count("gitops retry") == 1, "the rejection is said once"


def test_people() -> None:
    walk = baking()
    passes = []
    for kind in ("pause", "resume", "abort", "retry"):
        walk.say(kind, by="alice@acme.example", seconds=60)  # type: ignore[arg-type]
        passes.append(after(walk))
    goldens.check("passes-people.txt", told(Journal(), *passes, every=0))


def test_one_pass_with_everything() -> None:
    walks = {UnitKey("production", name): make() for name, make in PHASES.items()}
    done = passed(
        walks,
        blind={"aws-west": "connection refused"},
        left_alone={EMBEDDER: "last changed from spec commit 4f2c1a97d3, which this checkout does not contain"},
        settled={EMBEDDER: ("laptop", "aws-east")},
        failures=(Failure("production/baking", "aws-east", "the API server answered 403"),),
    )
    goldens.check("passes-everything.txt", pass_text(done, holds=True))


def test_columns_only_grow() -> None:
    short, long = (
        after(baking(), UnitKey("dev", "a")),
        after(baking(), UnitKey("production", "a-much-longer-name-than")),
    )
    lines = told(Journal(), long, short, short, every=HEARTBEAT).splitlines()[1:]
    assert len(lines) == 3
    assert len({display_width(line[: line.index(" hold ")]) for line in lines}) == 1


# --- What is said, and when ----------------------------------------------------------------------------------


def test_holds_are_quiet_until_it_has_been_silent_for_long() -> None:
    walk = baking()
    first = after(walk)
    walk.look(15)
    journal = Journal()
    assert told(journal, first, after(walk)).count("hold") == 1, "where it stands is said at first"
    assert told(Journal(heartbeat=0), first, after(walk)) == ""
    (line,) = list(journal.lines(after(walk), HEARTBEAT + 1))
    assert "hold       watched for" in line.text
    assert "latency-p99 412 ms" in line.text
    assert not list(journal.lines(after(walk), HEARTBEAT + 30))


def test_what_it_waits_for_is_said_when_it_changes() -> None:
    walk = waiting()
    first = after(walk)
    walk.look(15)
    journal = Journal()
    assert told(journal, first).count("waits for approval") == 1
    assert told(journal, after(walk)) == ""
    walk.look(15, freeze="weekend, until Mon 08:00")
    assert "frozen, weekend" in told(journal, after(walk))
    walk.look(15, target=NEXT)
    assert "2.4.0" in told(journal, after(walk)), "the same of another version is news"


def test_a_version_that_is_kept_warm_is_no_news() -> None:
    walk = begin().until("idle")
    walk.look(60)
    assert told(Journal(), after(walk)) == ""


def test_troubles_are_said_once_and_when_they_are_over() -> None:
    quiet = after(baking())
    blind = replace(quiet, blind={"aws": "connection refused"})
    text = told(Journal(heartbeat=0), blind, blind, blind, quiet, quiet)
    assert [line.split()[1:4] for line in text.splitlines()[1:]] == [["aws", "not", "seen"], ["aws", "seen", "it"]]


def test_a_new_day_is_said() -> None:
    walk = baking()
    walk.look(12 * 3600, results=results(latency=SLOW))
    assert told(Journal(), after(walk)).startswith("2026-11-22 (UTC)\n00:24:40  production/support-chat")


def test_a_new_target() -> None:
    walk = baking()
    walk.look(60, target=NEXT)
    assert "2.2.0 serves all traffic; the spec names 2.4.0 now" in told(Journal(), after(walk))
    assert "gitops retry" not in told(Journal(), after(walk))


# --- Safety, programs, the end -------------------------------------------------------------------------------


def test_nothing_drives_the_terminal() -> None:
    evil = UnitKey(EVIL, EVIL)
    done = replace(
        after(paused(), evil),
        blind={EVIL: EVIL},
        left_alone={evil: EVIL},
        settled={evil: (EVIL,)},
        failures=(Failure(EVIL, EVIL, EVIL),),
    )
    texts = [pass_text(done, holds=True), told(Journal(), done), *outcome({evil: EVIL}, {evil: EVIL})]
    for text in texts:
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert len(texts[0].splitlines()) == 5


@pytest.mark.parametrize("name", PHASES)
def test_document(name: str) -> None:
    schema = schema_of("pass")
    Draft202012Validator.check_schema(schema)
    done = replace(after(PHASES[name]()), blind={"a": "b"}, failures=(Failure("u", "c", "m"),))
    document = orjson.loads(orjson.dumps(pass_document(done)))
    Draft202012Validator(closed(schema)).validate(document)
    assert document["time"].startswith("2026-11-21T1")
    assert document["decisions"][0]["target"] == "2.3.0"


def test_outcome() -> None:
    rejected = {UnitKey("staging", "chat"): "2.4.0 is rejected: error-rate 3 %: fail"}
    approval = {
        UnitKey("production", "chat"): "2.4.0 waits: not verified in staging yet",
        UnitKey("production", "a"): "2.0.0 waits for approval: 0 of 2",
        UnitKey("production", "b"): "2.0.0 waits for approval: 0 of 2",
        UnitKey("dev", "c"): "paused: paused by ada",
    }
    assert list(outcome(rejected, approval)) == [
        "error: staging/chat: 2.4.0 is rejected: error-rate 3 %: fail",
        "  next: gitops history staging/chat --full says what was measured",
        "  then: name a better version in the spec, or gitops retry staging/chat",
        "production/chat: 2.4.0 waits: not verified in staging yet",
        "production/a: 2.0.0 waits for approval: 0 of 2",
        "production/b: 2.0.0 waits for approval: 0 of 2",
        "dev/c: paused: paused by ada",
        "  next: gitops approve production/a",
        "  next: gitops resume dev/c or gitops abort dev/c",
    ]
    assert list(outcome({}, {})) == []
