"""Readiness in words, from status as plain data, and from crashing pods of a real control plane."""

import time
from typing import Any

import pytest

from gitops.values import ObjectRef
from gitops.world.kubernetes.cluster import connect
from gitops.world.kubernetes.readiness import most_telling, readiness_of
from tests.support.controlplane import ControlPlane

Manifest = dict[str, Any]


def deployment(replicas: int = 3, generation: int = 2, **status: Any) -> Manifest:
    counts = {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3}
    return {
        "kind": "Deployment",
        "metadata": {"name": "web", "generation": generation},
        "spec": {"replicas": replicas},
        "status": {**counts, **status},
    }


def pod(name: str, conditions: Any = (), **container: Any) -> Manifest:
    containers = [{"name": "server", **container}] if container else []
    return {"metadata": {"name": name}, "status": {"conditions": conditions, "containerStatuses": containers}}


UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
}


@pytest.mark.parametrize(
    ("live", "ready", "message"),
    [
        (deployment(), True, "3 of 3 replicas available"),
        (deployment(replicas=0, updatedReplicas=0, availableReplicas=0), False, "3 old replicas still run"),
        (deployment(generation=3), False, "waits for the deployment controller"),
        (deployment(availableReplicas=2), False, "2 of 3 replicas available"),
        (deployment(updatedReplicas=1), False, "1 of 3 replicas updated, 3 available"),
        ({"kind": "Namespace", "metadata": {}, "status": {"phase": "Terminating"}}, False, "is Terminating"),
        ({"kind": "ConfigMap", "metadata": {"deletionTimestamp": "now"}}, False, "is being deleted"),
        ({"kind": "ConfigMap", "metadata": {}}, True, "exists"),
    ],
)
def test_the_state_is_one_sentence(live: Manifest, ready: bool, message: str) -> None:
    state = readiness_of(live)
    assert (state.ready, state.message, state.failed) == (ready, message, False)


def test_a_passed_deadline_means_that_waiting_does_not_help() -> None:
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    state = readiness_of(deployment(availableReplicas=0, conditions=[condition]), [pod("a", [UNSCHEDULABLE])])
    assert state.failed
    assert "Insufficient nvidia.com/gpu" in state.message


def test_the_most_telling_reason_wins() -> None:
    pulling = pod("b", state={"waiting": {"reason": "ImagePullBackOff", "message": "not found"}})
    crashing = pod("c", state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState={"terminated": {"exitCode": 3}})
    killed = pod(
        "d", state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState={"terminated": {"reason": "OOMKilled"}}
    )
    waiting, creating = pod("a", [UNSCHEDULABLE]), pod("e", state={"waiting": {"reason": "ContainerCreating"}})
    assert most_telling([creating]) == ""
    assert most_telling([creating, waiting]).startswith("Unschedulable: 0/3 nodes")
    assert most_telling([waiting, pulling]) == "container server of pod b: ImagePullBackOff: not found"
    assert most_telling([waiting, pulling, crashing]) == "container server of pod c: CrashLoopBackOff, exit code 3"
    assert "OOMKilled" in most_telling([waiting, pulling, crashing, killed])


@pytest.mark.parametrize(
    ("parents", "ready"),
    [
        ([], True),
        ([{"parentRef": {"name": "gw"}, "conditions": [{"type": "Accepted", "status": "True"}]}], True),
        ([{"parentRef": {"name": "gw"}, "conditions": [{"type": "Accepted", "status": "False"}]}], False),
        ([{"parentRef": {"name": "gw"}, "conditions": []}], False),
    ],
)
def test_a_route_is_ready_when_no_gateway_objects(parents: list[Manifest], ready: bool) -> None:
    assert readiness_of({"kind": "HTTPRoute", "metadata": {}, "status": {"parents": parents}}).ready is ready


@pytest.mark.controlplane
def test_a_crashing_container_is_named(control_plane: ControlPlane, namespace: str) -> None:
    cluster = connect(control_plane.context, kubeconfig=control_plane.kubeconfig)
    template = {
        "metadata": {"labels": {"app": "web"}, "annotations": {"gitops.test/crash": "true"}},
        "spec": {"containers": [{"name": "server", "image": "server:1"}]},
    }
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template},
    }
    cluster.apply(manifest)
    ref, deadline = ObjectRef.of(manifest), time.monotonic() + 20
    while "CrashLoopBackOff" not in (state := cluster.readiness([ref])[ref]).message:
        assert time.monotonic() < deadline, state
        time.sleep(0.1)
    assert "container server of pod web-" in state.message
    cluster.close()
