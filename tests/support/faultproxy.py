"""A proxy on loopback between a client and the API server that fails on demand and counts requests.

    with FaultProxy.start(plane) as proxy:
        proxy.respond(503, times=2, method="PATCH", path="/deployments/")
        client = build_client(proxy.write_kubeconfig(tmp_path / "kubeconfig"), proxy.context)
        ...
        assert proxy.count(method="PATCH") == 3

Clients need no credentials: the proxy forwards as the cluster's administrator.
"""

import http.client
import json
import re
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR, socket
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from tests.support.controlplane import ControlPlane, write_kubeconfig

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
"""Kubernetes' own reason for each status code, as its Status object carries it."""
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer", "content-length"}


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that reached the proxy.

    `status` is what the client was told, None if nothing yet or if the answer is to be broken off;
    `seconds` is how long it waited for it.
    """

    method: str
    path: str
    query: str
    status: int | None
    seconds: float


@dataclass(slots=True)
class _Fault:
    action: Literal["respond", "hang", "drop", "delay"]
    method: re.Pattern[str]
    path: re.Pattern[str]
    left: int
    status: int = 0
    message: str = ""
    retry_after: int | None = None
    seconds: float = 0.0
    forward: bool = True

    def matches(self, method: str, target: str) -> bool:
        return self.left > 0 and bool(self.method.fullmatch(method)) and bool(self.path.search(target))


class FaultProxy:
    """A running proxy. A fault holds for its next `times` matching requests; the oldest that matches acts.

    `method` is a regular expression for the whole method, `path` one that is searched in path and query.
    """

    context = "faultproxy"

    def __init__(self, plane: ControlPlane, *, tls: bool = False) -> None:
        """Use `FaultProxy.start`."""
        self._plane = plane
        self._faults: list[_Fault] = []
        self._seen: dict[object, Seen] = {}
        self._lock = threading.Lock()
        self._server = _Server(self)
        self.stopping = threading.Event()
        if tls:
            files = plane.authority.issue("faultproxy")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(files.certificate, files.key)
            # Without the handshake on accept, which would block the thread that accepts.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @classmethod
    def start(cls, plane: ControlPlane, *, tls: bool = False) -> Self:
        """A proxy in front of the control plane, speaking HTTP, or TLS by the control plane's authority."""
        return cls(plane, tls=tls)

    def __enter__(self) -> Self:
        """The proxy itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def stop(self) -> None:
        """Close all connections, hanging ones too."""
        self.stopping.set()
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join()

    def write_kubeconfig(self, path: Path) -> Path:
        """A kubeconfig whose only context, `context`, points to this proxy."""
        cluster: dict[str, Any] = {"server": self.url}
        if self.url.startswith("https"):
            cluster["certificate-authority"] = str(self._plane.authority.files.certificate)
        return write_kubeconfig(path, self.context, cluster, "anybody", {"token": "ignored"})

    def respond(
        self,
        status: int,
        *,
        times: int = 1,
        method: str = ".*",
        path: str = "",
        retry_after: int | None = None,
        message: str = "injected fault",
    ) -> None:
        """Answer with this status and a Kubernetes Status object, without asking the API server.

        `retry_after` is seconds, for the header Retry-After.
        """
        self._add("respond", method, path, times, status=status, retry_after=retry_after, message=message)

    def hang(self, *, seconds: float = 3600, times: int = 1, method: str = ".*", path: str = "") -> None:
        """Do not forward; say nothing for that long, then close the connection."""
        self._add("hang", method, path, times, seconds=seconds)

    def delay(self, seconds: float, *, times: int = 1, method: str = ".*", path: str = "") -> None:
        """Forward, that many seconds late."""
        self._add("delay", method, path, times, seconds=seconds)

    def drop(self, *, times: int = 1, method: str = ".*", path: str = "", forward: bool = True) -> None:
        """Break the connection: in the middle of the API server's answer, so that a write has happened.

        With `forward` false before the request is forwarded, so that nothing has happened.
        """
        self._add("drop", method, path, times, forward=forward)

    def clear(self) -> None:
        """Forget all faults and all requests seen."""
        with self._lock:
            self._faults.clear()
            self._seen.clear()

    @property
    def requests(self) -> tuple[Seen, ...]:
        """All requests since the start or `clear`, in the order of their arrival."""
        with self._lock:
            return tuple(self._seen.values())

    def count(self, *, method: str = ".*", path: str = "") -> int:
        """How many of `requests` match."""
        return sum(
            bool(re.fullmatch(method, seen.method)) and bool(re.search(path, f"{seen.path}?{seen.query}"))
            for seen in self.requests
        )

    def _add(
        self,
        action: Literal["respond", "hang", "drop", "delay"],
        method: str,
        path: str,
        times: int,
        **settings: Any,
    ) -> None:
        fault = _Fault(action, re.compile(method), re.compile(path), times, **settings)
        with self._lock:
            self._faults.append(fault)

    def take_fault(self, method: str, target: str) -> _Fault | None:
        """The fault for this request, used up by one."""
        with self._lock:
            found = next((fault for fault in self._faults if fault.matches(method, target)), None)
            if found:
                found.left -= 1
            return found

    def record(self, key: object, seen: Seen) -> None:
        """Add to `requests`, or replace what was recorded under this key."""
        with self._lock:
            self._seen[key] = seen

    def connect(self) -> http.client.HTTPSConnection:
        """A new connection to the API server, as administrator."""
        address = urlsplit(self._plane.url)
        return http.client.HTTPSConnection(
            address.hostname or "", address.port, context=self._plane.client_tls, timeout=3600
        )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        self.connections: set[socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        assert isinstance(request, socket)
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket | tuple[bytes, socket]) -> None:
        assert isinstance(request, socket)
        self.connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that go away are part of the game."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self._upstream: http.client.HTTPSConnection | None = None

    def finish(self) -> None:
        if self._upstream:
            self.server.connections.discard(self._upstream.sock)
            self._upstream.close()
        with suppress(OSError):
            super().finish()

    def _handle(self) -> None:
        self._arrival = (object(), time.monotonic())
        self._record(None)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self._act(self.server.proxy.take_fault(self.command, self.path), body)
        except (OSError, http.client.HTTPException):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _handle  # noqa: N815

    def _record(self, status: int | None) -> None:
        """Before the client is told, so that a test which has its answer also finds it recorded."""
        key, arrived = self._arrival
        path, _, query = self.path.partition("?")
        self.server.proxy.record(key, Seen(self.command, path, query, status, time.monotonic() - arrived))

    def _act(self, fault: _Fault | None, body: bytes) -> None:
        if fault is None:
            self._forward(body)
        elif fault.action == "respond":
            self._respond(fault)
        elif fault.action == "delay":
            self.server.proxy.stopping.wait(fault.seconds)
            self._forward(body)
        elif fault.action == "hang":
            self.server.proxy.stopping.wait(fault.seconds)
            self._break()
        else:
            if fault.forward:
                self._forward_half(body)
            self._break()

    def _respond(self, fault: _Fault) -> None:
        content = json.dumps(
            {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Failure",
                "message": fault.message,
                "reason": REASONS.get(fault.status, "Unknown"),
                "code": fault.status,
            }
        ).encode()
        headers = {"Content-Type": "application/json"}
        if fault.retry_after is not None:
            headers["Retry-After"] = str(fault.retry_after)
        self._record(fault.status)
        self._send_head(fault.status, headers.items(), len(content))
        self._write(content)

    def _forward(self, body: bytes) -> None:
        answer = self._ask(body)
        self._record(answer.status)
        length = answer.getheader("Content-Length")
        bodiless = self.command == "HEAD" or answer.status in (204, 304)
        if bodiless or length is not None:
            self._send_head(answer.status, answer.getheaders(), int(length or 0))
            for chunk in _chunks(answer):
                self._write(chunk)
        else:
            self._send_head(answer.status, answer.getheaders(), None)
            for chunk in _chunks(answer):
                self._write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            self._write(b"0\r\n\r\n")

    def _forward_half(self, body: bytes) -> None:
        answer = self._ask(body)
        content = answer.read()
        self._send_head(answer.status, answer.getheaders(), len(content))
        self._write(content[: len(content) // 2])

    def _ask(self, body: bytes) -> http.client.HTTPResponse:
        """The API server's answer; a kept connection that it has closed meanwhile is replaced once."""
        if self._upstream:
            try:
                return self._ask_on(self._upstream, body)
            except (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
                self._upstream.close()
        self._upstream = self.server.proxy.connect()
        self._upstream.connect()
        self.server.connections.add(self._upstream.sock)
        return self._ask_on(self._upstream, body)

    def _ask_on(self, connection: http.client.HTTPSConnection, body: bytes) -> http.client.HTTPResponse:
        headers = _without_hops(self.headers)
        connection.request(self.command, self.path, body or None, headers)
        return connection.getresponse()

    def _send_head(self, status: int, headers: Iterable[tuple[str, str]], length: int | None) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        if length is None:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _write(self, content: bytes) -> None:
        self.wfile.write(content)
        self.wfile.flush()

    def _break(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(SHUT_RDWR)

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


def _chunks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while chunk := answer.read1(1 << 16):
        yield chunk
    # Some versions of Python leave an answer with a length open after its last byte, and then the next request
    # on a kept connection fails.
    answer.close()


def _without_hops(headers: Message) -> dict[str, str]:
    return {
        name: value for name, value in headers.items() if name.lower() not in {*_HOP_BY_HOP, "host", "authorization"}
    }
