"""The live view on a terminal: drawn in its place, nothing lost, nothing left behind."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, cast

import pytest

from gitops.cli import console
from gitops.cli.live import Live
from gitops.values import UnitKey
from gitops.view.live import EVENTS_SHOWN, Size
from tests.view.rollouts import CHAT, Pass, after, baking, begin
from tests.view.screen import Screen

if TYPE_CHECKING:
    from gitops.engine.reconciling import Pass as EnginePass


class Stage:
    """A live view whose stream is a screen, and whose time stands still."""

    def __init__(self, width: int = 100, height: int = 24, *, color: bool = False) -> None:
        self.screen, self.raw, self.now = Screen(width, height), io.StringIO(), 0.0
        self.size = Size(width, height)
        self.live = Live(cast(Any, self), color=color, size=lambda: self.size, clock=lambda: self.now)

    def write(self, text: str) -> None:
        self.raw.write(text)
        self.screen.feed(text)

    def flush(self) -> None:
        pass

    def report(self, done: Pass) -> None:
        self.live.report(cast("EnginePass", done))


def story(unit: UnitKey = CHAT) -> list[Pass]:
    """The passes of a whole rollout."""
    walk, found = begin(), []
    for _ in range(200):
        walk.look(60)
        found.append(after(walk, unit))
    return found


def events(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if re.match(r" *\d\d:\d\d:\d\d  ", line)]


def test_every_event_stays_in_order_and_the_frame_goes() -> None:
    stage = Stage()
    for done in story():
        stage.report(done)
        shown = stage.screen.visible
        assert shown.count("under way") == 1, "one frame, drawn in its place"
    stage.live.close()
    assert [line.split()[4] for line in events(stage.screen.text) if "%" in line][:4] == ["%"] * 4
    kinds = [re.split(r"  +", line)[4 if "%" in line else 3] for line in events(stage.screen.text)]
    assert kinds == ["start", "advance", "advance", "advance", "advance", "promote", "retire"]
    assert "under way" not in stage.screen.text
    assert stage.screen.text.startswith("2026-11-21 (UTC)\n12:01:00  production/support-chat")


def test_old_events_scroll_out_of_the_frame() -> None:
    stage = Stage()
    for done in story():
        stage.report(done)
    above, _, frame = stage.screen.text.partition("No rollout is under way")
    assert len(events(frame)) == EVENTS_SHOWN
    assert len(events(above)) == 2


def test_what_others_say_stands_above() -> None:
    stage = Stage()
    stage.report(after(baking()))
    stage.live.above("error: one\n  next: two")
    stage.live.status("aws: Service created")
    lines = stage.screen.text.splitlines()
    assert lines[:2] == ["error: one", "  next: two"]
    assert lines[-1] == "… aws: Service created"
    stage.report(after(baking()))
    assert "Service created" not in stage.screen.text, "a pass is the end of what was being done"
    stage.live.close()
    assert stage.screen.text == "error: one\n  next: two\n"


def test_a_terminal_that_becomes_narrow() -> None:
    stage = Stage(width=120)
    done = after(baking())
    stage.report(done)
    rows = len(stage.screen.text.splitlines())
    stage.size = Size(60, 24)
    stage.live.status("again")
    wide = [line for line in stage.screen.text.splitlines() if len(line) > 60]
    up = int(re.findall(r"\x1b\[(\d+)A", stage.raw.getvalue())[-1])
    assert up > rows, "lines that wrapped count twice"
    assert not wide


def test_only_colours_differ() -> None:
    texts = []
    for color in (True, False):
        stage = Stage(color=color)
        for done in story()[:30]:
            stage.report(done)
        stage.live.close()
        texts.append((stage.screen.text, "\x1b[32m" in stage.raw.getvalue()))
    assert [colored for _, colored in texts] == [True, False]
    assert texts[0][0] == texts[1][0]


def test_it_is_quiet_after_the_end() -> None:
    stage = Stage()
    stage.report(after(baking()))
    stage.live.close()
    size = len(stage.raw.getvalue())
    stage.live.close()
    stage.live.status("late")
    assert len(stage.raw.getvalue()) == size


# --- Everything goes through it ------------------------------------------------------------------------------


def test_the_console_gives_way(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    console.occupy(stage.live)
    try:
        stage.report(after(baking()))
        console.write("a result")
        console.note("a note\x1b[2J")
        console.progress("progress\x1b[2J")
        assert "a result\na note\\x1b[2J\n" in stage.screen.text
        assert "… progress\\x1b[2J" in stage.screen.text
    finally:
        console.restore()
    assert capsys.readouterr() == ("", "")
    assert "under way" not in stage.screen.text
    console.write("plain")
    assert capsys.readouterr().out == "plain\n"


def test_notes_to_a_file_are_not_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage()
    console.occupy(stage.live)
    try:
        console.note("to a file")
        console.progress("also")
    finally:
        console.restore()
    assert capsys.readouterr().err == "to a file\nalso\n"
    assert "file" not in stage.screen.text


@pytest.mark.parametrize("ending", [KeyboardInterrupt, ValueError, BrokenPipeError])
def test_every_ending_gives_the_terminal_back(ending: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    monkeypatch.setattr("os.dup2", lambda *_: None)

    def run() -> int:
        console.occupy(stage.live)
        stage.report(after(baking()))
        raise ending

    code = console.guarded(run)
    assert code in (console.INTERRUPTED, console.ERROR, console.OK)
    assert "under way" not in stage.screen.text
