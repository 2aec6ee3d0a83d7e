"""Pods, GPUs and load times of the embedded cluster, under a clock that only the test moves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gitops.values import ObjectRef
from gitops.world.embedded.apiserver import ApiServer, EmbeddedPool
from gitops.world.kubernetes.cluster import KubernetesCluster
from gitops.world.ports import Readiness

Manifest = dict[str, Any]
POOL = EmbeddedPool("h100", gpus=8, nodes=2, labels={"gitops/pool": "h100"})


class World:
    """An embedded cluster, and its clock in seconds."""

    def __init__(self, path: Path, speed: float = 1.0) -> None:
        self.now = 1_000_000.0
        self.server = ApiServer(path, [POOL], speed, lambda: self.now)
        self.cluster = KubernetesCluster(self.server, name="test")
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})

    def apply(self, *manifests: Manifest) -> None:
        for manifest in manifests:
            self.cluster.apply(manifest)

    def state(self, manifest: Manifest) -> Readiness:
        ref = ObjectRef.of(manifest)
        return self.cluster.readiness([ref])[ref]

    def status(self, name: str) -> Manifest:
        found = orjson.loads(self.server.request("GET", f"/apis/apps/v1/namespaces/shop/deployments/{name}").body)
        status: Manifest = found["status"]
        return status

    def pods(self) -> list[Manifest]:
        items: list[Manifest] = orjson.loads(self.server.request("GET", "/api/v1/pods").body)["items"]
        return items


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "cluster.db")
    yield made
    made.cluster.close()


def deployment(name: str, *, gpus: int = 0, replicas: int | None = 1, load: int = 60, image: str = "a") -> Manifest:
    container = {"name": "server", "image": image, "resources": {"limits": {"nvidia.com/gpu": gpus} if gpus else {}}}
    spec: Manifest = {"containers": [container]}
    if gpus:
        spec["nodeSelector"] = dict(POOL.labels)
    annotations = {"gitops/load-time-seconds": str(load)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            **({} if replicas is None else {"replicas": replicas}),
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}, "annotations": annotations}, "spec": spec},
        },
    }


def test_a_pod_is_ready_after_its_load_time(world: World) -> None:
    web = deployment("web", replicas=2)
    world.apply(web)
    assert world.state(web).message == "0 of 2 replicas available"
    world.now += 59
    assert not world.state(web).ready
    world.now += 1
    assert world.state(web).ready


def test_speed_divides_the_load_time(tmp_path: Path) -> None:
    world = World(tmp_path / "fast.db", speed=60)
    web = deployment("web")
    world.apply(web)
    world.now += 1
    assert world.state(web).ready
    world.cluster.close()


def test_gpus_run_out_and_come_back(world: World) -> None:
    big, small, late = deployment("big", gpus=8, replicas=2), deployment("small", gpus=4), deployment("late", gpus=1)
    world.apply(big)
    world.now += 1
    world.apply(small, late)
    world.now += 600
    assert world.state(big).ready
    reason = (
        "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 2 Insufficient nvidia.com/gpu."
    )
    assert world.state(small).message == f"0 of 1 replicas available: Unschedulable: {reason}"
    world.apply(deployment("big", gpus=8, replicas=1))
    assert not world.state(small).ready
    world.now += 60
    assert world.state(small).ready
    assert world.state(late).ready


def test_pods_are_packed_so_that_large_ones_still_fit(world: World) -> None:
    world.apply(deployment("a", gpus=2), deployment("b", gpus=2), deployment("big", gpus=8))
    world.now += 60
    assert world.state(deployment("big")).ready
    nodes = {pod["metadata"]["labels"]["app"]: pod["spec"]["nodeName"] for pod in world.pods()}
    assert nodes["a"] == nodes["b"] != nodes["big"]


def test_a_rolling_update_keeps_the_old_pods_until_the_new_ones_are_ready(world: World) -> None:
    world.apply(deployment("web", replicas=2))
    world.now += 60
    web = deployment("web", replicas=2, image="b")
    world.apply(web)
    seen = []
    for _ in range(5):
        status = world.status("web")
        seen.append((status["updatedReplicas"], status["availableReplicas"], status["replicas"]))
        world.now += 30
    assert seen == [(1, 2, 3), (1, 2, 3), (2, 2, 3), (2, 2, 3), (2, 2, 2)]
    assert world.state(web).ready


def test_the_outcome_does_not_depend_on_looking(tmp_path: Path) -> None:
    states = []
    for looks in (1, 50):
        world = World(tmp_path / f"{looks}.db")
        world.apply(deployment("web", replicas=4, load=20))
        world.now += 100
        world.apply(deployment("web", replicas=4, load=20, image="b"))
        for _ in range(looks):
            world.now += 50 / looks
            world.status("web")
        states.append(world.status("web"))
        world.cluster.close()
    assert states[0] == states[1]
    assert states[0]["updatedReplicas"] == 3


def test_an_update_without_room_waits_and_then_gives_up(world: World) -> None:
    world.apply(deployment("web", gpus=8, replicas=2))
    world.now += 60
    web = deployment("web", gpus=8, replicas=2, image="b")
    world.apply(web)
    assert world.state(web).message.startswith("1 of 2 replicas updated, 2 available: Unschedulable")
    world.now += 601
    assert world.state(web).failed


@pytest.mark.parametrize(("minimum", "ready"), [(3, 3), (0, 0)])
def test_an_autoscaler_decides_where_replicas_are_left_out(world: World, minimum: int, ready: int) -> None:
    web = deployment("web", replicas=None)
    scaled = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"scaleTargetRef": {"name": "web"}, "minReplicaCount": minimum},
    }
    world.apply(web)
    world.now += 60
    assert world.state(web).message == "1 of 1 replicas available"
    world.apply(scaled)
    world.now += 60
    assert world.state(web).message == f"{ready} of {ready} replicas available"


def test_pods_go_with_their_deployment_and_all_with_the_namespace(world: World) -> None:
    world.apply(deployment("web"), deployment("other"))
    assert len(world.pods()) == 2
    world.server.request("DELETE", "/apis/apps/v1/namespaces/shop/deployments/web")
    assert len(world.pods()) == 1
    world.server.request("DELETE", "/api/v1/namespaces/shop")
    assert world.pods() == []
    assert world.server.request("GET", "/apis/apps/v1/namespaces/shop/deployments/other").status == 404
