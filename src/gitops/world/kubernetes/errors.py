"""What an API server's refusals mean to a person."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import orjson

from gitops.errors import GitopsError
from gitops.plan.ownership import whose
from gitops.values import ObjectRef, Owner
from gitops.world.kubernetes.kinds import Kind
from gitops.world.kubernetes.transport import Response, is_mistyped

_LONGEST = 300


class ClusterError(GitopsError):
    """A cluster could not be reached, or refused something; `where` names the cluster and the object."""


class Conflict(ClusterError):
    """Other field managers own fields that we want to set. `claims` pairs each field's path with its owner."""

    def __init__(self, where: str, claims: Sequence[tuple[str, str]]) -> None:
        managers = ", ".join(sorted({manager for _, manager in claims}))
        fields = ", ".join(path for path, _ in claims)
        super().__init__(
            f"{managers} also manages {fields}",
            where=where,
            hint="stop that manager, or take the fields over with --force-conflicts",
        )
        self.claims = tuple(claims)


class NotOurs(ClusterError):
    """There is an object of that name, and it is not the pipeline's: applying would take it over."""

    def __init__(self, where: str, found: Owner, owner: Owner) -> None:
        super().__init__(
            whose(found, owner.pipeline, owner.cluster),
            where=where,
            hint="use another namespace or name, or take it over: gitops apply --adopt",
        )


def conflict_claims(response: Response) -> list[tuple[str, str]]:
    """(path, manager) of every field of a server-side apply conflict; empty for any other answer."""
    if response.status != 409:
        return []
    causes = _status(response).get("details", {}).get("causes", [])
    return [
        (readable_path(cause.get("field", "")), _manager(cause.get("message", "")))
        for cause in causes
        if cause.get("reason") == "FieldManagerConflict"
    ]


def readable_path(path: str) -> str:
    """The API server's `.spec.containers[name="server"].image` as `spec.containers[server].image`."""
    return re.sub(r"\[([^\]]*)\]", lambda found: f"[{_item(found[1])}]", path.removeprefix("."))


def refusal(response: Response, *, cluster: str, verb: str, kind: Kind, ref: ObjectRef | None) -> ClusterError:
    """The error for an answer of 400 or more. `verb` is a word of RBAC: list, get, patch, delete."""
    where = f"{cluster}, {ref}" if ref else cluster
    status = _status(response)
    if response.status == 401:
        return ClusterError(
            "the API server does not accept the credentials; they may have expired",
            where=cluster,
            hint="log in to the cluster again, or check the kubeconfig's user",
        )
    if response.status == 403:
        return _forbidden(status, where, verb, kind, ref)
    if response.status == 404 and not status:
        return not_served(kind, where)
    if response.status == 404 and status.get("details", {}).get("kind") == "namespaces":
        name = status["details"].get("name", "")
        return ClusterError(f"namespace {name} does not exist", where=where, hint="apply the namespace first")
    if response.status == 422 or is_mistyped(response):
        hint = "correct the template or the spec"
        if "immutable" in status.get("message", ""):
            hint = "this field cannot change on a live object: give it another name, or delete it first"
        return ClusterError(f"the API server calls it invalid: {_message(status, kind)}", where=where, hint=hint)
    text = _message(status, kind) if status else response.body[:_LONGEST].decode(errors="replace").strip()
    return ClusterError(
        f"the API server answered {response.status} to {verb}: {text or 'no reason given'}",
        where=where,
        hint="" if response.status < 500 and response.status != 429 else "try again; see the API server's log",
    )


def not_served(kind: Kind, where: str) -> ClusterError:
    """The error for a kind that this cluster does not know."""
    hint = f"install the custom resource definitions of {kind.installed_by}" if kind.installed_by else ""
    return ClusterError(f"the cluster does not serve {kind.name} ({kind.api_version})", where=where, hint=hint)


def _forbidden(status: dict[str, Any], where: str, verb: str, kind: Kind, ref: ObjectRef | None) -> ClusterError:
    message = status.get("message", "")
    if "being terminated" in message:
        hint = "wait until it is gone and run again"
        return ClusterError("its namespace is being deleted", where=where, hint=hint)
    place = f"in namespace {ref.namespace}" if ref and ref.namespace else "in the whole cluster"
    group = kind.api_version.partition("/")[0] if "/" in kind.api_version else "core"
    return ClusterError(
        f"not allowed to {verb} {kind.plural} ({group}) {place}",
        where=where,
        hint="bind a role with this right to the kubeconfig's user",
    )


def _message(status: dict[str, Any], kind: Kind) -> str:
    """The server's sentence; for secrets, whose values it may quote, only the names of fields."""
    if kind.name != "Secret":
        text = str(status.get("message", ""))
        return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
    causes = status.get("details", {}).get("causes", [])
    fields = ", ".join(str(cause.get("field", "")) for cause in causes)
    return f"{status.get('reason', '')} {fields}".strip()


def _status(response: Response) -> dict[str, Any]:
    try:
        status = orjson.loads(response.body)
    except orjson.JSONDecodeError:
        return {}
    return status if isinstance(status, dict) and status.get("kind") == "Status" else {}


def _manager(message: str) -> str:
    found = re.search(r'conflict with "((?:[^"\\]|\\.)*)"', message)
    return found[1] if found else "another field manager"


def _item(keys: str) -> str:
    values = re.findall(r'=("(?:[^"\\]|\\.)*"|[^,]+)', keys)
    return ",".join(value.strip('"') for value in values) if values else keys.removeprefix("=").strip('"')
