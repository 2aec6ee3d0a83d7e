"""Finished stages: all there or not there, made once."""

import json
import threading
import time
from pathlib import Path

import pytest

from gitops.errors import GitopsError
from gitops.stages.build.workspace import Done, Work, Workspace, seal_key
from gitops.stages.digest import digest_path

KEY, SEAL = "k" * 64, b"s" * 32


def made(workspace: Workspace, content: bytes = b"weights") -> Done:
    work = workspace.begin(KEY)
    (work.output / "model.onnx").write_bytes(content)
    done = Done("convert", digest_path(work.output).digest, 1.5, {"bytes": 7.0}, ("a note",), {"torch": "1"}, None)
    workspace.finish(KEY, work, done)
    return done


def test_what_is_finished_is_found(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "builds", SEAL)
    assert workspace.find(KEY) is None
    with workspace.locked(KEY):
        done = made(workspace)
    assert workspace.find(KEY) == done
    assert (workspace.output(KEY) / "model.onnx").read_bytes() == b"weights"
    assert sorted(path.name for path in (tmp_path / "builds" / KEY).iterdir()) == ["done.json", "output"]


def test_what_was_begun_is_not(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, SEAL)
    work = workspace.begin(KEY)
    (work.output / "model.onnx").write_bytes(b"half")
    assert workspace.find(KEY) is None
    again = workspace.begin(KEY)
    assert again == Work(work.root)
    assert list(again.output.iterdir()) == []


@pytest.mark.parametrize(
    "damage", ["change", "add", "remove", "done", "empty", "forged", "no-seal", "other-seal", "moved"]
)
def test_what_is_damaged_is_put_away(tmp_path: Path, damage: str) -> None:
    workspace = Workspace(tmp_path, SEAL)
    made(workspace)
    model, done = workspace.output(KEY) / "model.onnx", tmp_path / KEY / "done.json"
    match damage:
        case "change":
            model.write_bytes(b"Weights")
        case "add":
            (workspace.output(KEY) / "more").write_bytes(b"")
        case "remove":
            model.unlink()
        case "done":
            done.write_text('{"stage": "convert"}')
        case "empty":
            done.write_text("")
        case "forged":  # another model, with a digest that fits
            model.write_bytes(b"evil")
            said = {**json.loads(done.read_text()), "digest": digest_path(model.parent).digest}
            done.write_text(json.dumps(said))
        case "no-seal":
            said = json.loads(done.read_text())
            del said["seal"]
            done.write_text(json.dumps(said))
        case "other-seal":
            workspace = Workspace(tmp_path, b"p" * 32)
        case "moved":  # a finished stage under the key of another
            other = Workspace(tmp_path, SEAL)
            (tmp_path / KEY).rename(tmp_path / ("o" * 64))
            assert other.find("o" * 64) is None
    assert workspace.find(KEY) is None
    assert not (tmp_path / KEY).exists()
    made(workspace)


def test_the_second_waits_for_the_first(tmp_path: Path) -> None:
    workspace, order = Workspace(tmp_path, SEAL), list[str]()
    inside = threading.Event()

    def first() -> None:
        with workspace.locked(KEY):
            inside.set()
            time.sleep(0.2)
            made(workspace)
            order.append("made")

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait()
    with Workspace(tmp_path, SEAL).locked(KEY):
        order.append("found" if workspace.find(KEY) else "missing")
    thread.join()
    assert order == ["made", "found"]


def test_who_has_the_key_of_the_seals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a user the same each time, of CI a new one, unless it is given one: pull requests and releases share none."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("GITOPS_CACHE_KEY", "CI"):
        monkeypatch.delenv(name, raising=False)
    ask = seal_key.__wrapped__
    assert ask() == ask() == (tmp_path / "gitops" / "cache.key").read_bytes()
    assert (tmp_path / "gitops" / "cache.key").stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("CI", "true")
    assert ask() != ask()
    monkeypatch.setenv("GITOPS_CACHE_KEY", "k" * 32)
    assert ask() == b"k" * 32
    monkeypatch.setenv("GITOPS_CACHE_KEY", "short")
    with pytest.raises(GitopsError, match="GITOPS_CACHE_KEY: a key has at least 32 characters"):
        ask()
