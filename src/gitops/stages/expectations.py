"""Whether an answer is what a case expects: functions of the answer, except that embeddings come from outside."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import orjson

from gitops.stages.golden_file import Close, Expectations, pattern_found
from gitops.stages.protocols.base import AskFailed, Content, excerpt
from gitops.stages.protocols.plain import at
from gitops.stages.protocols.triton import tensor_of

_WHOLE = "answer"


class Miss(NamedTuple):
    """One expectation that an answer does not meet."""

    expected: str
    got: str


def misses(expect: Expectations, content: Content) -> Iterator[Miss]:
    """What is wrong with an answer; nothing about `similar`, which takes another endpoint."""
    text = words_of(content)
    yield from _keywords(expect, text)
    if expect.matches is not None and not pattern_found(expect.matches, text):
        yield Miss(f"a match of {excerpt(expect.matches, 80)}", quoted(text))
    if expect.schema_ is not None:
        yield from _schema(expect.schema_, content)
    if "equals" in expect.model_fields_set:
        yield from _equals(expect.equals, content)
    for name, close in expect.close.items():
        yield from _close(name, close, content)


def words_of(content: Content) -> str:
    """The answer as text; JSON and tensors as they would be written."""
    if content.text:
        return content.text
    if content.document is not None:
        return orjson.dumps(content.document).decode()
    if content.tensors:
        return orjson.dumps({name: list(tensor.data) for name, tensor in content.tensors.items()}).decode()
    return ""


def quoted(text: str) -> str:
    """A text as a message shows it: its beginning, in quotes."""
    return f'"{excerpt(text)}"' if text.strip() else "an empty answer"


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of the angle between two vectors of one length; 0 when one of them is zero."""
    lengths = math.sqrt(math.fsum(x * x for x in one)) * math.sqrt(math.fsum(y * y for y in other))
    return math.fsum(x * y for x, y in zip(one, other, strict=True)) / lengths if lengths else 0.0


def _keywords(expect: Expectations, text: str) -> Iterator[Miss]:
    found = text.casefold() if expect.ignore_case else text
    for word in expect.contains:
        if (word.casefold() if expect.ignore_case else word) not in found:
            yield Miss(f'"{excerpt(word, 80)}"', quoted(text))
    for word in expect.forbids:
        place = found.find(word.casefold() if expect.ignore_case else word)
        if place >= 0:
            yield Miss(f'nothing like "{excerpt(word, 80)}"', quoted(_around(text, place)))


def _around(text: str, place: int) -> str:
    begin = max(place - 60, 0)
    return ("…" if begin else "") + text[begin:]


def _document(content: Content) -> Any:
    """The answer as JSON. Raises ValueError."""
    if content.document is not None and not content.text:
        return content.document
    if content.tensors:
        return {name: list(tensor.data) for name, tensor in content.tensors.items()}
    return orjson.loads(content.text)


def _schema(schema: dict[str, Any], content: Content) -> Iterator[Miss]:
    try:
        document = _document(content)
    except ValueError:
        yield Miss("JSON", quoted(words_of(content)))
        return
    for error in sorted(_validator_class()(schema, registry=_no_registry()).iter_errors(document), key=str)[:3]:
        place = error.json_path.removeprefix("$").removeprefix(".")
        yield Miss("JSON of the schema", excerpt(f"{place}: {error.message}" if place else error.message))


@cache
def _validator_class() -> Any:
    """JSON Schema 2020-12 with regular expressions that cannot take for ever."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError
    from jsonschema.validators import extend

    def pattern(_validator: Any, wanted: str, value: Any, _schema: Any) -> Iterator[Any]:
        if isinstance(value, str) and not pattern_found(wanted, value):
            yield ValidationError(f"{excerpt(value, 80)!r} does not match {wanted!r}")

    def pattern_properties(validator: Any, wanted: Any, value: Any, _schema: Any) -> Iterator[Any]:
        for expression, inner in wanted.items():
            for key in value if isinstance(value, dict) else ():
                if pattern_found(expression, key):
                    yield from validator.descend(value[key], inner, path=key, schema_path=expression)

    def additional_properties(validator: Any, wanted: Any, value: Any, schema: Any) -> Iterator[Any]:
        patterns = schema.get("patternProperties", {})
        for key in value if isinstance(value, dict) else ():
            if key in schema.get("properties", {}) or any(pattern_found(one, key) for one in patterns):
                continue
            if wanted is False:
                yield ValidationError(f"{excerpt(key, 80)!r} was not expected")
            else:
                yield from validator.descend(value[key], wanted, path=key)

    ours = {"pattern": pattern, "patternProperties": pattern_properties, "additionalProperties": additional_properties}
    return extend(Draft202012Validator, ours)  # type: ignore[no-untyped-call]


@cache
def _no_registry() -> Any:
    """References lead into the schema only: nothing is fetched."""
    from referencing import Registry

    return Registry()


def _equals(wanted: Any, content: Content) -> Iterator[Miss]:
    shown = excerpt(wanted if isinstance(wanted, str) else orjson.dumps(wanted).decode(), 120)
    if isinstance(wanted, str):
        if words_of(content).strip() != wanted.strip():
            yield Miss(f'"{shown}"', quoted(words_of(content)))
        return
    try:
        document = _document(content)
    except ValueError:
        yield Miss(shown, quoted(words_of(content)))
        return
    if not _same(wanted, document):
        yield Miss(shown, excerpt(orjson.dumps(document)))


def _same(one: Any, other: Any) -> bool:
    """Equality of JSON values: 1 is 1.0, but not true."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _close(name: str, close: Close, content: Content) -> Iterator[Miss]:
    wanted = tensor_of(close.to, "")
    place = f"{name} = {excerpt(orjson.dumps(close.to), 80)}"
    try:
        shape, values = _numbers(name, content)
    except (AskFailed, ValueError) as error:
        yield Miss(place, excerpt(str(error)))
        return
    if shape != wanted.shape:
        yield Miss(f"{name} of the shape {list(wanted.shape)}", f"the shape {list(shape)}")
        return
    wrong = [index for index in range(len(values)) if not is_close(values[index], wanted.data[index], close)]
    if wrong:
        first = wrong[0]
        many = f"{len(wrong)} of {len(values)} values are off, the first at {first}" if len(values) > 1 else "it is off"
        at_most = f"within {close.absolute:g} + {close.relative:g} x |wanted|"
        yield Miss(f"{place} {at_most}", f"{values[first]:.9g} for {wanted.data[first]:.9g}; {many}")


def is_close(got: float, wanted: float, close: Close) -> bool:
    """|got - wanted| <= absolute + relative x |wanted|, as numpy.isclose; false when something is not finite."""
    distance = abs(got - wanted)
    return math.isfinite(distance) and distance <= close.absolute + close.relative * abs(wanted)


def _numbers(name: str, content: Content) -> tuple[tuple[int, ...], Sequence[float]]:
    if content.tensors:
        if name not in content.tensors:
            raise ValueError(f"no output {name}, only {', '.join(content.tensors)}")
        _, shape, data = content.tensors[name]
        return shape, _all_numbers(data)
    try:
        document = _document(content)
    except ValueError:
        raise ValueError(f"no JSON: {excerpt(words_of(content))}") from None
    tensor = tensor_of(document if name == _WHOLE else at(document, name), "")
    return tensor.shape, _all_numbers(tensor.data)


def _all_numbers(values: Iterable[Any]) -> Sequence[float]:
    found = list(values)
    for value in found:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{excerpt(str(value), 40)}, which is no number")
    return found
