"""The saved plan of `gitops plan --out`: the plan's document, and everything needed to rebuild the same Plan.

The digest finds a truncated or edited file. It is no signature: whoever may write the file can make it anew. So
nothing of it is done but its tfplans: apply makes the plan again from its base, and `difference` finds what the file
says otherwise. It can hold a tfplan, and with that secrets: write it for its owner only.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from types import MappingProxyType
from typing import Any

import orjson

from gitops.errors import GitopsError
from gitops.plan.document import SCHEMA, encode, plan_document
from gitops.plan.model import (
    Base,
    ClusterInfrastructure,
    FileChange,
    LeftAlone,
    Making,
    ObjectChange,
    Outlook,
    Plan,
    PlannedStep,
    PoolUse,
    Refusal,
    ReleaseChange,
)
from gitops.plan.observed import FieldChange, ResourceChange
from gitops.plan.typed import fits
from gitops.values import ObjectRef, Owner, UnitKey

_AGAIN = "make the plan again with `gitops plan --out`"


def dump_plan(plan: Plan) -> bytes:
    """The same bytes for the same plan. FieldChange values must be JSON values, as those of live objects are."""
    document = plan_document(plan)
    document["saved"] = plan
    # Through bytes once, so that the digest is over what a reader will parse.
    parsed = orjson.loads(encode(document, default=_plain))
    parsed["digest"] = _digest(parsed)
    return encode(parsed) + b"\n"


def load_plan(data: bytes, path: str) -> Plan:
    """The plan that dump_plan was given; `path` is for messages.

    Raises GitopsError when the file is no saved plan, was cut or edited, or comes from another version.
    """
    document = _parse(data, path)
    if document.get("schema") != SCHEMA:
        raise GitopsError(
            f"this is no saved plan of schema {SCHEMA}, it says {document.get('schema')!r}", where=path, hint=_AGAIN
        )
    if "saved" not in document:
        raise GitopsError("this plan was printed for reading, not saved for apply", where=path, hint=_AGAIN)
    if document.pop("digest", None) != _digest(document):
        raise GitopsError("this saved plan was cut or edited after it was made", where=path, hint=_AGAIN)
    try:
        plan = _plan(document["saved"])
        if not fits(plan, Plan):
            raise TypeError("a field has a value of another type")
        return plan
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise GitopsError("this plan was saved by another version of gitops", where=path, hint=_AGAIN) from error


def difference(saved: Plan, again: Plan) -> str:
    """The first thing that a saved plan says otherwise than the one that was made again, for people; empty if none.

    What only tells (capacity, outlook, warnings) may differ, as it goes by live numbers; refusals, by what is allowed.
    """
    for kind in ("file", "object", "release", "step", "infrastructure"):
        pairs = zip_longest(_keyed(saved, kind), _keyed(again, kind))
        if differing := next((here or there for here, there in pairs if here != there), None):
            return f"{kind} {differing[0]}"
    return "" if saved.message == again.message else "the commit's message"


def _keyed(plan: Plan, kind: str) -> Iterator[tuple[str, object]]:
    """Everything of a kind with what names it, in the plan's order; that order counts."""
    for number, step in enumerate(plan.steps if kind == "step" else ()):
        yield f"{number + 1} of {step.unit}", step
    for file in plan.files if kind == "file" else ():
        yield file.path, file
    for change in plan.objects if kind == "object" else ():
        yield f"{change.ref} on {change.cluster}", (change.action, change.path, change.uid, change.reason)
    for release in plan.releases if kind == "release" else ():
        yield str(release.unit), release
    for cluster in plan.infrastructure if kind == "infrastructure" else ():
        yield cluster.cluster, cluster


def _parse(data: bytes, path: str) -> dict[str, Any]:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise GitopsError("this saved plan is no JSON, it may be cut", where=path, hint=_AGAIN) from error
    if not isinstance(document, dict):
        raise GitopsError("this is no saved plan", where=path, hint=_AGAIN)
    return document


def _digest(document: Mapping[str, Any]) -> str:
    # Sorted and compact: a tool that only reformats the file does not break it.
    return "sha256:" + hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _plain(value: object) -> object:
    """What orjson has no word for; dataclasses and tuples it knows itself."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, UnitKey):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else base64.b64decode(value["base64"], validate=True)


def _plan(saved: dict[str, Any]) -> Plan:
    rebuilt = {
        "base": Base(**saved["base"]),
        "releases": tuple(_release(item) for item in saved["releases"]),
        "files": tuple(_file(item) for item in saved["files"]),
        "objects": tuple(_object(item) for item in saved["objects"]),
        "infrastructure": tuple(_infrastructure(item) for item in saved["infrastructure"]),
        "capacity": tuple(PoolUse(**item) for item in saved["capacity"]),
        "left_alone": tuple(LeftAlone(**item) for item in saved["left_alone"]),
        "unreachable": tuple(LeftAlone(**item) for item in saved["unreachable"]),
        "waiting": tuple(LeftAlone(**item) for item in saved["waiting"]),
        "registrations": tuple(LeftAlone(**item) for item in saved["registrations"]),
        "steps": tuple(_step(item) for item in saved["steps"]),
        "outlook": tuple(Outlook(item["unit"], tuple(item["lines"])) for item in saved["outlook"]),
        "warnings": tuple(saved["warnings"]),
        "refusals": tuple(Refusal(**(item | {"units": tuple(item["units"])})) for item in saved["refusals"]),
        "seen": MappingProxyType(dict(saved["seen"])),
        "environments": tuple(saved["environments"]),
        "making": Making(saved["making"]["now"], tuple(saved["making"]["ids"])),
    }
    return Plan(**(saved | rebuilt))


def _release(item: dict[str, Any]) -> ReleaseChange:
    environment, model = item["unit"]
    return ReleaseChange(**(item | {"unit": UnitKey(environment, model)}))


def _file(item: dict[str, Any]) -> FileChange:
    content = item["content"]
    return FileChange(**(item | {"content": None if content is None else _bytes(content)}))


def _step(item: dict[str, Any]) -> PlannedStep:
    files = {path: None if content is None else _bytes(content) for path, content in item["files"].items()}
    return PlannedStep(item["unit"], item["message"], MappingProxyType(files), item["goes_back"])


def _object(item: dict[str, Any]) -> ObjectChange:
    fields = tuple(FieldChange(**change) for change in item["fields"])
    owner = Owner(**item["owner"]) if item["owner"] else None
    return ObjectChange(**(item | {"ref": ObjectRef(**item["ref"]), "fields": fields, "owner": owner}))


def _infrastructure(item: dict[str, Any]) -> ClusterInfrastructure:
    lines = item["resources"]
    resources = tuple(ResourceChange(**(line | {"attributes": tuple(line["attributes"])})) for line in lines)
    return ClusterInfrastructure(**(item | {"resources": resources, "saved": _bytes(item["saved"])}))
