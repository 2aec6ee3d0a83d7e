"""A server for the time that gates ask it: real processes."""

from __future__ import annotations

import os
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from gitops.errors import GitopsError
from gitops.stages.serving import served

FILES = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", "{artifact}", "{port}")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_it_answers_while_it_is_needed(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("0.5")
    place = tmp_path / "model", tmp_path, tmp_path / "log"
    with served(FILES, *place, 20) as url, urllib.request.urlopen(f"{url}/weights") as answer:
        assert answer.read() == b"0.5"
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{url}/weights")
    assert b"GET /weights" in (tmp_path / "log").read_bytes()


def test_one_that_ends_says_why(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "import sys; print('no such model'); sys.exit(3)")
    with (
        pytest.raises(GitopsError, match=r"the server ended with 3: it said\n  no such model"),
        served(command, tmp_path, tmp_path, tmp_path / "log", 20),
    ):
        raise AssertionError("it never served")


def test_one_that_never_listens_is_given_up(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "import time; time.sleep(60)")
    with (
        pytest.raises(GitopsError, match="is not there after 1 s and said nothing"),
        served(command, tmp_path, tmp_path, tmp_path / "log", 1),
    ):
        raise AssertionError("it never served")


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with (
        pytest.raises(GitopsError, match="the server cannot be started"),
        served(["no-such-server"], tmp_path, tmp_path, tmp_path / "log", 1),
    ):
        raise AssertionError("it never served")


def test_its_children_end_with_it(tmp_path: Path) -> None:
    """A server may start workers and forget about them."""
    script = (
        "import http.server, os, subprocess, sys\n"
        "worker = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
        "open('worker', 'w').write(str(worker.pid))\n"
        "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()"
    )
    with served((sys.executable, "-c", script, "{port}"), tmp_path, tmp_path, tmp_path / "log", 20):
        worker = int((tmp_path / "worker").read_text())
        assert alive(worker)
    for _ in range(100):
        if not alive(worker) or Path(f"/proc/{worker}/stat").read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError("the worker still runs")
