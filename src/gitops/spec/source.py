"""YAML text to plain data, safely and with bounds.

Plain scalars follow the core schema of YAML 1.2, with one difference: what YAML 1.1 reads otherwise (`yes`, `0777`,
`1:30`, `1_000`, dates), infinities and numbers of more than 17 digits stay text. There are no tags, anchors,
aliases, merge keys or further documents, so the size of the data is bounded by the size of the file.

Reading takes one pass over libyaml's events that keeps no positions. Only when there is something to report does
`gitops.spec.survey` go through the text a second time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

import yaml
from yaml.events import (
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from gitops.spec.problems import Problem, SpecError
from gitops.spec.resolved import SourceFile
from gitops.values import ACTING

MAX_BYTES = 8 * 1024 * 1024
MAX_DEPTH = 50
MAX_NODES = 2_000_000

_WORDS: dict[str, object] = {
    "": None,
    **dict.fromkeys(("~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBER_START = frozenset("+-.0123456789")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,16})")
_EXPONENT = r"[eE][-+]?[0-9]{1,2}"
_FLOAT = re.compile(
    rf"[-+]?(?:\.[0-9]{{1,17}}(?:{_EXPONENT})?"
    rf"|(?:0|[1-9][0-9]{{0,16}})(?:\.[0-9]{{0,17}}(?:{_EXPONENT})?|{_EXPONENT}))"
)
_BASED = {"0x": (16, re.compile(r"0x[0-9a-fA-F]{1,14}")), "0o": (8, re.compile(r"0o[0-7]{1,18}"))}

_NOT_TEXT = (
    ("true or false", re.compile(r"yes|no|on|off|true|false", re.IGNORECASE)),
    ("null", re.compile(r"~|null|", re.IGNORECASE)),
    ("a merge key", re.compile(r"<<")),
    ("a date", re.compile(r"\d{4}-\d{1,2}-\d{1,2}([Tt ].*)?")),
    (
        "a number",
        re.compile(
            r"[-+]?(\.[0-9][0-9_]*|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?"
            r"|[-+]?0[xob][0-9a-fA-F_]+|[-+]?[0-9]+(:[0-9]{1,2})+(\.[0-9]*)?|[-+]?\.(inf|nan)",
            re.IGNORECASE,
        ),
    ),
)
_FORBIDDEN = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\ufffe\uffff{ACTING}]")
_ESCAPED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
_WIDE_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x00\x00\xfe\xff": "UTF-32"}


class Irregular(Exception):  # not an error yet: the survey finds out what it is and where
    """The text holds something that is refused."""


def read_yaml(source: SourceFile) -> dict[str, Any]:
    """The mapping in a file; SpecError with everything that is refused in it."""
    text = decode(source)
    try:
        return build(text)
    except (Irregular, yaml.YAMLError):
        from gitops.spec.survey import refusals

        raise SpecError(refusals(source.path, text)) from None


def decode(source: SourceFile) -> str:
    """The text of a file, without a byte order mark; SpecError if it is too big or not plain UTF-8 text."""
    data = source.data
    if len(data) > MAX_BYTES:
        size = f"{len(data) / 1024 / 1024:.1f} MiB"
        raise SpecError([Problem(source.path, 1, 1, "", f"the file has {size}; at most 8 MiB are read")])
    for mark, encoding in _WIDE_MARKS.items():
        if data.startswith(mark):
            raise SpecError([Problem(source.path, 1, 1, "", f"the file is {encoding}", "save it as UTF-8")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _position(data[: error.start].decode("utf-8-sig", "replace"))
        message = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise SpecError([Problem(source.path, line, column, "", message, "save the file as UTF-8")]) from None
    if match := _FORBIDDEN.search(text):
        line, column = _position(text[: match.start()])
        message = f"the invisible character U+{ord(match[0]):04X} is not allowed"
        raise SpecError([Problem(source.path, line, column, "", message, "remove it")])
    return text


def _position(before: str) -> tuple[int, int]:
    lines = before.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return len(lines), len(lines[-1]) + 1


def event_reader(text: str) -> Callable[[], Event]:
    """A function that gives libyaml's next event, the stream's start already taken; raises yaml.YAMLError."""
    reader = cast("Callable[[], Event]", yaml.CLoader(text).get_event)
    reader()
    return reader


def plain_value(text: str) -> object:
    """What an unquoted scalar means."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_START:
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if text[:2] in _BASED:
        base, pattern = _BASED[text[:2]]
        return int(text, base) if pattern.fullmatch(text) else text
    return text


def mistaken_key(event: ScalarEvent) -> str | None:
    """As what some YAML reader would take an unquoted key, if not as text."""
    if event.style:
        return None
    return next((kind for kind, pattern in _NOT_TEXT if pattern.fullmatch(event.value)), None)


def has_control(event: ScalarEvent) -> bool:
    """Whether a double-quoted scalar brings in a control character by an escape such as `\\0`."""
    return event.style == '"' and _ESCAPED.search(event.value) is not None


def scalar_value(event: ScalarEvent) -> object:
    """What a scalar means; Irregular if it is refused."""
    if event.tag is not None or event.anchor is not None or has_control(event):
        raise Irregular
    return event.value if event.style else plain_value(event.value)


def build(text: str) -> dict[str, Any]:
    """The mapping that a text holds; Irregular or yaml.YAMLError without a reason if anything is refused."""
    next_event = event_reader(text)
    if type(next_event()) is not DocumentStartEvent:
        raise Irregular
    root = next_event()
    if type(root) is not MappingStartEvent or root.tag is not None or root.anchor is not None:
        raise Irregular
    data = _mapping(next_event)
    if type(next_event()) is not DocumentEndEvent or type(next_event()) is not StreamEndEvent:
        raise Irregular
    return data


def _mapping(next_event: Callable[[], Event]) -> dict[str, Any]:
    """The rest of a mapping whose start was read: one loop, because every event of a big file goes through it."""
    root: dict[str, Any] = {}
    good_keys: set[str] = set()
    outer: list[Any] = []
    here: Any = root
    key: str | None = None
    nodes = 0
    while True:
        event: Any = next_event()
        kind = type(event)
        nodes += 1
        if nodes > MAX_NODES:
            raise Irregular
        if kind is ScalarEvent:
            if key is None and type(here) is dict:
                key = _key(event, here, good_keys)
                continue
            value: Any = scalar_value(event)
        elif kind is MappingEndEvent or kind is SequenceEndEvent:
            nodes -= 1
            if not outer:
                return root
            here = outer.pop()
            continue
        elif (kind is MappingStartEvent or kind is SequenceStartEvent) and not (
            event.tag is not None or event.anchor is not None or (key is None and type(here) is dict)
        ):
            value = {} if kind is MappingStartEvent else []
        else:
            raise Irregular
        if type(here) is dict:
            here[key] = value
            key = None
        else:
            here.append(value)
        if kind is not ScalarEvent:
            outer.append(here)
            here = value
            if len(outer) >= MAX_DEPTH:
                raise Irregular


def _key(event: Any, here: dict[str, Any], good: set[str]) -> str:
    key: str = event.value
    if key in here or event.tag is not None or event.anchor is not None:
        raise Irregular
    if key not in good:
        if mistaken_key(event) or has_control(event):
            raise Irregular
        if not event.style:
            good.add(key)
    return key
