"""Specs for the tests of rendering."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gitops.render.live import Live, Waves
from gitops.render.templates import Templates, templates_of
from gitops.spec.environment import Environment
from gitops.spec.load import completed, load_spec
from gitops.spec.pipeline import Model, Pipeline
from gitops.spec.resolved import SourceFile, Spec
from gitops.values import UnitKey

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "ab" * 32


def project_templates() -> Templates:
    """The templates of the project."""
    folder = ROOT / "templates"
    return templates_of(
        {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*.j2"))}
    )


def build_spec(pipeline: dict[str, Any], environments: Mapping[str, dict[str, Any]]) -> Spec:
    """A Spec from plain data, without the loader's checks and messages."""
    parsed = Pipeline.model_validate(pipeline)
    files = {name: Environment.model_validate(environments[name]) for name in parsed.promotion}
    models = {}
    for name, environment in files.items():
        for model, whole in parsed.models.items():
            if model in environment.exclude:
                continue
            override = environment.models.get(model)
            merged = _merge(pipeline["models"][model], override) if override else None
            models[UnitKey(name, model)] = Model.model_validate(merged) if merged else whole
    clusters = {key: cluster for environment in files.values() for key, cluster in environment.clusters.items()}
    return Spec(
        pipeline=parsed,
        environments=files,
        models=completed(parsed, files, models),
        clusters=clusters,
        cluster_environments={
            key: tuple(name for name, environment in files.items() if key in environment.clusters) for key in clusters
        },
        digest="sha256:0",
    )


def load_case(folder: Path) -> Spec:
    """The Spec of a golden case."""
    files = sorted((folder / "environments").glob("*.yaml"))
    return load_spec(
        SourceFile("pipeline.yaml", (folder / "pipeline.yaml").read_bytes()),
        [SourceFile(f"environments/{path.name}", path.read_bytes()) for path in files],
    )


class Running(NamedTuple):
    """What a unit of a golden case runs; by default what its spec names."""

    lives: tuple[Live, ...] | None = None
    waves: Waves | None = None


def load_running(folder: Path, spec: Spec) -> dict[UnitKey, Running]:
    """What runs in each unit of a golden case: `lives.yaml` says it, each `model` in what differs from the spec's."""
    file = folder / "lives.yaml"
    said = yaml.safe_load(file.read_text()) if file.exists() else {}
    models = yaml.safe_load((folder / "pipeline.yaml").read_text())["models"]
    running = {unit: Running() for unit in spec.models}
    for name, unit in {str(unit): unit for unit in spec.models}.items():
        if name in said:
            lives = tuple(_live(models[unit.model], **one) for one in said[name]["lives"])
            running[unit] = Running(lives, said[name].get("waves"))
    assert said.keys() <= {str(unit) for unit in spec.models}
    return running


def _live(base: dict[str, Any], *, model: dict[str, Any] | None = None, weight: int, **numbers: int) -> Live:
    return Live(Model.model_validate(_merge(base, model or {})), weight, **numbers)


def small(
    *,
    model: dict[str, Any] | None = None,
    environment: dict[str, Any] | None = None,
    name: str = "chat",
) -> Spec:
    """One vLLM model in one environment on one existing cluster, with parts replaced."""
    serve = {
        "runtime": "vllm",
        "gpu": {"type": "L4", "count": 1},
        "replicas": {"min": 1, "max": 3},
    }
    base = {
        "version": "1.2.0",
        "artifact": {"uri": "s3://models/chat/1.2.0", "digest": DIGEST, "format": "safetensors"},
        "serve": serve,
        "route": {"hostnames": ["chat.example.com"]},
        "rollout": "plain",
    }
    settings = {
        "apiVersion": "gitops/v1",
        "clusters": {
            "one": {
                "provider": "existing",
                "context": "one",
                "nodePools": {"l4": {"gpu": {"type": "L4", "count": 4}, "max": 4}},
            }
        },
        "gateway": {"name": "public", "namespace": "gateways"},
        "monitoring": {"prometheus": "http://prometheus.monitoring:9090"},
    }
    pipeline = {
        "apiVersion": "gitops/v1",
        "name": "acme",
        "promotion": ["dev"],
        "models": {name: _merge(base, model or {})},
        "rollouts": {"plain": {"strategy": "rolling"}, "other": {"strategy": "rolling"}},
    }
    return build_spec(pipeline, {"dev": _merge(settings, environment or {})})


def _merge(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    """Mappings merge, everything else replaces, None removes; a changed `runtime` or `provider` starts afresh."""
    if any(key in override and override[key] != base.get(key) for key in ("runtime", "provider")):
        return override
    result = dict(base)
    for key, value in override.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _merge(result[key], value)
        else:
            result[key] = value
    return result
