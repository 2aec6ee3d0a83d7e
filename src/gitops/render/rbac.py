"""What `gitops run` may do on a cluster: the least that its passes need, as objects of RBAC.

It writes into the namespaces of the cluster's environments alone. Whoever may make Deployments in a namespace may use
every Secret and service account in it, so with a right to make them anywhere it could take over the cluster. Elsewhere
it may list, since it finds its own by label; a role cannot be narrowed to labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gitops.render.yaml_text import block
from gitops.spec.environment import Environment
from gitops.spec.resolved import Spec
from gitops.values import API_GROUP

_RBAC = "rbac.authorization.k8s.io"
_CHANGES = ("create", "delete", "get", "list", "patch")
_ALWAYS = (
    ("", ("configmaps", "serviceaccounts", "services")),
    ("apps", ("deployments",)),
    ("autoscaling", ("horizontalpodautoscalers",)),
    ("networking.k8s.io", ("networkpolicies",)),
    ("policy", ("poddisruptionbudgets",)),
)
_ROUTES = {
    "gateway-api": ("gateway.networking.k8s.io", ("httproutes",)),
    "istio": ("networking.istio.io", ("virtualservices",)),
}
_SCALED, _MONITORED = ("keda.sh", ("scaledobjects",)), ("monitoring.coreos.com", ("podmonitors",))
_LISTED = (*_ALWAYS, *_ROUTES.values(), _SCALED, _MONITORED)
"""What is looked for on every cluster, so that what a changed spec leaves behind is found."""


class Account(NamedTuple):
    """The service account that `gitops run` runs as."""

    namespace: str
    name: str


def rbac(spec: Spec, cluster: str, account: Account) -> str:
    """The roles and bindings for one cluster, as YAML documents."""
    return "---\n".join(f"{block(one, 0)}\n" for one in _objects(spec, cluster, account))


def _objects(spec: Spec, cluster: str, account: Account) -> Iterator[Mapping[str, Any]]:
    subject = {"kind": "ServiceAccount", "namespace": account.namespace, "name": account.name}
    names = spec.cluster_environments[cluster]
    namespaces = {spec.namespace(name): spec.environments[name] for name in names}
    role = f"gitops-{spec.pipeline.name}"
    labels = {"app.kubernetes.io/part-of": spec.pipeline.name, f"{API_GROUP}/component": "run"}

    def made(kind: str, name: str, namespace: str = "", **content: object) -> Mapping[str, Any]:
        place = {"namespace": namespace} if namespace else {}
        metadata = {**place, "name": name, "labels": labels}
        return {"apiVersion": f"{_RBAC}/v1", "kind": kind, "metadata": metadata, **content}

    def bound(kind: str, namespace: str = "") -> Mapping[str, Any]:
        reference = {"apiGroup": _RBAC, "kind": kind, "name": role}
        return made(f"{kind}Binding", role, namespace, roleRef=reference, subjects=[subject])

    yield made("ClusterRole", role, rules=list(_everywhere(sorted(namespaces))))
    yield bound("ClusterRole")
    for namespace, environment in sorted(namespaces.items()):
        yield made("Role", role, namespace, rules=list(_within(environment)))
        yield bound("Role", namespace)


def _everywhere(namespaces: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    for group, resources in _LISTED:
        yield _rule(group, resources, ("list",))
    # Lists find the pipeline's own; the uid of kube-system tells one cluster from another.
    yield _rule("", ("namespaces",), ("get", "list"))
    yield {**_rule("", ("namespaces",), ("patch",)), "resourceNames": list(namespaces)}


def _within(environment: Environment) -> Iterator[Mapping[str, Any]]:
    optional = [
        _ROUTES[environment.gateway.api] if environment.gateway else None,
        _SCALED if environment.autoscaler and environment.autoscaler.kind == "keda" else None,
        _MONITORED if environment.monitoring and environment.monitoring.pod_monitors else None,
    ]
    for group, resources in (*_ALWAYS, *(one for one in optional if one)):
        yield _rule(group, resources, _CHANGES)
    yield _rule("", ("pods",), ("get", "list"))
    yield _rule("coordination.k8s.io", ("leases",), ("create", "get", "update"))


def _rule(group: str, resources: Sequence[str], verbs: Sequence[str]) -> Mapping[str, Any]:
    return {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)}
