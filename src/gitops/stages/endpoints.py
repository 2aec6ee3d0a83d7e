"""A model's endpoint over HTTP: ready, describe, ask. The protocols are in `gitops.stages.protocols`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, Self
from urllib.parse import urlsplit

from gitops.errors import GitopsError
from gitops.spec.problems import listed
from gitops.spec.validation import Endpoint as EndpointSpec
from gitops.stages.protocols.base import (
    MAX_BODY,
    Answer,
    AskFailed,
    Description,
    Dialect,
    Question,
    Request,
    excerpt,
    reason,
)
from gitops.stages.protocols.openai import OpenAI
from gitops.stages.protocols.plain import PlainJson
from gitops.stages.protocols.reading import parse_json, reading_of
from gitops.stages.protocols.triton import Triton

if TYPE_CHECKING:
    import httpx

_BY_RUNTIME = {"vllm": "openai-chat", "triton": "triton"}


class Endpoint(Protocol):
    """What gates ask. Every verb raises AskFailed when no good answer comes."""

    async def ready(self) -> None:
        """Returns when the model takes questions."""

    async def describe(self) -> Description:
        """What the server says about the model; empty where the protocol says nothing."""

    async def ask(self, question: Question) -> Answer:
        """The answer, and when it came. Raises GitopsError for a question that the protocol cannot put."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how to ask, without a connection."""

    url: str
    """Scheme, host, port and perhaps a path, without a slash at the end."""
    dialect: Dialect
    model: str
    timeout: float = 60.0
    """Seconds for one answer to its last byte."""
    key: str = field(default="", repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What goes with every request."""
        said = {"content-type": "application/json", "accept-encoding": "identity", "user-agent": "gitops-check"}
        return said | ({"authorization": f"Bearer {self.key}"} if self.key else {})

    def redacted(self, text: str) -> str:
        """The text without the key, should a server repeat it."""
        return text.replace(self.key, "***") if self.key else text


def settings_of(said: EndpointSpec | None, runtime: str) -> EndpointSpec:
    """What the spec says, or what follows from the runtime. Raises GitopsError where neither tells the protocol."""
    if said:
        return said
    if runtime not in _BY_RUNTIME:
        hint = "add `endpoint: {protocol: …}` to `validate`"
        raise GitopsError(f"the runtime {runtime} does not tell how its endpoint is asked", hint=hint)
    return EndpointSpec.model_validate({"protocol": _BY_RUNTIME[runtime]})


def target_of(url: str, said: EndpointSpec, model: str) -> Target:
    """The target at a URL. Raises GitopsError for a URL that is none, and for a key that is not there."""
    name = said.model or model
    return Target(base_url(url), _dialect(said, name), name, said.timeout, secret(said.api_key_env))


def base_url(url: str) -> str:
    """The URL without a slash, or OpenAI's `/v1`, at its end. Raises GitopsError."""
    hint = "such as http://localhost:8000"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise GitopsError(f"this is no URL: {error}", where=url, hint=hint) from None
    if "@" in parts.netloc:
        hint = "name the variable that holds the key: endpoint: {apiKeyEnv: NAME}"
        raise GitopsError("a URL must not hold a user or a password", where=str(parts.hostname), hint=hint)
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise GitopsError("this is no URL of an endpoint", where=url, hint=hint)
    if parts.query or parts.fragment or not url.isprintable() or " " in url:
        raise GitopsError("an endpoint's URL has no query and no fragment", where=url, hint=hint)
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def secret(variable: str | None) -> str:
    """The value of an environment variable; empty without a name. Raises GitopsError when it is not set."""
    if variable is None:
        return ""
    value = os.environ.get(variable, "").strip()
    if not value:
        raise GitopsError("this environment variable is not set", where=variable, hint="put the API key into it")
    if not value.isascii() or not value.isprintable():
        raise GitopsError("this environment variable holds no API key", where=variable, hint="it has to be one line")
    return value


def _dialect(said: EndpointSpec, model: str) -> Dialect:
    if said.protocol == "triton":
        return Triton(model)
    if said.protocol == "json":
        if said.path is None:
            raise GitopsError("`protocol: json` needs `path`", where="validate.endpoint", hint="add `path: /predict`")
        places = {"answer_path": said.answer or "", "tokens_path": said.tokens or "", "health_path": said.health or ""}
        return PlainJson(said.path, said.method, said.body, **places)
    return OpenAI(model, chat=said.protocol == "openai-chat")


class HttpEndpoint:
    """A target with connections. Use it as `async with HttpEndpoint(target) as endpoint`."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._client: httpx.AsyncClient | None = None
        self._described: Description | None = None

    async def __aenter__(self) -> Self:
        """Ready to ask; nothing is sent yet."""
        try:
            import httpx
        except ImportError:
            raise missing("httpx") from None
        # A proxy would be what is measured.
        self._client = httpx.AsyncClient(headers=self.target.headers, timeout=None, trust_env=False)  # noqa: S113
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        if self._client:
            await self._client.aclose()

    async def ready(self) -> None:
        """See Endpoint."""
        dialect = self.target.dialect
        for path in dialect.health:
            try:
                await self._get(path)
            except AskFailed as failed:
                # Only vLLM has a place for it; its list of models tells as much of other servers.
                if not (isinstance(dialect, OpenAI) and failed.kind == "status 404"):
                    raise

    async def describe(self) -> Description:
        """See Endpoint."""
        if self._described is None:
            path = self.target.dialect.description
            document = parse_json(await self._get(path)) if path else None
            self._described = self.target.dialect.describe(document)
        return self._described

    async def ask(self, question: Question) -> Answer:
        """See Endpoint."""
        dialect = self.target.dialect
        description = await self.describe() if isinstance(dialect, Triton) else Description()
        stream = question.settings.stream and dialect.streams
        async with self._sent(dialect.request(question, description)) as (response, since):
            reading = reading_of(dialect, since, response.headers.get("content-type", ""), stream=stream)
            async for data in response.aiter_raw():
                reading.feed(perf_counter(), data)
            return reading.finish(perf_counter())

    async def post(self, path: str, body: bytes) -> Any:
        """The JSON that comes back."""
        async with self._sent(Request("POST", path, body)) as (response, _):
            return parse_json(await _bounded(response))

    async def _get(self, path: str) -> bytes:
        async with self._sent(Request("GET", path)) as (response, _):
            return await _bounded(response)

    @asynccontextmanager
    async def _sent(self, request: Request) -> AsyncIterator[tuple[httpx.Response, float]]:
        """A good response whose body is still to be read, and when it was asked for."""
        import httpx

        assert self._client, "used outside of `async with`"
        url = self.target.url + request.path
        since = perf_counter()
        try:
            async with (
                asyncio.timeout(self.target.timeout),
                self._client.stream(request.method, url, content=request.body) as response,
            ):
                if not response.is_success:
                    said = self.target.redacted(excerpt(await _bounded(response)))
                    raise AskFailed(f"status {response.status_code}", said)
                yield response, since
        except TimeoutError:
            raise AskFailed("timeout", f"no whole answer in {self.target.timeout:g} s") from None
        except httpx.ConnectError as error:
            raise AskFailed("refused", _cause(error)) from None
        except httpx.RemoteProtocolError as error:
            raise AskFailed(_broken(str(error)), excerpt(str(error))) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise AskFailed("closed", _cause(error)) from None


async def wait_until_ready(endpoint: Endpoint, where: str, seconds: float) -> AskFailed | None:
    """Ask until it is ready or the time is over; what it said last, or None when it is ready.

    Raises GitopsError when nothing listens there.
    """
    deadline = perf_counter() + seconds
    while True:
        try:
            await endpoint.ready()
        except AskFailed as failed:
            if perf_counter() < deadline:
                await asyncio.sleep(min(1.0, max(deadline - perf_counter(), 0.01)))
                continue
            if failed.kind == "refused":
                hint = "start the server, or name another --endpoint"
                raise GitopsError(f"nothing answers there: {failed.detail}", where=where, hint=hint) from None
            return failed
        else:
            return None


def missing(package: str) -> GitopsError:
    """The error for a package that checks need and that is not installed."""
    return GitopsError(f"the package {package} is not installed", hint=f"pip install {package}")


def named(description: Description, model: str) -> str:
    """What is wrong with the names of a description; empty when the model is among them."""
    if not description.models or model in description.models:
        return ""
    return f"it serves {listed(description.models)}"


async def _bounded(response: httpx.Response) -> bytes:
    parts, size = [], 0
    async for data in response.aiter_raw():
        parts.append(data)
        size += len(data)
        if size > MAX_BODY:
            raise AskFailed("malformed", f"the answer is larger than {MAX_BODY // 2**20} MiB")
    return b"".join(parts)


def _broken(said: str) -> str:
    """The kind of a failure, by what httpx says of it."""
    if "disconnected" in said:
        return "closed"
    return "truncated" if "incomplete" in said or "without sending complete" in said else "malformed"


def _cause(error: BaseException) -> str:
    """The system's own words, which a library's error wraps."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno:
            return reason(seen)
        seen = seen.__cause__ or seen.__context__
    return excerpt(str(error)) or type(error).__name__
