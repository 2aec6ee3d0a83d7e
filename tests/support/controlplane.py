"""A real Kubernetes control plane on loopback: etcd, API server, controllers, scheduler, fake nodes by kwok.

    with ControlPlane.start(tmp_path, nodes=[Node("gpu-0")]) as plane:
        plane.install_crds()
        plane.kubectl("get", "nodes")

Pods are scheduled by the real scheduler and then only pretend to run; `tests/controlplane/stages.yaml` says
how, and which pod annotations make them slow or crash. The API server knows Gateway API, Istio's VirtualService,
KEDA and Prometheus Operator by their resource definitions; nothing acts on those. Needs a POSIX shell.
"""

import json
import os
import random
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.support.certificates import Authority, KeyPair
from tests.support.guard import start_guard
from tests.support.tools.kubernetes import MODULE, Binaries, Unavailable, binaries

__all__ = ["Binaries", "ControlPlane", "Failed", "Node", "Unavailable", "binaries"]

GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "cronjob-controller",
    "daemonset-controller",
    "deployment-controller",
    "disruption-controller",
    "endpoints-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "horizontal-pod-autoscaler-controller",
    "job-controller",
    "namespace-controller",
    "node-lifecycle-controller",
    "pod-garbage-collector-controller",
    "replicaset-controller",
    "resourcequota-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "statefulset-controller",
    "taint-eviction-controller",
    "ttl-after-finished-controller",
)
_NODE_INFO = {
    "architecture": "amd64",
    "operatingSystem": "linux",
    "kubeletVersion": "fake",
    "containerRuntimeVersion": "kwok",
    "osImage": "",
    "kernelVersion": "",
    "kubeProxyVersion": "",
    "bootID": "",
    "machineID": "",
    "systemUUID": "",
}
_START_SECONDS = 60
_PORT_CLASHES = 4


class Failed(Exception):
    """The control plane did not do as asked in time; the message carries the end of the log."""


class _PortTaken(Failed):
    """A component found its port in use: another choice may work."""


@dataclass(frozen=True, slots=True)
class Node:
    """A fake node. Left alone, a node with GPUs carries the taint of the GPU operator, one without none."""

    name: str
    gpus: int = 8
    gpu_product: str = "NVIDIA-H100-80GB-HBM3"
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Mapping[str, str]] | None = None
    cpu: str = "128"
    memory: str = "2Ti"
    pods: int = 250

    def manifest(self) -> dict[str, Any]:
        """The Node object; kwok adds conditions and addresses."""
        capacity = {
            "cpu": self.cpu,
            "memory": self.memory,
            "pods": str(self.pods),
            "ephemeral-storage": "4Ti",
        }
        labels = {
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/os": "linux",
        }
        if self.gpus:
            capacity["nvidia.com/gpu"] = str(self.gpus)
            labels["nvidia.com/gpu.present"] = "true"
            labels["nvidia.com/gpu.product"] = self.gpu_product
            labels["nvidia.com/gpu.count"] = str(self.gpus)
        taints = self.taints if self.taints is not None else [GPU_TAINT] if self.gpus else []
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": labels | dict(self.labels)},
            "spec": {"taints": [dict(taint) for taint in taints]},
            "status": {"capacity": capacity, "allocatable": capacity, "nodeInfo": _NODE_INFO},
        }


class ControlPlane:
    """One running control plane; it and all its processes end with `stop()`, or with the Python process."""

    def __init__(self, directory: Path, found: Binaries) -> None:
        """Use `ControlPlane.start`."""
        self.directory = directory
        self.context = "controlplane"
        self._binaries = found
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._guard = start_guard()
        self._authority = Authority.create(directory / "certificates")
        self._admin = self._authority.issue("admin", ["system:masters"])
        self._service_accounts = self._authority.issue("service-accounts")
        self._etcd_port, self._peer_port, self._port = _free_ports(3)
        self._tls = self._client_tls(self._admin)
        self.kubeconfig = self._write_kubeconfig("admin", self._admin)

    @classmethod
    def start(cls, directory: Path, *, nodes: Sequence[Node] = ()) -> Self:
        """A control plane that keeps everything it writes, logs included, in the directory.

        It is ready: pods may be created in namespace `default`, and the nodes are Ready. Raises Unavailable
        when there are no binaries, Failed when a component does not come up.
        """
        found = binaries()
        for attempt in range(_PORT_CLASHES):
            plane = cls(directory if not attempt else directory / f"attempt-{attempt}", found)
            try:
                plane._start(nodes)
            except _PortTaken:
                plane.stop()
                if attempt + 1 == _PORT_CLASHES:
                    raise
            except BaseException:
                plane.stop()
                raise
            else:
                return plane
        raise AssertionError("unreachable")

    def __enter__(self) -> Self:
        """The control plane itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    @property
    def url(self) -> str:
        """Where the API server listens: https://127.0.0.1:port."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def client_tls(self) -> ssl.SSLContext:
        """What a client of `url` needs to trust the server and to be the cluster's administrator."""
        return self._tls

    @property
    def authority(self) -> Authority:
        """The authority of the server's and all users' certificates."""
        return self._authority

    def stop(self) -> None:
        """End every process at once. Harmless when done before."""
        if self._guard.poll() is None:
            os.killpg(self._guard.pid, signal.SIGKILL)
        for process in [*self._processes.values(), self._guard]:
            process.wait()
        if self._guard.stdin:
            self._guard.stdin.close()

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig for another user: what it may do is up to RBAC, by default almost nothing."""
        return self._write_kubeconfig(user, self._authority.issue(user, groups))

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl prints, run as the administrator. Raises Failed with its complaint."""
        done = subprocess.run(
            [self._binaries.path("kubectl"), "--kubeconfig", self.kubeconfig, *arguments],
            input=stdin,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Failed(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def request(self, method: str, path: str, body: object = None, *, timeout: float = 10) -> Any:
        """The JSON answer to one request as the administrator.

        Raises urllib.error.HTTPError for an answer of 400 or more, OSError when there is none.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._tls)
        )
        with opener.open(request, timeout=timeout) as answer:
            text = answer.read()
        return json.loads(text) if text[:1] in (b"{", b"[") else text.decode()

    def add_nodes(self, nodes: Sequence[Node], *, timeout: float = 30) -> None:
        """Create fake nodes and wait until pods can be placed on them."""
        for node in nodes:
            self.request("POST", "/api/v1/nodes", node.manifest())
        for node in nodes:
            self._wait(f"node {node.name} to be ready", partial(self._schedulable, node.name), timeout)

    def remove_node(self, name: str) -> None:
        """Delete a node and its pods, as when a machine is reclaimed.

        Left to itself, Kubernetes would collect the pods a minute later.
        """
        self.request("DELETE", f"/api/v1/nodes/{name}")
        for pod in self.request("GET", f"/api/v1/pods?fieldSelector=spec.nodeName={name}")["items"]:
            metadata = pod["metadata"]
            path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
            self.request("DELETE", f"{path}?gracePeriodSeconds=0")

    def install_crds(self, *, timeout: float = 30) -> None:
        """Serve Gateway API, Prometheus operator and KEDA kinds; harmless when done before."""
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(self._binaries.crds))
        self._wait("custom resource definitions to be served", self._crds_served, timeout)

    def pause_apiserver(self) -> None:
        """Freeze the API server: connections open but nothing answers, until resumed."""
        self._processes["kube-apiserver"].send_signal(signal.SIGSTOP)

    def resume_apiserver(self) -> None:
        """Undo pause_apiserver."""
        self._processes["kube-apiserver"].send_signal(signal.SIGCONT)

    def kill_apiserver(self) -> None:
        """Kill the API server: connections are refused until it is started again."""
        process = self._processes.pop("kube-apiserver")
        process.kill()
        process.wait()

    def start_apiserver(self, *, timeout: float = _START_SECONDS) -> None:
        """Start the API server again on its port, with what it had stored, and wait until it is ready."""
        self._start_apiserver()
        self._wait("the API server to be ready", self._apiserver_ready, timeout)

    def memory(self) -> dict[str, int]:
        """Bytes of memory by component, memory shared between them counted once (Linux)."""
        return {name: _proportional_set_size(process.pid) for name, process in self._processes.items()}

    def _start(self, nodes: Sequence[Node]) -> None:
        self._start_etcd()
        self._wait("etcd to listen", lambda: _listening(self._etcd_port), _START_SECONDS, poll=0.02)
        self.start_apiserver()
        self._start_clients()
        self._wait("the default service account", self._service_account_exists, _START_SECONDS)
        self.add_nodes(nodes)

    def _start_etcd(self) -> None:
        client, peer = (f"http://127.0.0.1:{port}" for port in (self._etcd_port, self._peer_port))
        self._spawn(
            "etcd",
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )

    def _start_apiserver(self) -> None:
        server = self._authority.issue("kube-apiserver")
        self._spawn(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--secure-port={self._port}",
            f"--tls-cert-file={server.certificate}",
            f"--tls-private-key-file={server.key}",
            f"--client-ca-file={self._authority.files.certificate}",
            "--authorization-mode=RBAC",
            "--anonymous-auth=false",
            "--allow-privileged=true",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self._service_accounts.certificate}",
            f"--service-account-signing-key-file={self._service_accounts.key}",
            "--profiling=false",
        )

    def _start_clients(self) -> None:
        kubeconfig = f"--kubeconfig={self.kubeconfig}"
        self._spawn(
            "kube-controller-manager",
            kubeconfig,
            f"--controllers={','.join(CONTROLLERS)}",
            f"--root-ca-file={self._authority.files.certificate}",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            "--node-monitor-grace-period=10m",
        )
        scheduler = {
            "apiVersion": "kubescheduler.config.k8s.io/v1",
            "kind": "KubeSchedulerConfiguration",
            "clientConnection": {"kubeconfig": str(self.kubeconfig), "qps": 500, "burst": 1000},
            "leaderElection": {"leaderElect": False},
            "podInitialBackoffSeconds": 1,
            "podMaxBackoffSeconds": 1,
        }
        configuration = self.directory / "scheduler.json"
        configuration.write_text(json.dumps(scheduler))
        self._spawn("kube-scheduler", f"--config={configuration}", "--secure-port=0")
        self._spawn(
            "kwok",
            kubeconfig,
            f"--config={MODULE / 'stages.yaml'}",
            "--manage-all-nodes=true",
            "--node-lease-duration-seconds=40",
            "--node-ip=192.0.2.1",
            "--cidr=10.64.0.0/14",
        )

    def _spawn(self, component: str, *arguments: str) -> None:
        with (self.directory / f"{component}.log").open("ab") as log:
            self._processes[component] = subprocess.Popen(
                [self._binaries.path(component), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env=self._environment(),
                process_group=self._guard.pid,
            )

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.directory)}

    def _wait(self, what: str, done: Callable[[], bool], seconds: float, *, poll: float = 0.05) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            for component, process in self._processes.items():
                if process.poll() is not None:
                    raise self._died(component, process.returncode)
            if time.monotonic() > deadline:
                raise Failed(f"waited {seconds:.0f} s for {what}; logs are in {self.directory}")
            time.sleep(poll)

    def _died(self, component: str, code: int) -> Failed:
        log = (self.directory / f"{component}.log").read_text(errors="replace")
        kind = _PortTaken if "address already in use" in log else Failed
        return kind(f"{component} ended with {code}: {' | '.join(log.strip().splitlines()[-5:])}")

    def _apiserver_ready(self) -> bool:
        return self._answers("/readyz")

    def _service_account_exists(self) -> bool:
        return self._answers("/api/v1/namespaces/default/serviceaccounts/default")

    def _answers(self, path: str) -> bool:
        try:
            self.request("GET", path, timeout=5)
        except OSError:
            return False
        return True

    def _schedulable(self, node: str) -> bool:
        found = self.request("GET", f"/api/v1/nodes/{node}")
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in found["status"].get("conditions") or [])
        taints = [taint["key"] for taint in found["spec"].get("taints") or []]
        return ready and "node.kubernetes.io/not-ready" not in taints

    def _crds_served(self) -> bool:
        for crd in self.request("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")["items"]:
            conditions = {c["type"]: c["status"] for c in (crd.get("status") or {}).get("conditions") or []}
            spec = crd["spec"]
            version = next(v["name"] for v in spec["versions"] if v["served"])
            path = f"/apis/{spec['group']}/{version}/{spec['names']['plural']}?limit=1"
            if conditions.get("Established") != "True" or not self._answers(path):
                return False
        return True

    def _client_tls(self, user: KeyPair) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._authority.files.certificate)
        context.load_cert_chain(user.certificate, user.key)
        return context

    def _write_kubeconfig(self, user: str, files: KeyPair) -> Path:
        cluster = {"server": self.url, "certificate-authority": str(self._authority.files.certificate)}
        credentials = {"client-certificate": str(files.certificate), "client-key": str(files.key)}
        path = self.directory / f"{files.certificate.stem}.kubeconfig"
        return write_kubeconfig(path, self.context, cluster, user, credentials)


def write_kubeconfig(
    path: Path, context: str, cluster: Mapping[str, Any], user: str, credentials: Mapping[str, Any]
) -> Path:
    """Write a kubeconfig with one context of that name, and return its path."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [{"name": context, "cluster": dict(cluster)}],
        "users": [{"name": user, "user": dict(credentials)}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": user}}],
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def _free_ports(count: int) -> list[int]:
    """Ports nobody listens on, below those the kernel hands to outgoing connections."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _proportional_set_size(process: int) -> int:
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    return next(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
