"""Finished stages: all there or not there, made once."""

import threading
import time
from pathlib import Path

import pytest

from gitops.stages.build.workspace import Done, Work, Workspace
from gitops.stages.digest import digest_path

KEY = "k" * 64


def made(workspace: Workspace, content: bytes = b"weights") -> Done:
    work = workspace.begin(KEY)
    (work.output / "model.onnx").write_bytes(content)
    done = Done("convert", digest_path(work.output).digest, 1.5, {"bytes": 7.0}, ("a note",), {"torch": "1"}, None)
    workspace.finish(KEY, work, done)
    return done


def test_what_is_finished_is_found(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "builds")
    assert workspace.find(KEY) is None
    with workspace.locked(KEY):
        done = made(workspace)
    assert workspace.find(KEY) == done
    assert (workspace.output(KEY) / "model.onnx").read_bytes() == b"weights"
    assert sorted(path.name for path in (tmp_path / "builds" / KEY).iterdir()) == ["done.json", "output"]


def test_what_was_begun_is_not(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    work = workspace.begin(KEY)
    (work.output / "model.onnx").write_bytes(b"half")
    assert workspace.find(KEY) is None
    again = workspace.begin(KEY)
    assert again == Work(work.root)
    assert list(again.output.iterdir()) == []


@pytest.mark.parametrize("damage", ["change", "add", "remove", "done", "empty"])
def test_what_is_damaged_is_put_away(tmp_path: Path, damage: str) -> None:
    workspace = Workspace(tmp_path)
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
    assert workspace.find(KEY) is None
    assert not (tmp_path / KEY).exists()
    made(workspace)


def test_the_second_waits_for_the_first(tmp_path: Path) -> None:
    workspace, order = Workspace(tmp_path), list[str]()
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
    with Workspace(tmp_path).locked(KEY):
        order.append("found" if workspace.find(KEY) else "missing")
    thread.join()
    assert order == ["made", "found"]
