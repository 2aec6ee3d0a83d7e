"""The test control plane itself: real scheduling, fake running, real kinds, and faults on demand."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.controlplane import ControlPlane, Failed, Node
from tests.support.faultproxy import FaultProxy

pytestmark = pytest.mark.controlplane

ROOT = Path(__file__).resolve().parents[2]


def deployment(name: str, gpus: int, annotations: dict[str, str] | None = None, replicas: int = 1) -> dict[str, Any]:
    labels = {"app": name}
    container = {
        "name": "server",
        "image": "vllm:test",
        "resources": {"limits": {"nvidia.com/gpu": str(gpus)}},
    }
    toleration = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": annotations or {}},
                "spec": {
                    "containers": [container],
                    "tolerations": [toleration],
                    "terminationGracePeriodSeconds": 0,
                },
            },
        },
    }


def create(plane: ControlPlane, namespace: str, manifest: dict[str, Any]) -> str:
    """Create a Deployment and return its path."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    plane.request("POST", path, manifest)
    return f"{path}/{manifest['metadata']['name']}"


def eventually(check: Callable[[], bool], what: str, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def conditions(plane: ControlPlane, path: str) -> dict[str, str]:
    found = plane.request("GET", path)["status"].get("conditions") or []
    return {condition["type"]: condition["status"] for condition in found}


def pods(plane: ControlPlane, namespace: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = plane.request("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
    return found


def test_a_gpu_deployment_becomes_available(control_plane: ControlPlane, namespace: str) -> None:
    path = create(control_plane, namespace, deployment("chat", gpus=1))
    eventually(lambda: conditions(control_plane, path).get("Available") == "True", "available")
    (pod,) = pods(control_plane, namespace)
    assert pod["spec"]["nodeName"].startswith("gpu-")
    assert pod["status"]["phase"] == "Running"


def test_nine_gpus_do_not_fit_a_node_of_eight(control_plane: ControlPlane, namespace: str) -> None:
    create(control_plane, namespace, deployment("giant", gpus=9))

    def unschedulable() -> bool:
        found = [pod["status"].get("conditions", []) for pod in pods(control_plane, namespace)]
        return any(c["type"] == "PodScheduled" and c["status"] == "False" for conditions in found for c in conditions)

    eventually(unschedulable, "unschedulable")
    (pod,) = pods(control_plane, namespace)
    assert pod["status"]["phase"] == "Pending"
    assert "Insufficient nvidia.com/gpu" in pod["status"]["conditions"][0]["message"]


def test_annotations_make_pods_slow_or_crash(control_plane: ControlPlane, namespace: str) -> None:
    slow = create(control_plane, namespace, deployment("slow", 0, {"gitops.test/ready-after": "2s"}))
    never = create(control_plane, namespace, deployment("never", 0, {"gitops.test/ready-after": "never"}))
    crash = create(control_plane, namespace, deployment("crash", 0, {"gitops.test/crash": "true"}))
    eventually(lambda: all(p["status"]["phase"] == "Running" for p in pods(control_plane, namespace)), "running")
    assert conditions(control_plane, slow)["Available"] == "False"
    eventually(lambda: conditions(control_plane, slow)["Available"] == "True", "available later")
    assert conditions(control_plane, never)["Available"] == "False"
    assert conditions(control_plane, crash)["Available"] == "False"
    states = [p["status"]["containerStatuses"][0]["state"] for p in pods(control_plane, namespace)]
    assert "CrashLoopBackOff" in [state.get("waiting", {}).get("reason") for state in states]


def test_deleted_pods_end(control_plane: ControlPlane, namespace: str) -> None:
    path = create(control_plane, namespace, deployment("gone", 1, replicas=2))
    eventually(lambda: conditions(control_plane, path).get("Available") == "True", "available")
    control_plane.request("DELETE", path)
    eventually(lambda: pods(control_plane, namespace) == [], "no pods")


def test_a_job_completes(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.kubectl("create", "job", "benchmark", "--image=bench:test", "-n", namespace)
    control_plane.kubectl("wait", "--for=condition=complete", "job/benchmark", "-n", namespace, "--timeout=20s")


def test_custom_kinds_are_served_and_validated(control_plane: ControlPlane, namespace: str) -> None:
    kinds = control_plane.kubectl("api-resources", "-o", "name").split()
    assert {
        "httproutes.gateway.networking.k8s.io",
        "podmonitors.monitoring.coreos.com",
        "scaledobjects.keda.sh",
    } <= set(kinds)
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "chat", "namespace": namespace},
        "spec": {"rules": [{"backendRefs": [{"name": "chat-1", "port": 80, "weight": 1_000_001}]}]},
    }
    with pytest.raises(Failed, match="1000000"):
        control_plane.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(route))
    route["spec"] = {"rules": [{"backendRefs": [{"name": "chat-1", "port": 80, "weight": 90}]}]}
    control_plane.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(route))


def test_kubectl_has_the_servers_version(control_plane: ControlPlane) -> None:
    versions = json.loads(control_plane.kubectl("version", "-o", "json"))
    assert versions["clientVersion"]["gitVersion"] == versions["serverVersion"]["gitVersion"]
    assert versions["serverVersion"]["gitVersion"].startswith("v1.")


def test_other_users_are_subject_to_rbac(control_plane: ControlPlane) -> None:
    stranger = control_plane.kubeconfig_for("stranger", ["readers"])
    with pytest.raises(Failed, match='User "stranger" cannot list resource "pods"'):
        control_plane.kubectl("--kubeconfig", str(stranger), "get", "pods")


def test_pod_security_admission_is_on(control_plane: ControlPlane, namespace: str) -> None:
    enforce = "pod-security.kubernetes.io/enforce=restricted"
    control_plane.kubectl("label", "namespace", namespace, enforce)
    with pytest.raises(Failed, match="violates PodSecurity"):
        control_plane.kubectl("run", "root", "--image=anything", "-n", namespace)


def test_nodes_come_and_go(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.add_nodes([Node("a100-0", gpus=4, gpu_product="NVIDIA-A100", labels={"pool": "a100"})])
    manifest = deployment("pinned", gpus=4)
    manifest["spec"]["template"]["spec"]["nodeSelector"] = {"pool": "a100"}
    path = create(control_plane, namespace, manifest)
    eventually(lambda: conditions(control_plane, path).get("Available") == "True", "available")
    control_plane.remove_node("a100-0")
    eventually(lambda: conditions(control_plane, path).get("Available") == "False", "unavailable")


def test_proxy_answers_for_the_server(control_plane: ControlPlane, fault_proxy: FaultProxy) -> None:
    fault_proxy.respond(503, times=2, method="GET", path="/namespaces$")
    fault_proxy.respond(429, path="/namespaces$", retry_after=7)
    for status in (503, 503, 429):
        with pytest.raises(urllib.error.HTTPError) as failed:
            urllib.request.urlopen(f"{fault_proxy.url}/api/v1/namespaces")
        assert failed.value.code == status
        answer = json.loads(failed.value.read())
        assert answer["kind"] == "Status"
        assert failed.value.headers["Retry-After"] == ("7" if status == 429 else None)
    with urllib.request.urlopen(f"{fault_proxy.url}/api/v1/namespaces") as answered:
        assert json.loads(answered.read())["kind"] == "NamespaceList"
    assert [seen.status for seen in fault_proxy.requests] == [503, 503, 429, 200]
    assert fault_proxy.count(method="GET", path="^/api/v1/namespaces") == 4


def test_proxy_drops_an_answer_after_the_write(
    control_plane: ControlPlane, fault_proxy: FaultProxy, namespace: str
) -> None:
    address = f"{fault_proxy.url}/api/v1/namespaces/{namespace}/configmaps"

    def post(name: str) -> None:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
        headers = {"Content-Type": "application/json"}
        urllib.request.urlopen(urllib.request.Request(address, json.dumps(body).encode(), headers)).read()

    fault_proxy.drop(method="POST", path="/configmaps")
    with pytest.raises(http.client.IncompleteRead):
        post("written")
    fault_proxy.drop(method="POST", path="/configmaps", forward=False)
    with pytest.raises(ConnectionError):
        post("unwritten")
    names = control_plane.kubectl("get", "configmaps", "-n", namespace, "-o", "name")
    assert "configmap/written" in names
    assert "configmap/unwritten" not in names
    assert [seen.status for seen in fault_proxy.requests] == [None, None]


def test_proxy_hangs_and_delays(fault_proxy: FaultProxy) -> None:
    fault_proxy.hang(path="/version")
    with pytest.raises(TimeoutError):
        urllib.request.urlopen(f"{fault_proxy.url}/version", timeout=0.3)
    fault_proxy.delay(0.3, path="/version")
    started = time.monotonic()
    urllib.request.urlopen(f"{fault_proxy.url}/version").read()
    assert time.monotonic() - started >= 0.3


@pytest.mark.parametrize("tls", [False, True])
def test_proxy_carries_kubectl_and_watches(
    control_plane: ControlPlane, namespace: str, tmp_path: Path, tls: bool
) -> None:
    with FaultProxy.start(control_plane, tls=tls) as proxy:
        kubeconfig = str(proxy.write_kubeconfig(tmp_path / "kubeconfig"))
        create(control_plane, namespace, deployment("watched", 1, {"gitops.test/ready-after": "1s"}))
        waited = ["wait", "--for=condition=available", "deployment/watched", "-n", namespace, "--timeout=15s"]
        control_plane.kubectl("--kubeconfig", kubeconfig, *waited)
        assert proxy.count(path=r"watch=(true|1)") >= 1


def test_apiserver_outages(tmp_path: Path, control_plane_binaries: object) -> None:
    with ControlPlane.start(tmp_path) as plane:
        plane.pause_apiserver()
        with pytest.raises(OSError, match="timed out"):
            plane.request("GET", "/version", timeout=0.3)
        plane.resume_apiserver()
        plane.request("GET", "/version")
        plane.kubectl("create", "namespace", "kept")
        plane.kill_apiserver()
        with pytest.raises(urllib.error.URLError):
            plane.request("GET", "/version")
        plane.start_apiserver()
        assert "kept" in plane.kubectl("get", "namespaces", "-o", "name")


def test_processes_die_with_python(tmp_path: Path, control_plane_binaries: object) -> None:
    script = (
        "import sys, time; from pathlib import Path; from tests.support.controlplane import ControlPlane;"
        "plane = ControlPlane.start(Path(sys.argv[1])); plane.pause_apiserver();"
        "print(*(p.pid for p in plane._processes.values()), flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as python:
        assert python.stdout
        processes = [int(number) for number in python.stdout.readline().split()]
        python.send_signal(signal.SIGKILL)
    assert len(processes) == 5
    eventually(lambda: not any(alive(process) for process in processes), "all dead", 5)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
