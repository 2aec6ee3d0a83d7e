"""Broken manifests are found, each for its own reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from gitops.errors import GitopsError
from gitops.render.check import check_manifests, parse_manifest
from gitops.render.renderer import Renderer
from gitops.values import UnitKey
from tests.render.specs import project_templates, small

UNIT = "clusters/one/dev/chat"
DEPLOYMENT = f"{UNIT}/1.2.0/deployment.yaml"
SERVICE = f"{UNIT}/service.yaml"

Edit = Callable[[dict[str, Any]], object]


def rendered() -> dict[str, bytes]:
    renderer = Renderer(small(), project_templates())
    return {**renderer.base("dev"), **renderer.unit(UnitKey("dev", "chat"))}


def problems_after(path: str, edit: Edit) -> list[str]:
    files = rendered()
    manifest = yaml.safe_load(files[path])
    edit(manifest)
    files[path] = yaml.safe_dump(manifest).encode()
    errors = check_manifests(files)
    assert all(error.where == path for error in errors)
    return [error.what for error in errors]


def pod(manifest: dict[str, Any]) -> dict[str, Any]:
    return manifest["spec"]["template"]["spec"]


def server(manifest: dict[str, Any]) -> dict[str, Any]:
    return pod(manifest)["containers"][0]


def test_what_we_render_has_no_problems() -> None:
    assert check_manifests(rendered()) == []


@pytest.mark.parametrize(
    ("path", "edit", "problem"),
    [
        (SERVICE, lambda m: m.pop("kind"), "the object has no kind"),
        (SERVICE, lambda m: m.pop("metadata"), "the object has no metadata"),
        (SERVICE, lambda m: m["metadata"].update(name="Chat_1"), "'Chat_1' is not a valid name for a Service"),
        (SERVICE, lambda m: m["metadata"].update(name="1chat"), "'1chat' is not a valid name for a Service"),
        (SERVICE, lambda m: m["metadata"].pop("namespace"), "'' is not a valid namespace"),
        (SERVICE, lambda m: m.update(kind="Secret"), "a Secret does not belong into this file"),
        (SERVICE, lambda m: m["metadata"].pop("labels"), "the object has no labels"),
        (
            SERVICE,
            lambda m: m["metadata"]["labels"].pop("gitops/model"),
            "the label gitops/model is None, its directory says 'chat'",
        ),
        (
            SERVICE,
            lambda m: m["metadata"]["labels"].update({"gitops/environment": "prod"}),
            "the label gitops/environment is 'prod', its directory says 'dev'",
        ),
        (
            DEPLOYMENT,
            lambda m: m["metadata"]["labels"].update({"gitops/version": 1.2}),
            "1.2 is not a valid value of the label gitops/version",
        ),
        (
            DEPLOYMENT,
            lambda m: m["spec"]["selector"]["matchLabels"].update({"gitops/version": "9"}),
            "the selector does not match the labels of the pods",
        ),
        (
            DEPLOYMENT,
            lambda m: m["spec"].pop("selector"),
            "the Deployment is incomplete or malformed (KeyError: 'selector')",
        ),
        (
            DEPLOYMENT,
            lambda m: pod(m)["securityContext"].pop("runAsNonRoot"),
            "container fetch-model: runAsNonRoot must be true",
        ),
        (
            DEPLOYMENT,
            lambda m: pod(m)["securityContext"].pop("seccompProfile"),
            "container server: seccompProfile must be RuntimeDefault",
        ),
        (
            DEPLOYMENT,
            lambda m: server(m)["securityContext"].update(allowPrivilegeEscalation=True),
            "container server: allowPrivilegeEscalation must be false",
        ),
        (
            DEPLOYMENT,
            lambda m: server(m)["securityContext"].update(privileged=True),
            "container server: privileged is not allowed",
        ),
        (
            DEPLOYMENT,
            lambda m: server(m)["securityContext"].pop("capabilities"),
            "container server: capabilities must drop ALL",
        ),
        (
            DEPLOYMENT,
            lambda m: server(m)["securityContext"].update(runAsUser=0),
            "container server: runAsUser must not be 0",
        ),
        (DEPLOYMENT, lambda m: pod(m).update(hostNetwork=True), "hostNetwork is not allowed"),
        (
            DEPLOYMENT,
            lambda m: pod(m)["volumes"].append({"name": "root", "hostPath": {"path": "/"}}),
            "volume root: hostPath is not allowed",
        ),
        (
            DEPLOYMENT,
            lambda m: server(m)["ports"][0].update(hostPort=80),
            "container server: hostPort is not allowed",
        ),
        (
            "clusters/one/dev/namespace.yaml",
            lambda m: m["metadata"].update(namespace="dev"),
            "a Namespace has no namespace",
        ),
    ],
)
def test_a_broken_manifest_is_found(path: str, edit: Edit, problem: str) -> None:
    assert problem in problems_after(path, edit)


def test_the_same_object_twice_is_found_on_one_cluster_only() -> None:
    files = rendered()
    files[f"{UNIT}/1.2.0/service.yaml"] = files[f"{UNIT}/1.2.0/service.yaml"].replace(
        b"name: chat-1-2-0", b"name: chat"
    )
    assert [error.what for error in check_manifests(files)] == [f"Service chat is also in {SERVICE}"]
    elsewhere = {
        path.replace("clusters/one/", "clusters/two/"): data.replace(b"gitops/cluster: one", b"gitops/cluster: two")
        for path, data in rendered().items()
    }
    assert check_manifests({**rendered(), **elsewhere}) == []


@pytest.mark.parametrize("data", [b"a: 1\n---\nb: 2\n", b"", b"- a\n", b"text", b"a: 1\na: 2\n", b"a: [", b"\xff"])
def test_a_file_without_exactly_one_object_is_refused(data: bytes) -> None:
    with pytest.raises(GitopsError) as error:
        parse_manifest(data, "clusters/x.yaml")
    assert error.value.where == "clusters/x.yaml"


def test_other_files_are_not_looked_at() -> None:
    assert check_manifests({"terraform/one/main.tf": b"{{", "clusters/one/README.md": b"a: ["}) == []
