"""What is wrong with a spec: one sentence with a place, and the error that carries all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from gitops.errors import GitopsError
from gitops.values import without_userinfo

Path = tuple[str | int, ...]
"""Where in a YAML file: keys and list positions from the top."""

SHOWN = 100


@dataclass(frozen=True, order=True, slots=True)
class Problem:
    """One thing to mend. `line` and `column` count from 1; `path` is in dotted YAML keys, empty for the whole file."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}"
        text = f"{self.path}: {self.message}" if self.path else self.message
        return f"{place}: {text} — {self.hint}" if self.hint else f"{place}: {text}"


class SpecError(GitopsError):
    """Everything that is wrong with the spec, sorted by file and line.

    `problems` are the first hundred, `more` counts those beyond, `found` has them all. `str()` gives one line for
    each of the first.
    """

    def __init__(self, problems: Iterable[Problem], unexplained: int = 0) -> None:
        found = tuple(sorted(set(problems)))
        self.found = found
        self.problems = found[:SHOWN]
        self.more = len(found) - len(self.problems) + unexplained
        first = found[0]
        total = len(self.problems) + self.more
        count = f"{total} problems" if total > 1 else "1 problem"
        super().__init__(f"the spec has {count}", where=f"{first.file}:{first.line}:{first.column}")

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems]
        return "\n".join([*lines, f"and {self.more} more"] if self.more else lines)


def dotted(path: Path) -> str:
    """`("rollouts", "careful", "steps", 2)` as `rollouts.careful.steps[2]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{shorten(part, 60)}" if text else shorten(part, 60)
    return text


def shorten(text: str, limit: int = 40) -> str:
    """The text on one printable line of at most `limit` characters, without users and passwords of URLs."""
    clean = "".join(c if c.isprintable() else "?" for c in without_userinfo(text[:4096])[: limit + 1])
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def listed(names: Iterable[str], conjunction: str = "and", limit: int = 20) -> str:
    """`a, b and c`, cut after `limit` names."""
    known = list(names)
    if len(known) > limit:
        return f"{', '.join(known[:limit])} {conjunction} {len(known) - limit} more"
    return f"{', '.join(known[:-1])} {conjunction} {known[-1]}" if len(known) > 1 else "".join(known)


def suggestion(wrong: object, valid: Iterable[str], label: str = "valid") -> str:
    """A hint for an unknown name: the nearest valid one, and which there are."""
    names = list(valid)
    if not names:
        return f"there are no {label}s" if label != "valid" else ""
    near = get_close_matches(str(wrong)[:100], names[:5000], n=1, cutoff=0.6)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"{meant}{label}: {listed(names)}" if label == "valid" else f"{meant}{label}s: {listed(names)}"
