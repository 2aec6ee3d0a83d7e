"""What an `az://` URI names: a container of a storage account, and a path in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

ACCOUNT_VARIABLE = "AZURE_STORAGE_ACCOUNT_NAME"
"""Names the account of containers that are written without one, here as in Azure's own tools and in adlfs."""
ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_URI = re.compile(
    r"az://(?P<container>[^/@]+)(?:@(?P<account>[a-z0-9]{3,24})\.blob\.core\.windows\.net)?(?:/(?P<path>.*))?"
)


class AzurePlace(NamedTuple):
    """`account` is empty where the URI names none."""

    container: str
    account: str
    path: str


def azure_place(uri: str, env: Mapping[str, object] | None = None) -> AzurePlace | None:
    """What the URI names, its account taken from the variables where only they say it; None for other URIs."""
    match = _URI.fullmatch(uri)
    if match is None:
        return None
    named = (env or {}).get(ACCOUNT_VARIABLE)
    other = named if isinstance(named, str) and ACCOUNT.fullmatch(named) else ""
    return AzurePlace(match["container"], match["account"] or other, match["path"] or "")
