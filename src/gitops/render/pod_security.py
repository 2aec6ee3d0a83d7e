"""The restricted Pod Security Standard: the namespace enforces it, so a pod that breaks it would never start.

Reference: https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_VOLUMES = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)
_SECCOMP = frozenset({"RuntimeDefault", "Localhost"})


def violations(pod: Mapping[str, Any]) -> Iterator[str]:
    """What a pod spec does that the standard forbids, in words."""
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield f"{field} is not allowed"
    for volume in pod.get("volumes") or ():
        kinds = set(volume) - {"name"}
        if not kinds <= _VOLUMES:
            yield f"volume {volume.get('name')}: {', '.join(sorted(kinds - _VOLUMES))} is not allowed"
    shared = pod.get("securityContext") or {}
    if not pod["containers"]:
        yield "the pod has no containers"
    for container in (*(pod.get("initContainers") or ()), *pod["containers"]):
        own = container.get("securityContext") or {}
        for problem in _container(container, own, shared):
            yield f"container {container.get('name')}: {problem}"


def _container(container: Mapping[str, Any], own: Mapping[str, Any], shared: Mapping[str, Any]) -> Iterator[str]:
    if own.get("runAsNonRoot", shared.get("runAsNonRoot")) is not True:
        yield "runAsNonRoot must be true"
    if own.get("runAsUser", shared.get("runAsUser")) == 0:
        yield "runAsUser must not be 0"
    if (own.get("seccompProfile") or shared.get("seccompProfile") or {}).get("type") not in _SECCOMP:
        yield "seccompProfile must be RuntimeDefault"
    if own.get("privileged"):
        yield "privileged is not allowed"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation must be false"
    capabilities = own.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or ()):
        yield "capabilities must drop ALL"
    if set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}:
        yield "only the capability NET_BIND_SERVICE may be added"
    if any(port.get("hostPort") for port in container.get("ports") or ()):
        yield "hostPort is not allowed"
