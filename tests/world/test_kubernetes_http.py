"""What can be wrong with a kubeconfig, credentials and connections, and how that is said."""

import logging
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops.values import ObjectRef
from gitops.world.kubernetes.cluster import ClusterError, KubernetesCluster, connect
from gitops.world.kubernetes.http import open_http
from gitops.world.kubernetes.transport import RetryPolicy
from tests.support.controlplane import ControlPlane

REF = ObjectRef("v1", "ConfigMap", "default", "config")


def kubeconfig(path: Path, user: dict[str, Any], server: str = "http://127.0.0.1:1") -> Path:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "prod",
        "clusters": [{"name": "prod", "cluster": {"server": server}}],
        "users": [{"name": "me", "user": user}],
        "contexts": [{"name": "prod", "context": {"cluster": "prod", "user": "me"}}],
    }
    path.write_text(yaml.safe_dump(content))
    return path


def plugin(command: str, *arguments: str) -> dict[str, Any]:
    version = "client.authentication.k8s.io/v1"
    return {
        "exec": {
            "apiVersion": version,
            "command": command,
            "args": list(arguments),
            "interactiveMode": "Never",
            "provideClusterInfo": False,
        }
    }


def test_a_missing_context_lists_those_there_are(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path / "config", {"token": "t"})
    with pytest.raises(ClusterError, match=r"no context 'staging' .*contexts there: prod"):
        connect("staging", kubeconfig=file)


@pytest.mark.parametrize("content", [None, "", "a: [", "just text", "apiVersion: v1\nkind: Config\ncontexts: []\n"])
def test_an_unreadable_kubeconfig_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "config"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ClusterError) as caught:
        connect(None, kubeconfig=file)
    assert caught.value.where == str(file)
    assert len(str(caught.value).splitlines()) == 1


def test_an_absent_credential_plugin_is_named(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path / "config", plugin("no-such-plugin"))
    with pytest.raises(ClusterError, match=r"credential plugin failed: .*no-such-plugin"):
        connect("prod", kubeconfig=file)


def test_a_failing_credential_plugin_is_quoted(tmp_path: Path) -> None:
    script = "import sys; sys.exit('token has expired, log in')"
    file = kubeconfig(tmp_path / "config", plugin(sys.executable, "-c", script))
    handlers = list(logging.getLogger().handlers)
    with pytest.raises(ClusterError, match=r"credential plugin failed: .*returned 1.*log in"):
        connect("prod", kubeconfig=file)
    assert logging.getLogger().handlers == handlers


def test_a_server_that_is_not_there_is_said_after_the_last_attempt(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = kubeconfig(tmp_path / "config", {"token": "t"}, f"http://127.0.0.1:{port}")
    _, transport = open_http("prod", file, timeout=1, connections=2)
    cluster = KubernetesCluster(transport, name="context prod", retry=RetryPolicy(attempts=2, sleep=lambda _: None))
    with pytest.raises(ClusterError, match=r"context prod, ConfigMap default/config: no answer .*refused"):
        cluster.readiness([REF])
    cluster.close()


@pytest.mark.controlplane
def test_what_the_user_may_not_do_is_said(control_plane: ControlPlane) -> None:
    cluster = connect(None, kubeconfig=control_plane.kubeconfig_for("reader", ["readers"]))
    with pytest.raises(ClusterError, match=r"not allowed to list \w+ \([\w.]+\) in the whole cluster"):
        cluster.compare([], {"gitops/pipeline": "none"})
    manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"}}
    with pytest.raises(ClusterError, match=r"not allowed to patch deployments \(apps\) in namespace default"):
        cluster.apply(manifest)
    cluster.close()


@pytest.mark.controlplane
def test_credentials_that_are_not_accepted_are_said(control_plane: ControlPlane, tmp_path: Path) -> None:
    content = yaml.safe_load(control_plane.kubeconfig.read_text())
    content["users"][0]["user"] = {"token": "expired"}
    file = tmp_path / "config"
    file.write_text(yaml.safe_dump(content))
    cluster = connect(None, kubeconfig=file)
    with pytest.raises(ClusterError, match=r"context controlplane: .*credentials.*log in"):
        cluster.readiness([REF])
    cluster.close()


@pytest.mark.controlplane
def test_kinds_that_are_not_installed(control_plane: ControlPlane) -> None:
    cluster = connect(control_plane.context, kubeconfig=control_plane.kubeconfig)
    pool = {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": {"name": "pool", "namespace": "default"},
    }
    with pytest.raises(ClusterError, match=r"does not serve InferencePool.*definitions of Gateway API Inference"):
        cluster.compare([pool], {"gitops/pipeline": "none"})
    with pytest.raises(ClusterError, match="does not serve InferencePool"):
        cluster.apply(pool)
    cluster.close()


@pytest.mark.controlplane
def test_a_field_of_the_wrong_type_is_the_callers_mistake(control_plane: ControlPlane) -> None:
    cluster = connect(control_plane.context, kubeconfig=control_plane.kubeconfig)
    manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"ports": [{"port": "eighty"}]},
    }
    with pytest.raises(ClusterError, match=r"calls it invalid: .*port.*expected numeric"):
        cluster.apply(manifest)
    cluster.close()
