"""A lean HTTP/1.1 connection over asyncio: one request at a time, and the time at which every byte came.

Times are taken first and bytes are looked into later, a little at a time, so that a thousand streams which speak at
once are not timed by how long their tokens take to parse.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from gitops.stages.protocols.base import Answer, AskFailed, Request, excerpt, reason
from gitops.stages.protocols.http1 import ResponseParser
from gitops.stages.protocols.reading import Reading

_MOST_OF_AN_ERROR = 4096
_READ = 64 * 1024
"""Bytes that are taken at a time."""
_SLICE = 0.0005
"""Seconds of looking into bytes before the times of newer ones are taken."""

ReadingFor = Callable[[str], Reading]
"""What reads a good answer of a content type."""


class Address(NamedTuple):
    """Where to connect, resolved once."""

    host: str
    port: int
    server_name: str
    tls: ssl.SSLContext | None


class Arrivals:
    """What has come on many connections and was not looked into yet. `on_data` is told of every time that is taken."""

    def __init__(self, on_data: Callable[[float], None]) -> None:
        self.on_data = on_data
        self.buffer = memoryview(bytearray(_READ))
        self._loop = asyncio.get_running_loop()
        self._unseen: deque[Connection] = deque()
        self._scheduled = False

    def add(self, connection: Connection) -> None:
        """Something came on the connection."""
        self._unseen.append(connection)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        # The loop takes what has come meanwhile, and its time, between two slices.
        until = perf_counter() + _SLICE
        while self._unseen:
            self._unseen.popleft().look()
            if perf_counter() > until:
                break
        self._scheduled = bool(self._unseen)
        if self._scheduled:
            self._loop.call_soon(self._look)


class StaleConnection(Exception):
    """A kept connection was closed before a byte of the answer came: worth another try on a new one."""


async def resolve(url: str) -> Address:
    """The first address of the URL's host. Raises AskFailed."""
    parts = urlsplit(url)
    name, tls = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, port, type=1)
    except OSError as error:
        raise AskFailed("refused", reason(error)) from None
    return Address(str(found[0][4][0]), port, name, ssl.create_default_context() if tls else None)


def payload(url: str, request: Request, headers: dict[str, str]) -> bytes:
    """The bytes of a request."""
    parts = urlsplit(url)
    fields = {"host": parts.netloc, **headers, "content-length": str(len(request.body or b""))}
    lines = [f"{request.method} {parts.path}{request.path} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode() + (request.body or b"")


class Connection(asyncio.BufferedProtocol):
    """Use `Connection.open`, then `ask` again and again while it is `usable`."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._loop = asyncio.get_running_loop()
        self._arrivals = arrivals
        self._transport: asyncio.Transport | None = None
        self._inbox: list[tuple[float, bytes | None]] = []
        self._answers = 0
        self._heard = False
        self._waiting: asyncio.Future[Answer] | None = None
        self._reading_for: ReadingFor | None = None
        self._reading: Reading | None = None
        self._parser = ResponseParser()
        self._error = b""

    @classmethod
    async def open(cls, address: Address, timeout: float, arrivals: Arrivals) -> Self:
        """A new connection. Raises AskFailed."""
        name = address.server_name if address.tls else None
        try:
            async with asyncio.timeout(timeout):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: cls(arrivals), address.host, address.port, ssl=address.tls, server_hostname=name
                )
        except TimeoutError:
            raise AskFailed("timeout", f"no connection in {timeout:g} s") from None
        except ssl.SSLError as error:
            raise AskFailed("refused", excerpt(f"TLS: {error.reason or error}")) from None
        except OSError as error:
            raise AskFailed("refused", reason(error)) from None
        return connection

    @property
    def usable(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing() and self._waiting is None

    async def ask(self, request: bytes, reading_for: ReadingFor, timeout: float) -> Answer:
        """The answer to the bytes of a request. Raises AskFailed, and StaleConnection; it is closed then."""
        assert self.usable
        assert self._transport
        self._parser, self._reading, self._reading_for, self._error = ResponseParser(), None, reading_for, b""
        self._heard = False
        self._waiting = self._loop.create_future()
        overdue = self._loop.call_later(timeout, self._end, AskFailed("timeout", f"no whole answer in {timeout:g} s"))
        self._transport.write(request)
        try:
            return await self._waiting
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            overdue.cancel()
            self._waiting = None

    def close(self) -> None:
        """At once, also in the middle of an answer."""
        if self._transport:
            self._transport.abort()

    # --- What asyncio tells ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """One for all connections, because asyncio fills it and says so at once."""
        return self._arrivals.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take the time; `look` does the rest."""
        at = perf_counter()
        self._arrivals.on_data(at)
        self._take(at, bytes(self._arrivals.buffer[:nbytes]))

    def connection_lost(self, exc: Exception | None) -> None:
        """The end comes after the bytes before it."""
        self._take(perf_counter(), None)

    def _take(self, at: float, data: bytes | None) -> None:
        self._inbox.append((at, data))
        if len(self._inbox) == 1:
            self._arrivals.add(self)

    def look(self) -> None:
        """Look into what came; Arrivals asks for it."""
        inbox, self._inbox = self._inbox, []
        for at, data in inbox:
            if self._waiting is None or self._waiting.done():
                # Bytes that nobody asked for: what comes next on this connection could not be told from them.
                self.close()
                return
            try:
                self._feed(at, data)
            except (AskFailed, StaleConnection) as failed:
                self._end(failed)

    def _feed(self, at: float, data: bytes | None) -> None:
        parser = self._parser
        if data is None:
            if not self._heard and self._answers:
                raise StaleConnection
            parser.close()
            self._finish(at)
            return
        self._heard = True
        body = parser.feed(data)
        if not parser.status:
            return
        if self._reading is None and 200 <= parser.status < 300 and self._reading_for:
            self._reading = self._reading_for(parser.headers.get(b"content-type", b"").decode("latin-1"))
        if self._reading:
            if body:
                self._reading.feed(at, body)
        elif len(self._error) < _MOST_OF_AN_ERROR:
            self._error += body
        if parser.done:
            self._finish(at)

    def _finish(self, at: float) -> None:
        if self._reading is None:
            raise AskFailed(f"status {self._parser.status}", excerpt(self._error))
        answer = self._reading.finish(at)
        self._answers += 1
        if not self._parser.keep:
            self.close()
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(answer)

    def _end(self, failed: AskFailed | StaleConnection) -> None:
        self.close()
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(failed)
