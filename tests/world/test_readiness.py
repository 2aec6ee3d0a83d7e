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


def fetching(state: Any, last: Any = None, name: str = "verify-model") -> Manifest:
    """A pod of which an init container has a state, and one before; the server waits for it."""
    status = {"name": name, "ready": False, "state": state, "lastState": {"terminated": last} if last else {}}
    server = {"name": "server", "ready": False, "state": {"waiting": {"reason": "PodInitializing"}}}
    found = {"initContainerStatuses": [status], "containerStatuses": [server]}
    return {"metadata": {"name": "chat-7d9"}, "status": found}


REFUSED = "the files from s3://m/chat have digest sha256:aa, expected sha256:bb; run: gitops models verify chat"
CRASHED = {"exitCode": 1, "reason": "Error", "message": f"{REFUSED}\n"}
BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}}

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


def test_since_when_each_replica_is_not_ready() -> None:
    """By its pods, and of a replica that has none by the Deployment; a pod that goes or is ready counts for nothing."""

    def of(second: int) -> str:
        return f"2026-01-01T00:00:{second:02}Z"

    began = 1_767_225_600
    lost, fresh, going, fine = (pod(name) for name in ("a", "b", "c", "d"))
    lost["status"]["conditions"] = [{"type": "Ready", "status": "False", "lastTransitionTime": of(30)}]
    fresh["metadata"]["creationTimestamp"] = of(40)
    going["metadata"] |= {"creationTimestamp": of(1), "deletionTimestamp": of(2)}
    fine["status"]["conditions"] = [{"type": "Ready", "status": "True", "lastTransitionTime": of(3)}]
    available = {"type": "Available", "status": "False", "lastTransitionTime": of(20)}
    live = deployment(replicas=4, updatedReplicas=4, availableReplicas=1, conditions=[available])
    state = readiness_of(live, [lost, fresh, going, fine])
    assert state.unready == (began + 20, began + 30, began + 40)
    assert not state.crashed


def test_a_pod_that_ends_by_itself_is_told_from_one_without_a_node() -> None:
    live = deployment(availableReplicas=2)
    assert readiness_of(live, [pod("a", state=BACK_OFF, lastState={"terminated": CRASHED})]).crashed
    assert readiness_of(
        live, [pod("a", state={"running": {}}, lastState={"terminated": {"reason": "OOMKilled"}})]
    ).crashed
    assert not readiness_of(live, [pod("a", [UNSCHEDULABLE])]).crashed


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
    ("state", "last", "said"),
    [
        (BACK_OFF, CRASHED, f"CrashLoopBackOff, exit code 1: {REFUSED}"),
        ({"terminated": CRASHED}, None, f"Error, exit code 1: {REFUSED}"),
        ({"terminated": CRASHED}, {"exitCode": 2, "message": "before"}, f"Error, exit code 1: {REFUSED}"),
    ],
)
def test_what_an_init_container_said_at_its_end_is_told(state: Any, last: Any, said: str) -> None:
    assert most_telling([fetching(state, last)]) == f"container verify-model of pod chat-7d9: {said}"


def test_a_container_that_tries_again_says_why_it_failed_and_may_still_succeed() -> None:
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    again = fetching({"running": {"startedAt": "now"}}, CRASHED)
    for pods, failed in (([again], False), ([again, fetching(BACK_OFF, CRASHED)], True)):
        state = readiness_of(deployment(availableReplicas=0, conditions=[condition]), pods)
        assert state.failed is failed
        assert REFUSED in state.message
    assert (
        most_telling([again])
        == f"container verify-model of pod chat-7d9 tries again after Error, exit code 1: {REFUSED}"
    )
    assert most_telling([again, pod("a", [UNSCHEDULABLE])]).startswith("Unschedulable")


def test_what_is_over_is_not_told() -> None:
    done = fetching({"terminated": {"exitCode": 0, "reason": "Completed", "message": "fine"}}, CRASHED)
    ready = pod("b", ready=True, state={"running": {}}, lastState={"terminated": CRASHED})
    assert most_telling([done, ready, fetching({"running": {}})]) == ""


def test_a_long_log_is_told_by_its_last_line() -> None:
    log = "Traceback (most recent call last):\n  File x\nNoCredentials: \x1b[31mred\x1b[0m\tand\u202e so on\n\n"
    told = most_telling([fetching(BACK_OFF, {**CRASHED, "message": log}, "fetch-model")])
    assert told.endswith("pod chat-7d9: CrashLoopBackOff, exit code 1: NoCredentials: [31mred [0m and so on")
    endless = most_telling([fetching(BACK_OFF, {**CRASHED, "message": "x" * 4000})])
    assert len(endless) < 500
    assert endless.endswith("x…")


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


@pytest.mark.controlplane
def test_what_refuses_a_model_is_told(control_plane: ControlPlane, namespace: str) -> None:
    cluster = connect(control_plane.context, kubeconfig=control_plane.kubeconfig)
    container = {"image": "fetch:1", "terminationMessagePolicy": "FallbackToLogsOnError"}
    template = {
        "metadata": {"labels": {"app": "web"}, "annotations": {"gitops.test/ready-after": "1h"}},
        "spec": {
            "initContainers": [{"name": "verify-model", **container}],
            "containers": [{"name": "server", "image": "server:1"}],
        },
    }
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template},
    }
    cluster.apply(manifest)
    pods, deadline = f"/api/v1/namespaces/{namespace}/pods", time.monotonic() + 20
    while not (found := control_plane.request("GET", pods)["items"]) or found[0]["status"]["phase"] != "Running":
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    [live] = found
    status = {"name": "verify-model", "image": "fetch:1", "imageID": "", "restartCount": 3, "ready": False}
    ended = {**CRASHED, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:01Z"}
    live["status"]["initContainerStatuses"] = [{**status, "state": BACK_OFF, "lastState": {"terminated": ended}}]
    control_plane.request("PUT", f"{pods}/{live['metadata']['name']}/status", live)
    ref = ObjectRef.of(manifest)
    assert cluster.readiness([ref])[ref].message.endswith(f"CrashLoopBackOff, exit code 1: {REFUSED}")
    cluster.close()
