"""The API server's answers: objects, and refusals as Status objects in the real server's words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from gitops.world.embedded.fieldset import Paths, display
from gitops.world.kubernetes.transport import Response


class Refusal(Exception):
    """Ends a request, and its transaction, with this answer."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def answer(status: int, content: Mapping[str, Any]) -> Response:
    """A JSON answer."""
    return Response(status, {"content-type": "application/json"}, orjson.dumps(content))


def refused(
    code: int, reason: str, message: str, kind: str = "", name: str = "", causes: Iterable[Mapping[str, str]] = ()
) -> Response:
    """A Status of that HTTP code."""
    details = {"name": name, "kind": kind, "causes": list(causes)}
    status = {"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure"}
    return answer(code, {**status, "message": message, "reason": reason, "details": details, "code": code})


def not_found(plural: str, name: str) -> Response:
    """No such object."""
    return refused(404, "NotFound", f'{plural} "{name}" not found', plural, name)


def modified(resource: str, name: str) -> Response:
    """The version to replace is not the present one. `resource` is `leases.coordination.k8s.io/v1`."""
    plural, _, group = resource.partition("/")[0].partition(".")
    where = plural if "/" not in resource else f"{plural}.{group}"
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return refused(409, "Conflict", f'Operation cannot be fulfilled on {where} "{name}": {why}', plural, name)


def invalid(kind: str, name: str, field: str, problem: str) -> Response:
    """A field's value is not acceptable."""
    cause = {"reason": "FieldValueInvalid", "message": problem, "field": field}
    return refused(422, "Invalid", f'{kind} "{name}" is invalid: {field}: {problem}', kind, name, [cause])


def conflict(owners: Mapping[str, Paths], api_version: str) -> Response:
    """Other managers own fields with other values. `owners` are keyed like `Update:kubectl-edit`."""
    causes = [
        {"reason": "FieldManagerConflict", "message": _claim(owner, api_version), "field": display(path)}
        for owner, paths in sorted(owners.items())
        for path in sorted(paths)
    ]
    number = f"{len(causes)} conflict{'s' if len(causes) > 1 else ''}"
    listed = "; ".join(f"{cause['message']}: {cause['field']}" for cause in causes)
    return refused(409, "Conflict", f"Apply failed with {number}: {listed}", causes=causes)


def _claim(owner: str, api_version: str) -> str:
    operation, _, manager = owner.partition(":")
    return f'conflict with "{manager}"' + (f" using {api_version}" if operation == "Update" else "")
