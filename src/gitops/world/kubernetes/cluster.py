"""A Kubernetes cluster, real or embedded: what the Cluster port promises, on top of a transport."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from gitops.values import Manifest, ObjectRef
from gitops.world import effects
from gitops.world.kubernetes.api import FEW, THREADS, Api, Live, concurrently
from gitops.world.kubernetes.drift import LIST_THREADS, find_differences
from gitops.world.kubernetes.errors import ClusterError, Conflict, conflict_claims
from gitops.world.kubernetes.kinds import kind_of
from gitops.world.kubernetes.readiness import MISSING, readiness_of
from gitops.world.kubernetes.transport import RetryPolicy, Transport
from gitops.world.ports import Difference, Readiness

__all__ = ["ClusterError", "Conflict", "KubernetesCluster", "connect"]

_POD = kind_of("v1", "Pod")


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
        labels = live["spec"].get("selector", {}).get("matchLabels", {})
        pages = self._api.pages(_POD, labels, namespace=live["metadata"]["namespace"])
        return readiness_of(live, [pod for page in pages for pod in page])
