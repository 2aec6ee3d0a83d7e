"""Object ids against the real Git."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from gitops.render.tree import blob_id, tree_id, tree_id_of

FILES = {
    "service.yaml": b"a\n",
    "a.b": b"",
    "a/x": b"1",
    "a-b/y": b"2",
    "a0": b"3",
    "1.2.0/deployment.yaml": b"kind: Deployment\n",
    "1.2.0/deep/er/file": b"\x00\xff",
    "Zürich": b"z",
}


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_ids_are_those_that_git_gives(tmp_path: Path, algorithm: str) -> None:
    git(tmp_path, "init", "-q", f"--object-format={algorithm}")
    for path, content in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    git(tmp_path, "add", "-A")
    assert tree_id(FILES, algorithm=algorithm) == git(tmp_path, "write-tree")
    assert blob_id(FILES["a/x"], algorithm=algorithm) == git(tmp_path, "hash-object", "a/x")


def test_entries_may_have_other_modes(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "run").write_bytes(b"#!/bin/sh\n")
    (tmp_path / "run").chmod(0o755)
    git(tmp_path, "add", "-A")
    assert tree_id_of({"run": ("100755", blob_id(b"#!/bin/sh\n"))}) == git(tmp_path, "write-tree")


def test_the_empty_tree() -> None:
    assert tree_id({}) == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


@pytest.mark.parametrize(
    "paths", [["/a"], ["a//b"], ["../a"], ["a/./b"], [".git/config"], ["a", "a/b"], ["a/b", "a"], [""]]
)
def test_impossible_paths_are_refused(paths: list[str]) -> None:
    with pytest.raises(ValueError, match=r"path|below|directory"):
        tree_id(dict.fromkeys(paths, b""))
