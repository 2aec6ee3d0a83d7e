"""Notes that a cluster keeps for us, as entries of a ConfigMap: what was brought to it last."""

from __future__ import annotations

from collections.abc import Mapping

from gitops.values import ObjectRef
from gitops.world import effects
from gitops.world.kubernetes.api import Api


def read_stamps(api: Api, namespace: str, name: str) -> dict[str, str]:
    """The entries; none where there is no such ConfigMap."""
    live = api.get(_ref(namespace, name))
    return dict((live or {}).get("data") or {})


def write_stamps(api: Api, namespace: str, name: str, changes: Mapping[str, str | None]) -> None:
    """Set these entries and remove those that are None; others, also those that somebody else writes now, stay."""
    ref = _ref(namespace, name)
    response = api.merge({"data": dict(changes)}, ref)
    if response.status == 404:
        data = {key: value for key, value in changes.items() if value is not None}
        manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name}}
        response = api.create({**manifest, "data": data}, ref)
        if response.status == 409:  # somebody made it meanwhile
            response = api.merge({"data": dict(changes)}, ref)
    api.check(response, "patch", ref)
    effects.happened(f"stamp {ref}")


def _ref(namespace: str, name: str) -> ObjectRef:
    return ObjectRef("v1", "ConfigMap", namespace, name)
