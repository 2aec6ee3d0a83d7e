"""The embedded API server against the real one: the same requests, the same ownership and the same objects."""

import copy
import random
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gitops.values import ObjectRef
from gitops.world.embedded.apiserver import ApiServer
from gitops.world.embedded.fieldset import from_fields_v1
from gitops.world.kubernetes.http import open_http
from gitops.world.kubernetes.kinds import kind_of
from gitops.world.kubernetes.transport import Response, Transport
from tests.support.controlplane import ControlPlane

pytestmark = pytest.mark.controlplane

Manifest = dict[str, Any]
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


@pytest.fixture
def servers(control_plane: ControlPlane, tmp_path: Path) -> Iterator[tuple[Transport, Transport]]:
    """The real API server and the embedded one."""
    _, real = open_http(control_plane.context, control_plane.kubeconfig, timeout=10, connections=4)
    embedded = ApiServer(tmp_path / "cluster.db", [], 1.0, time.time)
    yield real, embedded
    real.close()
    embedded.close()


def deployment(namespace: str) -> Manifest:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace, "labels": {"a": "1", "b": "2"}, "annotations": {"n": "1"}},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "nodeSelector": {"gitops/pool": "h100"},
                    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
                    "containers": [
                        {
                            "name": "server",
                            "image": "server:1",
                            "args": ["--a", "--b"],
                            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                            "ports": [{"name": "http", "containerPort": 80}],
                            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
                            "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
                        },
                        {"name": "proxy", "image": "proxy:1"},
                    ],
                    "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}],
                },
            },
        },
    }


def service(namespace: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": namespace, "labels": {"a": "1"}},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "p80", "port": 80}, {"name": "p81", "port": 81}]},
    }


def route(namespace: str) -> Manifest:
    """With all that the real server would add: a default within an atomic list differs from what was applied."""
    match = {"path": {"type": "PathPrefix", "value": "/"}}
    backend = {"group": "", "kind": "Service", "name": "a", "port": 80, "weight": 1}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "web", "namespace": namespace, "labels": {"a": "1"}},
        "spec": {
            "parentRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gw"}],
            "hostnames": ["a.example.com"],
            "rules": [{"matches": [match], "backendRefs": [backend]}],
        },
    }


def account(namespace: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "web", "namespace": namespace, "labels": {"a": "1"}},
        "imagePullSecrets": [{"name": "one"}, {"name": "two"}],
        "automountServiceAccountToken": False,
    }


def config(namespace: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "web", "namespace": namespace},
        "data": {"a": "1", "b": "2"},
    }


REQUIRED = {"apiVersion", "kind", "metadata", "name", "namespace", "spec", "selector", "template", "containers"}
REQUIRED |= {"port", "containerPort", "mountPath", "image", "parentRefs", "key", "operator", "matchLabels", "app"}
REQUIRED |= {"volumeMounts", "rules", "backendRefs", "volumes", "emptyDir", "ports"}
ATOMIC = {"parentRefs", "rules", "matches", "path", "backendRefs"}


def mutate(manifest: Manifest, chance: random.Random) -> Manifest:
    """A version of the manifest with some fields left out, some changed, and lists reordered."""

    def walk(value: Any, inside: str) -> Any:
        if isinstance(value, dict):
            kept = [key for key in value if key in REQUIRED or inside in ATOMIC or chance.random() > 0.15]
            return {key: walk(value[key], key) for key in kept or value}  # the real server drops empty maps
        if isinstance(value, list) and inside in ("env", "ports", "imagePullSecrets"):
            items = [walk(item, "") for item in value if chance.random() > 0.2]
            chance.shuffle(items)
            return items or [walk(value[0], "")]
        if isinstance(value, list):
            return [walk(item, inside if inside in ATOMIC else "") for item in value]
        if inside in ("image", "a", "b", "n") and chance.random() < 0.3:
            return f"changed-{chance.randint(1, 3)}"
        if inside in ("value", "weight") and chance.random() < 0.3:
            return f"/changed-{chance.randint(1, 3)}" if inside == "value" else chance.randint(1, 3)
        return value

    mutated: Manifest = walk(copy.deepcopy(manifest), "")
    return mutated


def send(server: Transport, manifest: Manifest, content_type: str, **query: str) -> Response:
    ref = ObjectRef.of(manifest)
    path = kind_of(ref.api_version, ref.kind).path(ref.namespace, ref.name)
    body = orjson.dumps(manifest)
    return server.request("PATCH", path, query=query, body=body, content_type=content_type)


def owners(live: Manifest) -> dict[str, set[tuple[str, ...]]]:
    """Who applied which fields, in the API's own terms."""
    return {
        entry["manager"]: set(from_fields_v1(entry["fieldsV1"]))
        for entry in live["metadata"].get("managedFields", ())
        if entry["operation"] == "Apply"
    }


def assert_within(small: Any, large: Any, path: str = "") -> None:
    """The real object may have defaults on top, and nothing else."""
    if isinstance(small, dict):
        for key, value in small.items():
            if value not in ({}, []):
                assert key in large, f"{path}.{key}"
                assert_within(value, large[key], f"{path}.{key}")
    elif isinstance(small, list):
        assert len(small) == len(large), path
        for index, (left, right) in enumerate(zip(small, large, strict=True)):
            assert_within(left, right, f"{path}[{index}]")
    else:
        assert str(small) == str(large), path


def conflict_causes(response: Response) -> list[tuple[str, str, str]]:
    causes = orjson.loads(response.body).get("details", {}).get("causes", [])
    return sorted((cause["reason"], cause["field"], cause["message"]) for cause in causes)


@pytest.mark.parametrize("make", [deployment, service, route, account, config])
@pytest.mark.parametrize("seed", range(6))
def test_sequences_of_applies_end_alike(
    servers: tuple[Transport, Transport], make: Callable[[str], Manifest], seed: int
) -> None:
    chance = random.Random(seed)
    name = f"differential-{uuid.uuid4().hex[:8]}"
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    for server in servers:
        assert send(server, namespace, APPLY, fieldManager="test").status == 201
    for step in range(8):
        manifest = mutate(make(name), chance)
        manager = "gitops" if step == 0 else chance.choice(["gitops", "gitops", "other"])
        query = {"fieldManager": manager, "force": chance.choice(["true", "false"])}
        before = manifest if step else make(name)
        responses = [send(server, before, APPLY, **query) for server in servers]
        statuses = [response.status for response in responses]
        assert statuses[0] == statuses[1], [response.body[:800] for response in responses]
        if statuses[0] == 409:
            assert conflict_causes(responses[0]) == conflict_causes(responses[1])
        elif statuses[0] < 300:
            real, embedded = (orjson.loads(response.body) for response in responses)
            assert owners(embedded) == owners(real)
            content = {key: value for key, value in embedded.items() if key not in ("metadata", "status")}
            assert_within(content, real)
            real["metadata"].get("annotations", {}).pop("deployment.kubernetes.io/revision", None)
            for part in ("labels", "annotations"):
                assert (embedded["metadata"].get(part) or {}) == (real["metadata"].get(part) or {})
    servers[0].request("DELETE", f"/api/v1/namespaces/{name}")


def test_an_update_takes_ownership_alike(servers: tuple[Transport, Transport]) -> None:
    name = f"differential-{uuid.uuid4().hex[:8]}"
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    patch = {**config(name), "data": {"a": "9", "c": "3"}}
    seen = []
    for server in servers:
        send(server, namespace, APPLY, fieldManager="test")
        send(server, config(name), APPLY, fieldManager="gitops")
        edited = orjson.loads(send(server, patch, MERGE, fieldManager="kubectl-edit").body)
        refused = send(server, config(name), APPLY, fieldManager="gitops")
        entries = {entry["manager"]: entry["fieldsV1"] for entry in edited["metadata"]["managedFields"]}
        message = orjson.loads(refused.body)["message"]
        seen.append((entries, edited["data"], refused.status, conflict_causes(refused), message))
    assert seen[0] == seen[1]
    servers[0].request("DELETE", f"/api/v1/namespaces/{name}")


def test_refusals_are_alike(servers: tuple[Transport, Transport]) -> None:
    lost, bad = config("nowhere-at-all"), config("default")
    bad["metadata"]["name"] = "UPPER"
    for manifest in (lost, bad):
        answers = [send(server, manifest, APPLY, fieldManager="gitops") for server in servers]
        real, embedded = (orjson.loads(answer.body) for answer in answers)
        for field in ("code", "reason", "status"):
            assert embedded[field] == real[field]
        assert embedded["details"]["name"] == real["details"]["name"]
