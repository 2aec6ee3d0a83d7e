"""What `gitops run` is allowed: all that it renders, and nothing that leads beyond its namespaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops.plan.objects import phase_of
from gitops.render.live import Live
from gitops.render.rbac import Account, rbac
from gitops.render.renderer import Renderer
from gitops.values import LABEL_PIPELINE, ObjectRef, UnitKey
from gitops.world.kubernetes.cluster import ClusterError, connect
from gitops.world.kubernetes.kinds import KINDS, kind_of
from tests.render.specs import project_templates, small
from tests.support.controlplane import ControlPlane, Failed
from tests.world.bench import owner_of

ACCOUNT = Account("gitops", "runner")
GOLDEN = sorted((Path(__file__).parent / "golden").glob("*/expected"))


def documents(namespace: str = "acme-dev", **environment: Any) -> list[dict[str, Any]]:
    spec = small(environment={"namespace": namespace, **environment})
    return list(yaml.safe_load_all(rbac(spec, "one", ACCOUNT)))


def rules(found: list[dict[str, Any]], kind: str) -> dict[tuple[str, str], set[str]]:
    """The verbs by group and resource."""
    allowed: dict[tuple[str, str], set[str]] = {}
    for one in found:
        for rule in one.get("rules", ()) if one["kind"] == kind else ():
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    allowed.setdefault((group, resource), set()).update(rule["verbs"])
    return allowed


def test_nothing_is_written_outside_the_namespaces() -> None:
    found = documents()
    everywhere = rules(found, "ClusterRole")
    namespaces = everywhere.pop(("", "namespaces"))
    assert namespaces == {"get", "list", "patch"}
    (patched,) = [
        rule for one in found if one["kind"] == "ClusterRole" for rule in one["rules"] if "patch" in rule["verbs"]
    ]
    assert patched["resourceNames"] == ["acme-dev"]
    assert set.union(*everywhere.values()) == {"list"}
    assert not {resource for _, resource in {**everywhere, **rules(found, "Role")}} & {"secrets", "*", "pods/exec"}
    assert {(one["kind"], one["metadata"].get("namespace")) for one in found} == {
        ("ClusterRole", None),
        ("ClusterRoleBinding", None),
        ("Role", "acme-dev"),
        ("RoleBinding", "acme-dev"),
    }
    for one in found:
        if one["kind"].endswith("Binding"):
            assert one["subjects"] == [{"kind": "ServiceAccount", "namespace": "gitops", "name": "runner"}]


def test_what_is_looked_for_everywhere_may_be_listed() -> None:
    allowed = rules(documents(), "ClusterRole")
    for kind in KINDS.values():
        group = kind.api_version.rpartition("/")[0]
        assert (kind.pruned and kind.namespaced) == ("list" in allowed.get((group, kind.plural), set())) or (
            kind.name == "Namespace"
        )


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda path: path.parent.name)
def test_every_kind_that_is_rendered_may_be_written(folder: Path) -> None:
    gateway = {"name": "models", "namespace": "gateways"}
    monitoring = {"prometheus": "http://prometheus.monitoring:9090"}
    written = {**rules(documents(gateway=gateway, monitoring=monitoring, autoscaler={"kind": "keda"}), "Role")}
    written |= rules(documents(gateway={**gateway, "api": "istio"}), "Role")
    for file in folder.glob("clusters/**/*.yaml"):
        manifest = yaml.safe_load(file.read_bytes())
        kind = kind_of(manifest["apiVersion"], manifest["kind"])
        if kind.namespaced:
            assert {"create", "patch", "delete"} <= written[kind.api_version.rpartition("/")[0], kind.plural]


def test_kinds_that_the_environment_does_not_have_are_left_out() -> None:
    groups = {group for group, _ in rules(documents(gateway=None, monitoring=None), "Role")}
    assert not groups & {"gateway.networking.k8s.io", "networking.istio.io", "keda.sh", "monitoring.coreos.com"}


@pytest.mark.controlplane
def test_a_real_api_server_lets_it_do_this_and_no_more(control_plane: ControlPlane, namespace: str) -> None:
    serve = {"runtime": "custom", "image": "ghcr.io/acme/x:1", "resources": {"cpu": "1", "memory": "1Gi"}}
    spec = small(model={"serve": serve}, environment={"namespace": namespace, "gateway": None})
    control_plane.kubectl("apply", "-f", "-", stdin=rbac(spec, "one", ACCOUNT))
    kubeconfig = control_plane.kubeconfig_for("system:serviceaccount:gitops:runner", ["system:serviceaccounts"])
    owner = owner_of(spec.pipeline.name, cluster="one")
    cluster = connect(None, kubeconfig=kubeconfig, owner=lambda: owner)
    renderer = Renderer(spec, project_templates())
    unit = UnitKey("dev", "chat")
    files = {**renderer.base("dev"), **renderer.unit(unit, [Live(spec.models[unit], 100)])}
    manifests = sorted(map(yaml.safe_load, files.values()), key=phase_of)
    for manifest in manifests:
        cluster.apply(manifest, adopt=manifest["kind"] == "Namespace")
    selector = {LABEL_PIPELINE: spec.pipeline.name}
    assert [one for one in cluster.compare(manifests, selector) if one.kind != "surplus"] == []
    refs = [ObjectRef.of(manifest) for manifest in manifests]
    assert cluster.readiness([ref for ref in refs if ref.kind == "Deployment"])
    assert cluster.survey(selector).workloads
    assert cluster.lease(namespace, "gitops-acme", "me", 15)
    assert cluster.lease(namespace, "gitops-acme", "me", 15)
    cluster.release(namespace, "gitops-acme", "me")
    cluster.stamp(namespace, "gitops-applied", {"chat": "1"})
    cluster.stamp(namespace, "gitops-applied", {"chat": "2"})
    for ref in refs:
        if ref.kind not in ("Namespace",):
            assert cluster.remove(ref, selector)
    assert cluster.identity()

    elsewhere = [{**manifest, "metadata": {**manifest["metadata"], "namespace": "default"}} for manifest in manifests]
    for manifest in elsewhere:
        if manifest["kind"] != "Namespace":
            with pytest.raises(ClusterError, match="not allowed to"):
                cluster.apply(manifest)
    for words in (("get", "secrets"), ("create", "token", "default"), ("label", "namespace", "kube-system", "a=b")):
        place = () if words[0] == "label" else ("-n", namespace)
        with pytest.raises(Failed, match="orbidden"):
            control_plane.kubectl("--kubeconfig", str(kubeconfig), *words, *place)
    cluster.close()
