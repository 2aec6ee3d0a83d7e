"""Whole rendered trees, one folder a case. `UPDATE_GOLDEN=1 pytest tests/render` (`make golden`) refreshes them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import yaml

from gitops.render.check import check_manifests, parse_manifest
from gitops.render.renderer import HEADER, Renderer
from tests.render.specs import load_case, load_running, project_templates

CASES = Path(__file__).parent / "golden"
NAMES = sorted(path.name for path in CASES.iterdir() if path.is_dir())


def render_case(name: str) -> dict[str, bytes]:
    spec = load_case(CASES / name)
    running = load_running(CASES / name, spec)
    renderer = Renderer(spec, project_templates())
    files: dict[str, bytes] = {}
    for environment in spec.environments:
        files.update(renderer.base(environment))
    for unit in spec.models:
        files.update(renderer.unit(unit, *running[unit]))
    for cluster in spec.clusters:
        files.update(renderer.root(cluster))
    return files


@pytest.mark.parametrize("name", NAMES)
def test_rendered_tree_is_the_expected_one(name: str) -> None:
    files = render_case(name)
    expected = CASES / name / "expected"
    if os.environ.get("UPDATE_GOLDEN"):
        shutil.rmtree(expected, ignore_errors=True)
        for path, content in files.items():
            (expected / path).parent.mkdir(parents=True, exist_ok=True)
            (expected / path).write_bytes(content)
    stored = {p.relative_to(expected).as_posix(): p.read_bytes() for p in expected.rglob("*") if p.is_file()}
    assert sorted(files) == sorted(stored)
    for path, content in files.items():
        assert content.decode() == stored[path].decode(), path


@pytest.mark.parametrize("name", NAMES)
def test_rendered_tree_passes_the_checks_and_both_parsers_agree(name: str) -> None:
    files = render_case(name)
    assert check_manifests(files) == []
    for path, content in files.items():
        if not path.endswith(".json"):
            assert content.decode().startswith(HEADER)
        if path.endswith(".yaml"):
            assert yaml.safe_load(content) == parse_manifest(content, path), path
