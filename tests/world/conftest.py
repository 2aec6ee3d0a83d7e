"""One cluster for a contract test, embedded and real, whose requests can be made to fail."""

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitops.values import ObjectRef
from gitops.world.embedded.apiserver import ApiServer, EmbeddedPool
from gitops.world.kubernetes.cluster import KubernetesCluster
from gitops.world.kubernetes.transport import RetryPolicy
from tests.support.controlplane import ControlPlane
from tests.support.faultproxy import FaultProxy
from tests.world.bench import Bench, FaultyTransport, owner_of

POOL = EmbeddedPool("gpu", gpus=8, nodes=2, labels={"nvidia.com/gpu.present": "true"})
TIMEOUT = 1.0


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.controlplane)])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    plane: ControlPlane | None = None
    waits: list[float] = []
    retry = RetryPolicy(attempts=3, sleep=waits.append)
    namespace = f"contract-{uuid.uuid4().hex[:8]}"
    owner = owner_of(namespace)
    if request.param == "embedded":
        transport = FaultyTransport(ApiServer(tmp_path / "cluster.db", [POOL], 1.0, time.time))
        cluster = KubernetesCluster(transport, name="contract", retry=retry, owner=lambda: owner)
        made = Bench(cluster, transport, transport, namespace, waits)
    else:
        from gitops.world.kubernetes.http import open_http

        plane = request.getfixturevalue("control_plane")
        proxy: FaultProxy = request.getfixturevalue("fault_proxy")
        kubeconfig = proxy.write_kubeconfig(tmp_path / "kubeconfig")
        _, http = open_http(proxy.context, kubeconfig, timeout=TIMEOUT, connections=12)
        cluster = KubernetesCluster(http, name="contract", retry=retry, owner=lambda: owner)
        made = Bench(cluster, http, proxy, namespace, waits)
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    made.request("POST", ObjectRef.of(manifest), manifest)
    made.faults.clear()
    yield made
    made.cluster.close()
    if plane:
        plane.kubectl("delete", "namespace", namespace, "--wait=false")
