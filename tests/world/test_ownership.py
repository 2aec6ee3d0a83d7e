"""Whose an object is by its marks, as values."""

import pytest

from gitops.values import Owner
from gitops.world.kubernetes.ownership import (
    Title,
    applied_fields,
    marked,
    present_manager,
    taken_over,
    title_of,
    unmarked,
)

OWNER = Owner("acme", "4f2c0a1b9d8e7f605142", "eu")
MANAGER = "gitops-acme-4f2c0a1b"
Live = dict[str, dict[str, object]]


def live(pipeline: str = "", repository: str = "", cluster: str = "", managers: tuple[str, ...] = ()) -> Live:
    marks = {"gitops/pipeline": pipeline, "gitops/repository": repository, "gitops/cluster": cluster}
    labels = {key: value for key, value in marks.items() if value}
    return {"metadata": {"labels": labels, "managedFields": [apply(name) for name in managers]}}


def apply(manager: str, **fields: object) -> dict[str, object]:
    return {"manager": manager, "operation": "Apply", "fieldsV1": {f"f:{key}": value for key, value in fields.items()}}


@pytest.mark.parametrize(
    ("found", "title"),
    [
        (live("acme", OWNER.repository, "eu", (MANAGER,)), "ours"),
        (live("", OWNER.repository), "ours"),
        (live("", "", "", (MANAGER,)), "ours"),
        (live("acme", "", "eu", ("gitops",)), "unproven"),
        (live("", "", "", ("gitops",)), "unproven"),
        (live("acme", "0" * 20, "eu", (MANAGER,)), "foreign"),
        (live("acme", "", "eu", ("gitops-acme-00000000",)), "foreign"),
        (live("other", OWNER.repository, "eu", (MANAGER,)), "foreign"),
        (live("acme", OWNER.repository, "us", (MANAGER,)), "foreign"),
        (live("acme", "", "us", ("gitops",)), "foreign"),
        (live("acme", "", "eu", ("kubectl",)), "foreign"),
        (live(), "foreign"),
        ({"metadata": {}}, "foreign"),
    ],
)
def test_marks_and_managers_tell_whose_it_is(found: Live, title: Title) -> None:
    assert title_of(found, OWNER) == title
    assert title_of(found, None) == "ours"
    assert title_of(found, Owner("acme", "", "eu")) == "foreign"


def test_a_mark_is_put_on_and_taken_off() -> None:
    manifest = {"metadata": {"name": "x", "labels": {"a": "1"}}}
    assert marked(manifest, OWNER)["metadata"]["labels"] == {"a": "1", "gitops/repository": OWNER.repository}
    assert unmarked(marked(manifest, OWNER)) == manifest
    assert marked(manifest, None) is manifest


def test_the_owner_is_found_among_managers() -> None:
    entries = [
        {"manager": MANAGER, "operation": "Update", "fieldsV1": {"f:a": {}}},
        {"manager": MANAGER, "operation": "Apply", "subresource": "status", "fieldsV1": {"f:b": {}}},
        apply("other", c={}),
    ]
    found = {"metadata": {"managedFields": entries}}
    assert applied_fields(found, OWNER) is None
    entries.append(apply("gitops", d={}))
    assert applied_fields(found, OWNER) == {"f:d": {}}
    assert present_manager(found, OWNER) == "gitops"
    entries.append(apply(MANAGER, e={}))
    assert applied_fields(found, OWNER) == {"f:e": {}}
    assert present_manager(found, OWNER) == MANAGER


def test_renaming_keeps_others_and_joins_what_both_names_have() -> None:
    kubectl = {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:x": {}}}
    both = [apply("gitops", data={"f:a": {}, ".": {}}), kubectl, apply(MANAGER, data={"f:b": {}}, whole={})]
    entries = taken_over({"metadata": {"managedFields": both}}, OWNER, adopt=False)
    assert entries == [kubectl, apply(MANAGER, data={"f:b": {}, "f:a": {}, ".": {}}, whole={})]
    assert taken_over({"metadata": {"managedFields": entries}}, OWNER, adopt=False) is None


def test_only_adopting_renames_other_pipelines() -> None:
    found = {"metadata": {"managedFields": [apply("gitops-other-1234abcd", data={"f:a": {}}), apply("helm", b={})]}}
    assert taken_over(found, OWNER, adopt=False) is None
    entries = taken_over(found, OWNER, adopt=True)
    assert entries == [apply("helm", b={}), apply(MANAGER, data={"f:a": {}})]


def test_who_owns_the_whole_of_a_field_owns_it_together_with_its_parts() -> None:
    found = {"metadata": {"managedFields": [apply("gitops", selector={}), apply(MANAGER, selector={"f:app": {}})]}}
    assert taken_over(found, OWNER, adopt=False) == [apply(MANAGER, selector={})]
