"""The git program: absent, too old, silent; and what it says, in our words."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from gitops.errors import GitopsError
from gitops.world.git.failure import explain, mask
from gitops.world.git.process import Git
from gitops.world.git.repository import open_repository
from tests.world.git.repositories import FILES


def test_a_silent_server_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        git = Git("the place")
        started = time.monotonic()
        with pytest.raises(GitopsError, match="did not finish within 1 s"):
            git.run("ls-remote", f"git://127.0.0.1:{silent.getsockname()[1]}/x", timeout=0.6)
        assert time.monotonic() - started < 5


def test_git_is_absent(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitopsError, match="not installed"):
        open_repository(str(bare), "main", state=tmp_path, project=tmp_path).commit(None, FILES, "first")
    assert not bare.exists()


def test_git_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "git"
    fake.write_text(
        '#!/bin/sh\ncase "$*" in *version) echo git version 2.25.1;; '
        "*) echo 'error: unknown option x' >&2; exit 129;; esac\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(GitopsError, match=r"Git 2.25 is too old — install Git 2.34"):
        Git("x").output("fetch")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("https://user:pass@host/x.git", "https://***@host/x.git"),
        ("https://ghp_token@host/x.git", "https://***@host/x.git"),
        ("https://user:p@ss@host/x", "https://***@host/x"),
        ("https://user:pa/ss@host/x", "https://***@host/x"),
        ("https://host/a@b/c", "https://host/a@b/c"),
        ("https://host:8443/a@b/c", "https://host:8443/a@b/c"),
        ("ssh://git@host/x", "ssh://git@host/x"),
        ("ssh://git:pw@host/x", "ssh://git:***@host/x"),
        ("git@host:x.git", "git@host:x.git"),
        ("https://host/x?private_token=abc&y=1", "https://host/x?private_token=***&y=1"),
        ("unable to access 'https://u:p@host/x/': no", "unable to access 'https://***@host/x/': no"),
    ],
)
def test_masking(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    ("stderr", "what"),
    [
        ("fatal: Authentication failed for 'https://u:p@h/x/'", "not allowed"),
        ("git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.", "not allowed"),
        ("fatal: could not read Username for 'https://h': terminal prompts disabled", "not allowed"),
        ("remote: Repository not found.\nfatal: repository 'https://h/x/' not found", "repository not found"),
        ("ssh: Could not resolve hostname h: Name or service not known", "host not found"),
        ("Host key verification failed.\nfatal: Could not read from remote", "not trusted"),
        ("error: file write error: No space left on device", "disk is full"),
        ("error: insufficient permission for adding an object", "no permission"),
        ("fatal: detected dubious ownership in repository at '/x'", "another user"),
        ("fatal: something\x1b[31m new", "git fetch failed: something"),
        ("", "git fetch failed: no message"),
    ],
)
def test_explanations(stderr: str, what: str) -> None:
    error = explain("fetch", stderr, "place")
    assert what in error.what
    assert "\x1b" not in str(error)
    assert "u:p@" not in str(error)
