"""One answer as its bytes come in: whole JSON, or a stream of tokens with their times."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Protocol

import orjson

from gitops.stages.protocols.base import MAX_BODY, Answer, AskFailed, Content, Dialect, Piece, Times, excerpt
from gitops.stages.protocols.events import EventParser

_DONE = b"[DONE]"


class Reading(Protocol):
    """Takes the body of a good answer. Times are seconds on one clock; both verbs raise AskFailed."""

    def feed(self, at: float, data: bytes) -> None:
        """Some bytes of the body came."""

    def finish(self, at: float) -> Answer:
        """The body ended."""


def reading_of(dialect: Dialect, since: float, content_type: str, *, stream: bool) -> Reading:
    """What reads an answer whose times count from `since`."""
    if not stream:
        return WholeReading(dialect, since)
    return StreamReading(dialect, since, content_type)


class WholeReading:
    """An answer in one piece."""

    __slots__ = ("_dialect", "_parts", "_since", "_size")

    def __init__(self, dialect: Dialect, since: float) -> None:
        self._dialect, self._since = dialect, since
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, at: float, data: bytes) -> None:
        """Some bytes of the body came."""
        self._size += len(data)
        if self._size > MAX_BODY:
            raise AskFailed("malformed", f"the answer is larger than {MAX_BODY // 2**20} MiB")
        self._parts.append(data)

    def finish(self, at: float) -> Answer:
        """The body ended."""
        body = b"".join(self._parts)
        return Answer(self._dialect.answer(parse_json(body)), Times(at - self._since))


class StreamReading:
    """An answer token by token."""

    __slots__ = ("_dialect", "_ended", "_events", "_finish", "_marks", "_since", "_text", "_tokens", "_type")

    def __init__(self, dialect: Dialect, since: float, content_type: str) -> None:
        self._dialect, self._since, self._type = dialect, since, content_type
        self._events = EventParser()
        self._marks: list[float] = []
        self._text: list[str] = []
        self._tokens: int | None = None
        self._finish = ""
        self._ended = False

    def feed(self, at: float, data: bytes) -> None:
        """Some bytes of the body came."""
        if not self._type.startswith("text/event-stream"):
            raise AskFailed("malformed", f"asked for a stream, got {self._type or 'no content type'}: {excerpt(data)}")
        for event in self._events.feed(data):
            if event == _DONE:
                self._ended = True
                continue
            self._add(at, self._dialect.piece(parse_json(event)))

    def finish(self, at: float) -> Answer:
        """The body ended."""
        if not self._ended and not self._finish:
            said = excerpt(self._events.rest) or "without saying why"
            raise AskFailed("truncated", f"the stream ended after {len(self._marks)} tokens: {said}")
        marks = self._marks
        first = marks[0] - self._since if marks else None
        gaps = tuple(after - before for before, after in pairwise(marks))
        content = Content(text="".join(self._text), tokens=self._tokens, finish=self._finish)
        return Answer(content, Times(at - self._since, first, gaps))

    def _add(self, at: float, piece: Piece) -> None:
        if piece.has_token:
            self._marks.append(at)
        if piece.text:
            self._text.append(piece.text)
        if piece.tokens is not None:
            self._tokens = piece.tokens
        if piece.finish:
            self._finish = piece.finish


def parse_json(body: bytes) -> Any:
    """The JSON that came. Raises AskFailed."""
    try:
        return orjson.loads(body)
    except ValueError:
        raise AskFailed("malformed", f"this is not JSON: {excerpt(body) or 'nothing'}") from None
