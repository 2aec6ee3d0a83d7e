"""Where an artifact comes from: an in-toto Statement with SLSA provenance, beside the artifact.

References: in-toto Attestation Framework 1 (Statement v1, ResourceDescriptor, DigestSet, Bundle: JSON lines in
`<artifact>.intoto.jsonl`), SLSA Provenance v1 (buildDefinition, runDetails), DSSE (the envelope).
The digest of a directory is in-toto's `dirHash`. It stands there under that name, and as `sha256`, which it is of the
list of files, for readers that know no other.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson

from gitops.errors import GitopsError
from gitops.spec.problems import shorten
from gitops.stages.digest import Digested
from gitops.stages.stores import MAX_BESIDE

SUFFIX = ".intoto.jsonl"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
PAYLOAD = "application/vnd.in-toto+json"
BUILD_TYPE = "https://gitops/build/v1"
MAX_LINES = 1000
MAX_DEPTH = 32

_HEX = re.compile(r"[0-9a-f]{64}")
_REQUIRED = object()


@dataclass(frozen=True, slots=True)
class Dependency:
    """Something that a build used. `role` says as what: `checkpoint`, `training-data`, `base-model`, `code`.

    `digest` names an algorithm (`sha256`, `gitCommit`) and its value in hex.
    """

    role: str
    uri: str
    digest: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Build:
    """What is told of one build. Times are RFC 3339 in UTC, empty where unknown."""

    builder: str
    """Who or what built it, as a URI: a CI workflow, a runner."""
    parameters: Mapping[str, Any]
    """Everything that the build was asked for from outside: its stages, the version."""
    dependencies: Sequence[Dependency] = ()
    seed: int | None = None
    training_data: str = ""
    """The version of the training data."""
    invoked_by: str = ""
    """The person or account that started it."""
    invocation: str = ""
    """The run of it, such as a CI job's URL."""
    started: str = ""
    finished: str = ""
    tools: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What built it and in which version."""


@dataclass(frozen=True, slots=True)
class Found:
    """One statement that lies beside an artifact. `line` is the envelope it came in, None for a bare statement."""

    statement: Mapping[str, Any]
    line: bytes | None

    @property
    def content(self) -> str:
        """The content digest of the first subject, `sha256:…`."""
        digest = self.statement["subject"][0]["digest"]
        return f"sha256:{digest.get('dirHash') or digest['sha256']}"

    @property
    def files(self) -> dict[str, str]:
        """Digests in hex of single files, by path; empty when the statement lists none."""
        return {subject["name"]: subject["digest"]["sha256"] for subject in self.statement["subject"][1:]}


def statement(name: str, found: Digested, build: Build) -> dict[str, Any]:
    """The in-toto Statement about an artifact: its content first, then each file of a directory."""
    top = found.digest.removeprefix("sha256:")
    digest = {"sha256": top, "dirHash": top} if found.directory else {"sha256": top}
    files = [{"name": file.path, "digest": {"sha256": file.sha256}} for file in found.files if found.directory]
    told = {"seed": build.seed, "trainingData": {"version": build.training_data} if build.training_data else None}
    definition: dict[str, Any] = {
        "buildType": BUILD_TYPE,
        "externalParameters": {**build.parameters, **{key: value for key, value in told.items() if value is not None}},
        "internalParameters": {"invokedBy": build.invoked_by} if build.invoked_by else {},
        "resolvedDependencies": [_resource(dependency) for dependency in build.dependencies],
    }
    metadata = {"invocationId": build.invocation, "startedOn": build.started, "finishedOn": build.finished}
    run = {
        "builder": {"id": build.builder} | ({"version": dict(build.tools)} if build.tools else {}),
        "metadata": {key: value for key, value in metadata.items() if value},
    }
    predicate = {"buildDefinition": definition, "runDetails": run}
    subject = [{"name": name, "digest": digest}, *files]
    return {"_type": STATEMENT, "subject": subject, "predicateType": PREDICATE, "predicate": predicate}


def _resource(dependency: Dependency) -> dict[str, Any]:
    digest = {"digest": dict(dependency.digest)} if dependency.digest else {}
    return {"name": dependency.role, "uri": dependency.uri, **digest}


def written(document: Mapping[str, Any], key: Path | bytes | None = None, password: bytes | None = None) -> bytes:
    """The line for `<artifact>.intoto.jsonl`: a DSSE envelope signed with a private key file, or the bare statement.

    Raises GitopsError for a key that cannot be used.
    """
    payload = json.dumps(document, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
    if key is None:
        return payload + b"\n"
    from gitops.stages.signature import sign

    return sign(PAYLOAD, payload, key, password) + b"\n"


def read(data: bytes, where: str = "") -> tuple[Found, ...]:
    """Every statement of provenance in a file of JSON lines, whether anybody vouches for it or not.

    Lines of other kinds are passed over, as in-toto asks. A statement that claims to be provenance and is not of its
    shape is a GitopsError.
    """
    if len(data) > MAX_BESIDE:
        raise GitopsError("too large for a statement", where=where, hint="a statement is never that large")
    lines = [line for line in data.split(b"\n") if line.strip()]
    if len(lines) > MAX_LINES:
        raise GitopsError(f"more than {MAX_LINES} lines", where=where, hint="this is no file of statements")
    found = (_of_line(line, f"{where}:{number}") for number, line in enumerate(lines, 1))
    return tuple(one for one in found if one)


def _of_line(line: bytes, where: str) -> Found | None:
    document = _json(line, where)
    envelope = None
    if isinstance(document, dict) and "payloadType" in document:
        if document["payloadType"] != PAYLOAD:
            return None
        envelope = line
        document = _json(_payload(document, where), where)
    if not isinstance(document, dict) or document.get("predicateType") != PREDICATE:
        return None
    _check(document, where)
    return Found(document, envelope)


def _json(data: bytes, where: str) -> Any:
    try:
        return orjson.loads(data)  # unlike json, it takes no half of a surrogate pair, which nothing can write again
    except ValueError:
        raise _misshapen("it is not JSON", where) from None


def _payload(envelope: Mapping[str, Any], where: str) -> bytes:
    try:
        return base64.b64decode(envelope["payload"], validate=True)
    except (KeyError, TypeError, ValueError):
        raise _misshapen("its payload is not base64", where) from None


def _misshapen(what: str, where: str) -> GitopsError:
    return GitopsError(f"this is no statement of provenance: {what}", where=where, hint="make it again")


def _check(document: Mapping[str, Any], where: str) -> None:
    """The shape, as far as anything here relies on it; further fields may be there, as both specifications ask."""
    if document.get("_type") != STATEMENT:
        raise _misshapen(f"its _type is not {STATEMENT}", where)
    subjects = _field(document, "subject", list, where)
    for subject in subjects:
        digest = _field(_mapping(subject, "subject", where), "digest", dict, where)
        if not _HEX.fullmatch(str(digest.get("sha256", ""))):
            raise _misshapen("a subject has no sha256 digest", where)
        if "dirHash" in digest and digest["dirHash"] != digest["sha256"]:
            raise _misshapen("a subject's dirHash and sha256 differ", where)
        _field(subject, "name", str, where)
    if not subjects or len({subject["name"] for subject in subjects[1:]}) < len(subjects) - 1:
        raise _misshapen("it has no subject, or one twice", where)
    predicate = _field(document, "predicate", dict, where)
    definition = _field(predicate, "buildDefinition", dict, where)
    _field(definition, "buildType", str, where)
    _field(definition, "externalParameters", dict, where)
    for dependency in _field(definition, "resolvedDependencies", list, where, []):
        _check_dependency(_mapping(dependency, "resolvedDependencies", where), where)
    run = _field(predicate, "runDetails", dict, where)
    _field(_field(run, "builder", dict, where), "id", str, where)
    metadata = _field(run, "metadata", dict, where, {})
    for key in ("invocationId", "startedOn", "finishedOn"):
        _field(metadata, key, str, where, "")


def _check_dependency(dependency: Mapping[str, Any], where: str) -> None:
    for key in ("name", "uri"):
        _field(dependency, key, str, where, "")
    digest = _field(dependency, "digest", dict, where, {})
    if not all(isinstance(value, str) for value in digest.values()):
        raise _misshapen("a dependency's digest is not text", where)


def _mapping(value: Any, key: str, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _misshapen(f"{key} holds something else than objects", where)
    return value


def _field(holder: Mapping[str, Any], key: str, kind: type, where: str, default: Any = _REQUIRED) -> Any:
    value = holder.get(key, default)
    if not isinstance(value, kind):
        raise _misshapen(f"{key} is {'missing' if value is _REQUIRED else 'not of its type'}", where)
    return value


def summary(document: Mapping[str, Any]) -> tuple[str, ...]:
    """What a release commit says of a statement that was read: who built it when, from what, with which seed."""
    definition, run = document["predicate"]["buildDefinition"], document["predicate"]["runDetails"]
    metadata, parameters = run.get("metadata", {}), definition["externalParameters"]
    by = definition.get("internalParameters")
    person = by.get("invokedBy", "") if isinstance(by, dict) else ""
    when = metadata.get("finishedOn") or metadata.get("startedOn", "")
    built = f"built by {_line(run['builder']['id'])}"
    built += f" for {_line(person)}" if isinstance(person, str) and person else ""
    built += f" at {_line(when)}" if when else ""
    data = parameters.get("trainingData")
    told = [
        ("run", metadata.get("invocationId")),
        ("seed", parameters.get("seed")),
        ("training data", data.get("version") if isinstance(data, dict) else None),
    ]
    lines = [built, *(f"{key}: {_line(value)}" for key, value in told if isinstance(value, str | int) and value != "")]
    return (*lines, *_dependencies(definition.get("resolvedDependencies", [])))


def _dependencies(found: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for dependency in found:
        pinned = " ".join(f"{name}:{value}" for name, value in sorted(dependency.get("digest", {}).items()))
        what = " ".join(part for part in (dependency.get("uri", ""), pinned) if part)
        yield f"from {_line(dependency.get('name') or 'an input')}: {_line(what)}"


def _line(value: Any) -> str:
    return shorten(str(value), 300)


def now() -> str:
    """This moment, as statements give times."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
