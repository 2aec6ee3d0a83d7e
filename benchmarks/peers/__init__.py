"""Other tools render as many comparable manifests: eight objects a unit, from `units.json`, `templates` or overlays.

Each is installed once, pinned, into the user's cache; one that does not install is named and left out. They only
render: no history, no comparison, no checks, except what the tool itself does.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness import Figure, Setting
from benchmarks.synthetic import ENVIRONMENTS, write_project

HERE = Path(__file__).parent
JSONNET, KAPITAN = "v0.21.0", "0.34.7"
OBJECTS = 8

Unit = dict[str, Any]
Prepared = tuple[list[str], Path]
"""A command, and the directory it runs in."""


class Unavailable(Exception):
    """The peer cannot be installed here."""


class Peer(NamedTuple):
    """A tool: `share` is the part of the models that keeps a run under two minutes."""

    name: str
    share: float
    prepare: Callable[[Path, list[Unit]], Prepared]


def measure(setting: Setting) -> Iterator[Figure]:
    """Every peer, and `gitops plan` of an empty repository on a spec of the same size beside it."""
    ours: dict[int, float] = {}
    for peer in PEERS:
        models = max(int(setting.models * peer.share), 1)
        directory = setting.directory / peer.name
        directory.mkdir()
        try:
            command, cwd = peer.prepare(directory, _units(models))
        except (Unavailable, OSError, subprocess.SubprocessError) as error:
            reason = str(error).splitlines()[0]
            yield Figure("peers", f"{peer.name}: skipped", 0, 0, note=reason)
            continue
        if models not in ours:
            ours[models], figure = _ours(setting, models)
            yield figure
        setting.report(f"{peer.name}: {models * len(ENVIRONMENTS) * OBJECTS:,} manifests")
        cost = setting.best(command, repeat=1, cwd=cwd)
        each = cost.cpu / (models * len(ENVIRONMENTS) * OBJECTS)
        note = f"{models:,} models; {each * 1e3:.3f} ms a manifest, gitops {ours[models] * 1e3:.3f}"
        note += f": x {each / ours[models]:.1f}"
        yield Figure("peers", peer.name, cost.cpu, cost.wall, cost.memory, note=note)


def _ours(setting: Setting, models: int) -> tuple[float, Figure]:
    """CPU seconds a manifest of a whole plan: load, check, render, compare."""
    project = setting.directory / f"gitops-{models}"
    write_project(project, models)
    cost = setting.gitops("plan", "--offline", project=project, expect=(2,), repeat=2)
    rendered = setting.gitops("render", "--output", str(project / "out"), project=project, repeat=1)
    manifests = sum(1 for _ in (project / "out" / "clusters").rglob("*.yaml"))
    shutil.rmtree(project / "out")
    note = f"{models:,} models, {manifests:,} manifests; gitops render to files {rendered.cpu:.2f} CPU s"
    return cost.cpu / manifests, Figure("peers", "gitops plan, whole", cost.cpu, cost.wall, cost.memory, note=note)


def _units(models: int) -> list[Unit]:
    return [
        {
            "environment": environment,
            "model": f"model-{number:05d}",
            "version": f"1.{number % 10}.0",
            "image": "vllm/vllm-openai:v0.11.0",
            "replicas": 2,
            "gpus": 1,
        }
        for environment in ENVIRONMENTS
        for number in range(models)
    ]


def _cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "gitops-models" / "bench"


def _install(program: Path, *commands: list[str], **variables: str) -> Path:
    """Run the commands unless the program is there already."""
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        for command in commands:
            if shutil.which(command[0]) is None:
                raise Unavailable(f"{command[0]} is not installed")
            env = {**os.environ, **variables}
            done = subprocess.run(command, check=False, env=env, capture_output=True, text=True, timeout=600)
            if done.returncode:
                raise Unavailable(f"{' '.join(command[:3])} failed: {done.stderr.strip().splitlines()[-1:]}")
    return program


def _jsonnet(directory: Path, units: list[Unit]) -> Prepared:
    place = _cache() / f"jsonnet-{JSONNET}"
    module = f"github.com/google/go-jsonnet/cmd/jsonnet@{JSONNET}"
    program = _install(place / "jsonnet", ["go", "install", module], GOBIN=str(place))
    (directory / "units.json").write_text(json.dumps(units))
    arguments = ["-c", "-m", "out", "--tla-code-file", "units=units.json", str(HERE / "jsonnet/main.jsonnet")]
    return [str(program), *arguments], directory


def _cdk8s(directory: Path, units: list[Unit]) -> Prepared:
    manifest = HERE / "cdk8s/package.json"
    pinned = json.loads(manifest.read_text())["dependencies"]
    place = _cache() / f"cdk8s-{pinned['cdk8s']}"
    packages = [f"{name}@{version}" for name, version in pinned.items()]
    _install(
        place / "node_modules/cdk8s/package.json",
        ["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-save", "--prefix", str(place), *packages],
    )
    # Node looks for modules beside the program.
    shutil.copy(HERE / "cdk8s/app.js", directory)
    (directory / "node_modules").symlink_to(place / "node_modules")
    (directory / "units.json").write_text(json.dumps(units))
    return ["node", "app.js", "units.json", "out"], directory


def _kapitan(directory: Path, units: list[Unit]) -> Prepared:
    place = _cache() / f"kapitan-{KAPITAN}"
    program = _install(
        place / "bin/kapitan",
        [sys.executable, "-m", "venv", str(place)],
        [str(place / "bin/python"), "-m", "pip", "install", "--quiet", f"kapitan=={KAPITAN}"],
    )
    shutil.copytree(HERE / "kapitan/templates", directory / "templates")
    (directory / "inventory/classes").mkdir(parents=True)
    compiled = "  - {input_type: jinja2, input_paths: [templates], output_path: .}\n"
    (directory / "inventory/classes/model.yml").write_text(f"parameters:\n  kapitan:\n    compile:\n    {compiled}")
    (directory / "inventory/targets").mkdir()
    for unit in units:
        name = f"{unit['environment']}-{unit['model']}"
        facts = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in unit.items())
        target = f"classes: [model]\nparameters:\n{facts}  kapitan: {{vars: {{target: {name}}}}}\n"
        (directory / f"inventory/targets/{name}.yml").write_text(target)
    return [str(program), "compile"], directory


def _kustomize(directory: Path, units: list[Unit]) -> Prepared:
    """One overlay a unit over one base; `kubectl kustomize` of the control plane's own version."""
    from tests.support.tools.kubernetes import binaries

    program = binaries().path("kubectl")
    shutil.copytree(HERE / "kustomize/base", directory / "base")
    names = []
    for unit in units:
        name = f"{unit['environment']}-{unit['model']}"
        names.append(name)
        labels = {f"gitops/{key}": unit[key] for key in ("environment", "model", "version")}
        overlay = {
            "resources": ["../base"],
            "namePrefix": f"{unit['model']}-",
            "namespace": unit["environment"],
            "labels": [{"pairs": labels, "includeSelectors": True}],
            "images": [
                {"name": "model", "newName": unit["image"].split(":")[0], "newTag": unit["image"].split(":")[1]}
            ],
            "replicas": [{"name": "version", "count": unit["replicas"]}],
        }
        (directory / name).mkdir()
        (directory / name / "kustomization.yaml").write_text(json.dumps(overlay))
    (directory / "kustomization.yaml").write_text(json.dumps({"resources": names}))
    return [str(program), "kustomize", "."], directory


PEERS = (
    Peer("jsonnet", 1, _jsonnet),
    Peer("kapitan", 0.25, _kapitan),
    Peer("cdk8s", 1, _cdk8s),
    Peer("kustomize", 0.1, _kustomize),
)
