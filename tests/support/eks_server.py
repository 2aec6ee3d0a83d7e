"""A small EKS API for tests, spoken as AWS's own service definition says.

moto's EKS lacks add-ons, access entries, pod identity and updates, and answers node groups and access settings
wrongly, so that Terraform never converges on it. This application keeps the objects itself; botocore's service
model routes its requests and checks what goes in, and subnets, launch templates and roles must exist in moto.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, unquote

import botocore.session
from botocore import xform_name
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape
from botocore.validate import ParamValidator

from tests.support.eks_api import Eks, EksError, Json

StartResponse = Callable[[str, list[tuple[str, str]]], object]
WsgiApp = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


class EksServer:
    """The WSGI application for one region: routing and checks. `Eks` has one method per operation."""

    def __init__(self, region: str) -> None:
        service = botocore.session.get_session().get_service_model("eks")
        operations = [service.operation_model(name) for name in service.operation_names]
        self._routes = [(op.http["method"], _pattern(op.http["requestUri"]), op) for op in operations]
        self._eks = Eks(region)
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        # One request at a time: the handlers change plain dictionaries.
        with self._lock:
            status, headers, body = self._answer(environ)
        content = json.dumps(body).encode()
        headers += [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
        start_response(status, headers)
        return [content]

    def _answer(self, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], Json]:
        try:
            operation, arguments = self._request(environ)
            handler = getattr(self._eks, xform_name(operation.name), None)
            if handler is None:
                raise EksError("UnsupportedOperation", f"{operation.name} is not part of this test server", 501)
            answer: Json = handler(arguments)
        except EksError as error:
            return f"{error.status} Error", [("x-amzn-ErrorType", error.name)], {"message": error.message}
        if operation.output_shape is not None:
            _check(answer, operation.output_shape)
        return "200 OK", [], answer

    def _request(self, environ: dict[str, Any]) -> tuple[OperationModel, Json]:
        path, _, query = str(environ["REQUEST_URI"]).partition("?")
        for method, pattern, operation in self._routes:
            found = pattern.fullmatch(path)
            if found and method == environ["REQUEST_METHOD"]:
                arguments = _arguments(operation, found.groupdict(), query, _body(environ))
                if operation.input_shape is not None:
                    _check(arguments, operation.input_shape)
                return operation, arguments
        raise EksError("NotFoundException", f"no operation at {path}", 404)


def _pattern(uri: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(uri)))


def _body(environ: dict[str, Any]) -> Json:
    content = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    body: Json = json.loads(content or b"{}")
    return body


def _arguments(operation: OperationModel, parts: dict[str, str], query: str, body: Json) -> Json:
    """The request's members from path, query and body, under the names of the service definition."""
    asked = parse_qs(query)
    arguments: Json = dict(body)
    shape = operation.input_shape
    for name, member in (shape.members if shape is not None else {}).items():
        wire = member.serialization.get("name", name)
        if member.serialization.get("location") == "uri":
            arguments[name] = unquote(parts[wire])
        elif member.serialization.get("location") == "querystring" and wire in asked:
            values = asked[wire]
            arguments[name] = values if member.type_name == "list" else _scalar(member, values[0])
    return arguments


def _scalar(member: Shape, text: str) -> object:
    if member.type_name == "boolean":
        return text == "true"
    return int(text) if member.type_name == "integer" else text


def _check(value: Json, shape: Shape) -> None:
    report = ParamValidator().validate(value, shape)
    if report.has_errors():
        raise EksError("InvalidParameterException", report.generate_report())
    for problem in _wrong_enums(value, shape):
        raise EksError("InvalidParameterException", problem)


def _wrong_enums(value: object, shape: Shape) -> Iterable[str]:
    """Values outside their enumeration, which botocore itself does not check."""
    if isinstance(shape, StructureShape) and isinstance(value, dict):
        for name, item in value.items():
            yield from _wrong_enums(item, shape.members[name]) if name in shape.members else ()
    elif isinstance(shape, ListShape) and isinstance(value, list):
        for item in value:
            yield from _wrong_enums(item, shape.member)
    elif isinstance(shape, MapShape) and isinstance(value, dict):
        for item in value.values():
            yield from _wrong_enums(item, shape.value)
    elif getattr(shape, "enum", None) and value not in shape.enum:
        yield f"{value!r} is not one of {', '.join(shape.enum)}"
