"""A Kubernetes cluster, real or embedded: what the Cluster port promises, on top of a transport."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from gitops.values import Manifest, ObjectRef
from gitops.world import effects
from gitops.world.kubernetes.api import FEW, THREADS, Api, Live, concurrently
from gitops.world.kubernetes.drift import LIST_THREADS, find_differences
from gitops.world.kubernetes.errors import ClusterError, Conflict, conflict_claims
from gitops.world.kubernetes.kinds import kind_of
from gitops.world.kubernetes.lease import Leases
from gitops.world.kubernetes.readiness import MISSING, readiness_of
from gitops.world.kubernetes.stamps import read_stamps, write_stamps
from gitops.world.kubernetes.survey import take_survey
from gitops.world.kubernetes.transport import RetryPolicy, Transport
from gitops.world.ports import SURVEYED, Difference, Readiness, Survey

__all__ = ["ClusterError", "Conflict", "KubernetesCluster", "connect"]


def connect(context: str | None, *, kubeconfig: Path | None = None, timeout: float = 30) -> KubernetesCluster:
    """The cluster of a kubeconfig context (None: the current one); no request is made yet.

    `kubeconfig` defaults to KUBECONFIG, then ~/.kube/config, then a pod's own service account. `timeout` is
    seconds for one attempt. Raises ClusterError when the configuration cannot be used.
    """
    from gitops.world.kubernetes.http import open_http  # costs 0.25 s CPU

    name, transport = open_http(context, kubeconfig, timeout=timeout, connections=LIST_THREADS + THREADS)
    return KubernetesCluster(transport, name=name)


class KubernetesCluster:
    """The Cluster port over one API server. Methods may be called from several threads.

    `name` is how errors call the cluster.
    """

    def __init__(self, transport: Transport, *, name: str, retry: RetryPolicy | None = None) -> None:
        self.name = name
        self._api = Api(transport, name, retry or RetryPolicy())
        self._leases = Leases(self._api)

    def compare(self, desired: Sequence[Manifest], selector: Mapping[str, str]) -> list[Difference]:
        """Every difference between `desired` and the live objects that carry the labels `selector`.

        One paged LIST per kind, and a dry run for what those leave unclear. Sorted by object. Desired objects
        that exist without the labels are found too.
        """
        return find_differences(self._api, desired, selector)

    def apply(self, manifest: Manifest, *, force: bool = False) -> None:
        """Server-side apply. Raises Conflict, naming the other field manager, unless `force`."""
        ref = ObjectRef.of(manifest)
        response = self._api.patch(manifest, ref, force=force)
        if claims := conflict_claims(response):
            raise Conflict(self._api.where(ref), claims)
        self._api.check(response, "patch", ref)
        effects.happened(f"apply {ref}")

    def delete(self, ref: ObjectRef, uid: str) -> None:
        """Delete the object with that uid, its dependents in the background.

        Fine when it is gone, also when another object has taken its name since.
        """
        response = self._api.delete(ref, uid)
        if response.status in (404, 409):
            return
        self._api.check(response, "delete", ref)
        effects.happened(f"delete {ref}")

    def remove(self, ref: ObjectRef, labels: Mapping[str, str]) -> bool:
        """Delete the object if it carries these labels; False when there is none, or it is not ours.

        Should another object take its name meanwhile, that one stays.
        """
        live = self._api.get(ref)
        if live is None or not labels.items() <= live["metadata"].get("labels", {}).items():
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
        return take_survey(self._api, selector, kinds)

    def lease(self, namespace: str, name: str, holder: str, seconds: int) -> bool:
        """Take or renew a lease; whether `holder` has it now, for so many seconds from the beginning of the call.

        Two calls on one KubernetesCluster, at least the lease's duration apart, find out that a holder has died.
        """
        return self._leases.acquire(namespace, name, holder, seconds)

    def release(self, namespace: str, name: str, holder: str) -> None:
        """Give the lease up, if `holder` has it, so that the next one gets it at once."""
        self._leases.release(namespace, name, holder)

    def stamps(self, namespace: str, name: str) -> dict[str, str]:
        """The data of a ConfigMap; empty when there is none."""
        return read_stamps(self._api, namespace, name)

    def stamp(self, namespace: str, name: str, changes: Mapping[str, str | None]) -> None:
        """Set (or, with None, remove) entries of a ConfigMap, which is made when it is not there."""
        write_stamps(self._api, namespace, name, changes)

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
