"""The process of a stage: what it says, how it dies, what it may take."""

import sys
import time
from pathlib import Path

import pytest

from gitops.errors import GitopsError
from gitops.stages.build import process
from gitops.stages.build.process import Bounds, StageProcess
from gitops.stages.confinement import Room, home_of

PLENTY = Bounds(30, 2**40)


def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, bounds: Bounds = PLENTY
) -> tuple[object, list[str]]:
    """Run this instead of the child; `argv[2]` is where the result goes."""
    child = tmp_path / "child.py"
    child.write_text(code)
    monkeypatch.setattr(process, "CHILD", child)
    said: list[str] = []
    result = tmp_path / "result.json"
    running = StageProcess(sys.executable, said.append, Room(tmp_path, home_of(sys.executable)))
    return running.run([str(result)], result, tmp_path / "stage.log", bounds, "iris: 1 convert"), said


def test_progress_and_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys\nprint('one')\nprint('noise', file=sys.stderr)\nprint('two')\n"
    code += "open(sys.argv[2], 'w').write('{\"a\": 1}')"
    document, said = run(tmp_path, monkeypatch, code)
    assert document == {"a": 1}
    assert said == ["iris: 1 convert: one", "iris: 1 convert: two"]
    assert (tmp_path / "stage.log").read_text() == "noise\n"


def test_a_stage_that_dies_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys\nprint('first', file=sys.stderr)\nraise MemoryError('no room for 3 tensors')"
    with pytest.raises(GitopsError, match=r"the stage died: .* / MemoryError: no room for 3 tensors") as caught:
        run(tmp_path, monkeypatch, code)
    assert caught.value.where == "iris: 1 convert"
    assert str(tmp_path / "stage.log") in caught.value.hint


def test_a_signal_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GitopsError, match="died of signal 11 and said nothing"):
        run(tmp_path, monkeypatch, "import os\nos.kill(os.getpid(), 11)")


def test_time_is_bounded_and_children_end_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import subprocess, sys, time\nsubprocess.Popen(['sleep', '87.5'])\nprint('started')\ntime.sleep(60)"
    begin = time.monotonic()
    with pytest.raises(GitopsError, match=r"it took longer than 1\.5 s and was ended"):
        run(tmp_path, monkeypatch, code, Bounds(1.5, 2**40))
    assert time.monotonic() - begin < 10
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert b"sleep\x0087.5\x00" not in commands


@pytest.mark.skipif(sys.platform != "linux", reason="memory is watched on Linux only")
def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import time\nheld = bytearray(200 * 2**20)\ntime.sleep(60)"
    with pytest.raises(GitopsError, match=r"more than 0\.125 GiB of memory"):
        run(tmp_path, monkeypatch, code, Bounds(30, 2**27))


def test_a_python_that_is_not_there(tmp_path: Path) -> None:
    running = StageProcess(str(tmp_path / "python"), print, Room(tmp_path), confined=False)
    with pytest.raises(GitopsError, match="cannot be started: No such file"):
        running.run(["x"], tmp_path / "r", tmp_path / "l", PLENTY, "iris")
