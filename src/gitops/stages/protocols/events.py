"""Server-sent events, as the WHATWG's HTML standard parses them (9.2.6), a few bytes at a time."""

from __future__ import annotations

from gitops.stages.protocols.base import AskFailed, excerpt

MAX_LINE = 4 * 1024 * 1024
_IGNORED = (b"event", b"id", b"retry")


class EventParser:
    """Bytes to the data of events. One thing is stricter than the standard: a line of no known field is an error."""

    __slots__ = ("_begun", "_data", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._begun = False

    def feed(self, data: bytes) -> list[bytes]:
        """The data of the events that are complete now. Raises AskFailed for what is no event stream."""
        text = self._rest + data if self._rest else data
        if not self._begun and text:
            if len(text) < 3 and b"\xef\xbb\xbf".startswith(text):
                self._rest = text
                return []
            self._begun = True
            text = text.removeprefix(b"\xef\xbb\xbf")
        held = b""
        if b"\r" in text:
            # The second half of a CRLF may be still to come.
            if text.endswith(b"\r"):
                text, held = text[:-1], b"\r"
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = text.split(b"\n")
        self._rest = rest + held
        if len(self._rest) > MAX_LINE:
            raise AskFailed("malformed", f"a line of the stream is longer than {MAX_LINE // 2**20} MiB")
        return self._events(lines)

    @property
    def rest(self) -> bytes:
        """What has come of an event that is not complete."""
        return b"\n".join([*self._data, self._rest])

    def _events(self, lines: list[bytes]) -> list[bytes]:
        events = []
        for line in lines:
            if not line:
                if self._data:
                    events.append(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
                    self._data = []
                continue
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value[1:] if value.startswith(b" ") else value)
            elif name and name not in _IGNORED:
                raise AskFailed("malformed", f"this is no event stream: {excerpt(line)}")
        return events
