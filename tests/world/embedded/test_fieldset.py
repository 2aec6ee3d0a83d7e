"""Ownership by server-side apply, on plain data; the real server's answers are in test_differential."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gitops.world.embedded import fieldset
from gitops.world.embedded.fieldset import apply, compare, display, fields_of, from_fields_v1, to_fields_v1, update

Manifest = dict[str, Any]


def test_fields_are_written_as_the_api_writes_them() -> None:
    manifest = {
        "metadata": {"name": "web", "labels": {"a": "1"}, "finalizers": ["x/y"]},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "containers": [{"name": "server", "ports": [{"containerPort": 80}], "args": ["a"]}],
            "emptyDir": {},
        },
    }
    container = {
        ".": {},
        "f:name": {},
        "f:args": {},
        "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
    }
    tree = {
        "f:metadata": {"f:labels": {"f:a": {}}, "f:finalizers": {'v:"x/y"': {}}},
        "f:spec": {"f:selector": {}, "f:containers": {'k:{"name":"server"}': container}, "f:emptyDir": {}},
    }
    assert to_fields_v1(fields_of(manifest)) == tree
    assert from_fields_v1(tree) == fields_of(manifest)


def test_another_value_is_a_conflict_and_the_same_value_is_shared() -> None:
    first = apply({}, {"data": {"a": "1", "b": "1"}}, {}, "one")
    same = apply(first.manifest, {"data": {"a": "1"}}, first.managers, "two")
    assert same.conflicts == {}
    other = apply(same.manifest, {"data": {"a": "2"}}, same.managers, "two")
    assert [display(path) for paths in other.conflicts.values() for path in paths] == [".data.a"]
    assert set(other.conflicts) == {"one"}
    assert other.managers["one"] == {("f:data", "f:b")}


def test_what_is_no_longer_applied_goes_unless_another_wants_it() -> None:
    first = apply({}, {"data": {"a": "1", "b": "1"}}, {}, "one")
    shared = apply(first.manifest, {"data": {"b": "1"}}, first.managers, "two")
    left = apply(shared.manifest, {"data": {}}, shared.managers, "one")
    assert left.manifest == {"data": {"b": "1"}}


def test_items_keep_the_order_of_the_applier_around_those_of_others() -> None:
    live = {"env": [{"name": "X"}, {"name": "A"}, {"name": "Y"}, {"name": "B"}]}
    result = apply(live, {"env": [{"name": "B"}, {"name": "A"}]}, {}, "one").manifest
    assert [item["name"] for item in result["env"] if item["name"] in "AB"] == ["B", "A"]
    assert {item["name"] for item in result["env"]} == set("ABXY")


def test_an_update_owns_what_it_changes() -> None:
    first = apply({}, {"data": {"a": "1", "b": "1"}}, {}, "one")
    managers = update(first.manifest, {"data": {"a": "2", "b": "1"}}, first.managers, "edit")
    assert managers == {"one": {("f:data", "f:b")}, "edit": {("f:data", "f:a")}}


values = st.recursive(
    st.text("ab", max_size=2) | st.integers(0, 2),
    lambda children: (
        st.dictionaries(st.sampled_from(["a", "b", "env", "selector"]), children, max_size=3)
        | st.lists(
            st.fixed_dictionaries({"name": st.sampled_from("xyz"), "v": children}),
            max_size=3,
            unique_by=lambda i: i["name"],
        )
    ),
    max_leaves=12,
)
manifests = st.dictionaries(st.sampled_from(["spec", "data", "env"]), values, max_size=3)


@given(manifests, manifests)
def test_applying_makes_it_so_and_again_changes_nothing(live: Manifest, config: Manifest) -> None:
    once = apply(live, config, {}, "one")
    again = apply(once.manifest, config, once.managers, "one")
    assert again.manifest == once.manifest
    assert again.managers == once.managers
    assert from_fields_v1(to_fields_v1(fields_of(config))) == fields_of(config)


@given(manifests)
def test_equal_objects_have_no_differences(manifest: Manifest) -> None:
    nothing: fieldset.Paths = frozenset()
    assert compare(manifest, manifest) == fieldset.Comparison(nothing, nothing, nothing)
