"""The JSON Schemas, by themselves and in the editors' language server."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from gitops.spec import simulation_file
from gitops.spec.resolved import SourceFile
from gitops.spec.schema import environment_schema, pipeline_schema, simulation_schema
from gitops.spec.source import read_yaml
from gitops.spec.words import words_for
from tests.support.tools.npm import LANGUAGE_SERVER


def schema_for(name: str) -> dict[str, Any]:
    return pipeline_schema() if name == "pipeline.yaml" else environment_schema()


def errors(name: str, data: bytes) -> list[str]:
    validator = Draft7Validator(schema_for(name))
    return [error.message for error in validator.iter_errors(read_yaml(SourceFile(name, data)))]


def test_they_are_schemas() -> None:
    for schema in (pipeline_schema(), environment_schema(), simulation_schema()):
        Draft7Validator.check_schema(schema)
        assert "discriminator" not in json.dumps(schema)


def test_a_simulation_fits_its_schema() -> None:
    """The example of its module, and some that do not."""
    schema, text = Draft7Validator(simulation_schema()), (simulation_file.__doc__ or "").split("```")[1]
    document = read_yaml(SourceFile("simulation.yaml", text.removeprefix("yaml").encode()))
    assert [error.message for error in schema.iter_errors(document)] == []
    for wrong in ({"models": {"chat": {"errorRate": "2x"}}}, {"model": {}}, {"seed": -1}):
        assert list(schema.iter_errors({"apiVersion": "gitops/v1"} | wrong))
    described = simulation_schema()["$defs"]["SimulatedFault"]["properties"]["grows"]["description"]
    assert described == "What is added each hour: a leak."


def test_the_example_fits(example: dict[str, bytes]) -> None:
    for name, data in example.items():
        assert errors(name, data) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"version: 2.3.0", b"version: 2.3"),
        (b"rollout: careful", b"rollot: careful"),
        (b"runtime: vllm", b"runtime: vlm"),
    ],
)
def test_mistakes_do_not(example: dict[str, bytes], old: bytes, new: bytes) -> None:
    assert errors("pipeline.yaml", example["pipeline.yaml"].replace(old, new, 1))


def test_an_environment_may_say_any_part_of_a_model(base: dict[str, bytes]) -> None:
    dev = base["environments/dev.yaml"]
    assert not errors("environments/dev.yaml", dev + b"models: {chat: {owner: null, serve: {replicas: {max: 3}}}}\n")
    assert errors("environments/dev.yaml", dev + b"models: {chat: {serve: {replicas: {maximum: 3}}}}\n")
    assert errors("environments/dev.yaml", dev + b"models: {chat: {verison: 1.0.0}}\n")


def patterns(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    if isinstance(schema, dict):
        if isinstance(schema.get("pattern"), str):
            yield schema["pattern"], path
        for pattern in schema.get("patternProperties", {}):
            yield pattern, (*path, "x")
        for key, value in schema.items():
            yield from patterns(value, (*path, key))
    elif isinstance(schema, list):
        for item in schema:
            yield from patterns(item, path)


def test_every_pattern_has_words() -> None:
    made_from_functions = (r"^(\d+h)?(\d+m)?(\d+s)?$", r"^(\d+(\.\d+)?x stable|\d+(\.\d+)?(ms|s|m|h|%)?)$")
    for schema in (pipeline_schema(), environment_schema()):
        for pattern, path in patterns(schema):
            if pattern not in made_from_functions:
                assert words_for(pattern, path), (pattern, path)


# --- yaml-language-server ---


@pytest.fixture(scope="session")
def server() -> list[str]:
    """The command that starts the server."""
    return ["node", str(LANGUAGE_SERVER.path_or_skip()), "--stdio"]


def diagnostics(server: list[str], folder: Path, name: str, data: bytes) -> list[str]:
    """What the server says about a file that names its schema in the first line."""
    schema = folder / "schema.json"
    schema.write_text(json.dumps(schema_for(name)))
    text = f"# yaml-language-server: $schema={schema.as_uri()}\n{data.decode()}"
    uri = (folder / Path(name).name).as_uri()
    document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
    with subprocess.Popen(server, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        alarm = threading.Timer(60, child.kill)
        alarm.start()
        try:
            send(child, "initialize", {"processId": None, "rootUri": None, "capabilities": {}}, id=1)
            send(child, "initialized", {})
            settings = {"yaml": {"validate": True, "schemaStore": {"enable": False}}}
            send(child, "workspace/didChangeConfiguration", {"settings": settings})
            send(child, "textDocument/didOpen", {"textDocument": document})
            for message in received(child):
                if message.get("method") == "textDocument/publishDiagnostics":
                    return [d["message"] for d in message["params"]["diagnostics"]]
                if "id" in message and "method" in message:
                    answer(child, message)
        finally:
            alarm.cancel()
            child.kill()
    raise AssertionError("the server ended without diagnostics")


def send(child: subprocess.Popen[bytes], method: str, params: dict[str, Any], **more: Any) -> None:
    write(child, {"jsonrpc": "2.0", "method": method, "params": params, **more})


def answer(child: subprocess.Popen[bytes], request: dict[str, Any]) -> None:
    """The server asks for settings of its five sections; it gets none but what it was sent."""
    items = request.get("params", {}).get("items", [])
    result = [{"validate": True, "schemaStore": {"enable": False}}] + [None] * (len(items) - 1) if items else None
    write(child, {"jsonrpc": "2.0", "id": request["id"], "result": result})


def write(child: subprocess.Popen[bytes], message: dict[str, Any]) -> None:
    body = json.dumps(message).encode()
    assert child.stdin
    child.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    child.stdin.flush()


def received(child: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    assert child.stdout
    while line := child.stdout.readline():
        if match := re.match(rb"Content-Length: (\d+)", line):
            while child.stdout.readline().strip():
                pass
            yield json.loads(child.stdout.read(int(match[1])))


def test_editors_accept_the_example(server: list[str], tmp_path: Path, example: dict[str, bytes]) -> None:
    for name in ("pipeline.yaml", "environments/dev.yaml"):
        assert diagnostics(server, tmp_path, name, example[name]) == []


def test_editors_see_a_typo(server: list[str], tmp_path: Path, example: dict[str, bytes]) -> None:
    typo = example["pipeline.yaml"].replace(b"rollout: careful", b"rollot: careful", 1)
    assert any("rollot" in message for message in diagnostics(server, tmp_path, "pipeline.yaml", typo))
