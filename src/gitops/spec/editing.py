"""Edits `pipeline.yaml` in place: only the values that change, by the marks of the YAML nodes.

Comments, order, quoting, indentation, blank lines and line ends stay as they are. What cannot be edited so is refused,
and every edit is read again: the new text must hold the old data with the changes, and nothing else.
"""

from __future__ import annotations

import codecs
import copy
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import yaml
from yaml.events import Event, MappingEndEvent, MappingStartEvent, ScalarEvent, SequenceEndEvent, SequenceStartEvent

from gitops.errors import GitopsError
from gitops.spec.documents import value_at
from gitops.spec.problems import Path, dotted, suggestion
from gitops.spec.resolved import SourceFile
from gitops.spec.source import decode, event_reader, mistaken_key, plain_value, read_yaml

OF_ARTIFACT = ("uri", "digest", "format")
"""Changes that belong below `artifact`; `version` belongs to the model itself."""
_ORDER = ("version", "owner", "artifact", *OF_ARTIFACT)
_PLAIN = re.compile(r"[A-Za-z0-9_./](?:[A-Za-z0-9._@/+=:-]*[A-Za-z0-9._@/+=-])?")
_BY_HAND = "edit this part by hand"
_PIPELINE = "pipeline.yaml"


def set_version(text: bytes, model: str, changes: Mapping[str, str]) -> bytes:
    """The text of `pipeline.yaml` in which a model has other values for `version`, `uri`, `digest` or `format`.

    Keys that are not there yet are added behind the one they usually follow. Raises SpecError for a text that the
    project does not read (anchors, aliases, tags, merge keys), GitopsError for a model that is not there and for
    what cannot be edited safely.
    """
    if unknown := sorted(changes.keys() - {"version", *OF_ARTIFACT}):
        raise ValueError(f"no such change: {unknown}")
    models = read_yaml(SourceFile(_PIPELINE, text)).get("models")
    if not isinstance(models, dict) or model not in models:
        names = models if isinstance(models, dict) else ()
        raise GitopsError(f"there is no model {model}", where=_PIPELINE, hint=suggestion(model, names, "model"))
    base = ("models", model)
    ordered = sorted(changes, key=_ORDER.index)
    return edit(
        text, {(*base, "artifact", key) if key in OF_ARTIFACT else (*base, key): changes[key] for key in ordered}
    )


def edit(data: bytes, edits: Mapping[Path, str]) -> bytes:
    """The text with other scalars at the paths (mapping keys from the top); raises as `set_version` does."""
    before = read_yaml(SourceFile(_PIPELINE, data))
    text = decode(SourceFile(_PIPELINE, data))
    for path, value in edits.items():
        if value_at(before, path) == value:
            continue
        if not value.isprintable():
            raise GitopsError("the new value is not one line of text", where=dotted(path), hint="use a plain value")
        text = _edited(text, path, value)
    mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    after = mark + text.encode()
    _check(before, after, edits)
    return after


def _check(before: dict[str, Any], after: bytes, edits: Mapping[Path, str]) -> None:
    expected = copy.deepcopy(before)
    for path, value in edits.items():
        here = expected
        for part in path[:-1]:
            here = here.setdefault(str(part), {})
        here[str(path[-1])] = value
    try:
        same = read_yaml(SourceFile(_PIPELINE, after)) == expected
    except GitopsError:
        same = False
    if not same:
        raise GitopsError("this cannot be edited without changing something else", where=_PIPELINE, hint=_BY_HAND)


class _Node(NamedTuple):
    """A node and where its text begins and ends; `kind` is a scalar's style (empty for plain), `map` or `list`."""

    start: int
    end: int
    kind: str
    flow: bool = False
    entries: tuple[tuple[_Node, str, _Node], ...] = ()
    items: tuple[_Node, ...] = ()

    def get(self, key: str) -> _Node | None:
        return next((value for _, name, value in self.entries if name == key), None)

    @property
    def last(self) -> _Node:
        """The last node with text of its own: the end mark of a block collection is where the next token begins."""
        below = self.entries[-1][2] if self.entries else self.items[-1] if self.items else self
        return self if self.flow or below is self else below.last


def _tree(text: str) -> _Node:
    next_event = event_reader(text)
    next_event()
    return _node(next_event, next_event())


def _node(next_event: Callable[[], Event], event: Any) -> _Node:
    start: int = event.start_mark.index
    if isinstance(event, MappingStartEvent):
        entries = []
        while not isinstance(key := next_event(), MappingEndEvent):
            assert isinstance(key, ScalarEvent), "a readable text has keys of text only"
            entries.append((_scalar(key), str(key.value), _node(next_event, next_event())))
        return _Node(start, _end(key), "map", bool(event.flow_style), tuple(entries))
    if isinstance(event, SequenceStartEvent):
        items = []
        while not isinstance(item := next_event(), SequenceEndEvent):
            items.append(_node(next_event, item))
        return _Node(start, _end(item), "list", bool(event.flow_style), items=tuple(items))
    return _scalar(event)


def _scalar(event: Any) -> _Node:
    return _Node(event.start_mark.index, _end(event), event.style or "")


def _end(event: Any) -> int:
    at: int = event.end_mark.index
    return at


def _edited(text: str, path: Path, value: str) -> str:
    try:
        here = _tree(text)
    except yaml.YAMLError:  # an edit before this one went wrong
        raise _refusal(path, "cannot be edited together with the others") from None
    for depth, part in enumerate(path):
        if here.kind != "map":
            raise _refusal(path[:depth], "is not a mapping")
        below = here.get(str(part))
        if below is None:
            return _added(text, here, path, depth, value)
        here = below
    return _replaced(text, here, path, value)


def _refusal(path: Path, what: str) -> GitopsError:
    return GitopsError(f"{dotted(path)} {what}", where=_PIPELINE, hint=_BY_HAND)


def _replaced(text: str, node: _Node, path: Path, value: str) -> str:
    if node.kind in ("map", "list"):
        raise _refusal(path, "is not a single value")
    if node.kind in ("|", ">"):
        raise _refusal(path, "is written as a block of text")
    written = _written(value, node.kind)
    if node.start == node.end:
        if text[: node.start].rstrip()[-1:] != ":":
            raise _refusal(path, "is a key without a value")
        written = f" {written}"
    return text[: node.start] + written + text[node.end :]


def _written(value: str, quote: str = "") -> str:
    """The value as YAML, in the quotes that the old one had; without quotes where every reader takes it for text."""
    if quote == "'":
        return "'" + value.replace("'", "''") + "'"
    plain = ScalarEvent(None, None, (True, False), value)
    if not quote and _PLAIN.fullmatch(value) and plain_value(value) == value and not mistaken_key(plain):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _added(text: str, mapping: _Node, path: Path, depth: int, value: str) -> str:
    """The text with a new entry `path[depth]`, and in it the mappings that lead to the value."""
    keys = [_written(str(part)) for part in path[depth:]]
    if mapping.flow:
        return _added_in_flow(text, mapping, str(path[depth]), _in_flow(keys, value))
    entry = _predecessor(mapping, str(path[depth]))
    indent = _indent(text, mapping, path[:depth])
    step = _step(text, mapping, indent)
    lines = [f"{indent}{step * level}{key}:" for level, key in enumerate(keys)]
    lines[-1] += f" {_written(value)}"
    return _with_lines(text, entry.last, lines)


def _predecessor(mapping: _Node, key: str) -> _Node:
    """The value behind which a key goes: that of the nearest key which usually comes before it, or the last."""
    before = _ORDER[: _ORDER.index(key)] if key in _ORDER else ()
    values = [value for name in reversed(before) if (value := mapping.get(name))]
    return values[0] if values else mapping.entries[-1][2]


def _in_flow(keys: Sequence[str], value: str) -> str:
    *outer, last = keys
    return "".join(f"{key}: {{" for key in outer) + f"{last}: {_written(value)}" + "}" * len(outer)


def _added_in_flow(text: str, mapping: _Node, key: str, entry: str) -> str:
    if not mapping.entries:
        return text[: mapping.start + 1] + entry + text[mapping.start + 1 :]
    at = _predecessor(mapping, key).end
    return f"{text[:at]}, {entry}{text[at:]}"


def _indent(text: str, mapping: _Node, path: Path) -> str:
    at = mapping.entries[0][0].start
    indent = text[_line_start(text, at) : at]
    if indent.strip(" "):
        raise _refusal(path, "does not begin on a line of its own")
    return indent


def _step(text: str, mapping: _Node, indent: str) -> str:
    """How much deeper the next level stands: as much as some mapping below already does, else two spaces."""
    for _, _, value in mapping.entries:
        if value.kind == "map" and not value.flow:
            at = value.entries[0][0].start
            return " " * max(at - _line_start(text, at) - len(indent), 2)
    return "  "


def _line_start(text: str, at: int) -> int:
    return max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1


def _with_lines(text: str, after: _Node, lines: Sequence[str]) -> str:
    ends = re.compile(r"\r\n|\n|\r")
    whole = after.kind in ("|", ">")  # ends where the next line begins
    ending = None if whole else ends.search(text, after.end)
    first = ending or ends.search(text)
    newline = first[0] if first else "\n"
    at = after.end if whole else ending.end() if ending else len(text)
    if at and text[at - 1] not in "\r\n":
        return text[:at] + newline + newline.join(lines) + text[at:]
    return text[:at] + "".join(line + newline for line in lines) + text[at:]
