"""The control plane's binaries: built once from `tests/controlplane`, then kept in the user's cache."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.tools.go import go, required
from tests.support.tools.tool import Tool, Unavailable, cache

MODULE = Path(__file__).resolve().parents[2] / "controlplane"
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok")
_WHAT = "building the test control plane"


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


def binaries() -> Binaries:
    """Those that KUBEBUILDER_ASSETS names if complete, else those that `make tools` built. Raises Unavailable."""
    return Binaries(CONTROL_PLANE.path())


def _find() -> Path | None:
    given = os.environ.get("KUBEBUILDER_ASSETS")
    places = [Path(given).resolve()] if given else []
    return next((place for place in (*places, _kept()) if Binaries(place).complete), None)


def _kept() -> Path:
    digest = hashlib.sha256()
    for source in (MODULE / "go.mod", MODULE / "go.sum", MODULE / "crds.toml", *sorted(MODULE.glob("*.go"))):
        digest.update(f"{source.name}\0".encode() + source.read_bytes() + b"\0")
    return cache() / "controlplane" / digest.hexdigest()[:16]


def _build() -> None:
    target = _kept()
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="building-") as temporary:
        directory = Path(temporary) / target.name
        (directory / "crds").mkdir(parents=True)
        _copy_crds(directory / "crds")
        _compile(directory / "controlplane")
        for component in COMPONENTS:
            (directory / component).symlink_to("controlplane")
        shutil.rmtree(target, ignore_errors=True)
        directory.rename(target)


CONTROL_PLANE = Tool("control plane", "building Kubernetes with Go, about five minutes", _find, _build)


def _compile(output: Path) -> None:
    version = _required("k8s.io/kubernetes")
    major, minor, _ = version.removeprefix("v").split(".", 2)
    stamps = {
        "k8s.io/component-base/version.gitVersion": version,
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
        "k8s.io/client-go/pkg/version.gitVersion": version,
    }
    flags = " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in stamps.items())])
    _go("build", "-trimpath", "-buildvcs=false", "-mod=readonly", f"-ldflags={flags}", "-o", str(output), ".")


def _copy_crds(target: Path) -> None:
    modules: list[dict[str, Any]] = tomllib.loads((MODULE / "crds.toml").read_text())["module"]
    for module in modules:
        name = f"{module['path']}@{module['version']}"
        found = json.loads(_go("mod", "download", "-json", name))
        if found["Sum"] != module["sum"]:
            raise Unavailable(f"{name} has the checksum {found['Sum']}, crds.toml says {module['sum']}")
        for file in module["files"]:
            shutil.copyfile(Path(found["Dir"]) / file, target / Path(file).name)


def _required(module: str) -> str:
    found = re.search(rf"^\s*{re.escape(module)} (v\S+)", (MODULE / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise Unavailable(f"{MODULE / 'go.mod'} does not require {module}")
    return found[1]


def _go(*command: str) -> str:
    try:
        return go(command, cwd=MODULE, needed=required(MODULE / "go.mod"), what=_WHAT)
    except Unavailable as missing:
        instead = f"or let KUBEBUILDER_ASSETS name a directory with {', '.join(COMPONENTS)} and crds/"
        raise Unavailable(f"{missing}, {instead}") from None
