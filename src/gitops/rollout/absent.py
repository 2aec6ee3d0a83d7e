"""What is kept in Git of a unit that has no release record: how it was when it was removed, and who has approved its
first release.

`removed/<environment>/<model>.yaml` is the last record of a unit that the spec left, with the version that was stable
and what was rejected: included again, it begins where it ended, and nothing gets past a rollout or a rejection by
going away and coming back. `approvals/<environment>/<model>.json` are the approvals of a version that nothing ran
before, until it is released.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import orjson

from gitops.errors import GitopsError
from gitops.rollout.release import API_VERSION, Release, Rendered, SpecSource, dump_release
from gitops.rollout.state import Approval
from gitops.values import UnitKey, plain_json

REMOVED = "removed"
APPROVALS = "approvals"
_KIND = "FirstApprovals"


def removed_path(unit: UnitKey) -> str:
    """Where the last record of a removed unit lies in the GitOps repository."""
    return f"{REMOVED}/{unit.environment}/{unit.model}.yaml"


def approvals_path(unit: UnitKey) -> str:
    """Where the approvals of a first release lie."""
    return f"{APPROVALS}/{unit.environment}/{unit.model}.json"


def dump_removed(release: Release) -> bytes:
    """The record of a unit that nothing runs of any more: what was stable, as it was, and what was rejected."""
    stable = release.stable.version
    models = {version: text for version, text in release.models.items() if version == stable}
    return dump_release(
        replace(
            release,
            candidate=None,
            kept=(),
            approvals=(),
            load=(),
            rendered=Rendered(""),
            source=SpecSource(),
            models=MappingProxyType(models),
        )
    )


def dump_approvals(unit: UnitKey, approvals: Iterable[Approval]) -> bytes:
    """The same bytes for the same approvals."""
    data = {
        "apiVersion": API_VERSION,
        "kind": _KIND,
        "environment": unit.environment,
        "model": unit.model,
        "approvals": [{"digest": one.digest, "by": one.by, "runs": one.runs} for one in approvals],
    }
    return plain_json(orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def parse_approvals(data: bytes, path: str) -> tuple[Approval, ...]:
    """Read them back. Raises GitopsError with `path` when these are none."""
    try:
        raw: Any = orjson.loads(data)
        if raw["apiVersion"] != API_VERSION or raw["kind"] != _KIND:
            raise ValueError("apiVersion or kind")
        return tuple(map(_approval, raw["approvals"]))
    except (KeyError, TypeError, ValueError) as error:
        hint = f"restore what was there (git log -p -- {path})"
        raise GitopsError("these are no approvals that gitops wrote", where=path, hint=hint) from error


def _approval(raw: Mapping[str, Any]) -> Approval:
    one = Approval(raw["digest"], raw["by"], raw["runs"])
    if not all(isinstance(part, str) for part in one):
        raise TypeError(one)
    return one
