"""Tools of the tests are made once, before the tests, and end with the process that makes them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.tools.__main__ import TOOLS
from tests.support.tools.tool import Tool, Unavailable, run

ROOT = Path(__file__).resolve().parents[2]

MAKE = """
import sys, time
from pathlib import Path
from tests.support.tools.tool import Tool, run

made = Path(sys.argv[1])
def make():
    with (made.parent / "log").open("a") as log:
        log.write("made\\n")
    time.sleep(0.5)
    made.touch()
Tool("thing", "making it", lambda: made if made.exists() else None, make).prepare(print)
"""

BUILD = """
import sys
from tests.support.tools.tool import run
run(["sh", "-c", "sleep 600 & echo $! $$ > $0; wait", sys.argv[1]])
"""


def python(script: str, argument: Path, cache: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-c", script, str(argument)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def test_processes_that_ask_at_the_same_time_make_it_once(tmp_path: Path) -> None:
    made = tmp_path / "thing"
    both = [python(MAKE, made, tmp_path / "cache") for _ in range(2)]
    said = "".join(one.communicate(timeout=60)[0] for one in both)
    assert (tmp_path / "log").read_text() == "made\n"
    assert said.count("thing: making it") == 1


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_build_ends_with_its_parent(tmp_path: Path, end: signal.Signals) -> None:
    noted = tmp_path / "processes"
    with python(BUILD, noted, tmp_path / "cache") as parent:
        while not (noted.exists() and noted.read_text().strip()):
            assert parent.poll() is None
            time.sleep(0.02)
        parent.send_signal(end)
    left = [int(one) for one in noted.read_text().split()]
    until = time.monotonic() + 20
    while any(map(_runs, left)):
        assert time.monotonic() < until, left
        time.sleep(0.02)


def _runs(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_test_never_makes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> None:
        raise AssertionError("made inside a test")

    thing = Tool("thing", "making it", lambda: None, make)
    with pytest.raises(Unavailable, match="thing is not set up: run `make tools`"):
        thing.path()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(Unavailable):
        thing.path_or_skip()
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="make tools"):
        thing.path_or_skip()


def test_output_is_kept_whatever_its_bytes(tmp_path: Path) -> None:
    done = run(["sh", "-c", r"printf 'a\377b'; printf 'no\n' >&2; exit 3"], cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (3, "a�b", "no\n")


def test_looking_for_them_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    for variable in ("KUBEBUILDER_ASSETS", "GITOPS_PROMETHEUS"):
        monkeypatch.delenv(variable, raising=False)
    assert [tool.name for tool in TOOLS if tool.find()] == []
