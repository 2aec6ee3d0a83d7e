"""One holder at a time: leases (coordination.k8s.io/v1), by the rules of client-go's leader election.

After tools/leaderelection/leaderelection.go: whether a lease has run out is judged by how long *this* process has
seen it unchanged, so the clocks of two machines need not agree. Each write names the version that it replaces, so of
two who find a lease free only one gets it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from gitops.values import ObjectRef, Owner
from gitops.world.kubernetes.api import Api, Live
from gitops.world.kubernetes.errors import NotOurs
from gitops.world.kubernetes.ownership import contradicts, labels_of, marks_of

API_VERSION, KIND = "coordination.k8s.io/v1", "Lease"
_ATTEMPTS = 3
"""Others may write to the object without taking the lease, and an answer that was lost looks like a lost race."""

Spec = Mapping[str, Any]


class Sighting(NamedTuple):
    """What a lease says, and since when (in seconds of a clock that is never set) it has been seen to say so."""

    spec: Spec
    since: float


def sight(before: Sighting | None, spec: Spec, now: float) -> Sighting:
    """The present sighting; at first sight, and after every change, time starts to count."""
    return before if before and before.spec == spec else Sighting(spec, now)


def claim(sighting: Sighting, now: float, holder: str, seconds: int, moment: str) -> Spec | None:
    """What the lease must say for `holder` to have it from `moment` on, or None while it is somebody else's."""
    spec = sighting.spec
    owner, duration = spec.get("holderIdentity"), spec.get("leaseDurationSeconds") or seconds
    if owner and owner != holder and now < sighting.since + duration:
        return None
    renewed = owner == holder
    return {
        "holderIdentity": holder,
        "leaseDurationSeconds": seconds,
        "acquireTime": spec.get("acquireTime", moment) if renewed else moment,
        "renewTime": moment,
        "leaseTransitions": spec.get("leaseTransitions", 0) + (bool(spec) and not renewed),
    }


def relinquished(spec: Spec, moment: str) -> Spec:
    """What a lease says that its holder has given up."""
    return {
        "holderIdentity": "",
        "leaseDurationSeconds": 1,
        "acquireTime": moment,
        "renewTime": moment,
        "leaseTransitions": spec.get("leaseTransitions", 0),
    }


class Leases:
    """The leases of one cluster, as one process sees them. `now` is a clock that is never set.

    A pipeline of the same name, from another repository, has leases of the same names: `owner` tells them apart.
    """

    def __init__(
        self, api: Api, now: Callable[[], float] = time.monotonic, owner: Callable[[], Owner | None] = lambda: None
    ) -> None:
        self._api = api
        self._now = now
        self._owner = owner
        self._sightings: dict[ObjectRef, Sighting] = {}

    def acquire(self, namespace: str, name: str, holder: str, seconds: int) -> bool:
        """See the Cluster port's `lease`."""
        ref = ObjectRef(API_VERSION, KIND, namespace, name)
        for _ in range(_ATTEMPTS):
            live = self._api.get(ref)
            owner = self._owner()
            if owner and live and contradicts(live, owner):
                raise NotOurs(self._api.where(ref), marks_of(live), owner)
            wanted = claim(self._sight(ref, live), self._now(), holder, seconds, _moment())
            if wanted is None:
                return False
            if self._write(ref, live, wanted):
                return True
        return False

    def release(self, namespace: str, name: str, holder: str) -> None:
        """See the Cluster port's `release`. When others keep writing to the object, the lease just runs out."""
        ref = ObjectRef(API_VERSION, KIND, namespace, name)
        for _ in range(_ATTEMPTS):
            live = self._api.get(ref)
            spec = _spec(live)
            if spec.get("holderIdentity") != holder or self._write(ref, live, relinquished(spec, _moment())):
                return

    def _sight(self, ref: ObjectRef, live: Live | None) -> Sighting:
        self._sightings[ref] = sight(self._sightings.get(ref), _spec(live), self._now())
        return self._sightings[ref]

    def _write(self, ref: ObjectRef, live: Live | None, spec: Spec) -> bool:
        """Create the lease, or replace this very version of it; False when somebody else was first."""
        owner = self._owner()
        labels = {"labels": labels_of(owner)} if owner else {}
        if live is None:
            metadata = {"namespace": ref.namespace, "name": ref.name, **labels}
            response = self._api.create(
                {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}, ref
            )
        else:
            marks = {"labels": {**live["metadata"].get("labels", {}), **labels["labels"]}} if labels else {}
            response = self._api.replace({**live, "metadata": {**live["metadata"], **marks}, "spec": spec}, ref)
        if response.status == 409 or (live and response.status == 404):
            return False
        self._api.check(response, "update" if live else "create", ref)
        return True


def _spec(live: Live | None) -> Spec:
    found: Spec = (live or {}).get("spec", {})
    return found


def _moment() -> str:
    """Now, as the API writes a MicroTime; for readers only."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
