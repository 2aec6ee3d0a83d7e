"""Programs from Debian's packages, taken apart in the user's cache: nothing is installed, and root is not needed."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support.tools.tool import Tool, Unavailable, cache, run


def unpacked(name: str, packages: Sequence[str], instead: str) -> Tool:
    """A directory with the files of packages, each as `name` or `name=version`; of another version where that is gone.

    It is kept as `name`; `instead` says what to do where it cannot be had.
    """

    def find() -> Path | None:
        kept = cache() / "debian" / name
        return kept if kept.is_dir() else None

    return Tool(name, "fetching Debian's package", find, lambda: _unpack(packages, cache() / "debian" / name, instead))


def _program(name: str, package: str, path: str, variable: str = "") -> Tool:
    """A program of one package, unless PATH has it or the variable names another."""
    instead = f"install {name}" + (f", or let {variable} name it" if variable else "")
    files = unpacked(name, [package], instead)

    def find() -> Path | None:
        if given := (variable and os.environ.get(variable)) or shutil.which(name):
            if not os.access(given, os.X_OK):
                raise Unavailable(f"{variable} names {given}, which cannot be run: {instead}")
            return Path(given).resolve()
        kept = files.find()
        return kept / path if kept else None

    return Tool(name, files.takes, find, files.make)


PROMETHEUS = _program("prometheus", "prometheus=2.42.0+ds-5+deb12u1", "usr/bin/prometheus", "GITOPS_PROMETHEUS")
BUSYBOX = _program("busybox", "busybox-static=1:1.35.0-4+deb12u1+b1", "bin/busybox")


def _unpack(packages: Sequence[str], target: Path, instead: str) -> None:
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise Unavailable(f"{target.name} is missing, and {tool} to fetch it: {instead}")
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="fetching-") as temporary:
        directory = Path(temporary)
        for package in packages:
            if reason := _fetch(package, directory):
                raise Unavailable(f"{target.name} is missing and apt-get cannot fetch {package} ({reason}): {instead}")
        for file in sorted(directory.glob("*.deb")):
            done = run(["dpkg-deb", "-x", file.name, "root"], cwd=directory)
            if done.returncode:
                raise Unavailable(f"dpkg-deb cannot open {file.name}: {done.stderr.strip()}; {instead}")
        (directory / "root").rename(target)


def _fetch(package: str, directory: Path) -> str:
    """Why it could not be downloaded; empty when it was. The machine's package lists may be old, or not there."""
    lists = directory / "lists"
    ours = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={directory / 'cache'}"]
    reason = _apt_get("download", package, directory, [])
    if reason:
        if not lists.is_dir():
            (lists / "partial").mkdir(parents=True)
            (directory / "cache/archives/partial").mkdir(parents=True)
            reason = _apt_get("update", "", directory, ours)
        # Another version of the distribution does as well, where this one is gone.
        if reason := _apt_get("download", package, directory, ours):
            reason = _apt_get("download", package.partition("=")[0], directory, ours)
    return reason


def _apt_get(verb: str, package: str, directory: Path, options: Sequence[str]) -> str:
    done = run(["apt-get", *options, verb, *filter(None, [package])], cwd=directory)
    complaints = re.findall(r"^E: (.*)", done.stderr, re.MULTILINE)
    return "" if done.returncode == 0 else (complaints or ["apt-get failed"])[-1]
