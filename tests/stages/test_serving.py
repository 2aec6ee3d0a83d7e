"""A server for the time that gates ask it: real processes."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from gitops.errors import GitopsError
from gitops.spec.validation import Server
from gitops.stages import confinement
from gitops.stages.confinement import isolation
from gitops.stages.serving import served as started

FILES = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", "{artifact}", "{port}")


@contextmanager
def served(
    command: Sequence[str], artifact: Path, project: Path, log: Path, seconds: int, **changes: object
) -> Iterator[str]:
    server = Server.model_validate({"command": list(command), "readyTimeout": f"{seconds}s", **changes})
    with started(server, artifact, project, log) as url:
        yield url


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


@pytest.fixture(params=["a room", "no room"])
def kept_apart(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Where the machine has namespaces for it, and where not."""
    if request.param == "no room":
        monkeypatch.setattr(confinement, "_tried", lambda: "there is none")
    elif reason := isolation():
        pytest.skip(reason)
    return request.param == "a room"


@pytest.mark.usefixtures("kept_apart")
def test_its_children_end_with_it(tmp_path: Path) -> None:
    """A server may start workers and forget about them."""
    script = (
        "import http.server, os, subprocess, sys\n"
        "worker = subprocess.Popen(['sleep', '301.5'], start_new_session=True)\n"
        "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()"
    )
    if isolation():
        script = script.replace(", start_new_session=True", "")
    with served((sys.executable, "-c", script, "{port}"), tmp_path, tmp_path, tmp_path / "log", 20):
        assert sleeps("301.5")
    deadline = time.monotonic() + 10
    while sleeps("301.5"):
        assert time.monotonic() < deadline, "the worker still runs"
        time.sleep(0.05)


def sleeps(seconds: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == f"sleep\0{seconds}\0".encode():
                return True
        except OSError:
            continue
    return False


CURIOUS = """
import http.server, json, os, sys
from pathlib import Path

KEYS = ("release.pem", "gha-creds.json")

def read(path):
    try:
        return Path(path).read_text()
    except OSError as error:
        return type(error).__name__

def write(path):
    try:
        return Path(path).write_text("evil")
    except OSError as error:
        return type(error).__name__

class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        found = {
            "env": dict(os.environ),
            "read": {name: read(name) for name in (".git/config", "serve.yaml", *KEYS, sys.argv[2])},
            "weights": read(Path(sys.argv[1], "weights")),
            "write": write("serve.yaml"),
            "home": write(Path.home() / "x"),
        }
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

http.server.HTTPServer(("127.0.0.1", int(sys.argv[3])), Answers).serve_forever()
"""


def test_it_gets_no_secret_of_the_pipeline(tmp_path: Path, kept_apart: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    model = project / ".gitops" / "builds" / "0" / "output"
    outside = tmp_path / "credentials"
    for path, content in (
        (model / "weights", "0.5"),
        (project / ".git" / "config", "token"),
        (project / "serve.yaml", "a: 1"),
        (project / "release.pem", "the key"),
        (project / "gha-creds.json", "a token"),
        (outside, "secret"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.setenv("GITOPS_SIGNING_KEY", "release.pem")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(project / "gha-creds.json"))
    monkeypatch.setenv("GITOPS_SIGNING_PASSWORD", "hunter2")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalr")
    monkeypatch.chdir(project)
    # In the script, so that it is not shown for being named.
    script = CURIOUS.replace("sys.argv[2]", repr(str(outside))).replace("sys.argv[3]", "sys.argv[2]")
    command = (sys.executable, "-c", script, "{artifact}", "{port}")
    place = model, project, project / ".gitops" / "log"
    with served(command, *place, 20, env={"MODEL": "m"}) as url, urllib.request.urlopen(url) as answer:
        found = json.loads(answer.read())
    assert found["env"]["MODEL"] == "m"
    assert not {"GITOPS_SIGNING_KEY", "GITOPS_SIGNING_PASSWORD", "AWS_SECRET_ACCESS_KEY"} & found["env"].keys()
    assert (found["weights"], found["read"]["serve.yaml"], found["home"]) == ("0.5", "a: 1", 4)
    if kept_apart:
        assert found["write"] == "OSError"
        assert found["read"][".git/config"] == "FileNotFoundError"
        assert (found["read"]["release.pem"], found["read"]["gha-creds.json"]) == ("", "")
        assert found["read"][str(outside)] == "FileNotFoundError"
