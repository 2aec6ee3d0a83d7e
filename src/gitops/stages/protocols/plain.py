"""Any endpoint that takes and gives JSON: its path, its body and where its answer is are declared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gitops.errors import GitopsError
from gitops.spec.problems import listed
from gitops.stages.protocols.base import AskFailed, Content, Description, Piece, Question, Request, excerpt

_HOLE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_.-]*)\}")


@dataclass(frozen=True, slots=True)
class PlainJson:
    """`body` has holes such as `{prompt}`; `answer_path` and `tokens_path` lead into what comes back."""

    path: str
    method: str = "POST"
    body: Any = None
    answer_path: str = ""
    tokens_path: str = ""
    health_path: str = ""

    @property
    def streams(self) -> bool:
        """Answers come whole."""
        return False

    @property
    def health(self) -> tuple[str, ...]:
        """What was declared."""
        return (self.health_path,) if self.health_path else ()

    @property
    def description(self) -> str:
        """There is none."""
        return ""

    def describe(self, document: Any) -> Description:
        """Nothing is known."""
        return Description()

    def request(self, question: Question, description: Description) -> Request:
        """The body with the case's values."""
        if self.method == "GET" or (self.body is None and not question.inputs):
            return Request(self.method, self.path)
        template = "{inputs}" if self.body is None else self.body
        return Request(self.method, self.path, orjson.dumps(filled(template, _values(question))))

    def answer(self, document: Any) -> Content:
        """What is at the answer's path."""
        value = at(document, self.answer_path)
        tokens = at(document, self.tokens_path) if self.tokens_path else None
        text = value if isinstance(value, str) else ""
        return Content(text=text, document=value, tokens=tokens if isinstance(tokens, int) else None)

    def piece(self, document: Any) -> Piece:
        """Nothing streams."""
        raise AskFailed("malformed", "the answers of this endpoint do not stream")


def at(document: Any, path: str) -> Any:
    """The value at a path such as `choices.0.text`; the document itself at the empty one. Raises AskFailed."""
    value = document
    for part in path.split(".") if path else ():
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise AskFailed("malformed", f"there is no {path} in {excerpt(orjson.dumps(document))}")
    return value


def filled(template: Any, values: Mapping[str, Any]) -> Any:
    """The template with values in place of its holes. Raises GitopsError for a hole without a value."""
    if isinstance(template, Mapping):
        return {str(key): filled(value, values) for key, value in template.items()}
    if isinstance(template, list | tuple):
        return [filled(value, values) for value in template]
    if not isinstance(template, str):
        return template
    if whole := _HOLE.fullmatch(template):
        return _value(whole[1], values)
    return _HOLE.sub(lambda hole: _text(_value(hole[1], values)), template)


def _value(name: str, values: Mapping[str, Any]) -> Any:
    if name not in values:
        raise GitopsError(
            f"the body asks for {{{name}}}, which the case does not have", hint=f"it has {listed(values)}"
        )
    return values[name]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _values(question: Question) -> dict[str, Any]:
    settings = question.settings
    values: dict[str, Any] = {
        "settings.temperature": settings.temperature,
        "settings.topP": settings.top_p,
        "settings.seed": settings.seed,
        "settings.maxTokens": settings.max_tokens,
    }
    if question.prompt:
        values["prompt"] = question.prompt
    if question.messages:
        values["messages"] = list(question.messages)
    if question.inputs:
        values["inputs"] = dict(question.inputs)
    return values | {f"inputs.{name}": value for name, value in question.inputs.items()}
