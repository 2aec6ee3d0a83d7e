"""Values as YAML text, so that no value can break out of its place in a rendered file.

Every string that another reader (YAML 1.1 or 1.2) could take for something else is double-quoted.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

from gitops.values import ACTING


class YamlText(str):
    """Text that is YAML already and must not be quoted again."""

    __slots__ = ()


# A letter, `/` or `--x` in front rules out numbers, dates, `~`, indicators and merge keys; what is left are words.
_PLAIN = re.compile(
    r"(?:[A-Za-z/]|--[a-z])[A-Za-z0-9_./@+=-]*(?::[A-Za-z0-9_./@+=-]+)*"
    r"|[0-9]+(?:Mi|Gi|Ti)"
)
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})
# Beyond the control characters: YAML 1.1's line breaks, marks of direction, the byte order mark and what YAML cannot
# hold.
_UNSAFE = re.compile(rf"[\x00-\x1f\"\\\x7f-\xa0\ud800-\udfff\ufeff\ufffe\uffff{ACTING}]")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def scalar(value: object) -> str:
    """A string, boolean, finite number or None as a YAML scalar on one line. Raises TypeError for others."""
    if type(value) is str:
        return text(value)
    match value:
        case YamlText():
            return value
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float() if math.isfinite(value):
            return _number(value)
        case str():
            return text(str(value))
        case _:
            raise TypeError(f"no YAML scalar for {type(value).__name__} {value!r}")


def finalize(value: object) -> str:
    """What every `{{ … }}` in a Kubernetes template goes through: a scalar, or a dict or list in flow style."""
    if type(value) is str:
        return text(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {finalize(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(finalize, value)) + "]"
    # An undefined value raises its own, better message when it is turned into a string.
    return str(value) if hasattr(type(value), "_fail_with_undefined_error") else scalar(value)


@lru_cache(maxsize=1 << 16)
def text(value: str) -> str:
    """A string as a YAML scalar: plain where that is unmistakable, else double-quoted on one line."""
    if len(value) < 1000 and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return '"' + _UNSAFE.sub(_escape, value) + '"'


class Block:
    """A dict or list in block style whose lines are made once and used in many files."""

    __slots__ = ("lines",)

    def __init__(self, value: object) -> None:
        self.lines = _lines(value)


def block(value: object, indent: int) -> YamlText:
    """Dicts, lists and Blocks in block style; the first line goes where it stands, the others `indent` spaces in.

    This is the `yaml` filter of the templates.
    """
    return YamlText(("\n" + " " * indent).join(value.lines if isinstance(value, Block) else _lines(value)))


def literal(value: str, indent: int) -> YamlText:
    """A text as a literal block scalar (`|`), for files in a ConfigMap; quoted where a literal cannot hold it.

    This is the `literal` filter of the templates.
    """
    body = value.rstrip("\n")
    chomping = {0: "-", 1: ""}.get(len(value) - len(body))
    if not body or chomping is None or body[0] in " \n" or _UNSAFE.search(re.sub(r"[\n\"\\]", "", body)):
        return YamlText(text(value))
    lines = [" " * indent + line if line else "" for line in body.split("\n")]
    return YamlText(f"|{chomping}\n" + "\n".join(lines))


def _lines(value: object) -> list[str]:
    lines: list[str] = []
    if isinstance(value, dict) and value:
        for key, item in value.items():
            if isinstance(item, dict | list | tuple) and item:
                lines.append(f"{scalar(key)}:")
                lines += [f"  {line}" for line in _lines(item)]
            else:
                lines.append(f"{scalar(key)}: {finalize(item)}")
    elif isinstance(value, list | tuple) and value:
        for item in value:
            first, *rest = _lines(item)
            lines.append(f"- {first}")
            lines += [f"  {line}" for line in rest]
    else:
        lines.append(finalize(value))
    return lines


def _number(value: float) -> str:
    # YAML 1.1 needs the dot and the sign that Python's `1e+30` and `1e30` may lack.
    number = repr(value)
    if "e" in number and "." not in number:
        mantissa, exponent = number.split("e")
        number = f"{mantissa}.0e{exponent}"
    return number


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    return _ESCAPES.get(character) or (
        f"\\x{ord(character):02x}" if ord(character) < 0x100 else f"\\u{ord(character):04x}"
    )
