"""A Kubernetes cluster, real or embedded: what the Cluster port promises, on top of a transport."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

from gitops.values import Manifest, ObjectRef, Owner
from gitops.world import effects
from gitops.world.kubernetes.api import FEW, THREADS, Api, Live, concurrently
from gitops.world.kubernetes.drift import LIST_THREADS, find_differences
from gitops.world.kubernetes.errors import ClusterError, Conflict, NotOurs, conflict_claims
from gitops.world.kubernetes.kinds import kind_of
from gitops.world.kubernetes.lease import Leases
from gitops.world.kubernetes.ownership import manager_of, marked, marks_of, taken_over, title_of
from gitops.world.kubernetes.readiness import MISSING, readiness_of
from gitops.world.kubernetes.stamps import read_stamps, write_stamps
from gitops.world.kubernetes.survey import take_survey
from gitops.world.kubernetes.transport import RetryPolicy, Transport
from gitops.world.ports import SURVEYED, Difference, Readiness, Survey

__all__ = ["ClusterError", "Conflict", "KubernetesCluster", "NotOurs", "connect"]

_ATTEMPTS = 3
"""So often somebody else may change an object between our look at it and our taking it over."""


OwnerNow = Callable[[], Owner]
"""Whose objects are ours: asked when it matters, since a repository is nothing before its first commit."""


def connect(
    context: str | None,
    *,
    kubeconfig: Path | None = None,
    timeout: float = 30,
    owner: OwnerNow | None = None,
) -> KubernetesCluster:
    """The cluster of a kubeconfig context (None: the current one); no request is made yet.

    `kubeconfig` defaults to KUBECONFIG, then ~/.kube/config, then a pod's own service account. `timeout` is
    seconds for one attempt. Raises ClusterError when the configuration cannot be used.
    """
    from gitops.world.kubernetes.http import open_http  # costs 0.25 s CPU

    name, transport = open_http(context, kubeconfig, timeout=timeout, connections=LIST_THREADS + THREADS)
    return KubernetesCluster(transport, name=name, owner=owner)


class KubernetesCluster:
    """The Cluster port over one API server. Methods may be called from several threads.

    `name` is how errors call the cluster. Without an `owner` no object counts as anybody else's: for looking only.
    """

    def __init__(
        self, transport: Transport, *, name: str, retry: RetryPolicy | None = None, owner: OwnerNow | None = None
    ) -> None:
        self.name = name
        self._api = Api(transport, name, retry or RetryPolicy())
        self._owner_now = owner
        self._leases = Leases(self._api, owner=self._owner)

    def compare(self, desired: Sequence[Manifest], selector: Mapping[str, str]) -> list[Difference]:
        """Every difference between `desired` and the live objects that carry the labels `selector`.

        One paged LIST per kind, and a dry run for what those leave unclear. Sorted by object. Desired objects
        that exist without the labels are found too.
        """
        return find_differences(self._api, desired, selector, self._owner())

    def apply(self, manifest: Manifest, *, force: bool = False, adopt: bool = False) -> None:
        """Server-side apply. Raises Conflict, naming the other field manager, unless `force`.

        Raises NotOurs for an object that somebody else has, unless `adopt`. Between that look and the apply nobody
        who marks objects as we do can make one unnoticed: the API server refuses to change their marks.
        """
        ref, owner = ObjectRef.of(manifest), self._owner()
        if owner:
            self._claim(ref, owner, adopt=adopt)
        response = self._api.patch(marked(manifest, owner), ref, force=force, manager=manager_of(owner))
        if claims := conflict_claims(response):
            raise Conflict(self._api.where(ref), claims)
        self._api.check(response, "patch", ref)
        effects.happened(f"apply {ref}")

    def _claim(self, ref: ObjectRef, owner: Owner, *, adopt: bool) -> None:
        """See to it that the object may be applied: that it is ours, also in its record of field managers."""
        for _ in range(_ATTEMPTS):
            live = self._api.get(ref)
            if live is None:
                return
            if not adopt and title_of(live, owner) == "foreign":
                raise NotOurs(self._api.where(ref), marks_of(live), owner)
            entries = taken_over(live, owner, adopt=adopt)
            if entries is None:
                return
            metadata = {"resourceVersion": live["metadata"]["resourceVersion"], "managedFields": entries}
            response = self._api.merge({"metadata": metadata}, ref)
            if response.status not in (404, 409):  # somebody changed it meanwhile: look again
                self._api.check(response, "patch", ref)
                return

    def _owner(self) -> Owner | None:
        return self._owner_now() if self._owner_now else None

    def delete(self, ref: ObjectRef, uid: str) -> None:
        """Delete the object with that uid, its dependents in the background.

        Fine when it is gone, also when another object has taken its name since. Raises NotOurs when somebody has
        taken it over.
        """
        if owner := self._owner():
            live = self._api.get(ref)
            if live and live["metadata"]["uid"] == uid and title_of(live, owner) == "foreign":
                raise NotOurs(self._api.where(ref), marks_of(live), owner)
        response = self._api.delete(ref, uid)
        if response.status in (404, 409):
            return
        self._api.check(response, "delete", ref)
        effects.happened(f"delete {ref}")

    def remove(self, ref: ObjectRef, labels: Mapping[str, str]) -> bool:
        """Delete the object if it is ours and carries these labels; False when there is none, or it is not.

        Should another object take its name meanwhile, that one stays.
        """
        live = self._api.get(ref)
        if live is None or not labels.items() <= live["metadata"].get("labels", {}).items():
            return False
        if title_of(live, self._owner()) == "foreign":
            return False
        self.delete(ref, live["metadata"]["uid"])
        return True

    def readiness(self, refs: Sequence[ObjectRef]) -> dict[ObjectRef, Readiness]:
        """The present state of each of these objects."""
        groups: dict[tuple[str, str, str], list[ObjectRef]] = defaultdict(list)
        for ref in refs:
            groups[ref.api_version, ref.kind, ref.namespace].append(ref)
        found: dict[ObjectRef, Live] = {}
        for group in groups.values():
            found |= self._fetch(group)
        states = concurrently(lambda ref: self._judge(found.get(ref)), refs)
        return dict(zip(refs, states, strict=True))

    def survey(self, selector: Mapping[str, str], kinds: Collection[str] = SURVEYED) -> Survey:
        """Every version that runs with the labels `selector`, and where the traffic goes.

        One paged LIST for each kind; pods are asked for only where a Deployment has exceeded its progress deadline.
        """
        return take_survey(self._api, selector, kinds, self._owner())

    def lease(self, namespace: str, name: str, holder: str, seconds: int) -> bool:
        """Take or renew a lease; whether `holder` has it now, for so many seconds from the beginning of the call.

        Two calls on one KubernetesCluster, at least the lease's duration apart, find out that a holder has died.
        Raises NotOurs for the lease of another owner.
        """
        return self._leases.acquire(namespace, name, holder, seconds)

    def release(self, namespace: str, name: str, holder: str) -> None:
        """Give the lease up, if `holder` has it, so that the next one gets it at once."""
        self._leases.release(namespace, name, holder)

    def stamps(self, namespace: str, name: str) -> dict[str, str]:
        """The data of a ConfigMap; empty when there is none. Raises NotOurs for that of another owner."""
        return read_stamps(self._api, namespace, name, self._owner())

    def stamp(self, namespace: str, name: str, changes: Mapping[str, str | None], *, adopt: bool = False) -> None:
        """Set (or, with None, remove) entries of a ConfigMap, which is made when it is not there.

        Raises NotOurs for that of another owner, unless `adopt`.
        """
        write_stamps(self._api, namespace, name, changes, self._owner(), adopt=adopt)

    def identity(self) -> str:
        """What tells this cluster from any other, whatever leads to it; empty when we may not ask.

        It is the uid of the namespace kube-system, which every cluster has from its first moment to its last.
        """
        try:
            live = self._api.get(ObjectRef("v1", "Namespace", "", "kube-system"))
        except ClusterError:
            return ""
        return str(live["metadata"]["uid"]) if live else ""

    def version(self) -> tuple[int, int] | None:
        """See ports.Cluster. Distributions add to the number: `30+` is 30."""
        try:
            said = self._api.version()
            return int(str(said["major"])), int("".join(takewhile(str.isdigit, str(said["minor"]))))
        except (ClusterError, KeyError, TypeError, ValueError):
            return None

    def close(self) -> None:
        """Give connections back."""
        self._api.close()

    def _fetch(self, refs: Sequence[ObjectRef]) -> dict[ObjectRef, Live]:
        """Those that exist of some objects of one kind in one namespace."""
        if len(refs) <= FEW:
            lives = concurrently(self._api.get, refs)
            return {ref: live for ref, live in zip(refs, lives, strict=True) if live}
        wanted = {ref.name: ref for ref in refs}
        pages = self._api.pages(kind_of(refs[0].api_version, refs[0].kind), {}, namespace=refs[0].namespace)
        items = ((item["metadata"]["name"], item) for page in pages for item in page)
        return {wanted[name]: item for name, item in items if name in wanted}

    def _judge(self, live: Live | None) -> Readiness:
        if live is None:
            return MISSING
        state = readiness_of(live)
        if state.ready or live["kind"] != "Deployment":
            return state
        return readiness_of(live, self._api.pods_of(live))
