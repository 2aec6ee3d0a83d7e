"""The transport to a real API server: the official client reads the kubeconfig, urllib3 carries the requests.

The client's own models and dictionaries are left out: they cost three times the CPU of the transfer.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import kubernetes.client
import kubernetes.config
import urllib3
from kubernetes.config import ConfigException

from gitops.world.kubernetes.errors import ClusterError
from gitops.world.kubernetes.transport import NO_QUERY, Response, TransportError

_CONNECT_SECONDS = 5.0
_client: Any = kubernetes.client  # both are untyped
_config: Any = kubernetes.config


class HttpTransport:
    """Requests through a configured ApiClient; see the Transport protocol."""

    def __init__(self, api: Any, *, timeout: float) -> None:
        self._api = api
        self._pool = api.rest_client.pool_manager
        self._host = api.configuration.host.rstrip("/")
        self._timeout = urllib3.Timeout(connect=min(timeout, _CONNECT_SECONDS), read=timeout)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] = NO_QUERY,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Response:
        """One attempt, without redirects."""
        headers = {**self._api.default_headers, "Accept": accept}
        if body is not None:
            headers["Content-Type"] = content_type
        # The client refreshes an expired token of an exec plugin in here.
        self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)
        url = self._host + path + (f"?{urlencode(query)}" if query else "")
        try:
            answer = self._pool.request(
                method, url, body=body, headers=headers, timeout=self._timeout, retries=False, redirect=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise TransportError(_fault(error)) from error
        except OSError as error:
            raise TransportError(str(error)) from error
        return Response(answer.status, {key.lower(): value for key, value in answer.headers.items()}, answer.data)

    def close(self) -> None:
        """Close the pooled connections."""
        self._api.rest_client.close()


def open_http(
    context: str | None, kubeconfig: Path | None, *, timeout: float, connections: int
) -> tuple[str, HttpTransport]:
    """A name for the cluster and the transport to it. Raises ClusterError; see `kubernetes.connect`."""
    settings = _client.Configuration()
    settings.connection_pool_maxsize = connections
    file = str(kubeconfig) if kubeconfig else os.environ.get("KUBECONFIG") or "~/.kube/config"
    in_pod = "KUBERNETES_SERVICE_HOST" in os.environ and not kubeconfig and "KUBECONFIG" not in os.environ
    if in_pod and context is None and not Path(file).expanduser().exists():
        _config.load_incluster_config(client_configuration=settings)
        name = "cluster of this pod"
    else:
        name = f"context {_load(file, context, settings)}"
    return name, HttpTransport(_client.ApiClient(settings), timeout=timeout)


def _load(file: str, context: str | None, settings: Any) -> str:
    """Read the kubeconfig into the settings; the name of the context."""
    chosen, names = _contexts(file, context)
    if chosen not in names:
        raise ClusterError(
            f"there is no context {chosen!r} in the kubeconfig",
            where=file,
            hint=f"contexts there: {', '.join(names) or 'none'}",
        )
    where = f"{file}, context {chosen}"
    with _logged_errors() as errors:
        try:
            _config.load_kube_config(file, chosen, client_configuration=settings, persist_config=False)
        except Exception as error:
            reason = f"cannot use the context: {_first_line(str(error))}"
            hint = "`kubectl get namespaces` with this context must work"
            raise ClusterError(reason, where=where, hint=hint) from error
    if errors:
        raise ClusterError(
            f"the credential plugin failed: {_first_line(errors[0])}",
            where=where,
            hint="install it or log in; `kubectl get namespaces` with this context must work",
        )
    return chosen


def _contexts(file: str, context: str | None) -> tuple[str, list[str]]:
    """The context to use, and those that there are."""
    hint = "name another file with KUBECONFIG, or let your cloud's command line write one"
    try:
        contexts, current = _config.list_kube_config_contexts(file)
    except ConfigException as error:
        # The client insists on a current context, which the files of CI often lack; it is not the one we want.
        if context and "Expected" in str(error):
            return context, [context]
        raise ClusterError(f"no usable kubeconfig: {error}", where=file, hint=hint) from error
    except Exception as error:  # the loader lets YAML and attribute errors through
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ClusterError(f"cannot read the kubeconfig: {reason}", where=file, hint=hint) from error
    return context or current["name"], [each["name"] for each in contexts]


@contextmanager
def _logged_errors() -> Iterator[list[str]]:
    """Collect what the client logs: a failing exec plugin is only logged, on the root logger."""
    messages: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    root, collect = logging.getLogger(), Collect(logging.ERROR)
    handlers, root.handlers = root.handlers, [collect]
    try:
        yield messages
    finally:
        root.handlers = handlers


def _first_line(text: str) -> str:
    line = text.strip().splitlines()[0] if text.strip() else "no reason given"
    return line if len(line) <= 200 else line[:200] + "…"


def _fault(error: urllib3.exceptions.HTTPError) -> str:
    # First, because urllib3 counts it among the timeouts.
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return "the connection was refused" if "refused" in str(error) else str(error).rpartition(": ")[2]
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        return "connecting timed out"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "the answer timed out"
    if isinstance(error, urllib3.exceptions.ProtocolError):
        return "the connection was dropped"
    if isinstance(error, urllib3.exceptions.SSLError):
        return f"TLS failed: {error}"
    return str(error)
