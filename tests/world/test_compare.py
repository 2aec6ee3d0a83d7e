"""The comparison of desired with live objects, by ownership and without requests."""

import copy
from typing import Any

import pytest

from gitops.world.embedded.fieldset import fields_of, to_fields_v1
from gitops.world.kubernetes.compare import MASK, changes, is_unchanged, unclear
from gitops.world.kubernetes.errors import readable_path

Manifest = dict[str, Any]


def desired() -> Manifest:
    container = {
        "name": "server",
        "image": "server:1",
        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}],
        "resources": {"limits": {"cpu": "0.5", "memory": "1024Mi", "nvidia.com/gpu": 2}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"a": "1"}},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"spec": {"containers": [container], "tolerations": [{"key": "gpu"}]}},
        },
    }


def live() -> Manifest:
    """As the server keeps it: defaults on top, quantities in canonical form."""
    manifest = copy.deepcopy(desired())
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    container["terminationMessagePath"] = "/dev/termination-log"
    container["ports"][0]["protocol"] = "TCP"
    container["resources"]["limits"] = {"cpu": "500m", "memory": "1Gi", "nvidia.com/gpu": "2"}
    manifest["spec"]["replicas"] = 1
    manifest["metadata"] |= {"uid": "1", "resourceVersion": "7", "annotations": {"other": "1"}}
    return manifest


def owned() -> Manifest:
    return to_fields_v1(fields_of(desired()))


def server(manifest: Manifest) -> Manifest:
    found: Manifest = manifest["spec"]["template"]["spec"]["containers"][0]
    return found


def test_defaults_and_other_ways_to_write_quantities_are_no_change() -> None:
    assert is_unchanged(desired(), live(), owned())


@pytest.mark.parametrize(
    "edit",
    [
        lambda wanted: server(wanted).update(image="server:2"),
        lambda wanted: server(wanted)["env"].pop(),
        lambda wanted: server(wanted)["env"].append({"name": "C", "value": "3"}),
        lambda wanted: server(wanted)["env"].reverse(),
        lambda wanted: server(wanted)["resources"]["limits"].update(cpu="0.6"),
        lambda wanted: wanted["metadata"]["labels"].update(b="2"),
        lambda wanted: wanted["metadata"].pop("labels"),
        lambda wanted: wanted["spec"].update(replicas=1),
        lambda wanted: wanted["spec"]["template"]["spec"].pop("tolerations"),
        lambda wanted: wanted["spec"]["template"]["spec"].update(containers="nonsense"),
    ],
)
def test_any_other_wish_is_a_change(edit: Any) -> None:
    wanted = desired()
    edit(wanted)
    assert not is_unchanged(wanted, live(), owned())


def test_a_field_that_another_took_is_a_change_whatever_its_value() -> None:
    fields = owned()
    key = 'k:{"name":"server"}'
    del fields["f:spec"]["f:template"]["f:spec"]["f:containers"][key]["f:image"]
    assert not is_unchanged(desired(), live(), fields)
    assert unclear(desired(), live(), fields) is None


def test_what_a_server_adds_within_an_atomic_value_is_alike_for_all_objects() -> None:
    def route(name: str, weight: int) -> Manifest:
        backend = {"name": name, "weight": weight}
        return {"kind": "HTTPRoute", "metadata": {"name": name}, "spec": {"rules": [{"backendRefs": [backend]}]}}

    def completed(name: str, weight: int) -> Manifest:
        manifest = route(name, weight)
        manifest["spec"]["rules"][0]["backendRefs"][0]["kind"] = "Service"
        return manifest

    fields = {"f:spec": {"f:rules": {}}}
    one = unclear(route("one", 1), completed("one", 1), fields)
    two = unclear(route("two", 2), completed("two", 2), fields)
    changed = unclear(route("two", 3), completed("two", 2), fields)
    assert one is not None
    assert one == two
    assert changed != two


def test_changes_name_items_and_leave_out_what_the_server_keeps() -> None:
    result = live()
    result["metadata"]["resourceVersion"] = "8"
    result["status"] = {"replicas": 1}
    server(result)["image"] = "server:2"
    server(result)["env"][0]["value"] = "9"
    server(result)["ports"].pop(1)
    claims = [("spec.template.spec.containers[server].image", "kubectl-edit")]
    base = "spec.template.spec.containers[server]"
    assert [
        (change.path, change.before, change.after, change.manager) for change in changes(live(), result, claims)
    ] == [
        (f"{base}.image", "server:1", "server:2", "kubectl-edit"),
        (f"{base}.env[A].value", "1", "9", ""),
        (f"{base}.ports[80,UDP]", {"containerPort": 80, "protocol": "UDP"}, None, ""),
    ]


def test_a_new_order_is_a_change() -> None:
    result = live()
    server(result)["env"].reverse()
    assert [change.path for change in changes(live(), result)] == ["spec.template.spec.containers[server].env"]


def test_a_secret_written_out_in_a_pod_is_masked() -> None:
    path = "spec.template.spec.containers[server]"
    before, result = live(), live()
    server(before)["env"] = [{"name": "API_TOKEN", "value": "letmein"}, {"name": "B", "value": "1"}]
    server(before)["args"] = ["--api-key", "letmein"]
    server(result)["env"] = [{"name": "API_TOKEN", "value": "letmein2"}, {"name": "B", "value": "2"}]
    server(result)["args"] = ["--api-key", "letmein2"]
    assert {change.path: (change.before, change.after) for change in changes(before, result)} == {
        f"{path}.args": (["--api-key", "…"], ["--api-key", "…"]),
        f"{path}.env[API_TOKEN].value": ("…", "…"),
        f"{path}.env[B].value": ("1", "2"),
    }


def test_secret_data_is_masked_wherever_it_is() -> None:
    last = "kubectl.kubernetes.io/last-applied-configuration"
    before = {"kind": "Secret", "metadata": {"annotations": {last: "old"}}, "data": {"a": "old"}, "type": "Opaque"}
    after = {
        "kind": "Secret",
        "metadata": {"annotations": {last: "new"}},
        "data": {"a": "new", "b": "new"},
        "type": "x",
    }
    found = {change.path: (change.before, change.after) for change in changes(before, after)}
    assert found == {
        f"metadata.annotations.{last}": (MASK, MASK),
        "data.a": (MASK, MASK),
        "data.b": (None, MASK),
        "type": ("Opaque", "x"),
    }
    gone = {**before, "data": None}
    assert ("data", None, MASK) in [(change.path, change.before, change.after) for change in changes(gone, before)]


@pytest.mark.parametrize(
    ("path", "readable"),
    [
        (".spec.replicas", "spec.replicas"),
        ('.spec.containers[name="server"].image', "spec.containers[server].image"),
        ('.spec.ports[containerPort=80,protocol="TCP"].name', "spec.ports[80,TCP].name"),
        ('.metadata.finalizers[="a"]', "metadata.finalizers[a]"),
    ],
)
def test_the_servers_paths_read_like_ours(path: str, readable: str) -> None:
    assert readable_path(path) == readable
