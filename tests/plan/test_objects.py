"""From differences to changes: whose they are, why they are there, and when apply sends them."""

import pytest

from gitops.plan.objects import CONFIGURATION, NAMESPACES, ROUTES, WORKLOADS, created, object_changes, phase_of
from gitops.plan.observed import Difference, FieldChange
from gitops.values import LABEL_ENVIRONMENT, LABEL_VERSION, Manifest, ObjectRef

PATH = "clusters/local/dev/chat/1.0.0/deployment.yaml"
REF = ObjectRef("apps/v1", "Deployment", "dev", "chat-1-0-0")
OLD = ObjectRef("apps/v1", "Deployment", "dev", "chat-0-9-0")
MANIFEST: Manifest = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "chat-1-0-0", "namespace": "dev", "labels": {LABEL_ENVIRONMENT: "dev"}},
}
DESIRED = {REF: (PATH, MANIFEST)}


def test_a_missing_object_is_created_for_its_unit() -> None:
    (change,) = object_changes("local", [Difference(REF, "missing")], DESIRED, ())
    assert (change.unit, change.environment, change.cluster, change.path) == ("dev/chat", "dev", "local", PATH)
    assert (change.action, change.reason) == ("create", "missing")


def test_what_this_plan_changes_is_no_drift() -> None:
    (change,) = object_changes("local", [Difference(REF, "changed")], DESIRED, {PATH})
    assert (change.action, change.reason) == ("update", "spec")
    (gone,) = object_changes("local", [Difference(OLD, "surplus", uid="1", unit="dev/chat")], DESIRED, {PATH})
    assert (gone.action, gone.reason, gone.uid) == ("delete", "spec", "1")


def test_what_nobody_asked_for_is_drift() -> None:
    (change,) = object_changes("local", [Difference(OLD, "surplus", uid="1", unit="dev/other")], DESIRED, {PATH})
    assert (change.unit, change.reason) == ("dev/other", "surplus")
    (shared,) = object_changes("local", [Difference(OLD, "surplus", uid="1")], DESIRED, ())
    assert shared.unit == "local"


def test_a_field_that_somebody_took_over_stays_a_conflict_whatever_the_plan_changes() -> None:
    difference = Difference(REF, "taken-over", (FieldChange("spec.replicas", 1, 2, "kubectl-edit"),))
    (change,) = object_changes("local", [difference], DESIRED, {PATH})
    assert change.reason == "taken-over"
    assert change.conflicts == ("kubectl-edit",)


def test_everything_is_created_on_a_cluster_that_does_not_exist() -> None:
    (change,) = created("local", DESIRED)
    assert (change.action, change.reason) == ("create", "spec")


@pytest.mark.parametrize(
    ("kind", "labels", "phase"),
    [
        ("Namespace", {}, NAMESPACES),
        ("ConfigMap", {}, CONFIGURATION),
        ("NetworkPolicy", {}, CONFIGURATION),
        ("Service", {LABEL_VERSION: "1.0.0"}, CONFIGURATION),
        ("Deployment", {}, WORKLOADS),
        ("ScaledObject", {}, WORKLOADS),
        ("Service", {}, ROUTES),
        ("HTTPRoute", {}, ROUTES),
        ("VirtualService", {}, ROUTES),
    ],
)
def test_traffic_moves_last(kind: str, labels: dict[str, str], phase: int) -> None:
    assert phase_of({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x", "labels": labels}}) == phase
