"""Commits as `git log` tells them, one by one as they come."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing

from gitops.world.git.process import Git
from gitops.world.ports import Commit

# Records start with RS and their fields are separated by NUL: no commit message can contain a NUL.
_FORMAT = "%x1e%x00%H%x00%cI%x00%an <%ae>%x00%s%x00%b%x00%(trailers:only,unfold)%x00"
_RECORD = b"\x1e\0"
_UNITS = ("Release", "Removed")


def read_log(git: Git, tip: str, models: Sequence[str], clusters: Sequence[str], limit: int | None) -> Iterator[Commit]:
    """Commits from `tip` back, at most `limit`; with `models` or `clusters` those whose trailers name one of them."""
    if limit is not None and limit <= 0:
        return
    arguments = ["log", f"--format={_FORMAT}", "--no-color", "--no-notes", "--no-show-signature", "--no-mailmap"]
    if models or clusters:
        # Git only narrows: a line of the text may look the same, so the trailers decide below.
        arguments += ["--extended-regexp", f"--grep={_pattern(models, clusters)}"]
    elif limit is not None:
        arguments.append(f"--max-count={limit}")
    wanted, places = frozenset(models), frozenset(clusters)
    found = 0
    with closing(git.stream(*arguments, tip, "--")) as chunks:
        for commit in _commits(chunks):
            if (wanted or places) and not _names(commit, wanted, places):
                continue
            yield commit
            found += 1
            if found == limit:
                return


def _pattern(models: Sequence[str], clusters: Sequence[str]) -> str:
    model, cluster = (
        "|".join(re.sub(r"([^A-Za-z0-9_-])", r"\\\1", name) for name in names) for names in (models, clusters)
    )
    parts = [f"Model: ({model})$", f"(Release|Removed): [^ /]+/({model})( |$)"] * bool(models)
    parts += [f"Infrastructure: ({cluster})$"] * bool(clusters)
    return f"^({'|'.join(parts)})"


def _names(commit: Commit, models: frozenset[str], clusters: frozenset[str]) -> bool:
    for key, value in commit.trailers:
        if key == "Infrastructure" and value in clusters:
            return True
        if key == "Model" and value in models:
            return True
        if key in _UNITS and value.partition(" ")[0].partition("/")[2] in models:
            return True
    return False


def _commits(chunks: Iterator[bytes]) -> Iterator[Commit]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(_RECORD)
        for record in whole:
            if record:
                yield _commit(record)
    if rest:
        yield _commit(rest)


def _commit(record: bytes) -> Commit:
    identifier, time, author, subject, body, trailers, _ = record.decode(errors="replace").split("\0")
    pairs = tuple(_pair(line) for line in trailers.split("\n") if line)
    text = body.strip("\n")
    if pairs:
        # Trailers are the last paragraph; without a blank line before them they are the whole body.
        text = text.rpartition("\n\n")[0].strip("\n")
    return Commit(identifier, time.replace("+00:00", "Z"), author, subject, text, pairs)


def _pair(line: str) -> tuple[str, str]:
    key, _, value = line.partition(":")
    return key, value.strip()
