"""Programs from Debian's packages, taken apart in the user's cache: nothing is installed, and nobody has to be root."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support.binaries import Unavailable


def unpacked(name: str, packages: Sequence[str], instead: str) -> Path:
    """A directory with the files of packages, each as `name` or `name=version`; of another version where that is gone.

    It is kept as `name`. Several processes that ask at the same time fetch it once. Raises Unavailable, with `instead`
    as what to do.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gitops-models" / "debian"
    target = cache / name
    if not target.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.is_dir():
                _unpack(packages, target, instead)
    return target


def _unpack(packages: Sequence[str], target: Path, instead: str) -> None:
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise Unavailable(f"{target.name} is missing, and {tool} to fetch it: {instead}")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="fetching-") as temporary:
        directory = Path(temporary)
        for package in packages:
            reason = _fetch(package, directory) and _fetch(package.partition("=")[0], directory)
            if reason:
                raise Unavailable(f"{target.name} is missing and apt-get cannot fetch {package} ({reason}): {instead}")
        for file in sorted(directory.glob("*.deb")):
            done = subprocess.run(
                ["dpkg-deb", "-x", file.name, "root"], cwd=directory, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise Unavailable(f"dpkg-deb cannot open {file.name}: {done.stderr.strip()}; {instead}")
        (directory / "root").rename(target)


def _fetch(package: str, directory: Path) -> str:
    """Why it could not be downloaded; empty when it was."""
    done = subprocess.run(
        ["apt-get", "download", package], cwd=directory, capture_output=True, text=True, check=False, timeout=300
    )
    complaints = re.findall(r"^E: (.*)", done.stderr, re.MULTILINE)
    return "" if done.returncode == 0 else (complaints or ["apt-get failed"])[-1]
