"""A real API server takes every golden manifest as it is: strictly valid, nothing rewritten, its pods admitted."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from gitops.render.live import Live
from gitops.render.renderer import Renderer
from gitops.values import UnitKey
from tests.render.specs import project_templates, small
from tests.support.controlplane import ControlPlane

pytestmark = pytest.mark.controlplane

GOLDEN = Path(__file__).parent / "golden"
EXPECTED = sorted(GOLDEN.glob("*/expected/clusters/*"))
PLURALS = {"RuntimeClass": "runtimeclasses", "NetworkPolicy": "networkpolicies"}


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
        if name := manifest["kind"] == "Deployment" and manifest["spec"]["template"]["spec"].get("runtimeClassName"):
            runtime = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}}
            apply(control_plane, yaml.safe_dump({**runtime, "handler": name}).encode(), dry_run=False)
        answer = apply(control_plane, data, dry_run=manifest["kind"] not in ("Namespace", "ServiceAccount"))
        assert list(rewritten(manifest, answer)) == []
        if manifest["kind"] == "Deployment":
            apply(control_plane, pod_of(manifest), dry_run=True)


ROUTE = "shadow-mirror/expected/clusters/main/dev/embedder/httproute.yaml"
MONITOR = "shadow-mirror/expected/clusters/main/dev/embedder/podmonitor.yaml"
VIRTUAL = "istio/expected/clusters/main/dev/chat/virtualservice.yaml"


@pytest.mark.parametrize(
    ("file", "before", "after", "complaint"),
    [
        (VIRTUAL, "percentage", "portion", "portion: field not declared in schema"),
        (VIRTUAL, "value: 5", "value: half", "percentage.value"),
        (ROUTE, "percent: 20", "percent: 120", "requestMirror.percent"),
        (ROUTE, "percent: 20", "portion: 20", "portion: field not declared in schema"),
        (MONITOR, "action: keep", "action: retain", "relabelings[0].action"),
    ],
)
def test_what_is_accepted_is_really_looked_at(
    control_plane: ControlPlane, namespace: str, file: str, before: str, after: str, complaint: str
) -> None:
    text = (GOLDEN / file).read_text().replace("namespace: acme-dev", f"namespace: {namespace}")
    assert before in text
    apply(control_plane, text.encode(), dry_run=True)
    with pytest.raises(urllib.error.HTTPError) as refused:
        apply(control_plane, text.replace(before, after).encode(), dry_run=True)
    assert complaint in refused.value.read().decode()


def serving(plane: ControlPlane, namespace: str) -> Counter[str]:
    """How many ready pods of each version stand behind the model's own Service."""
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    found = plane.request("GET", f"{slices}?labelSelector=kubernetes.io/service-name=chat")["items"]
    ready = [one for item in found for one in item["endpoints"] or () if one["conditions"]["ready"]]
    # A Deployment's pods are called after it, with two parts of the controllers' own.
    return Counter(one["targetRef"]["name"].rsplit("-", 2)[0] for one in ready)


def test_without_a_gateway_pods_are_the_shares_of_traffic(control_plane: ControlPlane, namespace: str) -> None:
    serve = {"runtime": "custom", "image": "ghcr.io/acme/x:1", "replicas": {"min": 4, "max": 4}}
    spec = small(
        model={"serve": {**serve, "resources": {"cpu": "1", "memory": "1Gi"}}},
        environment={"namespace": namespace, "gateway": None},
    )
    new = spec.models[UnitKey("dev", "chat")]
    old, kept = new.model_copy(update={"version": "1.1.0"}), new.model_copy(update={"version": "1.0.0"})
    for lives, expected in (
        ([Live(old, 100), Live(new, 0, scale=20), Live(kept, 0)], {"chat-1-1-0": 4}),
        ([Live(old, 80), Live(new, 20, scale=20), Live(kept, 0)], {"chat-1-1-0": 4, "chat-1-2-0": 1}),
        ([Live(new, 100), Live(old, 0)], {"chat-1-2-0": 4}),
    ):
        files = Renderer(spec, project_templates()).unit(UnitKey("dev", "chat"), lives)
        for data in sorted(files.values(), key=lambda data: b"\nkind: ServiceAccount\n" not in data):
            apply(control_plane, data, dry_run=False)
        deadline = time.monotonic() + 30
        while (seen := serving(control_plane, namespace)) != expected:
            assert time.monotonic() < deadline, f"{dict(seen)} instead of {expected}"
            time.sleep(0.1)
