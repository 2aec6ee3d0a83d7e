"""Answers of servers that may be anybody's: bounded before they are in memory, never unpacked, never led astray."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gitops.errors import GitopsError
from gitops.stages.addresses import public

if TYPE_CHECKING:
    import httpx

PLAIN = {"Accept-Encoding": "identity"}
"""Asked for with every request: a small answer can be packed so that it fills the memory."""
CHUNK = 64 * 1024


class TooLarge(Exception):  # not for users: whoever asked says what is too large
    """There is more of an answer than there may be, or it is packed although nobody asked for that."""


def whole(answer: httpx.Response, most: int) -> bytes:
    """The body as it came, of at most so many bytes. Raises TooLarge, and what httpx raises."""
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise TooLarge
    body = b""
    for block in answer.iter_raw(CHUNK):
        body += block
        if len(body) > most:
            raise TooLarge
    return body


def stay_encrypted(answer: httpx.Response) -> None:
    """For `event_hooks`: raises GitopsError when an answer over TLS leads to an address without."""
    if not answer.has_redirect_location or answer.url.scheme != "https":
        return
    target = answer.url.join(answer.headers["Location"])
    if target.scheme != "https":
        what = f"the server leads from https to {public(str(target))[:80]}"
        raise GitopsError(what, where=public(str(answer.url)), hint="check the server: nothing is asked unencrypted")
