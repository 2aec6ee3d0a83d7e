"""The second look at a YAML text: where things are, and everything in it that is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from gitops.spec.problems import Path, Problem, dotted, shorten
from gitops.spec.source import MAX_DEPTH, MAX_NODES, event_reader, has_control, mistaken_key

NO_ANCHORS = "write the values out; differences between environments go under `models:` in environments/<name>.yaml"
_ENOUGH = 1000
_OPENS = (MappingStartEvent, SequenceStartEvent)
_ENDS = (MappingEndEvent, SequenceEndEvent)
_STARTS = (ScalarEvent, AliasEvent, *_OPENS)


class Place(NamedTuple):
    """Where an entry stands: its key (its value, for an item of a list), its value, and the scalar as written."""

    key: tuple[int, int]
    value: tuple[int, int]
    raw: str | None


class _Node(NamedTuple):
    path: Path
    is_key: bool
    event: Any


def locate(text: str, paths: Iterable[Path]) -> dict[Path, Place]:
    """The places of those of `paths` that a readable text has."""
    wanted = set(paths)
    found: dict[Path, Place] = {}
    key = (1, 1)
    for node in _walk(event_reader(text)):
        if node.path not in wanted or isinstance(node.event, DocumentStartEvent):
            continue
        position = _position(node.event.start_mark)
        if node.is_key:
            key = position
        else:
            named = key if node.path and isinstance(node.path[-1], str) else position
            raw = node.event.value if isinstance(node.event, ScalarEvent) else None
            found[node.path] = Place(named, position, raw)
    return found


def refusals(file: str, text: str) -> list[Problem]:
    """Everything in the text that is refused; at least one problem."""
    problems: list[Problem] = []
    keys: dict[Path, int] = {}
    documents = nodes = 0
    try:
        for node in _walk(event_reader(text)):
            nodes += bool(node.path)
            if nodes <= MAX_NODES and _is_harmless(node):
                continue
            line, column = _position(node.event.start_mark)
            documents += isinstance(node.event, DocumentStartEvent)
            for message, hint in _refused(node, documents, keys.get(node.path) if node.is_key else None):
                path = dotted(node.path[:10])
                problems.append(Problem(file, line, column, path, message, hint))
            if node.is_key:
                keys.setdefault(node.path, line)
            if nodes > MAX_NODES:
                message = f"more than {MAX_NODES:,} keys and values"
                problems.append(Problem(file, line, column, "", message))
            if documents > 1 or nodes > MAX_NODES or len(problems) >= _ENOUGH or _is_hopeless(node):
                break
    except yaml.MarkedYAMLError as error:
        problems.append(_syntax(file, text, error))
    except yaml.YAMLError:
        problems.append(Problem(file, 1, 1, "", "this is not valid YAML"))
    if not documents and not problems:
        problems.append(Problem(file, 1, 1, "", "the file is empty", "start with `apiVersion: gitops/v1`"))
    return problems or [Problem(file, 1, 1, "", "this is not valid YAML")]


def _position(mark: Any) -> tuple[int, int]:
    return mark.line + 1, mark.column + 1


def _walk(next_event: Callable[[], Event]) -> Iterator[_Node]:
    """Every key, value and document start, with its path; a value whose key is a collection has none."""
    path: Path = ()
    outer: list[tuple[Path, bool, int | None]] = []
    in_mapping, index, key = False, None, None
    while not isinstance(event := next_event(), StreamEndEvent):
        if isinstance(event, DocumentStartEvent):
            path, outer, in_mapping, index, key = (), [], False, None, None
            yield _Node((), False, event)
        elif isinstance(event, _ENDS):
            path, in_mapping, index = outer.pop()
        elif isinstance(event, _STARTS):
            if in_mapping and key is None:
                name = event.value if isinstance(event, ScalarEvent) else "?"
                yield _Node((*path, name), True, event)
                if isinstance(event, _OPENS):
                    _skip(next_event)
                key = name
                continue
            child = (*path, key) if key is not None else path if index is None else (*path, index)
            yield _Node(child, False, event)
            key = None
            index = None if index is None else index + 1
            if isinstance(event, _OPENS):
                outer.append((path, in_mapping, index))
                path, in_mapping = child, isinstance(event, MappingStartEvent)
                index = None if in_mapping else 0


def _skip(next_event: Callable[[], Event]) -> None:
    depth = 1
    while depth:
        event = next_event()
        depth += isinstance(event, _OPENS)
        depth -= isinstance(event, _ENDS)


def _refused(node: _Node, documents: int, first_line: int | None) -> Iterator[tuple[str, str]]:
    """What is wrong with one node by itself."""
    event = node.event
    if isinstance(event, DocumentStartEvent):
        if documents > 1:
            yield "a second document starts here", "one file holds one document; remove the `---`"
        return
    if isinstance(event, AliasEvent) or event.anchor is not None:
        yield "anchors and aliases are not allowed", NO_ANCHORS
        return
    if event.tag is not None:
        yield (
            f"the tag {shorten(event.tag.replace('tag:yaml.org,2002:', '!!'))} is not allowed",
            "remove it; quote what has to be text",
        )
    if isinstance(event, ScalarEvent) and has_control(event):
        yield "the text has a control character", "remove the escape"
    if node.is_key:
        yield from _refused_key(event, first_line)
    elif not node.path and not isinstance(event, MappingStartEvent):
        yield from _refused_top(event)
    elif len(node.path) >= MAX_DEPTH and not isinstance(event, ScalarEvent):
        yield f"nested more than {MAX_DEPTH} levels deep", ""


def _is_harmless(node: _Node) -> bool:
    """Most nodes of a big file, told apart quickly."""
    event = node.event
    if node.is_key or not isinstance(event, ScalarEvent) or not node.path:
        return False
    return event.tag is None and event.anchor is None and event.style != '"'


def _is_hopeless(node: _Node) -> bool:
    """Whether going on would only repeat what is wrong."""
    if isinstance(node.event, DocumentStartEvent | ScalarEvent | AliasEvent) or node.is_key:
        return False
    return len(node.path) >= MAX_DEPTH or (not node.path and not isinstance(node.event, MappingStartEvent))


def _refused_top(event: Any) -> Iterator[tuple[str, str]]:
    if isinstance(event, ScalarEvent) and not event.value:
        yield "the file is empty", "start with `apiVersion: gitops/v1`"
    else:
        yield "the file has to be a mapping", "start with `apiVersion: gitops/v1`"


def _refused_key(event: Any, first_line: int | None) -> Iterator[tuple[str, str]]:
    if not isinstance(event, ScalarEvent):
        yield "a key has to be text, not a list or mapping", "write `key: value`"
        return
    shown = shorten(event.value)
    kind = mistaken_key(event)
    if kind == "a merge key":
        yield "merge keys are not allowed", NO_ANCHORS
    elif kind:
        yield f"the key {shown or '(empty)'} is read as {kind}", f'quote it: "{shown}"'
    if first_line is not None:
        yield "this key is there twice", f"the first is in line {first_line}; keep one"


_SYNTAX = (
    (r"mapping values are not allowed", "`:` cannot stand here", "check the indentation, or quote the text"),
    (r"block sequence entries", "a list cannot start here", "put `-` on a line of its own"),
    (r"expected ',' or '\]'", "the list opened with `[` in line {context} goes wrong here", "close it with `]`"),
    (r"expected ',' or '\}'", "the mapping opened with `{` in line {context} goes wrong here", "close it with `}`"),
    (
        r"unexpected end of stream|unexpected document indicator",
        "the quote opened in line {context} is not closed",
        "",
    ),
    (r"unknown escape|escape code|hexdecimal", "this escape is not known", "use single quotes, or write \\\\"),
    (r"expected ':'", "this line has no `:` after the key", "write `key: value`"),
    (
        r"expected '-' indicator",
        "the list from line {context} does not go on here",
        "check the indentation and the `-`",
    ),
    (r"expected key", "this does not continue the mapping from line {context}", "check indentation and quotes"),
    (r"node content", "a value is missing here", "close the brackets and quotes above"),
    (r"mapping keys are not allowed", "`?` cannot stand here", "quote the text"),
    (r"comment or line break|indentation indicator", "`|` and `>` end their line", "quote the text, or start a line"),
    (r"alphabetic or numeric", "anchors and aliases are not allowed", "quote a text that starts with & or *"),
    (r"document start", "this line does not fit the lines above", "check the indentation"),
    (r"incompatible YAML|directive", "this directive is not supported", "remove the line"),
)


def _syntax(file: str, text: str, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = _position(mark) if mark else (1, 1)
    context = error.context_mark.line + 1 if error.context_mark else line
    lines = text.splitlines()
    for number in (line, context):
        if number <= len(lines) and re.match(r" *\t", lines[number - 1]):
            at = lines[number - 1].index("\t") + 1
            return Problem(file, number, at, "", "a tab is used for indentation", "indent with spaces")
    said = str(error.problem)
    if "cannot start any token" in said and line <= len(lines):
        start = lines[line - 1][column - 1 : column]
        return Problem(file, line, column, "", f"a value cannot start with {start}", "quote it")
    for pattern, message, hint in _SYNTAX:
        if re.search(pattern, said):
            if message.startswith("this line has no") and error.context_mark:
                line, column = _position(error.context_mark)
            return Problem(file, line, column, "", message.replace("{context}", str(context)), hint)
    return Problem(file, line, column, "", "this is not valid YAML", "check indentation and quotes")
