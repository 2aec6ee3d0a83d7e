"""`gitops plan --format json` and `gitops schema --plan`."""

from __future__ import annotations

from typing import Any

from gitops.plan.document import encode, plan_document
from gitops.plan.model import Plan
from gitops.view.schema import schema_of


def plan_json(plan: Plan, *, pretty: bool = True) -> bytes:
    """The plan's document as UTF-8 JSON with a newline at its end."""
    return encode(plan_document(plan), pretty=pretty) + b"\n"


def plan_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the plan's document, and of the saved plan, which adds to it."""
    return schema_of("plan")
