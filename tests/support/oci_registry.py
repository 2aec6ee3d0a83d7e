"""A small OCI registry on loopback, after the Distribution Specification 1.1, with the faults that real ones have."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class Registry:
    """Blobs and manifests by digest, tags by name; `repository` is the only one that it has."""

    repository: str = "acme/model"
    login: str = ""
    """`user:password` without which no token is given."""
    tokens: bool = False
    basic: bool = False
    ranges: bool = True
    referrers: bool = True
    redirect: bool = False
    """Blobs are sent by another host name, as registries with a bucket behind them do."""
    token_padding: int = 0
    """Bytes by which the answer to a login is longer than it has to be."""
    packed: bool = False
    """Manifests come with gzip, whether or not it was asked for."""
    fail: list[int] = field(default_factory=list)
    """Statuses that the next requests for blobs get."""
    cut: list[int] = field(default_factory=list)
    """After how many bytes the next blobs that are longer break off."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    port: int = 0

    def __enter__(self) -> Registry:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry._get(self)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def uri(self, reference: str = "1.0") -> str:
        mark = "@" if reference.startswith("sha256:") else ":"
        return f"oci://127.0.0.1:{self.port}/{self.repository}{mark}{reference}"

    def push(self, files: Mapping[str, bytes], tag: str = "1.0", **more: Any) -> str:
        """As `oras push` does: one layer for each file; the manifest's digest."""
        layers = [self._blob(data, {"org.opencontainers.image.title": name}) for name, data in files.items()]
        body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": self._blob(b"{}"), "layers": layers, **more}
        return self.put(body, tag)

    def attach(self, kind: str, data: bytes, subject: str) -> None:
        """As `oras attach` does, for registries with the referrers API and, by the tag schema, without."""
        layers = [self._blob(data, {"org.opencontainers.image.title": "statement"})]
        body = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind, "config": self._blob(b"{}")}
        name = self.put({**body, "layers": layers, "subject": {"mediaType": MANIFEST, "digest": subject}}, "")
        entry = {"mediaType": MANIFEST, "digest": name, "size": len(self.manifests[name]), "artifactType": kind}
        self.put({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}, subject.replace(":", "-"))

    def put(self, body: Mapping[str, Any], tag: str) -> str:
        data = json.dumps(body).encode()
        self.manifests[digest(data)] = data
        if tag:
            self.tags[tag] = digest(data)
        return digest(data)

    def _blob(self, data: bytes, notes: Mapping[str, str] | None = None) -> dict[str, Any]:
        self.blobs[digest(data)] = data
        found = {"mediaType": "application/octet-stream", "digest": digest(data), "size": len(data)}
        return {**found, "annotations": dict(notes)} if notes else found

    # --- Answers -------------------------------------------------------------------------------------------

    def _get(self, request: BaseHTTPRequestHandler) -> None:
        url = urlsplit(request.path)
        self.asked.append((request.path, dict(request.headers)))
        if url.path == "/token":
            self._token(request, parse_qs(url.query))
        elif url.path.startswith("/bucket/"):
            self._blob_answer(request, url.path.removeprefix("/bucket/"))
        elif not self._allowed(request.headers.get("Authorization", "")):
            request.send_response(401)
            realm = f"http://127.0.0.1:{self.port}/token"
            scope = f"repository:{self.repository}:pull"
            bearer = f'Bearer realm="{realm}",service="registry",scope="{scope}"'
            request.send_header("WWW-Authenticate", 'Basic realm="registry"' if self.basic else bearer)
            self._send(request, b"{}")
        else:
            self._resource(request, url.path.removeprefix(f"/v2/{self.repository}/"))

    def _allowed(self, authorization: str) -> bool:
        if self.basic:
            return authorization == "Basic " + base64.b64encode(self.login.encode()).decode()
        return not self.tokens or authorization == "Bearer secret-token"

    def _token(self, request: BaseHTTPRequestHandler, query: Mapping[str, list[str]]) -> None:
        wanted = "Basic " + base64.b64encode(self.login.encode()).decode()
        if self.login and request.headers.get("Authorization") != wanted:
            request.send_response(401)
            self._send(request, b"{}")
            return
        assert query == {"service": ["registry"], "scope": [f"repository:{self.repository}:pull"]}
        request.send_response(200)
        self._send(request, b'{"token": "secret-token"}' + b" " * self.token_padding)

    def _resource(self, request: BaseHTTPRequestHandler, path: str) -> None:
        kind, _, name = path.partition("/")
        manifest = self.manifests.get(self.tags.get(name, name)) if kind == "manifests" else None
        if kind == "referrers" and self.referrers:
            manifest = self.manifests.get(self.tags.get(name.replace(":", "-"), ""))
        if manifest is not None:
            assert "application/vnd.oci.image" in request.headers["Accept"]
            request.send_response(200)
            if self.packed:
                request.send_header("Content-Encoding", "gzip")
            self._send(request, gzip.compress(manifest) if self.packed else manifest)
        elif kind == "blobs" and name in self.blobs and self.redirect:
            request.send_response(307)
            request.send_header("Location", f"http://localhost:{self.port}/bucket/{name}")
            self._send(request, b"")
        elif kind == "blobs" and name in self.blobs:
            self._blob_answer(request, name)
        else:
            request.send_response(404)
            self._send(request, b'{"errors": [{"code": "NAME_UNKNOWN"}]}')

    def _blob_answer(self, request: BaseHTTPRequestHandler, name: str) -> None:
        if self.fail:
            request.send_response(self.fail.pop(0))
            self._send(request, b"")
            return
        data = self.blobs[name]
        wanted = request.headers.get("Range", "") if self.ranges else ""
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        request.send_response(206 if wanted else 200)
        # Files are fetched at the same time: a break is for one that is long enough to have it.
        breaks = bool(self.cut) and self.cut[0] < len(data) - start
        self._send(request, data[start:], self.cut.pop(0) if breaks else None)

    def _send(self, request: BaseHTTPRequestHandler, body: bytes, cut: int | None = None) -> None:
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[:cut])
