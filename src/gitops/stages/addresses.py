"""Addresses that may be shown: without who asks, and with what."""

from __future__ import annotations

import re

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^/?#\s]*@)?(?P<place>[^?#\s]*)(?P<rest>[?#]\S*)?")


def public(text: str) -> str:
    """A text in which URLs have no user, password, query and fragment: any of these may be a credential.

    The `@` of `hf://owner/name@revision` and of digests is behind the first slash, and stays; so does the container of
    Azure's `az://container@account.blob.core.windows.net`.
    """
    return _URL.sub(_shown, text)


def _shown(match: re.Match[str]) -> str:
    user = match["user"] or ""
    kept = user if match["scheme"].lower() == "az://" and ":" not in user else ""
    return f"{match['scheme']}{kept}{match['place']}"
