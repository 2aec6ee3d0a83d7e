"""HTTP/1.1 responses, a few bytes at a time (RFC 9112), with as little work for each token of a stream as Python can.

A general client takes about a millisecond for a response, which is more than a thousand streams leave.
"""

from __future__ import annotations

from gitops.stages.protocols.base import AskFailed, excerpt

MAX_HEAD = 64 * 1024
_HEX = frozenset(b"0123456789abcdefABCDEF")


class ResponseParser:
    """The bytes of one response. `done` is set when it is complete, `keep` when the connection can be used again."""

    __slots__ = ("_buffer", "_chunked", "_left", "_trailer", "_until_close", "done", "headers", "keep", "status")

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.done = False
        self.keep = True
        self._buffer = b""
        self._chunked = False
        self._until_close = False
        self._left = 0
        """Bytes of the body, or of the present chunk with its line end, that are still to come."""
        self._trailer = False

    def feed(self, data: bytes) -> bytes:
        """The part of the body that is in the data. Raises AskFailed for what is no HTTP."""
        if self.done:
            self.keep = False
            return b""
        if self.status:
            return self._body(data)
        rest = self._head(data)
        return self._body(rest) if rest else b""

    def _body(self, data: bytes) -> bytes:
        if self._chunked:
            return self._chunks(data)
        if self._until_close:
            return data
        body, extra = data[: self._left], data[self._left :]
        self._left -= len(body)
        self.done = self._left == 0
        self.keep = self.keep and not extra
        return body

    def close(self) -> None:
        """The connection ended. Raises AskFailed unless that is how this response ends."""
        if self._until_close and self.status:
            self.done = True
        if not self.done:
            if not self.status:
                raise AskFailed("closed", excerpt(self._buffer) or "the connection ended before an answer")
            raise AskFailed("truncated", "the connection ended in the middle of an answer")

    def _head(self, data: bytes) -> bytes:
        data = self._buffer + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if len(data) > MAX_HEAD or not b"HTTP/1.".startswith(data[:7]):
                raise AskFailed("malformed", f"this is no HTTP: {excerpt(data)}")
            self._buffer = data
            return b""
        self._buffer = b""
        line, *fields = data[:end].split(b"\r\n")
        status = line[9:12]
        if not line.startswith(b"HTTP/1.") or not status.isdigit() or len(status) < 3:
            raise AskFailed("malformed", f"this is no HTTP: {excerpt(line)}")
        if status.startswith(b"1") and status != b"101":
            return self._head(data[end + 4 :])
        self.headers = _fields(fields)
        self.status = int(status)
        self._framing(line.startswith(b"HTTP/1.0"))
        return data[end + 4 :]

    def _framing(self, old: bool) -> None:
        connection = self.headers.get(b"connection", b"").lower()
        self.keep = connection == b"keep-alive" if old else connection != b"close"
        if self.status in (204, 304):
            self.done = True
        elif encoding := self.headers.get(b"transfer-encoding"):
            if encoding.lower() != b"chunked":
                raise AskFailed("malformed", f"the transfer encoding {excerpt(encoding)}")
            self._chunked = True
        elif (length := self.headers.get(b"content-length")) is not None:
            if not length.isdigit():
                raise AskFailed("malformed", f"the content length {excerpt(length)}")
            self._left = int(length)
            self.done = self._left == 0
        else:
            self._until_close, self.keep = True, False

    def _chunks(self, data: bytes) -> bytes:
        """What is in chunks; `_left` counts the CRLF behind each chunk too."""
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        parts = []
        position, size = 0, len(data)
        while position < size:
            if self._left:
                take = min(self._left, size - position)
                body = min(take, max(self._left - 2, 0))
                if body:
                    parts.append(data[position : position + body])
                _check_line_end(data, position, take, self._left)
                self._left -= take
                position += take
                continue
            end = data.find(b"\r\n", position)
            if end < 0:
                self._buffer = data[position:]
                if len(self._buffer) > MAX_HEAD:
                    raise AskFailed("malformed", "a chunk without a size")
                break
            line = data[position:end]
            position = end + 2
            if self._trailer:
                if not line:
                    self.done = True
                    self.keep = self.keep and position == size
                    break
                continue
            length = _chunk_size(line)
            self._trailer = length == 0
            self._left = length + 2 if length else 0
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _fields(lines: list[bytes]) -> dict[bytes, bytes]:
    fields = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip():
            raise AskFailed("malformed", f"this is no header: {excerpt(line)}")
        fields[name.lower()] = value.strip()
    return fields


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip()
    if not digits or len(digits) > 16 or not _HEX.issuperset(digits):
        raise AskFailed("malformed", f"this is no size of a chunk: {excerpt(line)}")
    return int(digits, 16)


def _check_line_end(data: bytes, position: int, take: int, left: int) -> None:
    """What is taken of the two bytes behind a chunk has to be CRLF."""
    begin = max(left - 2, 0)
    behind = data[position + begin : position + take] if take > begin else b""
    wanted = b"\r\n"[2 - min(left, 2) :]
    if not wanted.startswith(behind):
        raise AskFailed("malformed", "a chunk is longer than it says")
