"""The OpenAI-compatible API of vLLM and others: chat completions and completions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gitops.errors import GitopsError
from gitops.stages.protocols.base import AskFailed, Content, Description, Piece, Question, Request, excerpt

_TOKEN_KEYS = ("content", "reasoning_content", "reasoning", "tool_calls", "refusal")
"""Parts of a delta that are generated; the first chunk of a stream has a role only."""


@dataclass(frozen=True, slots=True)
class OpenAI:
    """`model` is the name under which it is served."""

    model: str
    chat: bool = True
    health_path: str = "/health"

    @property
    def streams(self) -> bool:
        """They do."""
        return True

    @property
    def health(self) -> tuple[str, ...]:
        """vLLM's own; servers without it are asked for their models."""
        return (self.health_path,)

    @property
    def description(self) -> str:
        """The list of models."""
        return "/v1/models"

    def describe(self, document: Any) -> Description:
        """The names of the models that are served."""
        listed = document.get("data") if isinstance(document, Mapping) else None
        if not isinstance(listed, list):
            raise AskFailed("malformed", f"this is no list of models: {_shown(document)}")
        return Description(tuple(str(one.get("id", "")) for one in listed if isinstance(one, Mapping)))

    def request(self, question: Question, description: Description) -> Request:
        """A request with every setting that makes it repeatable."""
        settings = question.settings
        body: dict[str, Any] = {
            "model": self.model,
            **self._asked(question),
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "seed": settings.seed,
            "max_tokens": settings.max_tokens,
            "stream": settings.stream,
        }
        if settings.stream:
            body["stream_options"] = {"include_usage": True}
        path = "/v1/chat/completions" if self.chat else "/v1/completions"
        return Request("POST", path, orjson.dumps(body | dict(settings.extra)))

    def _asked(self, question: Question) -> dict[str, Any]:
        if self.chat:
            messages = list(question.messages) or [{"role": "user", "content": question.prompt}]
            if question.messages or question.prompt:
                return {"messages": messages}
        elif question.prompt:
            return {"prompt": question.prompt}
        wanted = "`messages` or a `prompt`" if self.chat else "a `prompt`"
        protocol = "openai-chat" if self.chat else "openai-completions"
        raise GitopsError(f"the protocol {protocol} needs {wanted}", hint="inputs are for triton and json")

    def answer(self, document: Any) -> Content:
        """The text of the first choice."""
        choice = _choice(document)
        if choice is None:
            raise AskFailed("malformed", f"there is no choice in {_shown(document)}")
        message = choice.get("message") if self.chat else choice
        text = message.get("content" if self.chat else "text") if isinstance(message, Mapping) else None
        called = isinstance(message, Mapping) and any(message.get(key) for key in _TOKEN_KEYS)
        if not isinstance(text, str) and not called:
            raise AskFailed("malformed", f"there is no text in {_shown(document)}")
        return Content(text=text or "", tokens=_tokens(document), finish=str(choice.get("finish_reason") or ""))

    def piece(self, document: Any) -> Piece:
        """One chunk; the last one has no choice and says how many tokens there were."""
        if not isinstance(document, dict) or "error" in document:
            raise AskFailed("error in the stream", _shown(document))
        usage = _tokens(document) if "usage" in document else None
        choice = _choice(document)
        if choice is None:
            return Piece(tokens=usage)
        part = choice.get("delta") if self.chat else choice
        if not isinstance(part, dict):
            raise AskFailed("malformed", f"a chunk without content: {_shown(document)}")
        text = part.get("content" if self.chat else "text")
        has_token = bool(text) or (self.chat and any(part.get(key) for key in _TOKEN_KEYS))
        return Piece(text if isinstance(text, str) else "", has_token, usage, str(choice.get("finish_reason") or ""))


def _choice(document: Any) -> dict[str, Any] | None:
    choices = document.get("choices") if isinstance(document, dict) else None
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0]
    return None


def _tokens(document: dict[str, Any]) -> int | None:
    usage = document.get("usage")
    count = usage.get("completion_tokens") if isinstance(usage, dict) else None
    return count if isinstance(count, int) else None


def _shown(document: Any) -> str:
    return excerpt(orjson.dumps(document))
