"""Python values as HCL expressions, so that no value can break out of its place in a rendered file."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from gitops.values import ACTING

_ACTING = re.compile(f"[{ACTING}]")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_KEYWORDS = frozenset({"true", "false", "null", "for", "if"})
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def hcl(value: object) -> str:
    """The HCL expression for a string, boolean, number, None, list or map with string keys.

    Strings come out quoted and literal: template markers are doubled (`${` becomes `$${`, `%{` becomes `%%{`).
    Collections come out on one line, as `terraform fmt` leaves them. Raises TypeError for any other value.
    Reference: the "String Literals" of Terraform's configuration syntax.
    """
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return _quoted(value)
        case int():
            return str(value)
        case float() if math.isfinite(value):
            return repr(value)
        case Mapping():
            return _object(value)
        case Sequence() if not isinstance(value, bytes | bytearray | memoryview):
            return f"[{', '.join(hcl(item) for item in value)}]"
        case _:
            raise TypeError(f"no HCL expression for {type(value).__name__} {value!r}")


def _object(value: Mapping[object, object]) -> str:
    if not value:
        return "{}"
    return f"{{ {', '.join(f'{_key(key)} = {hcl(item)}' for key, item in value.items())} }}"


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"an HCL map has string keys, not {key!r}")
    return key if _IDENTIFIER.fullmatch(key) and key not in _KEYWORDS else _quoted(key)


def _quoted(text: str) -> str:
    escaped = "".join(_ESCAPES.get(character) or _control(character) for character in text)
    return '"' + escaped.replace("${", "$${").replace("%{", "%%{") + '"'


def _control(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x20 or code == 0x7F or _ACTING.match(character) else character
