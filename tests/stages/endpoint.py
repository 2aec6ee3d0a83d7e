"""A real HTTP server on loopback that speaks OpenAI's API, Triton's v2 protocol and plain JSON, and misbehaves.

with Server() as server:
    server.answers["capital"] = "Paris"
    server.fault = "cut"
"""

import asyncio
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

MODEL = "support-chat"
Fault = str
"""See `Server.fault`."""


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """`answers` are texts by a word of the prompt; `token_delay` and `delay` are seconds."""

    answers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    token_delay: float = 0.0
    fault: Fault = ""
    """What is wrong with every answer of the model: `500`, `garbage`, `not-json`, `no-done`, `cut`, `error-event`,
    `wrong-type`, `hang`, `close`, `bad-chunk`, or nothing."""
    healthy: bool = True
    models: tuple[str, ...] = (MODEL,)
    usage: bool = True
    hold: Callable[[int], float] = lambda number: 0.0
    """Further seconds before the answer to the request of a number, counted from 0."""
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    def __enter__(self) -> Self:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def questions(self) -> list[Asked]:
        """Requests that asked the model something."""
        return [one for one in self.asked if one.method == "POST"]

    async def _main(self) -> None:
        self._loop, self._stop, self._number = asyncio.get_running_loop(), asyncio.Event(), 0
        self._tasks: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=1024)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._one(reader, writer):
                    pass
        except asyncio.CancelledError:
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *fields = head.strip().split("\r\n")
        method, path, _ = line.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in fields)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        asked = Asked(method, path, headers, body)
        self.asked.append(asked)
        if method == "GET" and path != "/predict":
            _send(writer, *self._told(path))
            return True
        number, self._number = self._number, self._number + 1
        await asyncio.sleep(self.delay + self.hold(number))
        return await self._answer(asked, writer)

    def _told(self, path: str) -> tuple[int, Any]:
        if path in ("/health", "/v2/health/ready", f"/v2/models/{MODEL}/ready"):
            return (200, {}) if self.healthy else (503, {"error": "still loading"})
        if path == "/v1/models":
            return 200, {"data": [{"id": name} for name in self.models]}
        if path == f"/v2/models/{MODEL}":
            tensor = {"name": "IN", "datatype": "FP32", "shape": [-1, 2]}
            return 200, {"name": MODEL, "inputs": [tensor], "outputs": [{**tensor, "name": "OUT"}]}
        return 404, {"error": f"nothing at {path}"}

    async def _answer(self, asked: Asked, writer: asyncio.StreamWriter) -> bool:
        if self.fault == "hang":
            await asyncio.sleep(3600)
        if self.fault == "close":
            return False
        if self.fault == "garbage":
            writer.write(b"\x00\x01\x02 nonsense\r\n\r\n" * 3)
            return False
        if self.fault.isdigit():
            _send(writer, int(self.fault), {"error": "out of memory on GPU 0"})
            return True
        if self.fault == "not-json":
            _send(writer, 200, b"<html>hello</html>")
            return True
        if asked.path.endswith("/infer"):
            _send(writer, 200, _doubled(asked.json))
        elif asked.path == "/v1/embeddings":
            _send(writer, 200, {"data": [_embedding(i, text) for i, text in enumerate(asked.json["input"])]})
        elif asked.path == "/predict":
            said = asked.json if asked.body else {}
            _send(writer, 200, {"result": [{"label": self._text(json.dumps(said)), "score": 0.75}], "used": 3})
        elif asked.json.get("stream") and self.fault != "wrong-type":
            return await self._stream(asked, writer)
        else:
            _send(writer, 200, self._whole(asked))
        return True

    def _text(self, prompt: str) -> str:
        return next((text for word, text in self.answers.items() if word in prompt), "I do not know.")

    def _whole(self, asked: Asked) -> Any:
        text = self._text(asked.body.decode())
        chat = {"message": {"role": "assistant", "content": text}}
        choice = chat if "chat" in asked.path else {"text": text}
        return {
            "choices": [{**choice, "finish_reason": "stop"}],
            "usage": {"completion_tokens": len(text.split())},
        }

    async def _stream(self, asked: Asked, writer: asyncio.StreamWriter) -> bool:
        kind = "text/plain" if self.fault == "plain-stream" else "text/event-stream"
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        words = self._text(asked.body.decode()).split(" ")
        chat = "chat" in asked.path
        if chat:
            _event(writer, {"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        for number, word in enumerate(words):
            if number:
                await asyncio.sleep(self.token_delay)
            if number == 2 and self.fault:
                if self.fault == "cut":
                    return False
                if self.fault == "bad-chunk":
                    writer.write(b"zz\r\n")
                    return False
                if self.fault == "error-event":
                    _event(writer, {"error": {"message": "the engine died"}})
                if self.fault == "bad-event":
                    _chunk(writer, b"data: {not json\n\n")
            text = word if number == 0 else f" {word}"
            _event(writer, {"choices": [{"delta": {"content": text}} if chat else {"text": text}]})
            await writer.drain()
        if self.fault != "no-done":
            _event(writer, {"choices": [{"delta": {}, "text": "", "finish_reason": "stop"}]})
            if self.usage:
                _event(writer, {"choices": [], "usage": {"completion_tokens": len(words)}})
            _chunk(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        return True


def _send(writer: asyncio.StreamWriter, status: int, document: Any) -> None:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    head = f"HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)


def _event(writer: asyncio.StreamWriter, document: Any) -> None:
    _chunk(writer, b"data: " + json.dumps(document).encode() + b"\n\n")


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def _doubled(asked: Any) -> Any:
    [tensor] = asked["inputs"]
    out = {**tensor, "name": "OUT", "data": [2 * value for value in tensor["data"]]}
    return {"model_name": MODEL, "outputs": [out]}


def _embedding(index: int, text: str) -> Any:
    """Texts are similar by how often they have each letter."""
    return {"index": index, "embedding": [float(text.lower().count(letter)) for letter in "abcdefghijklmnop"]}
