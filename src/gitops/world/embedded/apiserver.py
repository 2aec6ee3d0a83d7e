"""An API server in this process: Kubernetes' REST semantics over one SQLite file.

It speaks the Transport protocol, so that the same KubernetesCluster works on it as on a real server, and answers
in the real server's words (statuses, conflict causes, messages) for what that needs: lists with labels and
pages, get, create, replace, server-side apply, merge patch, delete. It serves every kind of `world.kubernetes.kinds`.
"""

from __future__ import annotations

import base64
import re
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson

from gitops.world.embedded import fieldset
from gitops.world.embedded.answers import Refusal, answer, conflict, invalid, modified, not_found, refused
from gitops.world.embedded.autoscaling import AUTOSCALERS, Needs
from gitops.world.embedded.pods import DEPLOYMENTS, PODS, rfc3339
from gitops.world.embedded.simulate import EmbeddedPool, Simulation
from gitops.world.embedded.store import Key, Store
from gitops.world.kubernetes.cluster import KubernetesCluster, OwnerNow
from gitops.world.kubernetes.errors import ClusterError
from gitops.world.kubernetes.kinds import KINDS, Kind
from gitops.world.kubernetes.transport import NO_QUERY, Response, TransportError

__all__ = ["ApiServer", "EmbeddedPool", "open_embedded"]

_SERVED = {(kind.api_version, kind.plural): kind for kind in KINDS.values()}
_VERSION = {"major": "1", "minor": "34"}
"""Of the control plane that the tests hold this one to."""
_PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+/[^/]+))"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/))?/(?P<plural>[^/]+)(?:/(?P<name>[^/]+))?"
)
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SIMULATED = frozenset({DEPLOYMENTS, "namespaces.v1", *AUTOSCALERS})
_SHOWN = frozenset({DEPLOYMENTS, PODS})
_PASSING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_MEND_ACCESS = "check free space, and the owner and mode of it and of its directory"

Manifest = dict[str, Any]


def open_embedded(
    path: Path,
    pools: Sequence[EmbeddedPool],
    speed: float,
    now: Callable[[], float] = time.time,
    owner: OwnerNow | None = None,
    needs: Needs = MappingProxyType({}),
) -> KubernetesCluster:
    """The embedded cluster in that file, made if it is not there. `now` gives seconds since the epoch.

    Raises ClusterError when the file is something else.
    """
    try:
        server = ApiServer(path, pools, speed, now, needs)
    except OSError as error:
        raise _unusable(error.strerror or str(error), path, _MEND_ACCESS) from error
    except sqlite3.DatabaseError as error:
        raise _broken(error, path) from error
    return KubernetesCluster(server, name=f"embedded cluster {path.stem}", owner=owner)


def _broken(error: sqlite3.DatabaseError, path: Path) -> ClusterError:
    operational = isinstance(error, sqlite3.OperationalError)
    return _unusable(str(error), path, _MEND_ACCESS if operational else "delete it to start with an empty cluster")


def _unusable(reason: str, path: Path, hint: str) -> ClusterError:
    return ClusterError(f"cannot open the embedded cluster: {reason}", where=str(path), hint=hint)


class ApiServer:
    """Requests in, answers out; see the Transport protocol. Safe in several threads and processes."""

    def __init__(
        self,
        path: Path,
        pools: Sequence[EmbeddedPool],
        speed: float,
        now: Callable[[], float],
        needs: Needs = MappingProxyType({}),
    ) -> None:
        self._now = now
        self._path = path
        self._store = Store(path)
        self._simulation = Simulation(self._store, pools, speed, needs)
        with self._store.transaction():
            self._simulation.look_around()
            for name in ("default", "kube-system"):
                key = Key("namespaces.v1", "", name)
                if self._store.get(key) is None:
                    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
                    self._write(key, None, manifest, {}, dry_run=False)

    def _is_simulated(self, resource: str) -> bool:
        return resource in _SIMULATED or self._simulation.depends_on(resource)

    def close(self) -> None:
        """Close the file."""
        self._store.close()

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
        """Answer one request.

        Raises TransportError when another process holds the file for too long, ClusterError when it is of no use.
        """
        if path == "/version":
            return Response(200, {}, orjson.dumps(_VERSION))
        found = _PATH.fullmatch(path)
        kind = found and _SERVED.get((found["core"] or found["group"], found["plural"]))
        if not found or not kind:
            return Response(404, {}, b"404 page not found")
        key = Key(f"{kind.plural}.{kind.api_version}", found["namespace"] or "", found["name"] or "")
        content = orjson.loads(body) if body else {}
        try:
            return self._answer(method, kind, key, query, content, content_type)
        except Refusal as refusal:
            return refusal.response
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF in _PASSING:
                raise TransportError(f"embedded cluster: {error}") from error
            raise _broken(error, self._path) from error

    def _answer(
        self, method: str, kind: Kind, key: Key, query: Mapping[str, str], content: Manifest, content_type: str
    ) -> Response:
        if method == "GET":
            self._settle(key.resource)
            with self._store.transaction(write=False):
                return self._get(key) if key.name else self._list(kind, key, query)
        with self._store.transaction():
            if self._is_simulated(key.resource):
                self._simulation.catch_up(self._now())
            if method == "PATCH" and content_type == "application/apply-patch+yaml":
                return self._apply(kind, key, query, content)
            if method == "PATCH" and content_type == "application/merge-patch+json":
                return self._merge_patch(key, query, content)
            if method == "POST" and not key.name:
                return self._create(kind, key, query, content)
            if method == "PUT" and key.name:
                return self._replace(kind, key, query, content)
            if method == "DELETE" and key.name:
                return self._delete(key, query, content)
        return refused(405, "MethodNotAllowed", f"{method} with {content_type} is not part of the embedded cluster")

    # --- Reading ---------------------------------------------------------------------------------------------

    def _settle(self, resource: str) -> None:
        if resource not in _SHOWN:
            return
        with self._store.transaction(write=False):
            due = self._simulation.is_due(self._now())
        if due:
            with self._store.transaction():
                self._simulation.advance(self._now())

    def _get(self, key: Key) -> Response:
        return answer(200, self._show(key.resource, self._existing(key)))

    def _list(self, kind: Kind, key: Key, query: Mapping[str, str]) -> Response:
        limit = int(query.get("limit", 0))
        labels = _parse_selector(query.get("labelSelector", ""))
        token = query.get("continue")
        after = tuple(orjson.loads(base64.urlsafe_b64decode(token))) if token else ("", "")
        found = list(islice(self._matching(key, labels, after), limit + 1 if limit else None))
        position = ""
        if limit and len(found) > limit:
            last = found[limit - 1]["metadata"]
            place = orjson.dumps([last.get("namespace", ""), last["name"]])
            position = base64.urlsafe_b64encode(place).decode()
            del found[limit:]
        items = self._show_all(key.resource, found)
        metadata = {"resourceVersion": str(int(self._store.number("resourceVersion")))}
        if position:
            metadata["continue"] = position
        kinds = {"apiVersion": kind.api_version, "kind": f"{kind.name}List"}
        return answer(200, {**kinds, "metadata": metadata, "items": items})

    def _matching(self, key: Key, labels: Mapping[str, str | None], after: tuple[str, ...]) -> Iterator[Manifest]:
        for manifest in self._store.scan(key.resource, key.namespace, (after[0], after[1])):
            carried = manifest["metadata"].get("labels") or {}
            if all(label in carried and wanted in (None, carried[label]) for label, wanted in labels.items()):
                yield manifest

    def _show(self, resource: str, manifest: Manifest) -> Manifest:
        return self._show_all(resource, [manifest])[0]

    def _show_all(self, resource: str, manifests: list[Manifest]) -> list[Manifest]:
        if resource == DEPLOYMENTS:
            return self._simulation.present_deployments(manifests, self._now())
        if resource == PODS:
            return [self._simulation.present_pod(manifest, self._now()) for manifest in manifests]
        if resource == "namespaces.v1":
            return [{**manifest, "status": {"phase": "Active"}} for manifest in manifests]
        return manifests

    # --- Writing ---------------------------------------------------------------------------------------------

    def _apply(self, kind: Kind, key: Key, query: Mapping[str, str], config: Manifest) -> Response:
        _check_body(kind, key, config)
        live = self._store.get(key)
        if live is None:
            self._check_namespace(key)
        base = live or {"apiVersion": kind.api_version, "kind": kind.name, "metadata": {}}
        manager = f"Apply:{query.get('fieldManager', 'unknown')}"
        result = fieldset.apply(base, config, _managers(base), manager)
        if result.conflicts and query.get("force") != "true":
            raise Refusal(conflict(result.conflicts, kind.api_version))
        written = self._write(key, live, result.manifest, result.managers, dry_run=query.get("dryRun") == "All")
        return answer(200 if live else 201, self._show(key.resource, written))

    def _merge_patch(self, key: Key, query: Mapping[str, str], patch: Manifest) -> Response:
        live = self._existing(key)
        new = _merged(live, patch)
        return self._update(key, live, new, query, 200)

    def _create(self, kind: Kind, key: Key, query: Mapping[str, str], manifest: Manifest) -> Response:
        key = key._replace(name=manifest.get("metadata", {}).get("name", ""))
        _check_body(kind, key, manifest)
        self._check_namespace(key)
        if self._store.get(key):
            plural = kind.plural
            raise Refusal(refused(409, "AlreadyExists", f'{plural} "{key.name}" already exists', plural, key.name))
        return self._update(key, None, manifest, query, 201)

    def _replace(self, kind: Kind, key: Key, query: Mapping[str, str], manifest: Manifest) -> Response:
        _check_body(kind, key, manifest)
        live = self._existing(key)
        # A status has a door of its own; what is here is what the writer had read.
        new = {name: value for name, value in manifest.items() if name != "status"}
        return self._update(key, live, new, query, 200)

    def _update(
        self, key: Key, live: Manifest | None, new: Manifest, query: Mapping[str, str], status: int
    ) -> Response:
        if live:
            _check_version(key, live, new)
        base = live or {"metadata": {}}
        manager = f"Update:{query.get('fieldManager', 'unknown')}"
        # Who writes the record of managers itself, as kubectl does to rename one, says who they are from now on.
        record = _managers(new if live and new["metadata"].get("managedFields") else base)
        managers = fieldset.update(base, new, record, manager)
        written = self._write(key, live, new, managers, dry_run=query.get("dryRun") == "All")
        return answer(status, self._show(key.resource, written))

    def _delete(self, key: Key, query: Mapping[str, str], options: Manifest) -> Response:
        live = self._existing(key)
        wanted, uid = options.get("preconditions", {}).get("uid"), live["metadata"]["uid"]
        if wanted not in (None, uid):
            text = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}"
            raise Refusal(refused(409, "Conflict", text, key.resource.partition(".")[0], key.name))
        if query.get("dryRun") != "All":
            self._store.remove(key)
            if key.resource == "namespaces.v1":
                self._store.remove_namespace(key.name)
            if self._is_simulated(key.resource):
                self._simulation.disturb(key.resource)
        return answer(200, {"apiVersion": "v1", "kind": "Status", "status": "Success"})

    def _write(
        self,
        key: Key,
        live: Manifest | None,
        new: Manifest,
        managers: fieldset.Managers,
        *,
        dry_run: bool,
    ) -> Manifest:
        """Keep the new state with its bookkeeping, unless it is no other than the old one."""
        _check_deployment(key, live, new)
        old = live["metadata"] if live else {}
        now = rfc3339(self._now())
        metadata = {
            **{name: value for name, value in new["metadata"].items() if value not in ({}, None)},
            "name": key.name,
            **({"namespace": key.namespace} if key.namespace else {}),
            "uid": old.get("uid") or str(uuid.uuid4()),
            "creationTimestamp": old.get("creationTimestamp", now),
            "generation": old.get("generation", 1) + (live is not None and _content(live) != _content(new)),
            "resourceVersion": old.get("resourceVersion", ""),
            "managedFields": _entries(managers, old.get("managedFields", []), new["apiVersion"], now),
        }
        manifest = {**new, "metadata": metadata}
        if manifest == live:
            return manifest
        if not dry_run:
            metadata["resourceVersion"] = str(self._store.count("resourceVersion"))
            self._store.put(key, manifest)
            if self._is_simulated(key.resource):
                self._simulation.disturb(key.resource)
        return manifest

    def _existing(self, key: Key) -> Manifest:
        live = self._store.get(key)
        if live is None:
            raise Refusal(not_found(key.resource.partition(".")[0], key.name))
        return live

    def _check_namespace(self, key: Key) -> None:
        if key.namespace and self._store.get(Key("namespaces.v1", "", key.namespace)) is None:
            raise Refusal(not_found("namespaces", key.namespace))


def _check_body(kind: Kind, key: Key, manifest: Manifest) -> None:
    metadata = manifest.get("metadata", {})
    if (manifest.get("apiVersion"), manifest.get("kind")) != (kind.api_version, kind.name):
        raise Refusal(refused(400, "BadRequest", f"the object provided is not a {kind.api_version} {kind.name}"))
    if metadata.get("name") != key.name or metadata.get("namespace", key.namespace) != key.namespace:
        raise Refusal(refused(400, "BadRequest", "the name or namespace of the object does not match the URL"))
    if kind.namespaced and not key.namespace:
        raise Refusal(refused(400, "BadRequest", "a namespace must be specified"))
    if len(key.name) > 253 or not _NAME.fullmatch(key.name):
        text = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"
        raise Refusal(invalid(kind.name, key.name, "metadata.name", f'Invalid value: "{key.name}": {text}'))


def _check_version(key: Key, live: Manifest, new: Manifest) -> None:
    """Whoever names the version that he has read replaces no other."""
    present = live["metadata"]["resourceVersion"]
    if new["metadata"].get("resourceVersion", present) != present:
        raise Refusal(modified(key.resource, key.name))


def _check_deployment(key: Key, live: Manifest | None, new: Manifest) -> None:
    """A deployment needs a selector, which never changes, and a template."""
    if key.resource != DEPLOYMENTS:
        return
    spec = new.get("spec", {})
    for field in ("selector", "template"):
        if not spec.get(field):
            raise Refusal(invalid("Deployment", key.name, f"spec.{field}", "Required value"))
    if live and live["spec"]["selector"] != spec["selector"]:
        problem = f"Invalid value: {orjson.dumps(spec['selector']).decode()}: field is immutable"
        raise Refusal(invalid("Deployment", key.name, "spec.selector", problem))


def _managers(live: Manifest) -> fieldset.Managers:
    entries = live["metadata"].get("managedFields", [])
    return {f"{entry['operation']}:{entry['manager']}": fieldset.from_fields_v1(entry["fieldsV1"]) for entry in entries}


def _entries(managers: fieldset.Managers, before: Sequence[Manifest], api_version: str, now: str) -> list[Manifest]:
    """`metadata.managedFields`; an entry that stays the same keeps its time."""
    known = {f"{entry['operation']}:{entry['manager']}": entry for entry in before}
    entries = []
    for owner, paths in sorted(managers.items()):
        operation, _, manager = owner.partition(":")
        fields = fieldset.to_fields_v1(paths)
        old = known.get(owner)
        entries.append(
            {
                "manager": manager,
                "operation": operation,
                "apiVersion": api_version,
                "time": old["time"] if old and old["fieldsV1"] == fields else now,
                "fieldsType": "FieldsV1",
                "fieldsV1": fields,
            }
        )
    return entries


def _merged(live: Any, patch: Any) -> Any:
    """JSON merge patch, RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(live) if isinstance(live, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def _content(manifest: Manifest) -> Manifest:
    return {key: value for key, value in manifest.items() if key not in ("metadata", "status")}


def _parse_selector(text: str) -> dict[str, str | None]:
    """`a=b,c` as {a: b, c: None}: label a has the value b, and c is there."""
    parts = (part.partition("=") for part in text.split(",") if part)
    return {key: value.removeprefix("=") if equals else None for key, equals, value in parts}
