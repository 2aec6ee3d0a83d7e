"""Users and passwords in the URL of a repository: taken out of it, and handed to git where nobody else can read them.

Arguments of a process are for everybody on the machine to see, and git repeats URLs in its messages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from gitops.errors import GitopsError
from gitops.world.git.failure import mask

_USER, _PASSWORD = "GITOPS_GIT_USER", "GITOPS_GIT_PASSWORD"
_HELPER = f"""!f() {{ test "$1" = get && printf 'username=%s\\npassword=%s\\n' "${_USER}" "${_PASSWORD}"; }}; f"""
"""A credential helper of Git: it is asked by words on its standard input, and answers what its environment says."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Access(NamedTuple):
    """A URL without what must not be seen, and how git gets in all the same."""

    url: str
    settings: tuple[tuple[str, str], ...] = ()
    variables: Mapping[str, str] = {}


def access(url: str) -> Access:
    """What a process of git gets in the place of `url`.

    A password counts before all credential helpers, as it does in a URL; a user alone is the one that helpers are asked
    for. The user of SSH stays, since it is no secret; SSH takes no password from a URL. Raises GitopsError for a URL
    that cannot be taken apart.
    """
    scheme, separator, _ = url.partition("://")
    if not separator or "@" not in url or scheme.lower() == "file":
        return Access(url)
    try:
        parts = urlsplit(url)
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
    except ValueError as error:
        hint = "percent-encode what is special in it"
        raise GitopsError("this is not a URL for a repository", where=mask(url), hint=hint) from error
    if "@" not in parts.netloc:
        return Access(url)
    if _CONTROL.search(user + password):
        raise GitopsError("the user or password has a control character", where=mask(url), hint="remove it")
    host = parts.netloc.rpartition("@")[2]
    if not scheme.lower().startswith("http"):
        named = f"{parts.username}@{host}" if parts.username else host
        return Access(parts._replace(netloc=named).geturl())
    place = f"{scheme}://{host}"
    plain = parts._replace(netloc=host).geturl()
    if not password:
        return Access(plain, ((f"credential.{place}.username", user),) if user else ())
    settings = (("credential.helper", ""), (f"credential.{place}.helper", _HELPER))
    return Access(plain, settings, {_USER: user, _PASSWORD: password})
