"""What an existing cluster asks of pods and of NetworkPolicies, as templates see it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gitops.spec.environment import Cluster, Environment
from gitops.spec.pipeline import NetworkPlace, Peer
from gitops.spec.pods import Pods, Toleration

_DNS = "kube-system"
_DNS_PORT = 53
_HTTPS = 443
_LINK_LOCAL = "169.254.0.0/16"


def pods_context(pods: Pods, *, gpus: bool) -> dict[str, Any]:
    """Of one model on one cluster, or of a Job. Pods with GPUs tolerate the taint that keeps others off their nodes."""
    tolerations = [_toleration(one) for one in pods.tolerations]
    if gpus:
        taint = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
        tolerations = [taint, *(one for one in tolerations if one != taint)]
    return {
        "image_pull_secrets": [{"name": name} for name in pods.image_pull_secrets],
        "runtime_class": pods.runtime_class,
        "node_selector": dict(sorted(pods.node_selector.items())),
        "tolerations": tolerations,
    }


def dns_rules(clusters: Iterable[Cluster]) -> list[dict[str, Any]]:
    """Egress rules for looking up names on any of these clusters; one for each port that their servers listen at."""
    peers: dict[int, list[dict[str, Any]]] = {}
    for cluster in clusters:
        servers = [(place(one), one.port) for one in cluster.dns] or [(_in_namespace(_DNS), _DNS_PORT)]
        for server, port in servers:
            known = peers.setdefault(port, [])
            if server not in known:
                known.append(server)
    return [
        {"to": some, "ports": [{"port": port, "protocol": protocol} for protocol in ("UDP", "TCP")]}
        for port, some in peers.items()
    ]


def store_rules(cluster: Cluster) -> list[dict[str, Any]]:
    """Egress rules for fetching artifacts: to the cluster's stores, else by HTTPS to all but link-local addresses,
    where clouds have their metadata services.
    """
    if not cluster.artifact_stores:
        anywhere = {"ipBlock": {"cidr": "0.0.0.0/0", "except": [_LINK_LOCAL]}}
        return [{"to": [anywhere], "ports": [{"port": _HTTPS, "protocol": "TCP"}]}]
    return [
        {"to": [place(one)], "ports": [{"port": port, "protocol": one.protocol} for port in one.ports or (_HTTPS,)]}
        for one in cluster.artifact_stores
    ]


def proxy_places(environment: Environment) -> list[dict[str, Any]]:
    """Where requests come from that reach the models by the gateway; none without one."""
    if environment.gateway is None:
        return []
    return [place(one) for one in environment.gateway.proxies] or [_in_namespace(environment.gateway.namespace)]


def peer_rule(direction: str, peer: Peer) -> dict[str, Any]:
    """A rule of a NetworkPolicy, `from` or `to` somebody."""
    rule: dict[str, Any] = {direction: [place(peer)]}
    if peer.ports:
        rule["ports"] = [{"port": port, "protocol": peer.protocol} for port in peer.ports]
    return rule


def place(where: NetworkPlace) -> dict[str, Any]:
    """A NetworkPolicyPeer."""
    return _in_namespace(where.namespace) if where.namespace is not None else {"ipBlock": {"cidr": where.cidr}}


def _in_namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _toleration(one: Toleration) -> dict[str, str]:
    """An unnamed value means any, and so does an unnamed effect."""
    value = {"operator": "Exists"} if one.value is None else {"operator": "Equal", "value": one.value}
    return {"key": one.key, **value, **({"effect": one.effect} if one.effect else {})}
