"""Users and passwords in the URL of the repository: git gets them, and nobody else does."""

from __future__ import annotations

import os
import stat
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from gitops.errors import GitopsError
from gitops.world.git.credentials import access
from gitops.world.git.process import Git
from gitops.world.git.repository import open_repository

PASSWORD = "s3cr3t/with@signs"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://alice:s3cr3t%2F@git.acme.example:8443/x.git?a=b", "https://git.acme.example:8443/x.git?a=b"),
        ("https://ghp_token@git.acme.example/x.git", "https://git.acme.example/x.git"),
        ("http://:s3cr3t@[::1]:80/x.git", "http://[::1]:80/x.git"),
        ("ssh://git:s3cr3t@git.acme.example:22/x.git", "ssh://git@git.acme.example:22/x.git"),
        ("ssh://git@git.acme.example/x.git", "ssh://git@git.acme.example/x.git"),
        ("git@git.acme.example:x.git", "git@git.acme.example:x.git"),
        ("/srv/a@b.git", "/srv/a@b.git"),
        ("https://git.acme.example/~a@b/x.git", "https://git.acme.example/~a@b/x.git"),
    ],
)
def test_the_url_that_others_see(url: str, shown: str) -> None:
    assert access(url).url == shown
    assert not any("s3cr3t" in text for pair in access(url).settings for text in pair)


def test_control_characters_are_no_part_of_a_password() -> None:
    with pytest.raises(GitopsError, match="control character") as caught:
        access("https://a:b%0aquit=1@git.acme.example/x.git")
    assert "quit" not in str(caught.value)


class Server(ThreadingHTTPServer):
    """Lets nobody in; `asked` is what was said to it."""

    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get("Authorization", ""))
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> object:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_password_reaches_the_server_and_no_argument(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A program in the place of git notes what every process of git is called with, and calls it.
    noted, real = tmp_path / "noted", Git("").output("--exec-path").decode().strip()
    (tmp_path / "bin").mkdir()
    wrapper = tmp_path / "bin" / "git"
    wrapper.write_text(f'#!/bin/sh\necho "$@" >> {noted}\nexec {real}/git "$@"\n')
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("GIT_TRACE_CURL", "0")
    # A helper of the machine knows another password; the URL's counts.
    (tmp_path / "gitconfig").write_text('[credential]\n\thelper = "!echo username=x; echo password=y; :"\n')
    url = f"http://alice:s3cr3t%2Fwith%40signs@127.0.0.1:{server.server_port}/x.git"
    with pytest.raises(GitopsError, match="not allowed") as caught:
        open_repository(url, "main", state=tmp_path / "state", project=tmp_path).head()
    assert f"Basic {b64encode(f'alice:{PASSWORD}'.encode()).decode()}" in server.asked
    assert not any("s3cr3t" in text for text in (noted.read_text(), str(caught.value)))
    assert not any(b"s3cr3t" in path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())


def test_a_user_alone_is_whom_helpers_are_asked_for(server: Server, tmp_path: Path) -> None:
    (tmp_path / "gitconfig").write_text('[credential]\n\thelper = "!grep -q username=alice && echo password=y; :"\n')
    url = f"http://alice@127.0.0.1:{server.server_port}/x.git"
    with pytest.raises(GitopsError, match="not allowed"):
        open_repository(url, "main", state=tmp_path / "state", project=tmp_path).head()
    assert f"Basic {b64encode(b'alice:y').decode()}" in server.asked
