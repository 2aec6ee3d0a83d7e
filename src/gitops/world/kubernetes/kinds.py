"""The kinds of Kubernetes objects that we know, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from gitops.errors import GitopsError


@dataclass(frozen=True, slots=True)
class Kind:
    """Where the API serves a kind.

    `pruned` kinds are looked for even when nothing of them is desired. `installed_by` names the project
    whose custom resource definitions bring the kind; empty for kinds that every cluster has.
    """

    api_version: str
    name: str
    plural: str
    namespaced: bool = True
    pruned: bool = False
    installed_by: str = ""

    def path(self, namespace: str = "", name: str = "") -> str:
        """The URL path of one object, or without `name` of the collection (without `namespace`, of all)."""
        root = "/api/" if "/" not in self.api_version else "/apis/"
        parts = [root + self.api_version]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name:
            parts.append(quote(name, safe=""))
        return "/".join(parts)


_GATEWAY = "Gateway API"
_PROMETHEUS = "the Prometheus operator"
_KEDA = "KEDA"
_ISTIO = "Istio"

_TABLE = (
    Kind("v1", "Namespace", "namespaces", namespaced=False, pruned=True),
    Kind("v1", "ServiceAccount", "serviceaccounts", pruned=True),
    Kind("v1", "ConfigMap", "configmaps", pruned=True),
    Kind("v1", "Service", "services", pruned=True),
    Kind("apps/v1", "Deployment", "deployments", pruned=True),
    Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", pruned=True),
    Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", pruned=True),
    Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", pruned=True),
    Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes", pruned=True, installed_by=_GATEWAY),
    Kind("networking.istio.io/v1", "VirtualService", "virtualservices", pruned=True, installed_by=_ISTIO),
    Kind("keda.sh/v1alpha1", "ScaledObject", "scaledobjects", pruned=True, installed_by=_KEDA),
    Kind("monitoring.coreos.com/v1", "PodMonitor", "podmonitors", pruned=True, installed_by=_PROMETHEUS),
    Kind("v1", "Secret", "secrets"),
    Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    Kind("v1", "ResourceQuota", "resourcequotas"),
    Kind("v1", "LimitRange", "limitranges"),
    Kind("v1", "Pod", "pods"),
    Kind("v1", "Node", "nodes", namespaced=False),
    Kind("apps/v1", "StatefulSet", "statefulsets"),
    Kind("apps/v1", "DaemonSet", "daemonsets"),
    Kind("batch/v1", "Job", "jobs"),
    Kind("batch/v1", "CronJob", "cronjobs"),
    Kind("networking.k8s.io/v1", "Ingress", "ingresses"),
    Kind("coordination.k8s.io/v1", "Lease", "leases"),
    Kind("rbac.authorization.k8s.io/v1", "Role", "roles"),
    Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
    Kind("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", namespaced=False),
    Kind("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False),
    Kind("gateway.networking.k8s.io/v1", "Gateway", "gateways", installed_by=_GATEWAY),
    Kind("keda.sh/v1alpha1", "TriggerAuthentication", "triggerauthentications", installed_by=_KEDA),
    Kind("monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors", installed_by=_PROMETHEUS),
    Kind("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules", installed_by=_PROMETHEUS),
    Kind(
        "inference.networking.k8s.io/v1",
        "InferencePool",
        "inferencepools",
        installed_by="Gateway API Inference Extension",
    ),
    Kind("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "leaderworkersets", installed_by="LeaderWorkerSet"),
    Kind("external-secrets.io/v1", "ExternalSecret", "externalsecrets", installed_by="External Secrets"),
    Kind(
        "secrets-store.csi.x-k8s.io/v1",
        "SecretProviderClass",
        "secretproviderclasses",
        installed_by="the Secrets Store CSI driver",
    ),
)

KINDS: Mapping[tuple[str, str], Kind] = {(kind.api_version, kind.name): kind for kind in _TABLE}
"""By apiVersion and kind."""


def kind_of(api_version: str, name: str) -> Kind:
    """The kind of that name. Raises GitopsError, which lists what is known, for any other."""
    try:
        return KINDS[api_version, name]
    except KeyError:
        known = ", ".join(sorted(f"{kind.api_version}/{kind.name}" for kind in _TABLE))
        raise GitopsError(
            f"kind {name} of {api_version} is not one this tool can apply", hint=f"known kinds: {known}"
        ) from None
