"""Text that looks drawn by chance, as keys are: telling it from words, names, digests and ids."""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import lru_cache
from itertools import pairwise

_EXPECTED = re.compile(
    # Digests, commits and ids with what says that they are ones, public keys and certificates.
    r"(?:sha(?:1|224|256|384|512)|md5|blake2b)[:=-][A-Za-z0-9+/=]+"
    r"|[@/#][0-9a-f]{7,64}(?![A-Za-z0-9])"
    r"|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
    r"|(?:ssh-(?:rsa|ed25519)|ecdsa-sha2-\w+|sk-\S+@openssh\.com) AAAA[A-Za-z0-9+/=]+"
    r"|-----BEGIN (?:CERTIFICATE|PUBLIC KEY|RSA PUBLIC KEY)-----[^-]*(?:-----END [A-Z ]+-----)?"
)
_MIXED = re.compile(r"[A-Za-z0-9+/=_-]{32,}")
_PLAIN = re.compile(r"(?<![A-Za-z0-9])(?:[a-z0-9]{32,}|[A-Z0-9]{32,})(?![A-Za-z0-9])")
_LONGEST = 65_536


@lru_cache(maxsize=100_000)
def random_in(text: str) -> bool:
    """Whether a part of at least 32 characters is random: many kinds of characters, in no order that words have."""
    if len(text) < 32:
        return False
    rest = _EXPECTED.sub(" ", text[:_LONGEST])
    return any(_is_mixed(match[0]) for match in _MIXED.finditer(rest)) or any(
        _is_plain(match[0]) for match in _PLAIN.finditer(rest)
    )


def _is_mixed(run: str) -> bool:
    """Base64 changes between capitals, small letters and digits at three in five characters, names at one in five."""
    letters = [c for c in run if c.isalnum()]
    kinds = {_kind(c) for c in letters}
    if len(letters) < 28 or len(kinds) < 3 or entropy(run) < 4.2:
        return False
    return _changes(run) >= 0.4


def _is_plain(run: str) -> bool:
    """One case and digits, as in hexadecimal and base32 keys."""
    digits = sum(c.isdigit() for c in run)
    return 4 <= digits < len(run) - 2 and entropy(run) >= 3.0 and _changes(run) >= 0.25


def _kind(character: str) -> int:
    return 0 if character.isdigit() else 1 if character.isupper() else 2


def _changes(run: str) -> float:
    """The share of neighbouring letters and digits that are of different kinds; after a separator none counts."""
    pairs = [(a, b) for a, b in pairwise(run) if a.isalnum() and b.isalnum()]
    return sum(_kind(a) != _kind(b) for a, b in pairs) / len(pairs) if pairs else 0.0


def entropy(text: str) -> float:
    """Shannon's, in bits a character."""
    total = len(text)
    return -sum(n / total * math.log2(n / total) for n in Counter(text).values())
