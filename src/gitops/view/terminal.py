"""Lines for a terminal: colour, alignment by display width, and nothing that could drive the terminal itself."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from gitops.values import ACTING

Colour = Literal["", "green", "yellow", "red", "bold"]

_CODES = {"green": "32", "yellow": "33", "red": "31", "bold": "1"}
# Control characters, line and paragraph separators, direction overrides and lone surrogates; tabs may stay.
_HARMFUL = re.compile(f"[\x00-\x08\n-\x1f\x7f-\x9f\ud800-\udfff{ACTING}]")
_SHORT = {"\n": r"\n", "\r": r"\r"}


class Line(NamedTuple):
    """One line of output; whatever its text holds, it is printed as one line."""

    text: str = ""
    colour: Colour = ""


def visible(text: str) -> str:
    """The text with characters that act (escape sequences, newlines, direction overrides) written out."""
    return text if text.isprintable() else _HARMFUL.sub(_written_out, text)


def paint(lines: Iterable[Line], *, color: bool) -> str:
    """The lines as one text, with ANSI colours when `color`."""
    return "".join(f"{_painted(line) if color else visible(line.text)}\n" for line in lines)


def display_width(text: str) -> int:
    """How many columns a terminal uses for the text."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def pad(text: str, width: int, *, right: bool = False) -> str:
    """The text filled up with spaces; with `right` it stands at the right."""
    spaces = " " * (width - display_width(text))
    return spaces + text if right else text + spaces


def clip(text: str, limit: int) -> str:
    """At most `limit` characters, with an ellipsis where something is missing."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)] + "…"


def fitted(text: str, columns: int) -> str:
    """The text in at most so many columns of a terminal, with an ellipsis where something is missing."""
    if display_width(text) <= columns:
        return text
    kept, room = "", columns - 1
    for character in text:
        room -= display_width(character)
        if room < 0:
            break
        kept += character
    return f"{kept}…" if columns > 0 else ""


def table(rows: Sequence[Sequence[str]], *, right: frozenset[int] = frozenset()) -> list[str]:
    """Rows of equal length as aligned lines; the columns in `right` stand at the right."""
    cells = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(display_width, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(pad(cell, widths[i], right=i in right) for i, cell in enumerate(row)).rstrip() for row in cells]


def _painted(line: Line) -> str:
    text = visible(line.text)
    return f"\x1b[{_CODES[line.colour]}m{text}\x1b[0m" if line.colour and text else text


def _written_out(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def _columns(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
