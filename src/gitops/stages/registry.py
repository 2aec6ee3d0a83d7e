"""Versions of MLflow's model registry as a source of artifacts, by its REST API.

Server and credentials are those that MLflow's own clients read: MLFLOW_TRACKING_URI (or MLFLOW_REGISTRY_URI), and
MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD. Reference: MLflow REST API 2.0,
`registered-models/alias`, `model-versions/get`, `model-versions/search`, `model-versions/get-download-uri`.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from gitops.errors import GitopsError
from gitops.spec.problems import shorten
from gitops.stages.addresses import public
from gitops.stages.answers import PLAIN, TooLarge, whole
from gitops.stages.stores import REMOTE, need, said

if TYPE_CHECKING:
    import httpx

TRIES = 4
PAUSE = 0.5
"""Seconds before the second try; doubled for each further one."""
MAX_ANSWER = 16 * 1024 * 1024
_REFERENCE = re.compile(r"(?P<name>[^/:@]{1,256})(?:/(?P<version>\d{1,18})|@(?P<alias>[^/:@]{1,256}))?")
_TEMPORARY = frozenset({408, 429, 500, 502, 503, 504})
_FORM = "write NAME, NAME/VERSION or NAME@ALIAS"


@dataclass(frozen=True, slots=True)
class Registered:
    """A version of a registered model, and where its files lie."""

    name: str
    version: str
    uri: str
    run: str = ""
    tags: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def resolve(reference: str) -> Registered:
    """The version that `NAME/VERSION` or `NAME@ALIAS` names, or the newest that is ready with `NAME` alone.

    Raises GitopsError for a server that is not named or does not answer, a version that is not there or not ready,
    and files that lie where a cluster cannot fetch them.
    """
    match = _REFERENCE.fullmatch(reference)
    if not match:
        raise GitopsError("this names no registered model", where=reference, hint=_FORM)
    need("httpx", "mlflow", "MLflow's registry")
    with _client() as client:
        found = _version(client, match["name"], match["version"], match["alias"], reference)
        asked = {"name": str(found["name"]), "version": str(found["version"])}
        uri = _ask(client, "model-versions/get-download-uri", asked, reference).get("artifact_uri")
    tags = found.get("tags")
    pairs = [tag for tag in tags if isinstance(tag, dict)] if isinstance(tags, list) else []
    return Registered(
        asked["name"],
        asked["version"],
        _fetchable(uri, reference),
        str(found.get("run_id") or ""),
        MappingProxyType({str(tag.get("key")): str(tag.get("value")) for tag in pairs}),
    )


def _client() -> httpx.Client:
    import httpx

    server = os.environ.get("MLFLOW_REGISTRY_URI") or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not server.startswith(("http://", "https://")):
        hint = "set MLFLOW_TRACKING_URI to its address, https://…"
        raise GitopsError("no MLflow server is named", where=shorten(public(server), 80), hint=hint)
    token, user = os.environ.get("MLFLOW_TRACKING_TOKEN"), os.environ.get("MLFLOW_TRACKING_USERNAME")
    headers = {"User-Agent": "gitops", **PLAIN} | ({"Authorization": f"Bearer {token}"} if token else {})
    if token and not (token.isascii() and token.isprintable()):
        hint = "it has more than one line, or characters that no token has"
        raise GitopsError("this environment variable holds no token", where="MLFLOW_TRACKING_TOKEN", hint=hint)
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
    auth = httpx.BasicAuth(os.fsencode(user), os.fsencode(password)) if user and not token else None
    verify = os.environ.get("MLFLOW_TRACKING_INSECURE_TLS") != "true"
    base = f"{server.rstrip('/')}/api/2.0/mlflow/"
    return httpx.Client(base_url=base, headers=headers, auth=auth, timeout=httpx.Timeout(30, connect=10), verify=verify)


def _version(client: httpx.Client, name: str, version: str | None, alias: str | None, reference: str) -> dict[str, Any]:
    if version:
        found = _ask(client, "model-versions/get", {"name": name, "version": version}, reference).get("model_version")
    elif alias:
        found = _ask(client, "registered-models/alias", {"name": name, "alias": alias}, reference).get("model_version")
    else:
        found = _newest(client, name, reference)
    if not isinstance(found, dict) or not isinstance(found.get("name"), str) or "version" not in found:
        raise GitopsError("MLflow does not say which version that is", where=reference, hint="check the server")
    if found.get("status", "READY") != "READY":
        why = shorten(str(found.get("status_message") or found["status"]), 120)
        raise GitopsError(
            f"version {found['version']} is not ready: {why}", where=reference, hint="wait, or register it anew"
        )
    return found


def _newest(client: httpx.Client, name: str, reference: str) -> Any:
    quoted = name.replace("'", "\\'")
    asked = {"filter": f"name='{quoted}'", "order_by": "version_number DESC", "max_results": "100"}
    found = _ask(client, "model-versions/search", asked, reference).get("model_versions")
    ready = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    if not ready:
        raise GitopsError("there is no such registered model", where=reference, hint="check the name, and the server")
    return next((one for one in ready if one.get("status", "READY") == "READY"), ready[0])


def _ask(client: httpx.Client, path: str, asked: Mapping[str, str], reference: str) -> dict[str, Any]:
    import httpx

    for attempt in range(TRIES):
        try:
            with client.stream("GET", path, params=dict(asked)) as answer:
                if answer.status_code not in _TEMPORARY:
                    return _object(answer.status_code, whole(answer, MAX_ANSWER), reference)
                problem = f"HTTP {answer.status_code}"
        except TooLarge:
            what = f"the answer is packed, or larger than {MAX_ANSWER // 2**20} MiB"
            raise GitopsError(what, where=reference, hint="check MLFLOW_TRACKING_URI") from None
        except httpx.HTTPError as error:
            problem = said(error)
        if attempt < TRIES - 1:
            time.sleep(PAUSE * 2**attempt)
    hint = "check MLFLOW_TRACKING_URI and the network, then run it again"
    raise GitopsError(f"MLflow does not answer: {problem}", where=public(str(client.base_url)), hint=hint)


def _object(status: int, body: bytes, reference: str) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    found = document if isinstance(document, dict) else {}
    if status in (401, 403):
        hint = "set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        raise GitopsError(f"MLflow refuses (HTTP {status})", where=reference, hint=hint)
    if found.get("error_code") == "RESOURCE_DOES_NOT_EXIST":
        what = shorten(str(found.get("message") or "it is not registered"), 160)
        raise GitopsError(f"MLflow does not have it: {what}", where=reference, hint="check the name and the version")
    if status != 200 or document is None:
        what = shorten(str(found.get("message") or "the answer is not what MLflow's API gives"), 160)
        raise GitopsError(f"HTTP {status}: {what}", where=reference, hint="check MLFLOW_TRACKING_URI")
    return found


def _fetchable(uri: Any, reference: str) -> str:
    """The URI of the files where clusters can fetch them; `abfss` and proxied artifacts they cannot."""
    if not isinstance(uri, str) or not uri:
        raise GitopsError("MLflow does not say where its files lie", where=reference, hint="name the place with --uri")
    scheme = uri.partition("://")[0]
    if scheme in REMOTE or scheme == "file":
        return uri.rstrip("/")
    hint = "copy them to a bucket, and name that with --uri"
    raise GitopsError(f"its files lie at {shorten(uri, 80)}, which clusters cannot fetch", where=reference, hint=hint)
