"""Markdown that holds other people's text safely, and that fits a budget by leaving the least important out.

Escaping is by numeric entities, which are never Markdown's structure and mean the same in Markdown and in HTML.
Mentions and links are made from the *rendered* text, so those are broken up with a zero-width space instead.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from gitops.view.terminal import visible

_SPECIAL = re.compile(r"[&<>\\`*_\[\]|~$]")
_ACTIVE = re.compile(r"[@#!](?=\w)|\bGH-(?=\d)|:(?=//)|\bwww(?=\.)", re.IGNORECASE)
_ZERO_WIDTH = "\u200b"
_TOKEN = re.compile(r"&#\d+;|.", re.DOTALL)
_BACKTICKS = re.compile("`+")


def prose(text: str, limit: int = 500) -> str:
    """Anybody's sentence as inline Markdown on one line, its Markdown at most `limit` characters long."""
    return _clipped(_escaped(" ".join(text.split())), limit)


def code(text: str, limit: int = 200) -> str:
    """Anybody's name or value in code formatting, on one line, good inside a table, a list and a summary."""
    return f"<code>{_clipped(_escaped(visible(text)), limit)}</code>" if text.strip() else "—"


def comment(text: str) -> str:
    """Anybody's name inside an HTML comment: nothing in it can end the comment."""
    return re.sub(r"-{2,}", "-", re.sub(r"[^\w./ -]", "", visible(text)))[:100].strip("- ")


def fence(content: str) -> str:
    """A fence that nothing in `content` can close."""
    return "`" * max(3, 1 + max((len(run) for run in _BACKTICKS.findall(content)), default=0))


@dataclass(slots=True)
class Part:
    """A piece of the text with pieces inside it, which are there only if it is.

    `rank` says how important it is (0 is most); `noun` how it is counted when it is left out, empty when a note
    about it would say nothing.
    """

    rank: int
    text: str
    noun: str = ""
    inner: list[Part] = field(default_factory=list)
    end: str = ""
    kept: bool = False

    def walk(self) -> Iterator[Part]:
        """This part and all inside it, in the order of reading."""
        yield self
        for part in self.inner:
            yield from part.walk()


def fit(whole: Part, room: int) -> tuple[str, Counter[str]]:
    """The text in at most `room` characters, and how many of what were left out.

    Parts are taken in the order of their rank, and of reading within a rank. Once something of a rank is left
    out, so is everything of lower importance: details never stand where more important things are missing.
    """
    left_out: Counter[str] = Counter()
    parents = {id(part): parent for parent in whole.walk() for part in parent.inner}
    cut_at: int | None = None
    for part in sorted(whole.walk(), key=lambda part: part.rank):
        parent = parents.get(id(part))
        size = len(part.text) + len(part.end)
        allowed = (parent is None or parent.kept) and (cut_at is None or part.rank <= cut_at)
        part.kept = allowed and size <= room
        if part.kept:
            room -= size
        else:
            cut_at = part.rank if cut_at is None else min(cut_at, part.rank)
            left_out[part.noun] += 1
    del left_out[""]
    return _assembled(whole), left_out


def _assembled(part: Part) -> str:
    pieces: list[str] = []
    _collect(part, pieces)
    return "".join(pieces)


def _collect(part: Part, pieces: list[str]) -> None:
    if part.kept:
        pieces.append(part.text)
        for inner in part.inner:
            _collect(inner, pieces)
        pieces.append(part.end)


def _escaped(text: str) -> str:
    inactive = _ACTIVE.sub(lambda match: match.group() + _ZERO_WIDTH, visible(text))
    return _SPECIAL.sub(lambda match: f"&#{ord(match.group())};", inactive)


def _clipped(escaped: str, limit: int) -> str:
    if len(escaped) <= limit:
        return escaped
    # Never in the middle of an entity.
    size, kept = 1, []
    for token in _TOKEN.findall(escaped[: limit + 8]):
        size += len(token)
        if size > limit:
            break
        kept.append(token)
    return "".join(kept) + "…"
