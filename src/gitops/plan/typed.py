"""Whether a value that came out of a file is what a type annotation says, all the way down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import lru_cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def fits(value: object, hint: Any) -> bool:
    """Dataclasses and named tuples by their fields, `tuple[X, ...]`, mappings, unions, literals and plain types."""
    if hint in (Any, object):
        return True
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return any(fits(value, each) for each in inner)
    if kind is Literal:
        return any(value == each and type(value) is type(each) for each in inner)
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return isinstance(value, Mapping) and all(fits(k, inner[0]) and fits(v, inner[1]) for k, v in value.items())
    if kind is tuple:
        return isinstance(value, tuple) and all(fits(each, inner[0]) for each in value)
    if is_dataclass(kind) or hasattr(kind, "_fields"):
        known = isinstance(value, kind)
        return known and all(fits(getattr(value, name), each) for name, each in _hints(kind).items())
    if kind is float:
        return isinstance(value, float | int) and not isinstance(value, bool)
    return type(value) is kind


@lru_cache(maxsize=100)
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
