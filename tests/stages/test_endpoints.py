"""Asking over HTTP: the protocols, the bytes of answers, and everything that goes wrong on the way."""

import asyncio
import socket
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import h11
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gitops.errors import GitopsError
from gitops.spec.problems import SpecError
from gitops.spec.resolved import SourceFile
from gitops.spec.validation import Endpoint
from gitops.stages.endpoints import HttpEndpoint, Target, base_url, secret, settings_of, target_of, wait_until_ready
from gitops.stages.golden_file import load_golden
from gitops.stages.protocols.base import Answer, AskFailed, Description, Question, Settings
from gitops.stages.protocols.events import EventParser
from gitops.stages.protocols.http1 import ResponseParser
from gitops.stages.protocols.openai import OpenAI
from gitops.stages.protocols.plain import PlainJson, at, filled
from gitops.stages.protocols.triton import Triton, tensor_of
from tests.stages.endpoint import MODEL, Server

CHAT, STREAMED = OpenAI(MODEL), Settings(stream=True)


def ask(server: Server, dialect: Any, question: Question, timeout: float = 20) -> Answer:
    async def run() -> Answer:
        async with HttpEndpoint(Target(server.url, dialect, MODEL, timeout)) as endpoint:
            return await endpoint.ask(question)

    return asyncio.run(run())


# --- protocols ---


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("stream", [True, False])
def test_openai(chat: bool, stream: bool) -> None:
    with Server(answers={"capital": "It is Paris."}) as server:
        settings = Settings(seed=7, max_tokens=9, stream=stream, extra={"top_k": 1})
        answer = ask(server, OpenAI(MODEL, chat), Question("The capital?", settings=settings))
        body = server.questions[0].json
    assert answer.content.text == "It is Paris."
    assert (answer.content.finish, answer.tokens) == ("stop", 3)
    assert (answer.times.first is not None, len(answer.times.gaps)) == ((True, 2) if stream else (False, 0))
    wanted = {
        "model": MODEL,
        "temperature": 0.0,
        "top_p": 1.0,
        "seed": 7,
        "max_tokens": 9,
        "stream": stream,
        "top_k": 1,
    }
    assert wanted.items() <= body.items()
    assert body["messages"][0]["content"] == "The capital?" if chat else body["prompt"] == "The capital?"


def test_triton_takes_types_from_the_model() -> None:
    with Server() as server:
        answer = ask(server, Triton(MODEL), Question(inputs={"IN": [[1.0, 2.5], [3.0, 4.0]]}))
        sent = server.questions[0].json["inputs"]
    assert sent == [{"name": "IN", "datatype": "FP32", "shape": [2, 2], "data": [1.0, 2.5, 3.0, 4.0]}]
    assert answer.content.tensors["OUT"] == ("FP32", (2, 2), (2.0, 5.0, 6.0, 8.0))


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "needs `inputs`"),
        ({"X": [1]}, "no input X"),
        ({"IN": [[1], [1, 2]]}, "different lengths"),
        ({"IN": {"shape": [3], "data": [1, 2]}}, "2 values, not 3"),
    ],
)
def test_triton_refuses_what_is_no_tensor(inputs: dict[str, Any], said: str) -> None:
    with Server() as server, pytest.raises(GitopsError, match=said):
        ask(server, Triton(MODEL), Question(inputs=inputs))


def test_plain_json() -> None:
    dialect = PlainJson("/predict", body={"q": "Say: {prompt}", "n": "{inputs.n}"}, answer_path="result.0.label")
    with Server(answers={"Say: hello": "good"}) as server:
        answer = ask(server, dialect, Question("hello", inputs={"n": [1, 2]}))
        assert server.questions[0].json == {"q": "Say: hello", "n": [1, 2]}
    assert answer.content.text == "good"


def test_holes_of_a_body() -> None:
    assert filled(["{a}", "x{a}y", {"k": "{b}"}, 3, None], {"a": 1, "b": [2]}) == [1, "x1y", {"k": [2]}, 3, None]
    with pytest.raises(GitopsError, match=r"asks for \{c\}"):
        filled("{c}", {"a": 1})


@pytest.mark.parametrize("path", ["result.1", "result.0.label.x", "other"])
def test_an_answer_that_is_not_where_it_should_be(path: str) -> None:
    with pytest.raises(AskFailed, match=f"there is no {path}"):
        at({"result": [{"label": "good"}]}, path)


# --- failures ---


@pytest.mark.parametrize(
    ("fault", "stream", "kind", "detail"),
    [
        ("500", False, "status 500", "out of memory on GPU 0"),
        ("500", True, "status 500", "out of memory on GPU 0"),
        ("not-json", False, "malformed", "<html>"),
        ("wrong-type", True, "malformed", "asked for a stream, got application/json"),
        ("plain-stream", True, "malformed", "asked for a stream, got text/plain"),
        ("garbage", False, "malformed", ""),
        ("close", False, "closed", ""),
        ("cut", True, "truncated", ""),
        ("no-done", True, "truncated", "ended after 4 tokens"),
        ("bad-event", True, "malformed", "{not json"),
        ("error-event", True, "error in the stream", "the engine died"),
        ("bad-chunk", True, "malformed", ""),
    ],
)
def test_a_bad_answer_has_a_kind_and_says_what_came(fault: str, stream: bool, kind: str, detail: str) -> None:
    with Server(answers={"q": "one two three four"}, fault=fault) as server, pytest.raises(AskFailed) as caught:
        ask(server, CHAT, Question("q", settings=Settings(stream=stream)))
    assert caught.value.kind == kind
    assert detail in caught.value.detail


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_that_does_not_come_or_stalls_in_the_middle(stream: bool) -> None:
    stalled = {"token_delay": 60.0} if stream else {"delay": 60.0}
    server = Server(answers={"q": "one two"}, **stalled)  # type: ignore[arg-type]
    with server, pytest.raises(AskFailed, match=r"timeout: no whole answer in 0\.3 s"):
        ask(server, CHAT, Question("q", settings=Settings(stream=stream)), timeout=0.3)


def test_nothing_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"

        async def run() -> None:
            async with HttpEndpoint(Target(url, CHAT, MODEL)) as endpoint:
                with pytest.raises(AskFailed, match="refused: "):
                    await endpoint.ask(Question("q"))
                await wait_until_ready(endpoint, url, 0)

        with pytest.raises(GitopsError, match="nothing answers there"):
            asyncio.run(run())


def test_it_waits_until_the_model_is_ready() -> None:
    with Server(healthy=False) as server:

        async def run() -> tuple[object, object]:
            async with HttpEndpoint(Target(server.url, CHAT, MODEL)) as endpoint:
                before = await wait_until_ready(endpoint, server.url, 0)
                asyncio.get_running_loop().call_later(0.2, setattr, server, "healthy", True)
                return before, await wait_until_ready(endpoint, server.url, 30)

        before, after = asyncio.run(run())
    assert "still loading" in str(before)
    assert after is None


# --- settings ---


def test_the_key_comes_from_the_environment_and_is_told_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_KEY", "s3cret-key")
    said = Endpoint.model_validate({"protocol": "openai-chat", "apiKeyEnv": "CHAT_KEY"})
    with Server() as server:
        target = target_of(server.url, said, MODEL)
        ask_with = HttpEndpoint(target)

        async def run() -> None:
            async with ask_with as endpoint:
                await endpoint.ask(Question("q"))

        asyncio.run(run())
        assert server.questions[0].headers["authorization"] == "Bearer s3cret-key"
    assert "s3cret" not in repr(target)
    assert target.redacted("no such key s3cret-key") == "no such key ***"
    monkeypatch.delenv("CHAT_KEY")
    with pytest.raises(GitopsError, match="not set"):
        secret("CHAT_KEY")


@pytest.mark.parametrize(
    "url", ["ftp://x", "http://", "localhost:8000", "http://x:99999", "http://a:b@x/", "http://x/?q=1", "http://x y/"]
)
def test_what_is_no_url_of_an_endpoint(url: str) -> None:
    with pytest.raises(GitopsError):
        base_url(url)


def test_urls_may_have_a_path() -> None:
    assert base_url("https://x.example/models/chat/v1/") == "https://x.example/models/chat"


def test_the_runtime_tells_the_protocol() -> None:
    assert settings_of(None, "vllm").protocol == "openai-chat"
    assert settings_of(None, "triton").protocol == "triton"
    with pytest.raises(GitopsError, match="does not tell"):
        settings_of(None, "custom")


# --- bytes ---


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[begin:end] for begin, end in pairwise(places)]


CUTS = st.lists(st.integers(0, 10_000), max_size=30)


@given(
    events=st.lists(
        st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=8), min_size=1),
        max_size=6,
    ),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    cuts=CUTS,
)
def test_events_come_out_however_the_bytes_are_cut(events: list[list[str]], end: str, cuts: list[int]) -> None:
    written = "".join(
        "".join(f"data: {line}{end}" for line in event) + f": ping{end}id: 3{end}{end}" for event in events
    )
    parser = EventParser()
    found = [event for piece in pieces(written.encode() + b"data", cuts) for event in parser.feed(piece)]
    assert [event.decode() for event in found] == ["\n".join(event) for event in events]
    assert parser.rest.endswith(b"data")


def test_a_stream_that_is_no_stream() -> None:
    with pytest.raises(AskFailed, match="no event stream"):
        EventParser().feed(b"<html>\n")


def written_response(parts: list[bytes], chunked: bool) -> bytes:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    connection.next_event()
    connection.next_event()
    headers = [] if chunked else [("Content-Length", str(sum(map(len, parts))))]
    sent = connection.send(h11.Response(status_code=200, headers=[("X-Some", "thing"), *headers])) or b""
    for part in parts:
        sent += connection.send(h11.Data(data=part)) or b""
    return sent + (connection.send(h11.EndOfMessage()) or b"")


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.booleans(), CUTS, st.booleans())
def test_responses_as_h11_writes_them(parts: list[bytes], chunked: bool, cuts: list[int], informed: bool) -> None:
    data = (b"HTTP/1.1 103 Early\r\n\r\n" if informed else b"") + written_response(parts, chunked)
    parser = ResponseParser()
    body = b"".join(parser.feed(piece) for piece in pieces(data, cuts))
    assert (parser.status, body, parser.done, parser.keep) == (200, b"".join(parts), True, True)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "no HTTP"),
        (b"HTTP/1.1 abc OK\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", "no header"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "content length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n", "no size of a chunk"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n", "longer than it says"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "transfer encoding"),
    ],
)
def test_what_is_no_http(data: bytes, said: str) -> None:
    with pytest.raises(AskFailed, match=said):
        ResponseParser().feed(data)


def test_how_a_connection_ends() -> None:
    parser = ResponseParser()
    assert parser.feed(b"HTTP/1.1 200 OK\r\n\r\nall") == b"all"
    assert not parser.done
    parser.close()
    assert (parser.done, parser.keep) == (True, False)
    cut = ResponseParser()
    cut.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall")
    with pytest.raises(AskFailed, match="truncated"):
        cut.close()
    more = ResponseParser()
    assert more.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nallHTTP/1.1") == b"all"
    assert (more.done, more.keep) == (True, False)


@given(st.recursive(st.floats(allow_nan=False), lambda inner: st.lists(inner, min_size=2, max_size=2), max_leaves=16))
def test_tensors_have_the_shape_of_their_lists_or_are_refused(value: Any) -> None:
    shape: Callable[[Any], Any] = lambda v: (len(v), *shape(v[0])) if isinstance(v, list) else ()  # noqa: E731
    try:
        tensor = tensor_of(value, "FP32")
    except ValueError:
        return
    assert tensor.shape == shape(value)
    assert len(tensor.data) == 2 ** len(tensor.shape)


def test_a_question_of_the_wrong_form() -> None:
    with pytest.raises(GitopsError, match="needs a `prompt`"):
        OpenAI(MODEL, chat=False).request(Question(messages=({"role": "user"},)), Description())
    assert orjson.loads(CHAT.request(Question("x", settings=STREAMED), Description()).body or b"")["stream"] is True


@pytest.mark.parametrize(
    "name",
    ["GITOPS_SIGNING_KEY", "GITOPS_TOKEN", "AWS_SECRET_ACCESS_KEY", "github_token", "CI_JOB_TOKEN", "KUBECONFIG"],
)
def test_credentials_of_the_pipeline_go_to_no_endpoint(name: str) -> None:
    """Found by use: `apiKeyEnv: GITOPS_SIGNING_KEY` sent the key to the endpoint."""
    with pytest.raises(ValidationError, match="goes to no endpoint"):
        Endpoint.model_validate({"protocol": "openai-chat", "apiKeyEnv": name})
    file = f"cases: {{a: {{prompt: x}}}}\nembeddings: {{url: 'http://x', model: m, apiKeyEnv: {name}}}\n"
    with pytest.raises(SpecError, match="goes to no endpoint"):
        load_golden(SourceFile("golden.yaml", f"apiVersion: gitops/v1\n{file}".encode()))
    accepted = Endpoint.model_validate({"protocol": "openai-chat", "apiKeyEnv": "OPENAI_API_KEY"})
    assert accepted.api_key_env == "OPENAI_API_KEY"
