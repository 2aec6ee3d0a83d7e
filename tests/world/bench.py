"""What the cluster contract tests work with: one cluster, real or embedded, whose requests can be made to fail."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import orjson

from gitops.values import LABEL_ENVIRONMENT, LABEL_MODEL, LABEL_PIPELINE, ObjectRef, Owner
from gitops.world.kubernetes.cluster import KubernetesCluster
from gitops.world.kubernetes.kinds import kind_of
from gitops.world.kubernetes.transport import NO_QUERY, Response, Transport, TransportError
from gitops.world.ports import Readiness

LABELS = {LABEL_ENVIRONMENT: "dev", LABEL_MODEL: "chat"}
REPOSITORY, CLUSTER = "4f2c0a1b9d8e7f605142", "here"
Manifest = dict[str, Any]
T = TypeVar("T")


def owner_of(pipeline: str, repository: str = REPOSITORY, cluster: str = CLUSTER) -> Owner:
    """The owner under test, or one that differs from it."""
    return Owner(pipeline, repository, cluster)


class Faults(Protocol):
    """Makes the next `times` matching requests fail, and counts requests; see tests.support.faultproxy."""

    def respond(
        self, status: int, *, times: int = 1, method: str = ".*", path: str = "", retry_after: int | None = None
    ) -> None: ...

    def hang(self, *, times: int = 1, method: str = ".*", path: str = "") -> None: ...

    def drop(self, *, times: int = 1, method: str = ".*", path: str = "", forward: bool = True) -> None: ...

    def count(self, *, method: str = ".*", path: str = "") -> int: ...

    def clear(self) -> None: ...


class FaultyTransport:
    """The fault proxy's twin for a transport without a network."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self._faults: list[dict[str, Any]] = []
        self._seen: list[tuple[str, str]] = []

    @property
    def owner(self) -> Owner:
        """Whose objects `cluster` takes for its own."""
        return owner_of(self.namespace)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] = NO_QUERY,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Response:
        target = f"{path}?{'&'.join(f'{key}={value}' for key, value in query.items())}"
        self._seen.append((method, target))
        fault = self._take(method, target)
        if fault and "status" in fault:
            status = {"kind": "Status", "message": "injected fault", "code": fault["status"]}
            after = fault["retry_after"]
            headers = {} if after is None else {"retry-after": str(after)}
            return Response(fault["status"], headers, orjson.dumps(status))
        if fault and not fault["forward"]:
            raise TransportError(fault["text"])
        response = self._inner.request(method, path, query=query, body=body, content_type=content_type, accept=accept)
        if fault:
            raise TransportError(fault["text"])
        return response

    def close(self) -> None:
        self._inner.close()

    def respond(
        self, status: int, *, times: int = 1, method: str = ".*", path: str = "", retry_after: int | None = None
    ) -> None:
        self._add(method, path, times, status=status, retry_after=retry_after)

    def hang(self, *, times: int = 1, method: str = ".*", path: str = "") -> None:
        self._add(method, path, times, forward=False, text="the answer timed out")

    def drop(self, *, times: int = 1, method: str = ".*", path: str = "", forward: bool = True) -> None:
        self._add(method, path, times, forward=forward, text="the connection was dropped")

    def count(self, *, method: str = ".*", path: str = "") -> int:
        return sum(bool(re.fullmatch(method, verb)) and bool(re.search(path, target)) for verb, target in self._seen)

    def clear(self) -> None:
        self._faults.clear()
        self._seen.clear()

    def _add(self, method: str, path: str, times: int, **effect: Any) -> None:
        self._faults += [{"method": method, "path": path, **effect} for _ in range(times)]

    def _take(self, method: str, target: str) -> dict[str, Any] | None:
        for fault in self._faults:
            if re.fullmatch(fault["method"], method) and re.search(fault["path"], target):
                self._faults.remove(fault)
                return fault
        return None


@dataclass
class Bench:
    """A cluster with a fresh namespace, and a side door for other people's hands."""

    cluster: KubernetesCluster
    transport: Transport
    faults: Faults
    namespace: str
    waits: list[float]
    """The pauses between attempts, which are not really made."""

    @property
    def selector(self) -> dict[str, str]:
        """Labels of the pipeline under test; no other test has the same."""
        return {LABEL_PIPELINE: self.namespace}

    @property
    def owner(self) -> Owner:
        """Whose objects `cluster` takes for its own."""
        return owner_of(self.namespace)

    def request(
        self,
        method: str,
        ref: ObjectRef,
        body: object = None,
        *,
        manager: str = "kubectl-edit",
        content_type: str = "application/merge-patch+json",
    ) -> Manifest:
        """A request that did not come from us."""
        kind = kind_of(ref.api_version, ref.kind)
        path = kind.path(ref.namespace, "" if method == "POST" else ref.name)
        response = self.transport.request(
            method,
            path,
            query={} if method == "GET" else {"fieldManager": manager},
            body=None if body is None else orjson.dumps(body),
            content_type=content_type if method == "PATCH" else "application/json",
        )
        assert response.status < 300, response.body
        found: Manifest = orjson.loads(response.body)
        return found

    def patch(self, ref: ObjectRef, body: object, manager: str = "kubectl-edit") -> Manifest:
        """A merge patch by another manager."""
        return self.request("PATCH", ref, body, manager=manager)

    def live(self, ref: ObjectRef) -> Manifest:
        """The object as it is."""
        return self.request("GET", ref)

    def apply(self, *manifests: Manifest) -> None:
        """Apply all, in order."""
        for manifest in manifests:
            self.cluster.apply(manifest)

    def wait_ready(self, ref: ObjectRef, *, ready: bool = True, saying: str = "", seconds: float = 20) -> Readiness:
        """Poll until the object is (not) ready and its message contains `saying`."""
        deadline = time.monotonic() + seconds
        while True:
            state = self.cluster.readiness([ref])[ref]
            if state.ready is ready and saying in state.message:
                return state
            assert time.monotonic() < deadline, f"still {state}"
            time.sleep(0.05)

    def as_owner(self, owner: Owner | None) -> KubernetesCluster:
        """The same cluster as somebody else works on it."""
        return KubernetesCluster(self.transport, name="contract", owner=(lambda: owner) if owner else None)

    # --- Objects ---------------------------------------------------------------------------------------------

    def _metadata(self, name: str) -> Manifest:
        return {"name": name, "namespace": self.namespace, "labels": {**self.selector, **LABELS}}

    def config(self, name: str, **data: str) -> Manifest:
        """A ConfigMap."""
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": self._metadata(name), "data": data or {"a": "1"}}

    def secret(self, name: str, value: str) -> Manifest:
        """A Secret; `value` in base64."""
        return {"apiVersion": "v1", "kind": "Secret", "metadata": self._metadata(name), "data": {"token": value}}

    def service(self, name: str) -> Manifest:
        """A Service."""
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self._metadata(name),
            "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8000}]},
        }

    def route(self, name: str, *weights: int) -> Manifest:
        """An HTTPRoute that leaves much to the server's defaults."""
        backends = [{"name": f"{name}-{index}", "port": 80, "weight": weight} for index, weight in enumerate(weights)]
        return {
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "HTTPRoute",
            "metadata": self._metadata(name),
            "spec": {"parentRefs": [{"name": "gateway"}], "rules": [{"backendRefs": backends}]},
        }

    def deployment(
        self, name: str, *, image: str = "server:1", replicas: int = 1, gpus: int = 0, load: int = 0
    ) -> Manifest:
        """A model server that takes `load` seconds until it is ready."""
        limits = {"cpu": "0.5", "memory": "1024Mi", **({"nvidia.com/gpu": gpus} if gpus else {})}
        container = {
            "name": "server",
            "image": image,
            "ports": [{"name": "http", "containerPort": 8000}],
            "env": [{"name": "MODEL", "value": name}],
            "resources": {"limits": limits},
            "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
        }
        annotations = {"gitops/load-time-seconds": str(load), "gitops.test/ready-after": f"{load}s"}
        pod = {
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "containers": [container],
            "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory"}}],
        }
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": self._metadata(name),
            "spec": {
                "replicas": replicas,
                "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": {"app": name}, "annotations": annotations}, "spec": pod},
            },
        }


def until(look: Callable[[], T], good: Callable[[T], bool], seconds: float = 20) -> T:
    """What `look` finds as soon as that is good."""
    deadline = time.monotonic() + seconds
    while not good(found := look()):
        assert time.monotonic() < deadline, f"still {found}"
        time.sleep(0.05)
    return found
