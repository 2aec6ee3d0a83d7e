"""The JSON Schemas (2020-12) of the documents that programs read."""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Literal

import orjson

Document = Literal["plan", "status", "pass"]


def schema_of(document: Document) -> dict[str, Any]:
    """Of `gitops plan`, `gitops status` or `gitops reconcile`, each with `--format json`."""
    found: dict[str, Any] = orjson.loads(files("gitops.view").joinpath(f"schemas/{document}.v1.json").read_bytes())
    return found
