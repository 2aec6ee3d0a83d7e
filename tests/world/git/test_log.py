"""The history of models and clusters, and how quickly it is found among many commits."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from gitops.world.git.repository import open_repository
from tests.world.git.repositories import Open, report, sh


def test_log(opened: Open) -> None:
    repository = opened()
    head = repository.commit(None, {"f": b"0"}, "by hand")
    messages = [
        "release(dev/chat): 1\n\nFirst.\n\nModel: fake\n\nRollout: A\nModel: chat\nRelease: dev/chat 1",
        "release: 2 units\n\ndev\n  chat  1 to 2\n\nRollout: B\nRelease: dev/chat 2 1\nRelease: dev/chat-mini 2 1",
        "release(dev/chat-mini): 2\n\nModel: chat\nis only said here\n\nModel: chat-mini\nRelease: dev/chat-mini 2",
        "release(dev/chat): removed\n\nRemoved: dev/chat",
        "folded\n\nNote: one\n  two\nModel: c.at",
    ]
    for number, message in enumerate(messages):
        head = repository.commit(head, {"f": str(number + 1).encode()}, message)
    everything = list(repository.log())
    assert [commit.subject for commit in everything] == [text.split("\n")[0] for text in messages[::-1]] + ["by hand"]
    assert everything[0].trailers == (("Note", "one two"), ("Model", "c.at"))
    assert everything[4].body == "First.\n\nModel: fake"
    assert everything[1].body == everything[5].body == ""
    assert everything[5].trailers == ()
    assert everything[0].time.endswith("Z")
    assert list(repository.log(limit=2)) == everything[:2]
    assert list(repository.log(limit=0)) == []
    assert [everything.index(commit) for commit in repository.log(models=["chat"])] == [1, 3, 4]
    assert [everything.index(commit) for commit in repository.log(models=["chat"], limit=2)] == [1, 3]
    assert [everything.index(commit) for commit in repository.log(models=["chat", "chat-mini"])] == [1, 2, 3, 4]
    assert [everything.index(commit) for commit in repository.log(models=["c.at"])] == [0]
    assert list(repository.log(models=["absent"])) == []
    log = repository.log()
    next(log)
    log.close()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def long_history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "r.git"
    sh("git", "init", "-q", "--bare", "-b", "main", path)
    parts = []
    for number in range(10_000):
        model = f"model-{number % 500}"
        version, previous = f"1.0.{number}", f"1.0.{number - 1}"
        message = (
            f"release(production/{model}): {version}\n\n{previous} to {version}, at once.\n\nRollout: 01J{number:08}\n"
            f"Model: {model}\nEnvironment: production\nVersion: {version}\nPrevious-Version: {previous}\nWeight: 100\n"
            f"Decision: release\nRelease: production/{model} 1.0.{number} 1.0.{number - 1}\nSpec-Commit: {number:040}\n"
        )
        text = message.encode()
        content = str(number).encode()
        parts.append(
            b"commit refs/heads/main\ncommitter a <a@b> %d +0000\ndata %d\n%s\n"
            % (1_700_000_000 + number, len(text), text)
            + b"M 100644 inline releases/production/%s.yaml\ndata %d\n%s\n" % (model.encode(), len(content), content)
        )
    subprocess.run(["git", "--git-dir", path, "fast-import", "--quiet"], input=b"".join(parts), check=True)
    return path


def test_a_models_history_among_ten_thousand_commits_is_quick(long_history: Path, tmp_path: Path) -> None:
    repository = open_repository(str(long_history), "main", state=tmp_path, project=tmp_path)
    before = os.times()
    found = list(repository.log(models=["model-7"]))
    spent = sum(os.times()[:4]) - sum(before[:4])
    assert len(found) == 20
    assert dict(found[0].trailers)["Version"] == "1.0.9507"
    report(f"\nlog of one model among 10,000 commits: {spent:.3f} s CPU")
    assert spent < 0.5, "0.1 s expected, with room for a busy machine"
    started = time.perf_counter()
    assert len(list(repository.log(limit=10))) == 10
    limited = time.perf_counter() - started
    started = time.perf_counter()
    assert len(list(repository.log())) == 10_000
    report(f"ten of them {limited:.3f} s, all {time.perf_counter() - started:.3f} s")
