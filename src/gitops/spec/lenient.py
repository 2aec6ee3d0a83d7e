"""Models as an earlier version of gitops took them: the form of today, without today's limits on single values.

What is new is held to every rule. What was released runs, and has to be rendered, compared and gone back to by the
rules of its own day: an image that was legal then is the image of those pods.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, JsonValue

M = TypeVar("M", bound=BaseModel)
_SCALARS = (str, int, bool, float)


def read_leniently(model: type[M], data: object, place: str = "") -> M:
    """The model that JSON data describes, whatever its texts, numbers and lengths are.

    Raises ValueError with the place for unknown and missing fields, and for a value of another type.
    """
    if not isinstance(data, Mapping):
        raise ValueError(place)
    fields = {field.alias or name: name for name, field in model.model_fields.items()}
    if unknown := next((key for key in data if key not in fields), ""):
        raise ValueError(_below(place, unknown))
    values = {}
    for key, name in fields.items():
        field = model.model_fields[name]
        if key in data:
            kind = _told_by(field.discriminator, field.annotation, data[key])
            values[name] = _value(kind, field.metadata, data[key], _below(place, key))
        elif field.is_required():
            raise ValueError(_below(place, key))
    return model.model_construct(**values)


def _value(kind: Any, metadata: Sequence[object], value: object, place: str) -> Any:
    for rule in metadata:
        if isinstance(rule, BeforeValidator):
            value = _attempt(rule, value)
    origin, arms = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _value(arms[0], arms[1:], value, place)
    if origin in (Union, UnionType):
        return _one_of(arms, value, place)
    if origin is Literal and value in arms:
        return value
    if kind is JsonValue:
        return value
    if origin is list and isinstance(value, list):
        return [_value(arms[0], (), item, f"{place}[{number}]") for number, item in enumerate(value)]
    if origin is tuple and isinstance(value, list):
        return tuple(_value(arms[0], (), item, f"{place}[{number}]") for number, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: _value(arms[1], (), item, _below(place, key)) for key, item in value.items()}
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return read_leniently(kind, value, place)
    if kind is float and type(value) is int:
        return float(value)
    if kind in (*_SCALARS, NoneType) and type(value) is kind:
        return value
    raise ValueError(place)


def _told_by(discriminator: object, kind: Any, value: object) -> Any:
    """The one of several models that a field of the value names; `kind` itself where none does."""
    if not isinstance(discriminator, str) or not isinstance(value, Mapping):
        return kind
    named = (arm for arm in get_args(kind) if value.get(discriminator) in _names(arm, discriminator))
    return next(named, kind)


def _names(model: type[BaseModel], field: str) -> tuple[Any, ...]:
    return get_args(model.model_fields[field].annotation)


def _attempt(rule: BeforeValidator, value: object) -> object:
    """What the rule makes of a value, or the value itself where it takes none such any more."""
    try:
        return rule.func(value)  # type: ignore[call-arg]  # none of ours asks for more than the value
    except ValueError:
        return value


def _one_of(arms: Sequence[Any], value: object, place: str) -> Any:
    """By the first of these types that reads it; the place of the fault is the deepest one."""
    deepest = place
    for arm in arms:
        try:
            return _value(arm, (), value, place)
        except ValueError as error:
            deepest = max(deepest, str(error), key=len)
    raise ValueError(deepest)


def _below(place: str, key: object) -> str:
    return f"{place}.{key}" if place else str(key)
