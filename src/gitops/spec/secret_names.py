"""Names that mean a credential, and values that are none whatever their name."""

from __future__ import annotations

import re
from functools import lru_cache

DIGEST_PATTERN = r"^sha256:[0-9a-f]{12}$"
"""How a text that is no secret is named, by the beginning of its SHA-256."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_STRONG = _set(
    "password passwd passphrase pwd passcode secret token apikey apitoken authtoken accesskey secretkey "
    "credential credentials creds bearer jwt privatekey connectionstring"
)
"""Words that mean a credential, whatever stands before them."""
_WEAK = _set("key pass pat auth authorization dsn sas cookie login userpass")
"""Words that often mean one: only a value that does not read like a word counts."""
_KEYS = _set("api access private secret account master encryption signing client service license deploy")
"""Before `key` they leave no doubt."""
_NOT_KEYS = _set("public primary foreign sort partition cache routing")
_NOT_TOKENS = _set("eos bos pad unk sep cls mask stop special start end next first")
"""Before `token` they mean a part of a text, as tokenizers make them."""
_OF_IT = _set("prod production dev staging test value string text base64 b64 new old current main default")
"""Words after the one that counts."""
_DIGEST = _set(
    "digest checksum sha sha1 sha256 sha512 md hash commit revision rev ref uuid guid id etag image fingerprint "
    "thumbprint trace public version certificate ca"
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_HARMLESS = _set(
    "true false yes no on off none null nil auto default enabled disabled required optional never always any all "
    "basic bearer oauth oauth2 oidc jwt env file vault header cookie query string text plain"
)
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?[a-zA-Z%]{0,2}")
_PATH = re.compile(
    r"(?:\.{0,2}/|~/|[A-Za-z]:\\|file://)[\w./ @+-]*"
    r"|(?:[\w-]+/)+[\w-]+\.[a-z]{2,4}|[\w-]+\.(?:pub|pem|key|crt|json|ya?ml|txt|env)"
)
_REFERENCE = re.compile(
    r"\$\([^)]*\)|\$\{[^}]*\}?|\$\w+|\{\{?[^}]*\}?\}?|<[^>]*>?|\*+|[xX]{3,}|%\(\w+\)s|\[?REDACTED\]?"
)
_VARIABLE = re.compile(r"[A-Z][A-Z]*(_[A-Z0-9]+)+")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^@]*")
_PLAIN = re.compile(r"[a-z]+([_.:/-][a-z]+)*|[A-Z][a-z]+")
_IDENTITY = re.compile(r"(?:arn:[a-z-]+|projects|vault|secretsmanager|ssm|op|sops|external)[:/].*")


@lru_cache(maxsize=20_000)
def words(name: str) -> tuple[str, ...]:
    """The words of a name, split at punctuation and capitals, without numbers and what only says which one it is."""
    found = [word.lower() for word in _WORD.findall(name)]
    while len(found) > 1 and (found[-1].isdigit() or found[-1] in _OF_IT):
        found.pop()
    return tuple(found)


@lru_cache(maxsize=20_000)
def is_secret_name(name: str) -> bool:
    """Whether the name means a credential by its last word: `HF_TOKEN` does, `max-tokens` and `TOKEN_FILE` do not."""
    said = words(name)
    if not said or (len(said) > 1 and said[-1] == "key" and said[-2] in _NOT_KEYS):
        return False
    if len(said) > 1 and said[-1] == "token" and said[-2] in _NOT_TOKENS:
        return False
    return said[-1] in _STRONG or said[-1] in _WEAK


@lru_cache(maxsize=20_000)
def is_digest_name(name: str) -> bool:
    """Whether a long random text is expected under the name, since it identifies something."""
    said = words(name)
    return bool(said) and said[-1] in _DIGEST


def harmless_value(name: str, value: str) -> bool:
    """Whether a value under the name of a credential is certainly none: a switch, a path, a reference, a word."""
    said = words(name)
    text = value.strip()
    if not text or text.lower() in _HARMLESS:
        return True
    if _NUMBER.fullmatch(text):
        return said[-1] not in ("password", "passwd", "passphrase", "pwd", "passcode", "pat") and len(text) <= 8
    if any(form.fullmatch(text) for form in (_PATH, _REFERENCE, _VARIABLE, _IDENTITY)):
        return True
    if _URL.fullmatch(text):
        return True
    sure = said[-1] in _STRONG or (said[-1] == "key" and len(said) > 1 and said[-2] in _KEYS)
    return not sure and len(text) <= 40 and bool(_PLAIN.fullmatch(text))
