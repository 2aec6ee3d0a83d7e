"""Notes that a cluster keeps for us, as entries of a ConfigMap: what was brought to it last, and by whom."""

from __future__ import annotations

from collections.abc import Mapping

from gitops.values import ObjectRef, Owner
from gitops.world import effects
from gitops.world.kubernetes.api import Api, Live
from gitops.world.kubernetes.errors import NotOurs
from gitops.world.kubernetes.ownership import contradicts, labels_of, marks_of


def read_stamps(api: Api, namespace: str, name: str, owner: Owner | None = None) -> dict[str, str]:
    """The entries; none where there is no such ConfigMap. Raises NotOurs for that of another owner."""
    ref = _ref(namespace, name)
    live = api.get(ref)
    _check(api, ref, live, owner)
    return dict((live or {}).get("data") or {})


def write_stamps(
    api: Api,
    namespace: str,
    name: str,
    changes: Mapping[str, str | None],
    owner: Owner | None = None,
    *,
    adopt: bool = False,
) -> None:
    """Set these entries and remove those that are None; others, also those that somebody else writes now, stay.

    Raises NotOurs for the ConfigMap of another owner, unless `adopt`.
    """
    ref = _ref(namespace, name)
    if owner and not adopt:
        _check(api, ref, api.get(ref), owner)
    labels = {"metadata": {"labels": labels_of(owner)}} if owner else {}
    response = api.merge({**labels, "data": dict(changes)}, ref)
    if response.status == 404:
        data = {key: value for key, value in changes.items() if value is not None}
        metadata = {"namespace": namespace, "name": name, **labels.get("metadata", {})}
        manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        response = api.create({**manifest, "data": data}, ref)
        if response.status == 409:  # somebody made it meanwhile
            _check(api, ref, api.get(ref), owner)
            response = api.merge({**labels, "data": dict(changes)}, ref)
    api.check(response, "patch", ref)
    effects.happened(f"stamp {ref}")


def _check(api: Api, ref: ObjectRef, live: Live | None, owner: Owner | None) -> None:
    """Notes from before objects were marked are anybody's: no harm is done by taking them for ours."""
    if owner and live and contradicts(live, owner):
        raise NotOurs(api.where(ref), marks_of(live), owner)


def _ref(namespace: str, name: str) -> ObjectRef:
    return ObjectRef("v1", "ConfigMap", namespace, name)
