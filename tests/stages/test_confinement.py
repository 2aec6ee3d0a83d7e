"""What a process with code of others gets of this machine, seen from inside."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gitops.stages import confinement
from gitops.stages.confinement import Room, entered, environment, home_of, isolation

SECRETS = {
    "GITOPS_SIGNING_KEY": "-----BEGIN PRIVATE KEY-----",
    "GITOPS_SIGNING_PASSWORD": "hunter2",
    "GITOPS_TOKEN": "glpat-x",
    "AWS_SECRET_ACCESS_KEY": "wJalr",
    "GOOGLE_APPLICATION_CREDENTIALS": "/root/key.json",
    "TF_TOKEN_app_terraform_io": "x",
    "NVIDIA_API_KEY": "nvapi-x",
    "KUBECONFIG": "/root/.kube/config",
    "SSH_AUTH_SOCK": "/run/agent",
    "PYTHONPATH": "/somewhere",
    "LD_PRELOAD": "/evil.so",
}


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        if name != "LD_PRELOAD":
            monkeypatch.setenv(name, value)


@pytest.fixture
def rooms() -> None:
    if reason := isolation():
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home with space"
    made.mkdir()
    return made


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


LOOK = """
import json, os, socket, sys
from pathlib import Path

def tried(what):
    try:
        what()
    except OSError as error:
        return type(error).__name__
    return "done"

def environ_of(pid):
    return Path("/proc", pid, "environ").read_bytes()

port, secret, own = sys.argv[1:]
readable = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        if b"hunter2" in environ_of(pid):
            readable.append(pid)
    except OSError:
        pass
print(json.dumps({
    "variables": sorted(os.environ),
    "read": tried(lambda: Path(secret).read_text()),
    "write": tried(lambda: Path(sys.executable).resolve().parent.joinpath("evil").write_text("x")),
    "write-proc": tried(lambda: Path("/proc/sys/kernel/core_pattern").write_text("|/evil")),
    "root": sorted(os.listdir("/")),
    "home": tried(lambda: Path(os.environ["HOME"], "kept").write_text("x")),
    "own": tried(lambda: Path(own, "made").write_text("x")),
    "connect": tried(lambda: socket.create_connection(("127.0.0.1", int(port)), timeout=3).close()),
    "environments-of-others": readable,
    "null": tried(lambda: Path("/dev/null").write_text("x")),
    "capabilities": [l.split()[1] for l in open("/proc/self/status") if l.startswith(("CapEff", "CapBnd"))],
    "mount": os.system("mount -t tmpfs none /tmp 2>/dev/null") != 0,
}))
"""


def look(room: Room, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-c", LOOK, *arguments]
    with entered(command, room) as line:
        done = subprocess.run(line, capture_output=True, text=True, env=environment(room.home))
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.usefixtures("rooms", "secrets")
def test_code_of_others_sees_its_inputs_and_reaches_nobody(home: Path, tmp_path: Path, listener: int) -> None:
    secret, own = tmp_path / "release.pem", tmp_path / "own"
    secret.write_text("the key")
    own.mkdir()
    room = Room(home, home_of(sys.executable), (own,))
    found = look(room, str(listener), str(secret), str(own))
    assert not SECRETS.keys() & set(found["variables"])
    assert found["read"] == "FileNotFoundError"
    assert (found["write"], found["write-proc"]) == ("OSError", "OSError")
    assert not {"boot", "mnt", "run", "srv", "var"} & set(found["root"])
    assert found["connect"] != "done"
    assert found["environments-of-others"] == []
    assert found["capabilities"] == ["0000000000000000"] * 2
    assert found["mount"]
    assert (found["home"], found["own"], found["null"]) == ("done", "done", "done")
    assert (own / "made").read_text() == "x"


@pytest.mark.usefixtures("rooms", "secrets")
def test_a_server_is_reached_and_reads_what_it_is_shown(home: Path, tmp_path: Path, listener: int) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "seen").write_text("x")
    room = Room(home, (*home_of(sys.executable), project), network=True, start=project)
    found = look(room, str(listener), "seen", str(project))
    assert (found["connect"], found["read"]) == ("done", "done")
    assert found["own"] == "OSError"
    assert not (project / "made").exists()
    assert found["environments-of-others"] == []


@pytest.mark.usefixtures("secrets")
def test_the_environment_is_a_list_of_names(home: Path) -> None:
    own = {"PATH": "/usr/bin", "CUDA_VISIBLE_DEVICES": "0", **SECRETS}
    assert environment(home, given={"PORT": "1"}, source=own) == {
        "HOME": str(home),
        "TMPDIR": str(home),
        "PATH": "/usr/bin",
        "CUDA_VISIBLE_DEVICES": "0",
        "PORT": "1",
    }
    builder = environment(home, confinement.IMAGE_BUILDERS, source={"HOME": "/home/ada", **SECRETS})
    assert builder == {"HOME": "/home/ada", "TMPDIR": str(home)}


@pytest.mark.usefixtures("secrets")
def test_without_rooms_the_variables_are_kept_back_all_the_same(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(confinement, "_tried", lambda: "this kernel has none")
    assert isolation() == "this kernel has none"
    with entered([sys.executable, "-c", "import os; print(*os.environ)"], Room(home)) as line:
        assert line[0] == sys.executable
        done = subprocess.run(line, capture_output=True, text=True, env=environment(home), check=True)
    assert not SECRETS.keys() & set(done.stdout.split())


def test_why_there_are_no_rooms_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "_program", lambda name: "" if name == "unshare" else "/usr/bin/false")
    assert confinement._tried.__wrapped__() == "unshare of util-linux is not installed"
    monkeypatch.setattr(confinement, "_program", lambda _: "/usr/bin/false")
    assert confinement._tried.__wrapped__() == "exit code 1"


@pytest.mark.usefixtures("rooms")
def test_the_room_ends_with_whoever_made_it(home: Path) -> None:
    maker = (
        "import subprocess, sys, time\nfrom pathlib import Path\n"
        "from gitops.stages.confinement import Room, entered, environment\n"
        "home = Path(sys.argv[1])\n"
        "with entered(['sleep', '93.25'], Room(home)) as line:\n"
        "    subprocess.Popen(line, env=environment(home))\n"
        "    print('started', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", maker, str(home)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        assert _soon(lambda: _sleeping("93.25"))
        process.kill()
    assert _soon(lambda: not _sleeping("93.25"))


def _sleeping(seconds: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == f"sleep\0{seconds}\0".encode():
                return True
        except OSError:
            continue
    return False


def _soon(what: Any) -> bool:
    import time

    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.05)
    return False
