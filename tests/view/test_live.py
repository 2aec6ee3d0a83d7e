"""The live view: what each phase looks like, and that it fits every terminal."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.values import UnitKey
from gitops.view.live import EVENTS_SHOWN, Size, frame
from gitops.view.terminal import Line, display_width, paint
from tests.rollout.looks import BLUE_GREEN
from tests.view import goldens
from tests.view.rollouts import (
    CHAT,
    EMBEDDER,
    EVIL,
    PHASES,
    Failure,
    Pass,
    after,
    baking,
    begin,
    passed,
    paused,
    waiting,
)

WIDE, NARROW = Size(120, 50), Size(56, 50)
EVENTS = [
    Line("12:00:00  production/support-chat  2.3.0    0 %  start      to replace 2.2.0"),
    Line("12:17:00  production/support-chat  2.3.0   10 %  advance    latency-p99 412 ms, stable 398 ms (+3.5 %)"),
]


def shown(done: Pass | None, size: Size = WIDE, status: str = "", events: list[Line] = EVENTS) -> str:
    now = done.now + 7 if done else 0
    return paint(frame(done, events, size, now, status), color=False)


def several(number: int) -> Pass:
    return passed({UnitKey("production", f"model-{i}"): baking() for i in range(number)})


@pytest.mark.parametrize("name", PHASES)
def test_golden(name: str) -> None:
    goldens.check(f"live-{name}.txt", shown(after(PHASES[name]())))


def test_golden_narrow() -> None:
    goldens.check(
        "live-narrow.txt", shown(passed({CHAT: paused(), EMBEDDER: waiting()}), NARROW, "aws: a Service created")
    )


def test_golden_of_many_on_a_low_terminal() -> None:
    goldens.check("live-low.txt", shown(several(3), Size(100, 14)))


def test_troubles_stand_at_the_top() -> None:
    done = replace(after(baking()), blind={"aws-west": "refused"}, failures=(Failure("a/b", "aws", "403"),))
    assert shown(done).splitlines()[1:3] == ["! aws-west cannot be seen: refused", "! a/b on aws: 403"]


def test_before_the_first_pass() -> None:
    assert shown(None, status="looking").splitlines() == [
        "Waiting for the first pass",
        "",
        "Last events",
        *(f"  {line.text}" for line in EVENTS),
        "",
        "… looking",
    ]


def test_time_goes_on_between_passes() -> None:
    done = after(baking())
    texts = [paint(frame(done, [], WIDE, done.now + s), color=False) for s in (0, 1, 61)]
    assert ["watched for 9m 20s more" in texts[0], "9m 19s" in texts[1], "8m 19s" in texts[2]] == [True] * 3


def test_gates_of_the_weight_before_are_not_shown() -> None:
    walk = begin(BLUE_GREEN).until("baking")
    assert "latency-p99" not in shown(after(walk), events=[])
    walk.look(60)
    assert "✓ latency-p99  412 ms" in shown(after(walk), events=[])


def test_what_does_not_pass_stays_longest() -> None:
    done = passed({CHAT: paused()})
    heights = [height for height in range(4, 40) if "✓ latency-p99" not in shown(done, Size(120, height))]
    warned = [height for height in range(4, 40) if "! error-rate" not in shown(done, Size(120, height))]
    assert warned
    assert max(warned) < max(heights)


def test_a_thousand_rollouts_fit() -> None:
    walk = baking()
    done = passed({UnitKey("production", f"model-{i}"): walk for i in range(1000)})
    lines = shown(done, Size(100, 30)).splitlines()
    assert len(lines) == 29
    assert lines[-1].startswith("… and 97")


@given(
    st.sampled_from(sorted(PHASES)),
    st.integers(1, 140),
    st.integers(1, 40),
    st.integers(0, 9),
    st.sampled_from(["", "working", EVIL]),
)
def test_it_fits_and_drives_nothing(name: str, width: int, height: int, events: int, status: str) -> None:
    walk, other = PHASES[name](), PHASES["paused"]()
    done = passed({UnitKey(EVIL, EVIL): walk, UnitKey("production", "モデル"): other}, blind={EVIL: EVIL * 9})
    lines = frame(done, [Line(EVIL * 20)] * events, Size(width, height), done.now, status)
    assert len(lines) <= max(height - 1, 1)
    for line in lines:
        assert display_width(line.text) <= max(width - 1, 0)
        assert not re.search("[\x00-\x1f\x7f-\x9f\u202e]", line.text)
    assert sum("x\\x1b" in line.text and line.text.startswith("  x") for line in lines) <= EVENTS_SHOWN + 1
