"""Pydantic's errors as sentences in the user's words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from gitops.spec.documents import Finding, value_at
from gitops.spec.fields import format_duration
from gitops.spec.problems import Path, listed, shorten, suggestion
from gitops.spec.words import words_for

Written = Callable[[Path], str | None]
"""How the scalar at a path was written."""


class Choice(NamedTuple):
    """A choice between types, where it begins, which of them pydantic tried, and what the file has there."""

    path: Path
    members: tuple[Any, ...]
    tried: Any
    value: Any


@dataclass(frozen=True, slots=True)
class Spot:
    """One error of pydantic's: where it is in YAML keys, and what was expected there."""

    path: Path
    kind: str
    context: Mapping[str, Any]
    value: Any
    """What stands at the path (for a key: the key itself)."""
    owner: type[BaseModel] | None
    """The model that has the last key of the path."""
    is_key: bool
    choice: Choice | None
    """The choice without a discriminator that the path goes through."""
    variants: tuple[type[BaseModel], ...]
    """The models among which a discriminator chooses at the path."""


def spots(error: ValidationError, model: Any, data: Any, prefix: Path = ()) -> list[Spot]:
    """Where a validation of `data` against `model` failed; of a choice between types only what helps.

    `prefix` is where the validated data stands in the file; the spots' paths start with it.
    """
    found = [
        _spot(model, detail["loc"], detail["type"], detail.get("ctx", {}), data, prefix)
        for detail in error.errors(include_url=False, include_input=False)
    ]
    return list(_without_misspelt(list(_sifted(found)))) or found


def explain(spot: Spot, written: Written) -> Finding:
    """The sentence for a spot."""
    if spot.kind == "missing":
        message = f"`{spot.path[-1]}` is missing"
        return Finding(spot.path[:-1], message, _needed(spot), at="key")
    if spot.kind == "extra_forbidden":
        hint = suggestion(spot.path[-1], _keys(spot.owner)) if spot.owner else ""
        return Finding(spot.path, "unknown key", hint, at="key")
    if spot.kind in ("union_tag_invalid", "union_tag_not_found"):
        return _wrong_choice(spot)
    message, hint = _sentence(spot, written)
    return Finding(spot.path, message, hint, at="key" if spot.is_key else "value")


# --- where ---


def _spot(
    annotation: Any, loc: tuple[int | str, ...], kind: str, context: Mapping[str, Any], data: Any, prefix: Path
) -> Spot:
    path: Path = ()
    owner: type[BaseModel] | None = None
    choice: Choice | None = None
    is_key = False
    for part in loc:
        annotation = _bare(annotation)
        if part == "[key]":
            is_key = True
        elif members := _members(annotation):
            annotation = next((m for m in members if part in _labels(m)), None)
            if not _discriminator(members):
                choice = Choice(prefix + path, members, annotation, value_at(data, path))
        else:
            owner = annotation if _is_model(annotation) else None
            annotation = _child(annotation, part)
            path = (*path, part)
    value = path[-1] if is_key else value_at(data, path)
    return Spot(prefix + path, kind, context, value, owner, is_key, choice, _members(_bare(annotation)))


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _bare(annotation: Any) -> Any:
    """Without `Annotated` and `| None`."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (Union, UnionType) and type(None) in get_args(annotation):
            rest = tuple(a for a in get_args(annotation) if a is not type(None))
            annotation = rest[0] if len(rest) == 1 else Union[rest]  # noqa: UP007  # built at run time
        else:
            return annotation


def _members(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()


def _discriminator(members: tuple[Any, ...]) -> str | None:
    """The key whose literal value chooses between models."""
    for name in ("provider", "runtime", "strategy"):
        if all(_is_model(m) and name in m.model_fields for m in members):
            return name
    return None


def _labels(member: Any) -> tuple[Any, ...]:
    """What pydantic puts into a location for one member of a union."""
    name = getattr(member, "__name__", str(member))
    key = _discriminator((member,))
    return (name, *get_args(member.model_fields[key].annotation)) if key else (name,)


def _child(annotation: Any, part: int | str) -> Any:
    if _is_model(annotation):
        return next((f.annotation for f in annotation.model_fields.values() if f.alias == part), None)
    arguments = get_args(annotation)
    if get_origin(annotation) is dict:
        return arguments[1]
    return arguments[0] if get_origin(annotation) is tuple else None


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _sifted(found: Iterable[Spot]) -> Iterator[Spot]:
    """Drops what only repeats: all but the fitting member of a choice, and lengths that are right as written."""
    seen: set[Path] = set()
    for spot in found:
        if spot.kind == "too_short" and _length(spot.value) >= spot.context["min_length"]:
            continue
        choice = spot.choice
        if choice and isinstance(choice.value, dict) and any(map(_is_model, choice.members)):
            if _is_model(choice.tried):
                yield spot
        elif not choice:
            yield spot
        elif choice.path not in seen:
            seen.add(choice.path)
            yield spot


def _without_misspelt(found: list[Spot]) -> Iterator[Spot]:
    """Drops a missing key where an unknown one next to it is most likely meant for it."""
    unknown: dict[Path, list[str]] = {}
    for spot in found:
        if spot.kind == "extra_forbidden":
            unknown.setdefault(spot.path[:-1], []).append(str(spot.path[-1]))
    for spot in found:
        nearby = unknown.get(spot.path[:-1], ())[:100] if spot.kind == "missing" else ()
        if not get_close_matches(str(spot.path[-1]), nearby, n=1):
            yield spot


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list | dict | str) else 0


# --- what ---


def _needed(spot: Spot) -> str:
    fields = spot.owner.model_fields.values() if spot.owner else ()
    field = next((f for f in fields if f.alias == spot.path[-1]), None)
    if not field:
        return ""
    annotation = _bare(field.annotation)
    if get_origin(annotation) is Literal:
        return f"write {listed(map(str, get_args(annotation)), 'or')}"
    return f"such as {field.examples[0]}" if field.examples else ""


def _wrong_choice(spot: Spot) -> Finding:
    key = str(_discriminator(spot.variants))
    valid = [str(label) for variant in spot.variants for label in _labels(variant)[1:]]
    value = spot.value.get(key) if isinstance(spot.value, dict) else None
    if value is None:
        return Finding(spot.path, f"`{key}` is missing", f"one of {listed(valid)}", at="key")
    return Finding((*spot.path, key), f"{_shown(value)} is not known", suggestion(value, valid))


def _sentence(spot: Spot, written: Written) -> tuple[str, str]:
    if spot.kind in _TYPES:
        return _wrong_type(spot, written)
    if spot.kind == "literal_error":
        literal = [str(v) for v in _literals(spot)]
        return f"{_shown(spot.value)} is not known", suggestion(spot.value, literal)
    if spot.kind == "string_pattern_mismatch":
        words = words_for(spot.context["pattern"], spot.path)
        assert words, f"no words for the pattern of {spot.path}"
        if spot.value == "":
            return f"the text is empty, but has to be {words.noun}", words.form
        return f"{_shown(spot.value)} is not {words.noun}", words.form
    if spot.kind == "value_error":
        wrong, _, form = str(spot.context["error"]).rpartition("; ")
        return f"{_shown(spot.value)} is {wrong.rpartition(' is ')[2]}", form
    if spot.kind in _BOUNDS:
        word, key = _BOUNDS[spot.kind]
        bound = spot.context[key]
        duration = isinstance(spot.value, str)
        limit = format_duration(int(bound)) if duration else f"{bound:g}"
        wrong = "out of range" if not duration else "too short" if "greater" in spot.kind else "too long"
        return f"{_shown(spot.value)} is {wrong}: {word} {limit}", ""
    return _wrong_length(spot)


_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
    "greater_than": ("more than", "gt"),
    "less_than": ("less than", "lt"),
}


def _wrong_length(spot: Spot) -> tuple[str, str]:
    """For text, lists and mappings that are too short or too long."""
    unit = "characters" if spot.kind.startswith("string") else "entries"
    if "min_length" in spot.context:
        least = spot.context["min_length"]
        return ("this is empty", "") if least == 1 else (f"this needs at least {least} {unit}", "")
    if "max_length" in spot.context:
        return f"this has more than {spot.context['max_length']} {unit}", ""
    return "this is not valid", ""


def _literals(spot: Spot) -> tuple[Any, ...]:
    """The valid values of a literal, from pydantic's list of them."""
    expected = str(spot.context["expected"])
    return tuple(part.strip(" '") or '""' for part in expected.replace(" or ", ", ").split(","))


_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


def _wrong_type(spot: Spot, written: Written) -> tuple[str, str]:
    value = spot.value
    expected = _expected(spot)
    if value is None:
        return f"there is no value, but it has to be {expected}", "remove the key, or give it a value"
    if expected.startswith("text") and isinstance(value, bool | int | float):
        raw = written(spot.path) or str(value)
        what = raw if isinstance(value, bool) else f"the number {raw}"
        if _is_private(spot.path):
            return "the value is not read as text", "quote it"
        return f"it is read as {what}, but has to be text", f'quote it: "{raw}"'
    if isinstance(value, dict | list):
        return f"this is a {'mapping' if isinstance(value, dict) else 'list'}, but has to be {expected}", ""
    return f"{_shown(value, spot.path)} is not {expected}", _type_hint(spot)


def _expected(spot: Spot) -> str:
    if not spot.choice or spot.choice.path != spot.path:
        return _TYPES[spot.kind]
    return "text or {secret, key}" if any(map(_is_model, spot.choice.members)) else "text, a number, true or false"


def _type_hint(spot: Spot) -> str:
    if spot.kind == "bool_type":
        return "write true or false"
    if spot.kind == "tuple_type":
        return "write [a, b] or one `- a` a line"
    if isinstance(spot.value, str) and spot.kind == "int_type" and str(spot.value).isdecimal() and spot.value[0] != "0":
        return "remove the quotes"
    return ""


def _is_private(path: Path) -> bool:
    """Whether values there may be secrets, which no message may show."""
    return "env" in path


def _shown(value: Any, path: Path = ()) -> str:
    """A scalar as a message may show it."""
    if _is_private(path):
        return "the value"
    if isinstance(value, str):
        return f'"{shorten(value)}"'
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "nothing"}[value]
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return shorten(str(value))
