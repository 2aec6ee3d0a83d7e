"""Queries to one Prometheus server: who we are, how often one is tried, and what came back.

A token comes from GITOPS_PROMETHEUS_TOKEN, or from the file that GITOPS_PROMETHEUS_TOKEN_FILE names, which is read
again each time since such tokens are exchanged while we run. Else the user and password of the URL count. SSL_CERT_FILE
names the authorities to trust instead of the system's.
"""

from __future__ import annotations

import os
import random
import ssl
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

import orjson
import urllib3

MAX_BYTES = 64 * 1024 * 1024
"""Of one answer, unpacked."""
ATTEMPTS = 4
_FIRST_WAIT = 0.25
_CONNECT_SECONDS = 3.0
_CHUNK = 256 * 1024
_LONGEST = 300
_TOKEN, _TOKEN_FILE = "GITOPS_PROMETHEUS_TOKEN", "GITOPS_PROMETHEUS_TOKEN_FILE"


class Failed(Exception):
    """There is no answer. The message is one line, and names the server without its password."""


class _Passing(Failed):
    """It may be there a moment later; `wait` is what the server asked for, in seconds."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class Client:
    """One server. Its methods may be called from several threads."""

    def __init__(self, url: str, connections: int) -> None:
        """Raises Failed when the certificates that SSL_CERT_FILE names cannot be used, or this is no URL."""
        self.name, self._basic = without_password(url)
        scheme = self.name.partition("://")[0].lower()
        if scheme not in ("http", "https"):
            raise Failed(f"{self.name} is not a URL of http or https")
        self._pool = urllib3.PoolManager(
            num_pools=1, maxsize=connections, ssl_context=_trust() if scheme == "https" else None
        )

    def ask(self, path: str, form: Mapping[str, str], until: float) -> Any:
        """`data` of the answer to /api/v1/PATH, if it is whole. `until` is by time.monotonic(). Raises Failed."""
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "Content-Type": "application/x-www-form-urlencoded",
            **self._authorization(),
        }
        waits = _waits()
        while True:
            try:
                return self._attempt(f"{self.name}/api/v1/{path}", form, headers, until)
            except _Passing as error:
                wait = next(waits, None)
                if wait is None or time.monotonic() + max(wait, error.wait) >= until:
                    raise
                time.sleep(max(wait, error.wait))

    def _attempt(self, url: str, form: Mapping[str, str], headers: Mapping[str, str], until: float) -> Any:
        left = until - time.monotonic()
        if left <= 0:
            raise Failed(f"{self.name} did not answer in time")
        try:
            # The server gives up when we do.
            body = urlencode({**form, "timeout": f"{max(1, round(left * 1000))}ms"}).encode()
            answer = self._pool.request(
                "POST",
                url,
                body=body,
                headers=headers,
                timeout=urllib3.Timeout(connect=min(left, _CONNECT_SECONDS), read=left),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            try:
                content = self._content(answer, until)
            except BaseException:
                answer.close()
                raise
            answer.release_conn()
        except (OSError, ValueError, urllib3.exceptions.SSLError) as error:
            raise Failed(f"{self.name}: {_fault(error)}") from error
        except urllib3.exceptions.HTTPError as error:
            raise _Passing(f"{self.name}: {_fault(error)}") from error
        return self._data(answer, content)

    def _content(self, answer: urllib3.BaseHTTPResponse, until: float) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            left = until - time.monotonic()
            if left <= 0:
                raise Failed(f"{self.name} did not answer in time")
            socket = getattr(answer.connection, "sock", None)
            if socket is not None:
                socket.settimeout(left)  # what was set for the whole answer counts for every piece of it
            part = answer.read1(_CHUNK)
            if not part:
                return b"".join(parts)
            size += len(part)
            if size > MAX_BYTES:
                raise Failed(f"{self.name} answered more than {MAX_BYTES // 2**20} MiB")
            parts.append(part)

    def _data(self, answer: urllib3.BaseHTTPResponse, content: bytes) -> Any:
        try:
            document = orjson.loads(content)
        except orjson.JSONDecodeError:
            document = {}
        if not isinstance(document, dict):
            document = {}
        said = _line(str(document.get("error", ""))) or f"status {answer.status}"
        if answer.status == 429 or answer.status >= 500:
            asked = answer.headers.get("Retry-After", "")
            raise _Passing(f"{self.name} cannot answer now: {said}", float(asked) if asked.isdecimal() else 0.0)
        if answer.status in (401, 403):
            raise Failed(f"{self.name} does not let us in ({said}): set {_TOKEN} or {_TOKEN_FILE}")
        if 300 <= answer.status < 400:
            place = without_password(answer.headers.get("Location", "").partition("?")[0])[0]
            raise Failed(f"{self.name} redirects to {_line(place) or 'nowhere'}: name that URL instead")
        if answer.status >= 400:
            raise Failed(f"{self.name} refused the query: {said}")
        if document.get("status") != "success" or "data" not in document:
            raise Failed(f"{self.name} answered something that is not from Prometheus")
        warnings = document.get("warnings")
        for warning in warnings if isinstance(warnings, list) else ():
            # Those about PromQL say how a query is written, others that data are missing.
            if not str(warning).startswith("PromQL "):
                raise Failed(f"{self.name} answered in part only: {_line(str(warning))}")
        return document["data"]

    def _authorization(self) -> Mapping[str, str]:
        token, place = os.environ.get(_TOKEN, "").strip(), _TOKEN
        if not token and (file := os.environ.get(_TOKEN_FILE)):
            place = f"{_TOKEN_FILE}, {file}"
            try:
                token = Path(file).read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                raise Failed(f"{place}: {getattr(error, 'strerror', 'it is not text')}") from error
        if not token:
            return {"Authorization": self._basic} if self._basic else {}
        if not (token.isascii() and token.isprintable()):
            raise Failed(f"{place}: it has more than one line, or characters that no token has")
        return {"Authorization": f"Bearer {token}"}


def without_password(url: str) -> tuple[str, str]:
    """The URL without user and password or a slash at its end, and the header that carries them."""
    try:
        parts = urlsplit(url)
        user = parts.username
    except ValueError:
        return url.rpartition("@")[2].rstrip("/"), ""
    place, header = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/"), ""
    if user is not None:
        known = f"{unquote(user)}:{unquote(parts.password or '')}"
        header = f"Basic {b64encode(known.encode(errors='replace')).decode()}"
    return place, header


def _trust() -> ssl.SSLContext:
    file = os.environ.get("SSL_CERT_FILE") or None
    try:
        return ssl.create_default_context(cafile=file)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror if file and not Path(file).is_file() else "there are no certificates in it"
        raise Failed(f"SSL_CERT_FILE, {file}: {reason}") from error


def _waits() -> Iterator[float]:
    """The wait after each attempt but the last; clients that failed together do not come back together."""
    for attempt in range(ATTEMPTS - 1):
        yield _FIRST_WAIT * 2**attempt * random.uniform(0.5, 1.0)  # noqa: S311


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"


def _fault(error: Exception) -> str:
    exceptions = urllib3.exceptions
    if isinstance(error, exceptions.NameResolutionError):
        return "its name cannot be resolved"
    # Before the timeouts, because urllib3 counts it among them.
    if isinstance(error, exceptions.NewConnectionError):
        return "the connection was refused" if "refused" in str(error) else _line(str(error).rpartition(": ")[2])
    if isinstance(error, exceptions.ConnectTimeoutError):
        return "connecting timed out"
    if isinstance(error, exceptions.TimeoutError):
        return "the answer timed out"
    if isinstance(error, exceptions.ProtocolError):
        return "the connection was dropped"
    if isinstance(error, exceptions.SSLError):
        return f"TLS failed: {_line(str(error))}"
    return _line(str(error))
