"""The content digest of files on disk, whole processes, beside sha256sum from coreutils on the same files.

By itself with another size: `python -m benchmarks.digest --megabytes 4000`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Cost, Figure, Setting, machine, table

MEGABYTES = 1000
"""The size of one file, and of eight together."""
GOAL = "80 % of sha256sum, 200 MB"
_OURS = """
import sys
from pathlib import Path
from gitops.stages.digest import digest_path
print(digest_path(Path(sys.argv[1])).digest)
"""
_LIST = r"find . -type f -printf '%P\0' | LC_ALL=C sort -z | "
_SERIAL = _LIST + "xargs -0 sha256sum -- | sha256sum"
_PARALLEL = _LIST + 'xargs -0 -P "$(nproc)" -n 1 sha256sum -- | LC_ALL=C sort -k 2 | sha256sum'


def measure(setting: Setting) -> Iterator[Figure]:
    """See the module."""
    yield from of_size(setting, MEGABYTES)


def of_size(setting: Setting, megabytes: int) -> Iterator[Figure]:
    """One file of so many MB, then eight files of an eighth each; all in the page cache. Raises if digests differ."""
    one, eight = setting.directory / "one", setting.directory / "eight"
    eight.mkdir()
    files = [eight / f"model-{part}.safetensors" for part in range(8)]
    for file in files:
        _write(file, megabytes // 8)
    with one.open("wb") as whole:
        subprocess.run(["cat", *files], stdout=whole, check=True)
    peer = setting.best(["sha256sum", str(one)])
    yield _figure("one file, ours", _ours(setting, one, peer), peer, megabytes)
    yield _figure("peer: one file, sha256sum", peer, peer, megabytes)
    one.unlink()
    peer = setting.best(["sh", "-c", _PARALLEL], cwd=eight)
    yield _figure("8 files, ours", _ours(setting, eight, peer), peer, megabytes)
    yield _figure("peer: 8 files, xargs -P sha256sum", peer, peer, megabytes)
    serial = setting.best(["sh", "-c", _SERIAL], cwd=eight)
    yield _figure("peer: 8 files, sha256sum", serial, peer, megabytes)


def _write(path: Path, megabytes: int) -> None:
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1_000_000))


def _ours(setting: Setting, path: Path, peer: Cost) -> Cost:
    found = setting.best([sys.executable, "-c", _OURS, str(path)])
    if found.output.strip() != f"sha256:{peer.output.split()[0]}":
        raise RuntimeError(f"{found.output.strip()} is not {peer.output.split()[0]}")
    return found


def _figure(what: str, cost: Cost, peer: Cost, megabytes: int) -> Figure:
    note = f"{megabytes / 1000 / cost.wall:.2f} GB/s, {peer.wall / cost.wall:.0%} of the peer's pace"
    goal = "" if what.startswith("peer") else GOAL
    return Figure("digest", f"{what}, {megabytes} MB", cost.cpu, cost.wall, cost.memory, goal, note)


def main() -> int:
    """The topic alone, at a size of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.digest", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=MEGABYTES)
    parser.add_argument("--repeat", type=int, default=3)
    asked = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="gitops-bench-digest-") as directory:
        print(table(list(of_size(Setting(Path(directory), repeat=asked.repeat), asked.megabytes))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
