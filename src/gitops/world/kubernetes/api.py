"""Requests to one API server: retried, with every refusal as a ClusterError that names the object."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import orjson

from gitops.values import FIELD_MANAGER, Manifest, ObjectRef
from gitops.world.kubernetes.errors import ClusterError, not_served, refusal
from gitops.world.kubernetes.kinds import Kind, kind_of
from gitops.world.kubernetes.transport import NO_QUERY, Response, RetryPolicy, Transport, TransportError

THREADS = 8
FEW = 3
"""Up to so many objects of one place are asked for one by one; more are listed."""
_PAGE = 500
_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"
_NAMES_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=1,application/json"
_NOT_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")

Item = TypeVar("Item")
Result = TypeVar("Result")
Live = dict[str, Any]


class _Lost(Exception):
    """Somebody else wrote first; asking again would not change that."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


class Api:
    """What we ask of an API server. `name` is how errors call it. Safe in several threads."""

    def __init__(self, transport: Transport, name: str, retry: RetryPolicy) -> None:
        self.name = name
        self._transport = transport
        self._retry = retry

    def close(self) -> None:
        """Give connections back."""
        self._transport.close()

    def version(self) -> Mapping[str, object]:
        """What the server says of its version. Raises ClusterError, ValueError when it is no JSON."""
        response = self._send("GET", "/version", where=self.name)
        found: Mapping[str, object] = orjson.loads(response.body)
        return found

    def get(self, ref: ObjectRef) -> Live | None:
        """One object, or None if there is none."""
        kind = kind_of(ref.api_version, ref.kind)
        response = self._send("GET", kind.path(ref.namespace, ref.name), where=self.where(ref))
        if response.status == 404 and b'"Status"' in response.body:
            return None
        self.check(response, "get", ref)
        live: Live = orjson.loads(response.body)
        return live

    def patch(
        self, manifest: Manifest, ref: ObjectRef, *, force: bool, manager: str, dry_run: bool = False
    ) -> Response:
        """Server-side apply; the answer may be a refusal, which the caller checks."""
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        if dry_run:
            query["dryRun"] = "All"
        path = kind_of(ref.api_version, ref.kind).path(ref.namespace, ref.name)
        body = _yaml_safe(orjson.dumps(manifest))
        return self._send("PATCH", path, where=self.where(ref), query=query, body=body, content_type=_APPLY)

    def create(self, manifest: Manifest, ref: ObjectRef) -> Response:
        """Create an object. The caller checks the answer: 409 says that there is one of that name already."""
        path = kind_of(ref.api_version, ref.kind).path(ref.namespace)
        return self._write_once("POST", path, manifest, ref)

    def replace(self, manifest: Manifest, ref: ObjectRef) -> Response:
        """Replace the version of an object that the manifest names (`metadata.resourceVersion`).

        The caller checks the answer: 409 says that there is a newer version.
        """
        path = kind_of(ref.api_version, ref.kind).path(ref.namespace, ref.name)
        return self._write_once("PUT", path, manifest, ref)

    def merge(self, patch: Mapping[str, object], ref: ObjectRef) -> Response:
        """JSON merge patch (RFC 7386); the caller checks the answer."""
        path = kind_of(ref.api_version, ref.kind).path(ref.namespace, ref.name)
        query, body = {"fieldManager": FIELD_MANAGER}, orjson.dumps(patch)
        return self._send("PATCH", path, where=self.where(ref), query=query, body=body, content_type=_MERGE)

    def delete(self, ref: ObjectRef, uid: str) -> Response:
        """Delete that very object, its dependents in the background; the caller checks the answer."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        path = kind_of(ref.api_version, ref.kind).path(ref.namespace, ref.name)
        return self._send("DELETE", path, where=self.where(ref), body=orjson.dumps(options))

    def pages(
        self, kind: Kind, selector: Mapping[str, str], *, namespace: str = "", wanted: bool = True
    ) -> Iterator[list[Live]]:
        """The objects of a kind that carry these labels, page by page, so that memory holds one page.

        A kind that is not `wanted` may be unknown to the cluster, or closed to us if it is not built in
        (authorization comes before existence): then there are none.
        """
        query = {"labelSelector": ",".join(f"{key}={value}" for key, value in selector.items())} if selector else {}
        return self._pages(kind, query, namespace, wanted=wanted)

    def names(self, kind: Kind, namespace: str) -> set[str]:
        """The names of all objects of a kind there."""
        pages = self._pages(kind, {}, namespace, accept=_NAMES_ONLY)
        return {item["metadata"]["name"] for page in pages for item in page}

    def pods_of(self, deployment: Live) -> list[Live]:
        """The pods that a Deployment selects."""
        labels = deployment["spec"].get("selector", {}).get("matchLabels", {})
        pages = self.pages(kind_of("v1", "Pod"), labels, namespace=deployment["metadata"]["namespace"])
        return [pod for page in pages for pod in page]

    def check(self, response: Response, verb: str, ref: ObjectRef) -> None:
        """Raise ClusterError for an answer of 400 or more. `verb` is RBAC's word."""
        if response.status >= 400:
            kind = kind_of(ref.api_version, ref.kind)
            raise refusal(response, cluster=self.name, verb=verb, kind=kind, ref=ref)

    def where(self, ref: ObjectRef) -> str:
        """The place for errors about an object."""
        return f"{self.name}, {ref}"

    def _pages(
        self,
        kind: Kind,
        query: Mapping[str, str],
        namespace: str,
        *,
        wanted: bool = True,
        accept: str = "application/json",
    ) -> Iterator[list[Live]]:
        path, position = kind.path(namespace), ""
        while True:
            paging = {"limit": str(_PAGE), **({"continue": position} if position else {})}
            response = self._send(
                "GET", path, where=f"{self.name}, {kind.plural}", query={**query, **paging}, accept=accept
            )
            if response.status == 404:
                if wanted:
                    raise not_served(kind, self.name)
                return
            if response.status == 403 and not wanted and kind.installed_by:
                return
            # 410: our place in the list is too old. The answer carries a token to go on from there in the
            # present list, which is as good: we look at every object by itself.
            if response.status >= 400 and response.status != 410:
                raise refusal(response, cluster=self.name, verb="list", kind=kind, ref=None)
            page = orjson.loads(response.body)
            position = page["metadata"].get("continue", "")
            if response.status == 410:
                if not position:
                    raise refusal(response, cluster=self.name, verb="list", kind=kind, ref=None)
                continue
            for item in page["items"]:  # lists leave these out
                item["apiVersion"], item["kind"] = kind.api_version, kind.name
            yield page["items"]
            if not position:
                return

    def _write_once(self, method: str, path: str, manifest: Manifest, ref: ObjectRef) -> Response:
        query, body = {"fieldManager": FIELD_MANAGER}, orjson.dumps(manifest)
        try:
            return self._send(method, path, where=self.where(ref), query=query, body=body, races=True)
        except _Lost as lost:
            return lost.response

    def _send(
        self,
        method: str,
        path: str,
        *,
        where: str,
        query: Mapping[str, str] = NO_QUERY,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        races: bool = False,
    ) -> Response:
        """The answer to a request that may be repeated. With `races` a 409 is one (_Lost), elsewhere it may pass."""

        def attempt() -> Response:
            response = self._transport.request(
                method, path, query=query, body=body, content_type=content_type, accept=accept
            )
            if races and response.status == 409:
                raise _Lost(response)
            return response

        try:
            return self._retry.send(attempt)
        except TransportError as error:
            raise ClusterError(
                f"no answer from the API server after {self._retry.attempts} attempts: {error}",
                where=where,
                hint="check that the cluster is up and reachable from here",
            ) from error


def _yaml_safe(body: bytes) -> bytes:
    """The same JSON for a reader that takes it for YAML 1.1, as the API server does with applied objects.

    There some characters that JSON allows in strings are line breaks, which are folded, or not allowed at all.
    Others must not be escaped: YAML has no surrogate pairs.
    """
    return _NOT_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", body.decode()).encode()


def concurrently(work: Callable[[Item], Result], items: Sequence[Item], threads: int = THREADS) -> list[Result]:
    """The results in order; the first failure ends what has not begun, and is raised."""
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(threads, len(items))) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
