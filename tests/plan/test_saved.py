"""A saved plan is the very same plan again, or it is refused."""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.errors import GitopsError
from gitops.plan.model import FileChange, Making, Plan
from gitops.plan.saved import difference, dump_plan, load_plan
from gitops.plan.typed import fits
from gitops.view.plan_json import plan_json
from tests.plan.strategies import patient, plans
from tests.view.plans import bump, drift, large


@patient
@given(plans)
def test_round_trip(plan: Plan) -> None:
    data = dump_plan(plan)
    loaded = load_plan(data, "plan.json")
    assert loaded == plan
    assert dump_plan(loaded) == data


def test_contents_that_are_not_text() -> None:
    files = tuple(
        FileChange("", "create", f"{i}", data) for i, data in enumerate([b"", b"\xff\xfe", b"\xef\xbb\xbfa", b"\r\n"])
    )
    plan = dataclasses.replace(bump(), files=files)
    assert load_plan(dump_plan(plan), "plan.json").files == files


def test_a_large_plan() -> None:
    plan = large()
    assert load_plan(dump_plan(plan), "plan.json") == plan


@patient
@given(st.data())
def test_cut_or_edited_is_refused(data: st.DataObject) -> None:
    saved = dump_plan(drift())
    if data.draw(st.booleans()):
        broken = saved[: data.draw(st.integers(0, len(saved) - 2))]
    else:
        at = data.draw(st.integers(0, len(saved) - 2))
        byte = data.draw(st.integers(0x21, 0x7E).filter(lambda byte: byte != saved[at]))
        broken = saved[:at] + bytes([byte]) + saved[at + 1 :]
    with pytest.raises(GitopsError) as caught:
        load_plan(broken, "plan.json")
    assert caught.value.where == "plan.json"
    assert "gitops plan --out" in caught.value.hint


def _places(value: object, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """The way to everything in a document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inside:
        yield (*path, key)
        yield from _places(below, (*path, key))


def _sealed_again(document: dict[str, Any]) -> bytes:
    """As whoever may write the file can."""
    document.pop("digest")
    data = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    return orjson.dumps(document | {"digest": f"sha256:{hashlib.sha256(data).hexdigest()}"})


@pytest.mark.parametrize("other", [7, [], {}, "x", None, 1.5, True], ids=repr)
def test_a_field_of_another_type_is_refused(other: object) -> None:
    """Or fits: no value ends in an error of Python's, here or where the plan is used."""
    saved = orjson.loads(dump_plan(bump()))
    for path in list(_places(saved["saved"]["base"], ("base",))) + list(_places(saved["saved"]["making"], ("making",))):
        document = copy.deepcopy(saved)
        *way, last = path
        functools.reduce(lambda at, key: at[key], way, document["saved"])[last] = other
        with suppress(GitopsError):
            assert fits(load_plan(_sealed_again(document), "plan.json"), Plan), path


def test_reformatting_does_not_matter() -> None:
    pretty = orjson.dumps(orjson.loads(dump_plan(drift())), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    assert load_plan(pretty, "plan.json") == drift()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "no JSON"),
        (b"[1]", "no saved plan"),
        (b"{}", "schema gitops/plan/v1, it says None"),
        (b'{"schema":"gitops/plan/v2"}', "it says 'gitops/plan/v2'"),
        (plan_json(bump()), "printed for reading"),
    ],
)
def test_other_files_are_refused(data: bytes, what: str) -> None:
    with pytest.raises(GitopsError, match=what):
        load_plan(data, "plan.json")


def test_fields_of_another_version_are_refused() -> None:
    from gitops.plan import saved

    document = orjson.loads(dump_plan(bump()))
    document["saved"]["base"]["added_later"] = 1
    del document["digest"]
    document["digest"] = saved._digest(document)
    with pytest.raises(GitopsError, match="another version"):
        load_plan(orjson.dumps(document), "plan.json")


# --- Against the plan that is made again ---------------------------------------------------------------------


@patient
@given(plans)
def test_a_plan_is_what_it_is_again(plan: Plan) -> None:
    assert difference(load_plan(dump_plan(plan), "plan.json"), plan) == ""


@patient
@given(plans, plans)
def test_whatever_is_done_is_compared(plan: Plan, other: Plan) -> None:
    """Whatever apply would push, apply or delete, and whatever Terraform would do."""
    for part in ("files", "steps", "message", "infrastructure", "releases"):
        edited = dataclasses.replace(plan, **{part: getattr(other, part)})
        assert bool(difference(edited, plan)) == (getattr(edited, part) != getattr(plan, part)), part


def test_another_order_of_steps_or_another_path_is_a_difference() -> None:
    plan, extra = bump(), FileChange("dev/chat", "create", ".github/workflows/steal.yml", b"on: push")
    assert difference(dataclasses.replace(plan, files=(*plan.files, extra)), plan) == f"file {extra.path}"
    assert difference(plan, dataclasses.replace(plan, files=(*plan.files, extra))) == f"file {extra.path}"
    first = plan.objects[0]
    doomed = dataclasses.replace(first, action="delete")
    assert difference(dataclasses.replace(plan, objects=(doomed, *plan.objects[1:])), plan).startswith("object ")


def test_what_only_tells_may_differ() -> None:
    plan = bump()
    told = dataclasses.replace(plan, warnings=("x",), capacity=(), outlook=(), making=Making(5, ("a",)))
    assert difference(told, plan) == ""
