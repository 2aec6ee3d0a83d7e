"""Checks of where an environment's objects lie: no namespace that belongs to others, no place that two keep."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gitops.spec.documents import Finding
from gitops.spec.draft import Draft
from gitops.spec.environment import AwsCluster, Environment, ExistingCluster, Gateway
from gitops.spec.problems import Path
from gitops.spec.resolved import default_namespace

_RESERVED = re.compile(r"default|(kube|openshift|gke-managed|gmp)-.+|openshift")
"""What Kubernetes keeps for itself (the prefix `kube-`, and the namespace of whatever names none), and what
distributions keep by prefix."""
_COMPONENTS = frozenset(
    {
        "aks-command",
        "amazon-cloudwatch",
        "amazon-guardduty",
        "argo",
        "argo-rollouts",
        "argocd",
        "azure-arc",
        "calico-apiserver",
        "calico-system",
        "cattle-system",
        "cert-manager",
        "cilium-secrets",
        "dapr-system",
        "envoy-gateway-system",
        "external-dns",
        "external-secrets",
        "flux-system",
        "gatekeeper-system",
        "gpu-operator",
        "ingress-nginx",
        "istio-system",
        "karpenter",
        "keda",
        "knative-serving",
        "kserve",
        "kueue-system",
        "kyverno",
        "linkerd",
        "local-path-storage",
        "longhorn-system",
        "lws-system",
        "metallb-system",
        "network-operator",
        "nfd",
        "node-feature-discovery",
        "nvidia-gpu-operator",
        "nvidia-network-operator",
        "projectcontour",
        "rook-ceph",
        "sealed-secrets",
        "tigera-operator",
        "vault",
        "velero",
    }
)
"""Where the usual components of a cluster run, by the names in their own published manifests and charts."""


def reserved(namespace: str) -> str:
    """Why no pipeline may use a namespace of that name, on any cluster; empty where it may.

    For names that are not known here the cluster decides: a plan refuses to take over a namespace that exists and
    does not belong to the pipeline.
    """
    if _RESERVED.fullmatch(namespace):
        return f"the namespace {namespace} belongs to the cluster itself"
    if namespace in _COMPONENTS:
        return f"the namespace {namespace} belongs to a component of the cluster"
    return ""


def system_namespaces(draft: Draft) -> Iterator[Finding]:
    """Default-deny and the restricted level go into a namespace: it has to be one for models alone."""
    for name, environment in draft.environments.items():
        namespace = _namespace(draft, name)
        path: Path = ("namespace",) if environment.namespace else ()
        if why := _taken(environment, namespace):
            hint = "set `namespace` to one of the pipeline's own; everything else in it would be cut off the network"
            yield Finding(path, why, hint, name)
    for subject in draft.subjects():
        build, validation = subject.model.build, subject.model.validation
        for place, job in (("build", build and build.job), ("validate", validation and validation.job)):
            # A Job takes nothing away from its neighbours, so `default` is as good as any other.
            if job and job.namespace and job.namespace != "default" and (why := reserved(job.namespace)):
                yield subject.finding((place, "job", "namespace"), why, "let the Job run in a namespace of yours")


def _taken(environment: Environment, namespace: str) -> str:
    if why := reserved(namespace):
        return why
    if environment.gateway and namespace in _of_proxies(environment.gateway):
        return f"the namespace {namespace} is also that of the gateway's proxies"
    if environment.monitoring and environment.monitoring.namespace == namespace:
        return f"the namespace {namespace} is also that of Prometheus"
    return ""


def _of_proxies(gateway: Gateway) -> set[str | None]:
    return {proxy.namespace for proxy in gateway.proxies} or {gateway.namespace}


def places(draft: Draft) -> Iterator[Finding]:
    """Two names for one cluster never mean the same namespace there: each would take the other's objects for drift."""
    taken: dict[tuple[str, str], tuple[str, str]] = {}
    for name, environment in draft.environments.items():
        namespace = _namespace(draft, name)
        for cluster, settings in environment.clusters.items():
            context = settings.context if isinstance(settings, ExistingCluster | AwsCluster) else None
            if context is None:
                continue
            other, where = taken.setdefault((context, namespace), (cluster, name))
            if other != cluster:
                there = "" if where == name else f" of {draft.files[where]}"
                message = f"{cluster} is the same place as {other}{there}: context {context}, namespace {namespace}"
                hint = "remove one of the two" if where == name else f"name both {other}, or set another `namespace`"
                yield Finding(("clusters", cluster), message, hint, name, at="key")


def _namespace(draft: Draft, environment: str) -> str:
    return draft.environments[environment].namespace or default_namespace(draft.pipeline.name, environment)
