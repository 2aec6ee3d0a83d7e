"""Artifacts in an OCI registry, as ORAS pushes them: one layer for each file, named by its title annotation.

References: OCI Distribution Specification 1.1 (pulling manifests, pulling blobs, referrers), OCI Image Specification
1.1 (manifest, `org.opencontainers.image.title`), and the registry's token authentication that all clients share.
Credentials are those of `docker login` in its config.json; helpers of that file are not asked.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import httpx

from gitops.errors import GitopsError
from gitops.stages.answers import PLAIN, TooLarge, stay_encrypted, whole
from gitops.stages.digest import check_names
from gitops.stages.stores import MAX_BESIDE, Item, Listing, Transient, said

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
TITLE = "org.opencontainers.image.title"
UNPACK = "io.deis.oras.content.unpack"
MAX_MANIFEST = 4 * 1024 * 1024
"""What the specification says registries should accept at least, and nobody exceeds."""
MAX_TOKEN = 1024 * 1024
"""Tokens have a few kilobytes."""
CHUNK = 1024 * 1024
KINDS: Mapping[str, str] = MappingProxyType(
    {
        ".intoto.jsonl": "application/vnd.in-toto.bundle",
        ".sig": "application/vnd.gitops.signature",
        ".sigstore.json": "application/vnd.dev.sigstore.bundle.v0.3+json",
    }
)
"""The artifact type under which what belongs to an artifact refers to it; `oras attach --artifact-type` writes it."""

_REFERENCE = re.compile(
    r"oci://(?P<host>[A-Za-z0-9.-]+(?::\d+)?)/(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(slots=True)
class OciStore:
    """One manifest of a registry and the files that it lists."""

    uri: str
    host: str
    name: str
    reference: str
    client: httpx.Client
    authorization: str = ""
    manifests: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, uri: str) -> OciStore:
        """The store of `oci://registry/name:tag` or `…@sha256:…`; GitopsError when the URI has another form."""
        match = _REFERENCE.fullmatch(uri)
        if not match or not (match["tag"] or match["digest"]):
            raise GitopsError("this names no artifact", where=uri, hint="write oci://registry/name:tag or …@sha256:…")
        timeout = httpx.Timeout(60, connect=10)
        headers, hooks = {"User-Agent": "gitops", **PLAIN}, {"response": [stay_encrypted]}
        client = httpx.Client(timeout=timeout, follow_redirects=True, headers=headers, event_hooks=hooks)
        return cls(uri, match["host"], match["name"], match["digest"] or match["tag"], client)

    def listing(self) -> Listing:
        """The files, and what the manifest says each of them is."""
        manifest, _ = self._manifest(self.reference)
        if manifest.get("mediaType") == INDEX or "manifests" in manifest:
            raise self._refused("this is an index of several manifests", "name one of them by its digest")
        layers = manifest.get("layers")
        if not isinstance(layers, list) or not layers:
            raise self._refused("the manifest lists no files", "push the model's files with oras push")
        items = [self._item(layer) for layer in layers]
        check_names([item.path for item in items], self.uri)
        return Listing(tuple(sorted(items, key=lambda item: item.path.encode())), True)

    def _item(self, layer: Any) -> Item:
        digest, size, notes = _descriptor(layer)
        if not digest or size < 0:
            raise self._refused("the manifest has a layer without digest or size", "push it again")
        title = notes.get(TITLE)
        if not isinstance(title, str) or not title:
            hint = "push the model's files with oras push; images are for `serve.image`"
            raise self._refused("a layer has no file name: this is no artifact of files", hint)
        if notes.get(UNPACK) == "true":
            raise self._refused(f"{title} is a packed directory", "push its files one by one: oras push REF dir/*")
        return Item(title, digest, size, digest, digest.removeprefix("sha256:"))

    def read(self, item: Item, offset: int) -> Iterator[bytes]:
        """A blob from a byte on; a registry that does not know ranges sends what was there before once more."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with self._asked(f"blobs/{item.key}", headers) as answer:
            skip = offset if answer.status_code == 200 else 0
            try:
                for block in answer.iter_raw(CHUNK):
                    kept = block[min(skip, len(block)) :]
                    skip -= len(block) - len(kept)
                    if kept:
                        yield kept
            except httpx.HTTPError as error:
                raise Transient(said(error)) from error

    def beside(self, suffix: str) -> bytes | None:
        """What refers to the manifest with the suffix's artifact type: by the referrers API, or by its tag schema."""
        wanted = KINDS.get(suffix)
        _, digest = self._manifest(self.reference)
        try:
            found = self._referrers(digest)
            chosen = [entry for entry in found if isinstance(entry, dict) and entry.get("artifactType") == wanted]
            if not chosen:
                return None
            manifest, _ = self._manifest(_descriptor(chosen[-1])[0])
            digest, size, _ = _descriptor((manifest.get("layers") or [None])[0])
            if not digest or not 0 <= size <= MAX_BESIDE:
                raise self._refused(f"the {suffix} that refers to it has no content", "attach it again")
            return self._whole(f"blobs/{digest}", digest, size, {})[0]
        except Transient as error:
            raise GitopsError(f"the registry does not answer: {error}", where=self.uri, hint="try again") from error

    def _referrers(self, digest: str) -> list[Any]:
        for path in (f"referrers/{digest}", f"manifests/{digest.replace(':', '-')}"):
            body = self._whole(path, "", MAX_MANIFEST, {"Accept": INDEX}, missing=True)[0]
            if body:
                found = _object(body).get("manifests")
                return found if isinstance(found, list) else []
        return []

    def put_beside(self, suffix: str, data: bytes) -> None:
        """Not written by us: pushing is the work of the tool that pushed the artifact."""
        command = f"oras attach --artifact-type {KINDS.get(suffix, suffix)} {self.uri.removeprefix('oci://')} FILE"
        raise self._refused("nothing is pushed to registries", f"attach it with: {command}")

    def _manifest(self, reference: str) -> tuple[dict[str, Any], str]:
        """A manifest and its digest. What a tag meant at first is what it means for as long as this store lives."""
        reference = self.manifests.get(reference, reference)
        known = reference if _DIGEST.fullmatch(reference) else ""
        accept = {"Accept": f"{MANIFEST}, {INDEX}"}
        body, _ = self._whole(f"manifests/{reference}", known, MAX_MANIFEST, accept)
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        self.manifests[reference] = digest
        return _object(body), digest

    def _whole(
        self, path: str, digest: str, most: int, headers: dict[str, str], missing: bool = False
    ) -> tuple[bytes, int]:
        """A small answer, bounded, and checked against its digest where that is known."""
        with self._asked(path, headers, missing) as answer:
            if answer.status_code == 404:
                return b"", 404
            body, status = self._bounded(answer, most, path), answer.status_code
        if digest and hashlib.sha256(body).hexdigest() != digest.removeprefix("sha256:"):
            raise Transient(f"{path.split('/')[0]} came with other content than its digest says")
        return body, status

    def _bounded(self, answer: httpx.Response, most: int, what: str) -> bytes:
        try:
            return whole(answer, most)
        except TooLarge:
            raise self._refused(f"{what} is packed, or larger than {most} bytes", "check the registry") from None
        except httpx.HTTPError as error:
            raise Transient(said(error)) from error

    def _refused(self, what: str, hint: str) -> GitopsError:
        return GitopsError(what, where=self.uri, hint=hint)

    # --- Asking the registry -------------------------------------------------------------------------------

    @contextmanager
    def _asked(self, path: str, headers: dict[str, str], missing: bool = False) -> Iterator[httpx.Response]:
        """The answer to a GET, authorized where the registry asks for it; GitopsError or Transient for any other."""
        url = f"{_scheme(self.host)}://{self.host}/v2/{self.name}/{path}"
        for again in (False, True):
            ours = {"Authorization": self.authorization} if self.authorization else {}
            try:
                with self.client.stream("GET", url, headers={**headers, **ours}) as answer:
                    if answer.status_code == 401 and not again:
                        self.authorization = self._authorize(answer.headers.get("WWW-Authenticate", ""))
                        continue
                    if not (missing and answer.status_code == 404):
                        self._check(answer)
                    yield answer
                    return
            except httpx.HTTPError as error:
                raise Transient(said(error)) from error

    def _check(self, answer: httpx.Response) -> None:
        status = answer.status_code
        if status in (200, 206):
            return
        if status in _TEMPORARY:
            raise Transient(f"HTTP {status}")
        if status in (401, 403):
            raise self._refused(f"the registry refuses (HTTP {status})", f"docker login {self.host}")
        if status == 404:
            raise self._refused("the registry does not have it", "check the name and the tag")
        raise self._refused(f"the registry answers HTTP {status}", "check the registry")

    def _authorize(self, challenge: str) -> str:
        """The Authorization header that answers a challenge."""
        kind, _, rest = challenge.partition(" ")
        basic = _login(self.host)
        if kind.lower() == "basic" and basic:
            return f"Basic {basic}"
        parameters = dict(_PARAMETER.findall(rest))
        realm = parameters.get("realm", "")
        if kind.lower() != "bearer" or not realm:
            raise self._refused("the registry wants a login", f"docker login {self.host}")
        if urlsplit(realm).scheme != "https" and _scheme(urlsplit(realm).netloc) != "http":
            raise self._refused("the registry asks for a login without encryption", "check the registry")
        scope = parameters.get("scope") or f"repository:{self.name}:pull"
        asked = {"scope": scope} | ({"service": parameters["service"]} if "service" in parameters else {})
        try:
            login = {"Authorization": f"Basic {basic}"} if basic else {}
            with self.client.stream("GET", realm, params=asked, headers=login) as answer:
                self._check(answer)
                document = _object(self._bounded(answer, MAX_TOKEN, "the answer to the login"))
        except httpx.HTTPError as error:
            raise Transient(said(error)) from error
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise self._refused("the registry's login gives no token", f"docker login {self.host}")
        return f"Bearer {token}"


def _scheme(host: str) -> str:
    """Registries on this machine are asked without encryption, as all clients do."""
    return "http" if host.rsplit(":", 1)[0] in ("localhost", "127.0.0.1") else "https"


def _login(host: str) -> str:
    """The base64 of `user:password` that `docker login` keeps for a registry, or nothing."""
    place = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    try:
        entries = _object(place.read_bytes()).get("auths")
        kept = entries[host]["auth"] if isinstance(entries, dict) else ""
        base64.b64decode(kept, validate=True)
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return str(kept)


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Transient("the answer is not JSON")
    return document


def _descriptor(value: Any) -> tuple[str, int, dict[str, Any]]:
    """Digest, size and annotations of a descriptor; no digest where it is not as it should be."""
    if not isinstance(value, dict):
        return "", -1, {}
    digest, size, notes = value.get("digest"), value.get("size"), value.get("annotations")
    good = isinstance(digest, str) and _DIGEST.fullmatch(digest)
    return str(digest) if good else "", size if type(size) is int else -1, notes if isinstance(notes, dict) else {}
