"""What rendered objects need of a cluster's Kubernetes."""

from __future__ import annotations

import pytest

from gitops.plan.served import unserved
from gitops.render.check import parse_manifest
from gitops.values import Manifest
from tests.plan.repository import Tree, write_spec


def rendered() -> list[tuple[str, Manifest]]:
    tree = Tree()
    tree.release_spec(write_spec({"chat": ("1.0.0", "a")}, serve={"replicas": {"min": 2, "max": 2}}))
    files = {path: data for path, data in tree.files.items() if path.startswith("clusters/dev-cluster/dev/chat/")}
    return [("dev/chat", parse_manifest(data, path)) for path, data in files.items()]


@pytest.mark.parametrize("version", [None, (1, 30), (1, 34), (2, 0)])
def test_a_cluster_that_knows_all_fields(version: tuple[int, int] | None) -> None:
    assert list(unserved("main", version, rendered())) == []


def test_an_older_one_is_named_with_what_it_lacks() -> None:
    (refusal,) = unserved("main", (1, 29), rendered())
    assert (refusal.rule, refusal.units) == ("kubernetes-version", ("dev/chat",))
    assert "main runs Kubernetes 1.29, which does not know `lifecycle.preStop.sleep` of dev/chat" in refusal.message
    assert "takes 1.30 or later" in refusal.message
    assert len(list(unserved("main", (1, 26), rendered()))) == 2


def test_a_template_that_does_without_may_run_there() -> None:
    objects = rendered()
    for _, manifest in objects:
        if manifest["kind"] == "Deployment":
            del manifest["spec"]["template"]["spec"]["containers"][0]["lifecycle"]
    assert list(unserved("main", (1, 29), objects)) == []
