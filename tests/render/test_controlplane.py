"""A real API server takes every golden manifest as it is: strictly valid, nothing rewritten, its pods admitted."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from tests.support.controlplane import ControlPlane

pytestmark = pytest.mark.controlplane

EXPECTED = sorted((Path(__file__).parent / "golden").glob("*/expected/clusters/*"))
PLURALS = {"NetworkPolicy": "networkpolicies"}


def apply(plane: ControlPlane, data: bytes, *, dry_run: bool) -> dict[str, Any]:
    """Server-side apply of one manifest, byte for byte."""
    manifest = yaml.safe_load(data)
    version, kind, metadata = manifest["apiVersion"], manifest["kind"], manifest["metadata"]
    prefix = "/api/v1" if version == "v1" else f"/apis/{version}"
    namespace = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    path = f"{prefix}{namespace}/{PLURALS.get(kind, kind.lower() + 's')}/{metadata['name']}"
    query = "?fieldManager=gitops&force=true&fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
    headers = {"Content-Type": "application/apply-patch+yaml"}
    request = urllib.request.Request(plane.url + path + query, data, headers, method="PATCH")
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=plane.client_tls)
    )
    with opener.open(request, timeout=10) as answer:
        return json.loads(answer.read())


def rewritten(want: object, have: object, path: str = "") -> Iterator[str]:
    """Paths at which the server's answer does not hold what was sent."""
    if isinstance(want, dict) and isinstance(have, dict):
        for key, value in want.items():
            yield from rewritten(value, have.get(key), f"{path}.{key}")
    elif isinstance(want, list) and isinstance(have, list) and len(want) == len(have):
        for index, (left, right) in enumerate(zip(want, have, strict=True)):
            yield from rewritten(left, right, f"{path}[{index}]")
    elif want != have:
        yield f"{path}: {want!r} became {have!r}"


def pod_of(deployment: dict[str, Any]) -> bytes:
    template = deployment["spec"]["template"]
    metadata = {**template["metadata"], "name": "probe", "namespace": deployment["metadata"]["namespace"]}
    # JSON is YAML, but Go's YAML parser refuses JSON's surrogate escapes: so UTF-8, as orjson writes it.
    return orjson.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})


@pytest.mark.parametrize("folder", EXPECTED, ids=lambda path: f"{path.parents[2].name}-{path.name}")
def test_a_real_api_server_takes_the_tree_as_it_is(control_plane: ControlPlane, folder: Path) -> None:
    files = [path.read_bytes() for path in sorted(folder.rglob("*.yaml"))]
    # Only what the others need to exist is really created.
    files.sort(key=lambda data: (b"\nkind: Namespace\n" not in data, b"\nkind: ServiceAccount\n" not in data))
    for data in files:
        manifest = yaml.safe_load(data)
        answer = apply(control_plane, data, dry_run=manifest["kind"] not in ("Namespace", "ServiceAccount"))
        assert list(rewritten(manifest, answer)) == []
        if manifest["kind"] == "Deployment":
            apply(control_plane, pod_of(manifest), dry_run=True)
