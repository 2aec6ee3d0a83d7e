"""How the API server identifies the items of lists, as data.

Kubernetes marks lists in its types (`+listType=map`, `+listMapKey=`); these are the marks of the kinds that
we render, from client-go (applyconfigurations/internal/internal.go). Lists not named here are atomic: they
are owned and replaced as one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

LIST_KEYS: Mapping[str, tuple[str, ...]] = {
    "claims": ("name",),
    "conditions": ("type",),
    "containers": ("name",),
    "env": ("name",),
    "ephemeralContainers": ("name",),
    "hostAliases": ("ip",),
    "imagePullSecrets": ("name",),
    "initContainers": ("name",),
    "ownerReferences": ("uid",),
    "resourceClaims": ("name",),
    "schedulingGates": ("name",),
    "secrets": ("name",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "volumeDevices": ("devicePath",),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
_CONTAINER_PORT = ("containerPort", "protocol")
_SERVICE_PORT = ("port", "protocol")
KEY_DEFAULTS: Mapping[str, object] = {"protocol": "TCP"}
"""What a key field counts as where an item leaves it out."""

ATOMIC_MAPS = frozenset(
    {
        "configMapKeyRef",
        "dataSource",
        "fieldRef",
        "fileKeyRef",
        "labelSelector",
        "nodePublishSecretRef",
        "nodeSelector",
        "podSelector",
        "requiredDuringSchedulingIgnoredDuringExecution",
        "resourceFieldRef",
        "roleRef",
        "scopeSelector",
        "secretKeyRef",
        "secretRef",
        "selector",
    }
)
"""Maps that are owned as one (`+mapType=atomic`, `+structType=atomic`)."""

ATOMIC_ITEMS = frozenset({"imagePullSecrets", "ownerReferences", "secrets"})
"""Keyed lists whose items are owned as one."""

ATOMIC_AT_TOP = frozenset({"imagePullSecrets"})
"""Keyed in a pod, but atomic as a field of the object itself (a ServiceAccount's)."""

SETS = frozenset({"finalizers"})
"""Lists of scalars in which each value is owned by itself."""


def list_keys(field: str, items: Sequence[object]) -> tuple[str, ...] | None:
    """The key fields of the list of that name, or None for an atomic list."""
    if field == "ports":
        if items and all(isinstance(item, dict) and "containerPort" in item for item in items):
            return _CONTAINER_PORT
        if items and all(isinstance(item, dict) and "port" in item for item in items):
            return _SERVICE_PORT
        return None
    keys = LIST_KEYS.get(field)
    if keys and all(isinstance(item, dict) and _has(item, keys) for item in items):
        return keys
    return None


def item_key(item: Mapping[str, Any], keys: Sequence[str]) -> tuple[object, ...]:
    """The values that identify an item within its list."""
    return tuple(item.get(key, KEY_DEFAULTS.get(key)) for key in keys)


def _has(item: Mapping[str, Any], keys: Sequence[str]) -> bool:
    return all(key in item or key in KEY_DEFAULTS for key in keys)
