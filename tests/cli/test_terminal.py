"""A person at a terminal: being asked, saying no, Ctrl-C at any time, and pipes that close."""

import fcntl
import os
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.cli.small import commits, live, release_chat, small_project
from tests.support.project import Project
from tests.view.screen import Screen

pytestmark = pytest.mark.slow

TAKES_THE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
QUESTION = "Only `yes` is accepted: "
CTRL_C, CTRL_D = "\x03", "\x04"
DEADLINE = 60.0


class Terminal:
    """A command with a terminal of its own, 120 columns wide and 40 lines high."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self._ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-c", TAKES_THE_TERMINAL, *command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={"TERM": "xterm", **env},
            start_new_session=True,
        )
        os.close(theirs)
        self.shown = ""

    @property
    def screen(self) -> Screen:
        """What a person sees."""
        screen = Screen(120, 40)
        screen.feed(self.shown)
        return screen

    def wait_for(self, text: str) -> None:
        """Read until `text` is on the screen."""
        until = time.monotonic() + DEADLINE
        while text not in self.shown:
            assert time.monotonic() < until, self.shown
            assert self._read(), f"ended before {text!r}: {self.shown}"

    def type(self, text: str) -> None:
        """What a person types; control characters do what they do."""
        os.write(self._ours, text.encode())

    def end(self) -> int:
        """The exit code, after everything has been read."""
        while self._read():
            pass
        os.close(self._ours)
        code = self._process.wait(DEADLINE)
        assert "Traceback" not in self.shown, self.shown
        return code

    def _read(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], DEADLINE)
        assert ready, self.shown
        try:
            data = os.read(self._ours, 1 << 16)
        except OSError:  # the other side is closed
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)


def on_terminal(project: Project, *arguments: str, env: Mapping[str, str] | None = None) -> Terminal:
    """`gitops` on a terminal."""
    inherited = {key: value for key, value in project.environment().items() if key not in ("NO_COLOR", "TERM")}
    return Terminal(project.command(*arguments), {**inherited, **(env or {})})


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Dev alone, applied once, with another version of chat in the spec."""
    project = small_project(tmp_path_factory.mktemp("small") / "project", production=False)
    project.gitops("apply", "--yes")
    release_chat(project)
    return project


@pytest.fixture
def pending(prepared: Project, tmp_path: Path) -> Project:
    """A copy of it, to be applied."""
    shutil.copytree(prepared.path, tmp_path / "project")
    return Project(tmp_path / "project")


def released(project: Project) -> int:
    return commits(project, embedded=False)


# --- Being asked -----------------------------------------------------------------------------------------------


def test_yes_applies(pending: Project) -> None:
    terminal = on_terminal(pending, "apply")
    terminal.wait_for(QUESTION)
    assert "chat" in terminal.shown, "the plan is shown before the question"
    terminal.type("yes\n")
    assert terminal.end() == 0
    assert "Applied: commit" in terminal.shown
    assert released(pending) == 2

    again = on_terminal(pending, "apply")
    assert again.end() == 0
    assert QUESTION not in again.shown


@pytest.mark.parametrize("answer", ["no\n", "y\n", "YES!\n", "\n", CTRL_D])
def test_anything_else_does_nothing(pending: Project, answer: str) -> None:
    terminal = on_terminal(pending, "apply")
    terminal.wait_for(QUESTION)
    terminal.type(answer)
    assert terminal.end() == 1
    assert "not applied; nothing was done" in terminal.shown
    assert released(pending) == 1


def test_without_a_terminal_nobody_can_be_asked(pending: Project) -> None:
    done = pending.gitops("apply", expect=1)
    assert done.err.splitlines()[-2:] == [
        "error: there is no terminal to ask on",
        "  next: look at the plan, then run it with --yes",
    ]
    assert "~ dev/chat" in done.out
    assert released(pending) == 1


def test_colour_is_for_terminals_that_want_it(pending: Project) -> None:
    coloured = on_terminal(pending, "plan")
    assert coloured.end() == 2
    assert "\x1b[33m" in coloured.shown
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        plain = on_terminal(pending, "plan", env=env)
        assert plain.end() == 2
        assert "\x1b" not in plain.shown


# --- The live view -----------------------------------------------------------------------------------------------


def test_a_rollout_is_watched(pending: Project) -> None:
    terminal = on_terminal(pending, "apply", "--yes", "--wait")
    assert terminal.end() == 0
    assert "1 rollout under way" in terminal.shown
    lines = terminal.screen.text.splitlines()
    kinds = [line.split()[3 if "%" not in line else 5] for line in lines if re.match(r"\d\d:\d\d:\d\d  dev/chat", line)]
    assert kinds[-1] == "promote", "events stay"
    assert lines[-1] == "Every release runs what the spec names."
    assert "under way" not in terminal.screen.text


def test_without_colours_it_is_still_drawn(pending: Project) -> None:
    terminal = on_terminal(pending, "apply", "--yes", "--wait", env={"NO_COLOR": "1"})
    assert terminal.end() == 0
    assert "under way" in terminal.shown
    assert not re.search(r"\x1b\[\d*m", terminal.shown)


def test_a_dumb_terminal_gets_lines(pending: Project) -> None:
    terminal = on_terminal(pending, "apply", "--yes", "--wait", env={"TERM": "dumb"})
    assert terminal.end() == 0
    assert "\x1b" not in terminal.shown
    assert re.search(r"dev/chat +1\.1\.0 +100 % +promote", terminal.shown)


def test_run_is_watched_and_stops_after_its_pass(pending: Project) -> None:
    pending.edit("environments/dev.yaml", "speed: 1000", "speed: 0.01")
    pending.gitops("apply", "--yes")
    terminal = on_terminal(pending, "run", "--interval", "0.2")
    terminal.wait_for("waits for ready capacity: 0 %")
    terminal.type(CTRL_C)
    assert terminal.end() == 0
    assert "under way" not in terminal.screen.text
    assert (
        terminal.screen.text.splitlines()[-1] == "stopped; what was pushed stays, and the next run goes on from there"
    )


# --- Ctrl-C ----------------------------------------------------------------------------------------------------


def test_ctrl_c_at_the_question_does_nothing(pending: Project) -> None:
    terminal = on_terminal(pending, "apply")
    terminal.wait_for(QUESTION)
    terminal.type(CTRL_C)
    assert terminal.end() == 130
    assert "interrupted" in terminal.shown
    assert released(pending) == 1


def test_ctrl_c_while_a_model_loads_and_then_the_same_command_again(pending: Project) -> None:
    pending.edit("pipeline.yaml", "readyTimeout: 20s", "readyTimeout: 10m")
    pending.edit("environments/dev.yaml", "speed: 1000", "speed: 0.3")
    terminal = on_terminal(pending, "apply", "--yes", "--wait")
    terminal.wait_for("waits for ready capacity: 0 %")
    assert "dev/chat  1.0.0 → 1.1.0  rolling" in terminal.screen.visible
    terminal.type(CTRL_C)
    assert terminal.end() == 130
    shown = terminal.screen.text
    assert "under way" not in shown, "the live view is taken away"
    assert shown.splitlines()[-1] == "interrupted; what was pushed stays, and the same command finishes it"
    with live(pending, "local", embedded=False) as cluster:
        assert cluster.get("Service", "acme-dev", "chat")["spec"]["selector"]["gitops/version"] == "1.0.0"
    assert released(pending) == 2

    done = pending.gitops("apply", "--yes", "--wait")
    assert re.search(r"dev/chat +1\.1\.0 +100 % +promote +replaces 1\.0\.0, which stays warm for 1h 00m", done.out)
    assert "\x1b" not in done.out
    with live(pending, "local", embedded=False) as cluster:
        assert cluster.get("Service", "acme-dev", "chat")["spec"]["selector"]["gitops/version"] == "1.1.0"
        assert cluster.get("Deployment", "acme-dev", "chat-1-0-0"), "it stays warm"
    pending.gitops("plan", expect=0)


def test_ctrl_c_during_a_plan_ends_what_it_started(pending: Project, tmp_path: Path) -> None:
    started = tmp_path / "started"
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\necho $$ > {started}.new && mv {started}.new {started}\nexec sleep 600\n")
    ssh.chmod(0o755)
    pending.edit("pipeline.yaml", "name: acme\n", "name: acme\nrepository: {url: ssh://git@example.com/gitops.git}\n")
    env = {**pending.environment(), "GIT_SSH_COMMAND": str(ssh)}
    process = subprocess.Popen(
        pending.command("plan"), env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_until(started.exists)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 130
    assert out == b""
    assert err.decode().splitlines() == ["interrupted; what was pushed stays, and the same command finishes it"]
    wait_until(lambda: not is_running(int(started.read_text())))


def test_ctrl_c_before_the_command_has_begun_is_quiet(tmp_path: Path) -> None:
    # As if it came while typer is being imported.
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n")
    env = {
        **Project(tmp_path).environment(),
        "PYTHONPATH": f"{tmp_path}:{Project(tmp_path).environment()['PYTHONPATH']}",
    }
    done = subprocess.run([sys.executable, "-m", "gitops", "plan"], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


# --- Pipes -----------------------------------------------------------------------------------------------------


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    project = Project.example(tmp_path / "project")
    process = subprocess.Popen(
        project.command("render"), env=project.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline().startswith(b"--- # clusters/")
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(DEADLINE), err) == (0, b"")


@pytest.mark.parametrize(
    ("redirection", "code", "says"),
    [(">/dev/full", 1, "error: No space left on device"), (">&-", 0, ""), ("2>&-", 0, "")],
)
def test_output_that_goes_nowhere(prepared: Project, redirection: str, code: int, says: str) -> None:
    script = f'exec "$@" {redirection}'
    command = ["sh", "-c", script, "sh", *prepared.command("status", "--offline")]
    done = subprocess.run(command, capture_output=True, text=True, env=prepared.environment())
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert len(done.stderr.splitlines()) <= 2


def test_a_terminal_that_knows_ascii_alone(prepared: Project) -> None:
    plain = Project(prepared.path, {"PYTHONIOENCODING": "ascii"})
    assert "~ dev/chat  1.0.0 ? 1.1.0" in plain.gitops("plan", expect=2).out
