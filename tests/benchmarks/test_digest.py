"""The benchmark of digests runs, at a tiny size, and finds our digest to be that of coreutils."""

from pathlib import Path

from benchmarks.digest import of_size
from benchmarks.harness import Setting


def test_digest(tmp_path: Path) -> None:
    found = list(of_size(Setting(tmp_path, repeat=1), 16))
    assert [figure.what.split(",")[0] for figure in found][0::2] == ["one file", "8 files", "peer: 8 files"]
    assert all("of the peer's pace" in figure.note for figure in found)
