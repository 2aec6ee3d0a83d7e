"""A terminal as far as we drive one: what a person sees of it, and what has scrolled away above."""

from __future__ import annotations

import re

from gitops.view.terminal import display_width

_SEQUENCE = re.compile(r"\x1b\[(\d*)([AKJm])")


class Screen:
    """Takes what is written to a terminal of this size; any other escape sequence than ours is an error."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._rows: list[list[str]] = [[]]
        self._row = self._column = 0

    def feed(self, text: str) -> None:
        """Write."""
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                found = _SEQUENCE.match(text, at)
                assert found, f"unexpected sequence {text[at : at + 12]!r}"
                self._act(found[2], int(found[1] or 1))
                at = found.end()
                continue
            self._put(text[at])
            at += 1

    @property
    def text(self) -> str:
        """Everything, with what has scrolled away."""
        return "\n".join("".join(row).rstrip() for row in self._rows).rstrip("\n") + "\n"

    @property
    def visible(self) -> str:
        """What is to be seen now."""
        return "\n".join(self.text.splitlines()[-self.height + 1 :])

    def _act(self, what: str, number: int) -> None:
        if what == "A":
            # The cursor cannot go into what has scrolled away.
            self._row = max(self._row - number, len(self._rows) - self.height, 0)
        elif what in "KJ":
            del self._rows[self._row][self._column :]
            if what == "J":
                del self._rows[self._row + 1 :]

    def _put(self, character: str) -> None:
        if character == "\n":
            self._down()
        elif character == "\r":
            self._column = 0
        else:
            row = self._rows[self._row]
            row.extend(" " * (self._column + 1 - len(row)))
            row[self._column] = character
            self._column += display_width(character)
            if self._column >= self.width:
                self._down()

    def _down(self) -> None:
        # As with a terminal whose driver turns a newline into a return and a newline.
        self._row, self._column = self._row + 1, 0
        if self._row == len(self._rows):
            self._rows.append([])
