"""Fixtures for tests against real servers. A missing server is an error in CI and elsewhere a skip."""

import uuid
from collections.abc import Iterator
from urllib.error import HTTPError

import pytest

from tests.support.controlplane import ControlPlane, Node
from tests.support.exporters import ModelServers
from tests.support.faultproxy import FaultProxy
from tests.support.prometheus import Prometheus
from tests.support.tools.debian import PROMETHEUS
from tests.support.tools.kubernetes import CONTROL_PLANE, Binaries

__all__ = ["control_plane", "control_plane_binaries", "fault_proxy", "model_servers", "namespace", "prometheus"]

NODES = (Node("gpu-0"), Node("gpu-1"), Node("cpu-0", gpus=0))


@pytest.fixture(scope="session")
def control_plane_binaries() -> Binaries:
    """The binaries of a Kubernetes control plane."""
    return Binaries(CONTROL_PLANE.path_or_skip())


@pytest.fixture(scope="session")
def control_plane(control_plane_binaries: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A running Kubernetes with two nodes of 8 H100 each, one node without GPUs, and the CRDs installed.

    One per session (per worker under xdist): keep to your own namespace.
    """
    with ControlPlane.start(tmp_path_factory.mktemp("controlplane"), nodes=NODES) as plane:
        plane.install_crds()
        yield plane


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A new namespace, deleted after the test (without waiting for its end)."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    control_plane.request("POST", "/api/v1/namespaces", manifest)
    yield name
    try:
        control_plane.request("DELETE", f"/api/v1/namespaces/{name}")
    except HTTPError as error:
        if error.code not in (404, 409):
            raise


@pytest.fixture
def fault_proxy(control_plane: ControlPlane) -> Iterator[FaultProxy]:
    """A proxy to the control plane that fails on demand."""
    with FaultProxy.start(control_plane) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus that scrapes twice a second, nothing at first: `reload` it with your own targets."""
    PROMETHEUS.path_or_skip()
    with Prometheus.start(tmp_path_factory.mktemp("prometheus"), interval=0.5) as server:
        yield server


@pytest.fixture
def model_servers() -> Iterator[ModelServers]:
    """Model servers that only have metrics, none at first."""
    with ModelServers.start() as servers:
        yield servers
