"""The plan for programs: valid against the schema that ships, and its counts are its changes."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import orjson
import pytest
from hypothesis import given
from jsonschema import Draft202012Validator

from gitops.errors import GitopsError
from gitops.plan.document import encode, plan_document
from gitops.plan.model import Plan
from gitops.plan.saved import dump_plan
from gitops.view.plan_json import plan_json, plan_schema
from tests.plan.strategies import patient, plans
from tests.view.plans import NAMED, drift


def closed(schema: Any) -> Any:
    """The schema with no unknown property allowed: what we write must be described."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    if "properties" in inner and "required" in inner:
        inner["additionalProperties"] = False
    return inner


VALIDATOR = Draft202012Validator(closed(plan_schema()))


def test_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(plan_schema())


@patient
@given(plans)
def test_every_plan_is_valid(plan: Plan) -> None:
    VALIDATOR.validate(orjson.loads(plan_json(plan)))


@patient
@given(plans)
def test_summary_counts_the_changes(plan: Plan) -> None:
    document: Any = plan_document(plan)
    counted = Counter((change["kind"], change["action"]) for change in document["changes"])
    summary = {(kind, action): n for kind, actions in document["summary"].items() for action, n in actions.items()}
    assert {key: counted[key] for key in summary} == summary
    assert sum(counted.values()) == sum(summary.values())


@pytest.mark.parametrize("name", NAMED)
def test_a_saved_plan_is_a_document_too(name: str) -> None:
    VALIDATOR.validate(orjson.loads(dump_plan(NAMED[name]())))


def test_replacement_is_two_changes() -> None:
    document: Any = plan_document(drift())
    replaced = [change for change in document["changes"] if change.get("replaces")]
    assert [(change["action"], change["name"]) for change in replaced] == [
        ("delete", "module.gpu.aws_launch_template.h100"),
        ("create", "module.gpu.aws_launch_template.h100"),
    ]


def test_document_holds_no_contents() -> None:
    printed = plan_json(drift())
    assert b"base64" not in printed
    assert b"saved" not in printed


def test_what_json_cannot_say_is_an_error() -> None:
    with pytest.raises(GitopsError, match="cannot be written as JSON"):
        encode({"path": "\udc80"})


def test_schema_is_read_anew() -> None:
    first = plan_schema()
    expected = copy.deepcopy(first)
    first.clear()
    assert plan_schema() == expected
