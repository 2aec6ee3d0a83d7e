"""GitLab's signed word on who started a job: the ID token that a job gets with `id_tokens`.

Whoever may run a pipeline may give it variables, and they outrank those of the job and GitLab's own: GITLAB_USER_LOGIN
says what somebody wants. The token is signed by the GitLab instance, whose keys it publishes under its own URL.
References: GitLab, OpenID Connect (OIDC) authentication using ID tokens; RFC 7515, RFC 7518 section 3.3, RFC 8017
section 8.2.2.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from gitops.errors import GitopsError

_SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")
"""The beginning of a DigestInfo for SHA-256 (RFC 8017, section 9.2)."""
_SKEW = 60
_SMALLEST_KEY = 2048
_MAX_KEYS = 1024 * 1024

Claims = Mapping[str, Any]


def verified(token: str, url: str, audience: str, now: float, read: Callable[[str], bytes] | None = None) -> Claims:
    """The claims of a token that the instance at `url` has signed for this audience, and that holds now.

    `read` gets the bytes at an address. Raises GitopsError for any other token, and when the keys cannot be had.
    """
    header, claims, signed, signature = _parts(token)
    if header.get("alg") != "RS256":
        raise _refused("it is not signed with RS256")
    keys = _keys((read or _read)(f"{url}/oauth/discovery/keys"))
    if not any(_verifies(key, signed, signature) for key in keys if key.get("kid") == header.get("kid")):
        raise _refused(f"none of the keys of {url} has signed it")
    if claims.get("iss") != url:
        raise _refused(f"it is from {claims.get('iss')}, not from {url}")
    if claims.get("aud") not in (audience, [audience]):
        raise _refused(f"it is not meant for {audience}")
    begins, ends = claims.get("nbf", claims.get("iat")), claims.get("exp")
    if not isinstance(begins, int) or not isinstance(ends, int) or not begins - _SKEW <= now <= ends + _SKEW:
        raise _refused("its time is over")
    return claims


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    try:
        header, claims, signature = token.split(".")
        found = [json.loads(_unbase64(part)) for part in (header, claims)]
        if not all(isinstance(one, dict) for one in found):
            raise TypeError("no objects")
        return found[0], found[1], f"{header}.{claims}".encode("ascii"), _unbase64(signature)
    except (ValueError, TypeError, RecursionError) as error:
        raise _refused("it is no signed token") from error


def _keys(data: bytes) -> list[dict[str, Any]]:
    try:
        return [key for key in json.loads(data)["keys"] if key.get("kty") == "RSA"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise GitopsError("GitLab's keys cannot be read", hint="check ci.gitlab.url") from error


def _verifies(key: Mapping[str, Any], message: bytes, signature: bytes) -> bool:
    """RSASSA-PKCS1-v1_5 with SHA-256: the whole encoded message is built and compared, never parsed."""
    try:
        modulus, exponent = (int.from_bytes(_unbase64(key[part]), "big") for part in ("n", "e"))
    except (KeyError, ValueError, TypeError):
        return False
    size = (modulus.bit_length() + 7) // 8
    if modulus.bit_length() < _SMALLEST_KEY or exponent < 3 or len(signature) != size:
        return False
    digest = _SHA256 + hashlib.sha256(message).digest()
    expected = b"\x00\x01" + b"\xff" * (size - len(digest) - 3) + b"\x00" + digest
    number = int.from_bytes(signature, "big")
    return number < modulus and pow(number, exponent, modulus).to_bytes(size, "big") == expected


def _unbase64(text: str) -> bytes:
    if not isinstance(text, str) or not text.isascii():
        raise ValueError("no base64")
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _read(address: str) -> bytes:
    import urllib3

    try:
        pool = urllib3.PoolManager(num_pools=1, timeout=urllib3.Timeout(connect=10, read=20), retries=2)
        answer = pool.request("GET", address, redirect=False, preload_content=False)
        data = answer.read(_MAX_KEYS + 1)
        answer.close()
    except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
        said = str(error).partition("\n")[0] or type(error).__name__
        raise GitopsError(f"GitLab's keys cannot be had ({said})", where=address, hint="check ci.gitlab.url") from error
    if answer.status != 200 or len(data) > _MAX_KEYS:
        raise GitopsError(f"GitLab's keys cannot be had ({answer.status})", where=address, hint="check ci.gitlab.url")
    return data


def _refused(why: str) -> GitopsError:
    return GitopsError(
        f"GitLab's job token proves nothing: {why}",
        where="GITOPS_JOB_TOKEN",
        hint="write the workflow again (gitops ci gitlab), and start a job of it by hand",
    )
