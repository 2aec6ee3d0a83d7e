"""A file of cases: what a model is asked, and what its answers have to be.

```yaml
apiVersion: gitops/v1
settings: {maxTokens: 64}
cases:
  refund-policy:
    prompt: How long can I return an order?
    expect: {contains: [14 days], forbids: [I cannot help]}
```
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from gitops.errors import GitopsError
from gitops.spec.documents import Document, Finding
from gitops.spec.explain import Spot, explain
from gitops.spec.fields import SpecModel
from gitops.spec.lone import load_lone
from gitops.spec.problems import shorten
from gitops.spec.resolved import SourceFile
from gitops.spec.validation import KeyName, Percent
from gitops.spec.words import words_for
from gitops.stages.protocols.base import Question, Settings

MAX_CASES = 10_000
_CASE_NAME = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?$"

Words = Annotated[str, Field(min_length=1, max_length=10_000)]
Number = Annotated[float, Field(strict=False, allow_inf_nan=False)]


class GoldenSettings(SpecModel):
    """How answers are generated. What is not said is chosen so that the same question gets the same answer."""

    temperature: Annotated[Number, Field(ge=0, le=10)] | None = None
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**31)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    stream: bool | None = None
    """Ask for the answer token by token."""
    extra: dict[str, Any] | None = None
    """Further parameters of the endpoint, sent as they are."""


class Similar(SpecModel):
    """The answer's embedding has to lie near that of a text."""

    to: Words
    at_least: Annotated[Number, Field(ge=-1, le=1)]
    """The cosine of the angle between both: 1 is the same."""


class Close(SpecModel):
    """Numbers have to be near others: |got - wanted| <= absolute + relative x |wanted|."""

    to: Any
    """Numbers, or lists of them in the tensor's shape."""
    absolute: Annotated[Number, Field(ge=0)] = 1e-6
    relative: Annotated[Number, Field(ge=0)] = 1e-5


class Expectations(SpecModel):
    """What an answer has to be; all of it."""

    contains: Annotated[tuple[Words, ...], Field(max_length=1000, strict=False)] = ()
    """Texts that have to be in it."""
    forbids: Annotated[tuple[Words, ...], Field(max_length=1000, strict=False)] = ()
    """Texts that must not be in it."""
    ignore_case: bool = True
    """Whether `contains` and `forbids` look past upper and lower case."""
    matches: Annotated[str, Field(min_length=1, max_length=10_000)] | None = None
    """A regular expression in RE2's syntax that some part of it has to match; `^` and `$` hold it to the whole."""
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    """A JSON Schema for the answer as JSON."""
    equals: Any = None
    """The text, without space around it, or the JSON."""
    similar: Similar | None = None
    close: dict[Annotated[str, Field(min_length=1, max_length=200)], Close] = {}
    """Numbers of outputs by the output's name; of a `json` endpoint by a path in its answer, `answer` for all of it."""


class Case(SpecModel):
    """One question, as a prompt, messages or inputs, and what its answer has to be."""

    prompt: Words | None = None
    messages: Annotated[tuple[dict[str, Any], ...], Field(min_length=1, max_length=1000, strict=False)] | None = None
    inputs: Annotated[dict[str, Any], Field(min_length=1)] | None = None
    settings: GoldenSettings = GoldenSettings()
    expect: Expectations = Expectations()


class TensorDeclaration(SpecModel):
    """The type of an input or output, as the endpoint has to describe it."""

    type: Annotated[str, Field(min_length=1, max_length=40, examples=["FP32", "INT64", "BYTES"])]
    shape: Annotated[tuple[Annotated[int, Field(ge=-1)], ...], Field(max_length=32, strict=False)] | None = None
    """-1 is any size."""


class Signature(SpecModel):
    """What the model takes and gives."""

    inputs: dict[str, TensorDeclaration] = {}
    outputs: dict[str, TensorDeclaration] = {}


class Embeddings(SpecModel):
    """An OpenAI-compatible endpoint that `similar` asks."""

    url: Annotated[str, Field(min_length=1, max_length=2048)]
    model: Annotated[str, Field(min_length=1, max_length=200)]
    api_key_env: KeyName | None = None


class GoldenFile(SpecModel):
    """The whole file."""

    api_version: Literal["gitops/v1"]
    settings: GoldenSettings = GoldenSettings()
    """For all cases; a case's own come over it."""
    must_pass: Percent = 100.0
    """Which share of the cases has to be good."""
    concurrency: Annotated[int, Field(ge=1, le=256)] = 1
    """How many cases are asked at a time. Servers batch, and a batch can change an answer: 1 repeats best."""
    signature: Signature = Signature()
    embeddings: Embeddings | None = None
    cases: Annotated[
        dict[Annotated[str, StringConstraints(pattern=_CASE_NAME)], Case], Field(min_length=1, max_length=MAX_CASES)
    ]

    def question(self, case: Case) -> Question:
        """What is asked in a case."""
        said = {
            **self.settings.model_dump(by_alias=False, exclude_none=True),
            **case.settings.model_dump(by_alias=False, exclude_none=True),
        }
        return Question(case.prompt or "", case.messages or (), case.inputs or {}, Settings(**said))


def load_golden(source: SourceFile) -> GoldenFile:
    """The checked cases of a file. Raises SpecError with every problem and its place."""
    return load_lone(source, GoldenFile, _finding, _contradictions)


def _finding(spot: Spot, document: Document) -> Finding:
    if spot.kind == "string_pattern_mismatch" and not words_for(spot.context["pattern"], spot.path):
        return Finding(spot.path, f'"{shorten(str(spot.value))}" is not a name', "letters, digits, . _ and -", at="key")
    return explain(spot, document.written)


def _contradictions(file: GoldenFile) -> Iterator[Finding]:
    for name, case in file.cases.items():
        asked = [key for key in ("prompt", "messages", "inputs") if getattr(case, key) is not None]
        if not asked:
            yield Finding(("cases", name), "nothing is asked", "add `prompt`, `messages` or `inputs`", at="key")
        if len(asked) > 1 and "inputs" not in asked:
            yield Finding(("cases", name, "messages"), "a case has a prompt or messages", "remove one of them")
        for path, message, hint in _wrong_expectations(case.expect, file):
            yield Finding(("cases", name, "expect", *path), message, hint)


def _wrong_expectations(expect: Expectations, file: GoldenFile) -> Iterator[tuple[tuple[str, ...], str, str]]:
    if expect.matches is not None and (wrong := wrong_pattern(expect.matches)):
        yield ("matches",), f"this is no regular expression: {wrong}", "RE2's syntax has no look-around, and no \\1"
    if expect.schema_ is not None and (wrong := wrong_schema(expect.schema_)):
        yield ("schema",), f"this is no JSON Schema: {wrong}", ""
    if expect.similar and not file.embeddings:
        hint = "add `embeddings: {url: …, model: …}` at the top of the file"
        yield ("similar",), "nothing is there to ask for embeddings", hint
    for name, close in expect.close.items():
        if not _is_numeric(close.to):
            yield ("close", name, "to"), "this is neither a number nor a list of numbers", ""


def wrong_pattern(pattern: str) -> str:
    """Why RE2 does not take it; empty when it does. RE2's time is linear in the text, whatever the pattern."""
    re2 = _re2()
    try:
        re2.compile(pattern, quiet_options())
    except re2.error as error:
        said = error.args[0] if error.args else error
        return shorten(said.decode(errors="replace") if isinstance(said, bytes) else str(said), 120)
    return ""


def pattern_found(pattern: str, text: str) -> bool:
    """Whether some part of the text matches."""
    return _re2().search(pattern, text, quiet_options()) is not None


def quiet_options() -> Any:
    """RE2 without messages on standard error, with at most 8 MiB for a pattern."""
    options = _re2().Options()
    options.log_errors = False
    return options


def _re2() -> Any:
    try:
        import re2  # type: ignore[import-untyped, unused-ignore]  # it has no types
    except ImportError:
        raise GitopsError("the package google-re2 is not installed", hint="pip install google-re2") from None
    return re2


def wrong_schema(schema: dict[str, Any]) -> str:
    """Why it is no JSON Schema; empty when it is one."""
    try:
        from jsonschema import SchemaError
        from jsonschema.validators import validator_for
    except ImportError:
        raise GitopsError("the package jsonschema is not installed", hint="pip install jsonschema") from None
    from jsonschema import Draft202012Validator

    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        return shorten(error.message, 120)
    if "unevaluatedProperties" in schema and "patternProperties" in schema:
        return "unevaluatedProperties beside patternProperties"
    if reference := next(_unresolved(schema), ""):
        return f"{shorten(reference, 80)} is not in it, and nothing is fetched; put it below $defs"
    return next((f"{pattern}: {wrong}" for pattern in _patterns(schema) if (wrong := wrong_pattern(pattern))), "")


def _unresolved(schema: dict[str, Any]) -> Iterator[str]:
    """The references of a schema that lead nowhere in it."""
    from referencing import Registry, Resource
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    resource: Any = Resource.from_contents(schema, default_specification=DRAFT202012)
    resolvers = [(Registry().with_resource("", resource).resolver(resource.id() or ""), resource)]
    while resolvers:
        resolver, part = resolvers.pop()
        said = part.contents if isinstance(part.contents, Mapping) else {}
        for reference in (said[key] for key in ("$ref", "$dynamicRef") if isinstance(said.get(key), str)):
            try:
                resolver.lookup(reference)
            except (Unresolvable, ValueError):
                yield reference
        resolvers += [(resolver.in_subresource(inner), inner) for inner in part.subresources()]


def _patterns(schema: Any) -> Iterator[str]:
    """The regular expressions in a schema."""
    if isinstance(schema, list):
        for item in schema:
            yield from _patterns(item)
    if not isinstance(schema, Mapping):
        return
    if isinstance(pattern := schema.get("pattern"), str):
        yield pattern
    if isinstance(properties := schema.get("patternProperties"), Mapping):
        yield from properties
    for value in schema.values():
        yield from _patterns(value)


def _is_numeric(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_numeric, value))
    return isinstance(value, int | float) and not isinstance(value, bool)
