"""Kubernetes, real or embedded: one adapter over a transport, so that both share comparison, retries and errors."""

from gitops.world.kubernetes.cluster import KubernetesCluster, connect
from gitops.world.kubernetes.errors import ClusterError, Conflict

__all__ = ["ClusterError", "Conflict", "KubernetesCluster", "connect"]
