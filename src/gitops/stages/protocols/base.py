"""What is asked of a model server, what it answers, and what a protocol has to know."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

MAX_BODY = 64 * 1024 * 1024
"""Bytes of one answer."""
SHOWN = 200
"""Characters of an answer that a message shows."""


class AskFailed(Exception):
    """One question got no good answer: `kind` is one of a few words to count by, `detail` says what came."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind
        self.detail = detail


class Tensor(NamedTuple):
    """Numbers (or texts) of a shape; `datatype` is Triton's word for the type: FP32, INT64, BYTES."""

    datatype: str
    shape: tuple[int, ...]
    data: tuple[Any, ...]
    """The values, the last dimension first to vary."""


class TensorType(NamedTuple):
    """What a model says of an input or output; -1 is a dimension of any size."""

    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """How an answer is generated. The defaults give the same answer to the same question, as far as servers can."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    max_tokens: int = 256
    stream: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further parameters, sent as they are."""


@dataclass(frozen=True, slots=True)
class Question:
    """One case: a prompt, messages or inputs."""

    prompt: str = ""
    messages: tuple[Mapping[str, Any], ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)
    settings: Settings = Settings()


class Times(NamedTuple):
    """Seconds since the request was sent (or, under load, was due)."""

    total: float
    """To the last byte."""
    first: float | None = None
    """To the first token of a stream."""
    gaps: tuple[float, ...] = ()
    """Between one token and the next."""


@dataclass(frozen=True, slots=True)
class Content:
    """What an answer says. Which part is filled depends on the protocol."""

    text: str = ""
    document: Any = None
    """The answer as JSON, where it is no text."""
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    tokens: int | None = None
    """How many tokens the server says that it generated."""
    finish: str = ""
    """Why generation ended, such as `stop` or `length`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came, and when."""

    content: Content
    times: Times

    @property
    def tokens(self) -> int:
        """Generated tokens: as the server counts them, otherwise the pieces of its stream."""
        if self.content.tokens is not None:
            return self.content.tokens
        return len(self.times.gaps) + (self.times.first is not None)


class Piece(NamedTuple):
    """One event of a stream."""

    text: str = ""
    has_token: bool = False
    tokens: int | None = None
    finish: str = ""


@dataclass(frozen=True, slots=True)
class Description:
    """What a server says about a model: its names, and the types of inputs and outputs where it knows them."""

    models: tuple[str, ...] = ()
    inputs: Mapping[str, TensorType] = field(default_factory=dict)
    outputs: Mapping[str, TensorType] = field(default_factory=dict)


class Request(NamedTuple):
    """One HTTP request; `body` is JSON. `path` begins with `/`, below the endpoint's own path."""

    method: str
    path: str
    body: bytes | None = None


class Dialect(Protocol):
    """One protocol. It raises AskFailed for answers that do not make sense, GitopsError for questions that do not."""

    @property
    def streams(self) -> bool:
        """Whether answers can come token by token."""

    @property
    def health(self) -> tuple[str, ...]:
        """Paths that answer 200 when the model is ready; empty when nothing tells."""

    @property
    def description(self) -> str:
        """The path that describes the model; empty when nothing does."""

    def describe(self, document: Any) -> Description:
        """What the JSON from there says."""

    def request(self, question: Question, description: Description) -> Request:
        """The request for a question."""

    def answer(self, document: Any) -> Content:
        """What a whole answer in JSON says."""

    def piece(self, document: Any) -> Piece:
        """What one event of a stream says."""


def reason(error: OSError) -> str:
    """The system's own words: asyncio puts words with addresses in their place."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)


def excerpt(value: bytes | str, limit: int = SHOWN) -> str:
    """The beginning of something that came, on one printable line."""
    text = value[: limit * 4].decode(errors="replace") if isinstance(value, bytes) else value[: limit * 4]
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"
