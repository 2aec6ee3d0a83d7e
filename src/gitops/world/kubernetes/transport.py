"""How requests reach an API server, and how often one is tried."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

NO_QUERY: Mapping[str, str] = {}
_BUSY = frozenset({429, 500, 502, 503, 504})


class TransportError(Exception):
    """No answer: refused, dropped or timed out. The message is short and names the fault, not the request."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """One API server. Both methods may be called from several threads."""

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] = NO_QUERY,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Response:
        """One attempt. Every status is an answer; raises TransportError when there is none."""

    def close(self) -> None:
        """Give connections back."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently a request is repeated. Times are seconds.

    Waits double from `first` up to `longest`, each shortened by up to half at random so that clients which
    failed together do not come back together. A server's Retry-After counts instead, up to `longest_asked`.
    """

    attempts: int = 5
    first: float = 0.2
    longest: float = 10.0
    longest_asked: float = 30.0
    sleep: Callable[[float], None] = field(default=time.sleep, compare=False)

    def waits(self) -> Iterator[float]:
        """The wait after each attempt but the last."""
        for attempt in range(self.attempts - 1):
            yield min(self.longest, self.first * 2**attempt) * random.uniform(0.5, 1.0)  # noqa: S311

    def send(self, attempt: Callable[[], Response]) -> Response:
        """Call `attempt` until its answer is not a passing fault; the last answer or TransportError is final.

        Only for requests that may safely arrive twice: reads, server-side apply, deletion by uid.
        """
        waits = self.waits()
        while True:
            wait = next(waits, None)
            try:
                response = attempt()
            except TransportError:
                if wait is None:
                    raise
            else:
                if wait is None or not _passing(response):
                    return response
                wait = self._asked(response, wait)
            self.sleep(wait)

    def _asked(self, response: Response, otherwise: float) -> float:
        asked = response.headers.get("retry-after", "")
        return min(self.longest_asked, float(asked)) if asked.isdecimal() else otherwise


def _passing(response: Response) -> bool:
    """Whether the same request may well succeed a little later.

    A 409 is one of two things: a conflict about fields, which lasts, or a lost race for the object's
    version, whose message is fixed in the API server's registry (OptimisticLockErrorMsg).
    """
    if response.status == 409:
        return b"the object has been modified" in response.body or b'"reason":"AlreadyExists"' in response.body
    return response.status in _BUSY and not is_mistyped(response)


def is_mistyped(response: Response) -> bool:
    """Whether a field has the wrong type, which server-side apply reports as a failure of the server."""
    return response.status == 500 and b"failed to create typed patch object" in response.body
