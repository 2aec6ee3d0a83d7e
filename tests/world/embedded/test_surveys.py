"""Surveys of the embedded cluster: what the controllers made of many deployments, worked out at one look."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gitops.values import LABEL_ENVIRONMENT, LABEL_MODEL, LABEL_VERSION, ObjectRef
from gitops.world.embedded.apiserver import ApiServer, EmbeddedPool
from gitops.world.kubernetes.cluster import KubernetesCluster

Manifest = dict[str, Any]
NAMESPACES = ("dev", "prod")


class World:
    """An embedded cluster that stands still at one moment until `now` is moved."""

    def __init__(self, path: Path) -> None:
        self.now = 1_000_000.0
        self.server = ApiServer(path, [EmbeddedPool("gpu", 8, 1, {})], 1.0, lambda: self.now)
        self.cluster = KubernetesCluster(self.server, name="test")
        for name in NAMESPACES:
            self.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def ready(self) -> dict[tuple[str, str], tuple[int, int]]:
        found = self.cluster.survey({}, ["Deployment"]).workloads
        return {(each.namespace, each.name): (each.ready, each.replicas) for each in found}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "cluster.db")
    yield made
    made.cluster.close()


def deployment(namespace: str, name: str, replicas: int | None = 1) -> Manifest:
    labels = {LABEL_ENVIRONMENT: namespace, LABEL_MODEL: name, LABEL_VERSION: "1"}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "server", "image": "a"}]}}
    spec = {"selector": {"matchLabels": {"app": name}}, "template": template}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": spec if replicas is None else {**spec, "replicas": replicas},
    }


def test_each_deployment_has_its_own_pods(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of which one begins another, in two namespaces, and pages that cut between them."""
    names = ["a", "a-b", "a-b-c", "a-f", "ab", "b"]
    wanted = {(space, name): index + 1 for index, name in enumerate(names) for space in NAMESPACES}
    for (space, name), replicas in wanted.items():
        world.cluster.apply(deployment(space, name, replicas))
    world.now += 5
    for size in (500, 1, 2, 5):
        monkeypatch.setattr("gitops.world.kubernetes.api._PAGE", size)
        assert world.ready() == {place: (replicas, replicas) for place, replicas in wanted.items()}


def test_autoscalers_are_heard_when_they_come_and_go(world: World) -> None:
    scaler: Manifest = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "dev"},
        "spec": {"scaleTargetRef": {"name": "web"}, "minReplicas": 3},
    }
    place = ("dev", "web")
    world.cluster.apply(deployment(*place, replicas=None))
    assert world.ready()[place] == (0, 1)
    world.cluster.apply(scaler)
    world.now += 5
    assert world.ready()[place] == (3, 3)
    world.cluster.apply({**scaler, "spec": {**scaler["spec"], "minReplicas": 2}})
    world.now += 5
    assert world.ready()[place] == (2, 2)
    assert world.cluster.remove(ObjectRef.of(scaler), {})
    world.now += 5
    assert world.ready()[place] == (1, 1)


def test_a_virtual_service_is_read_like_a_route(world: World) -> None:
    route = [
        {"destination": {"host": "chat-1"}, "weight": 90},
        {"destination": {"host": "chat-2.dev.svc.cluster.local"}, "weight": 10},
    ]
    mirrors = [{"destination": {"host": "chat-3"}, "percentage": {"value": 5}}]
    world.cluster.apply(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": "chat", "namespace": "dev"},
            "spec": {"hosts": ["chat.example.com"], "http": [{"route": route, "mirrors": mirrors}]},
        }
    )
    survey = world.cluster.survey({}, ["VirtualService"])
    assert survey.weights == {("dev", "chat"): {"chat-1": 90, "chat-2": 10}}
    assert survey.mirrors == {("dev", "chat"): {"chat-3": 5}}


def test_replacing_an_object_leaves_its_status_to_the_controllers(world: World) -> None:
    path = "/apis/apps/v1/namespaces/dev/deployments/web"
    world.cluster.apply(deployment("dev", "web", 2))
    read = orjson.loads(world.server.request("GET", path).body)
    read["spec"]["replicas"] = 0
    read["status"]["readyReplicas"] = 7
    answer = world.server.request("PUT", path, body=orjson.dumps(read), query={"fieldManager": "kubectl-edit"})
    assert answer.status == 200
    assert orjson.loads(answer.body)["metadata"]["generation"] == 2
    world.now += 5
    assert world.ready()["dev", "web"] == (0, 0)
    assert world.server.request("PUT", path, body=orjson.dumps(read)).status == 409
    assert world.server.request("PUT", f"{path}-x", body=orjson.dumps(read)).status == 400


def test_hundreds_of_versions_are_surveyed_in_a_few_readings(world: World) -> None:
    for index in range(300):
        world.cluster.apply(deployment(NAMESPACES[index % 2], f"model-{index}", None if index % 3 else 2))
    world.now += 5
    assert len(world.ready()) == 300
    queries: list[str] = []
    world.server._store._connection.set_trace_callback(queries.append)
    assert sum(ready for ready, _ in world.ready().values()) == 400
    world.server._store._connection.set_trace_callback(None)
    assert len([query for query in queries if "FROM objects" in query]) < 10, "one reading for all, not one for each"
