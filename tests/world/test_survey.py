"""Reading workloads and traffic, on objects that are spelled out."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from gitops.values import LABEL_ENVIRONMENT, LABEL_MODEL, LABEL_VERSION
from gitops.world.kubernetes.api import Api
from gitops.world.kubernetes.readiness import ready_replicas
from gitops.world.kubernetes.survey import (
    http_mirrors,
    http_weights,
    take_survey,
    virtual_mirrors,
    virtual_weights,
    workload_of,
)
from gitops.world.kubernetes.transport import NO_QUERY, Response, RetryPolicy
from gitops.world.ports import Workload

Manifest = dict[str, Any]
LABELS = {LABEL_ENVIRONMENT: "dev", LABEL_MODEL: "chat", LABEL_VERSION: "2.3.0"}


def deployment(name: str = "chat-2-3-0", labels: Mapping[str, str] = LABELS, **status: Any) -> Manifest:
    metadata = {"name": name, "namespace": "shop", "generation": 2, "labels": dict(labels)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": name}}},
        "status": {"observedGeneration": 2, **status},
    }


# --- Workloads -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "ready"),
    [
        ({}, 0),
        ({"replicas": 3, "updatedReplicas": 3, "readyReplicas": 2}, 2),
        ({"replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "observedGeneration": 1}, None),
        ({"replicas": 4, "updatedReplicas": 1, "readyReplicas": 3}, None),
        ({"replicas": 4, "updatedReplicas": 3, "readyReplicas": 2}, 2),
    ],
)
def test_ready_replicas_are_of_the_present_template(status: Manifest, ready: int | None) -> None:
    assert ready_replicas(deployment(**status)) == ready


def test_a_deployment_that_is_being_deleted_counts_for_nothing() -> None:
    live = deployment(replicas=3, updatedReplicas=3, readyReplicas=3)
    live["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert ready_replicas(live) == 0


def test_a_workload_has_the_labels_of_a_version() -> None:
    live = deployment(readyReplicas=3, updatedReplicas=3)
    assert workload_of(live) == Workload("dev", "chat", "2.3.0", "shop", "chat-2-3-0", 3, 3, "")
    del live["spec"]["replicas"]
    found = workload_of(live)
    assert found
    assert found.replicas == 1
    for label in LABELS:
        assert workload_of(deployment(labels={key: value for key, value in LABELS.items() if key != label})) is None
    assert workload_of({**live, "metadata": {"name": "a", "namespace": "b"}}) is None


# --- Traffic -------------------------------------------------------------------------------------------------


def route(*rules: Manifest) -> Manifest:
    return {"kind": "HTTPRoute", "metadata": {"name": "chat", "namespace": "shop"}, "spec": {"rules": list(rules)}}


def test_weights_of_a_route() -> None:
    refs = [{"name": "a", "weight": 90}, {"name": "b", "weight": 0}, {"name": "c", "kind": "Service"}]
    assert http_weights(route({"backendRefs": refs}, {"backendRefs": refs})) == {"a": 90, "b": 0, "c": 1}
    twice = [{"name": "a", "port": 80, "weight": 3}, {"name": "a", "port": 81, "weight": 4}]
    redirect = {"filters": [{"type": "RequestRedirect", "requestRedirect": {}}]}
    assert http_weights(route(redirect, {"backendRefs": twice})) == {"a": 7}
    pool = {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": "pool", "weight": 5}
    assert http_weights(route({"backendRefs": [pool]})) == {}
    assert http_weights(route()) == http_weights({"spec": {}}) == {}


@pytest.mark.parametrize(
    ("share", "percent"),
    [
        ({}, 100),
        ({"percent": 5}, 5),
        ({"percent": 0}, 0),
        ({"fraction": {"numerator": 7}}, 7),
        ({"fraction": {"numerator": 1, "denominator": 8}}, 12),
        ({"fraction": {"numerator": 1, "denominator": 1000}}, 1),
        ({"fraction": {"numerator": 0, "denominator": 1000}}, 0),
    ],
)
def test_mirrors_of_a_route(share: Manifest, percent: int) -> None:
    mirror = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "b", "port": 80}, **share}}
    header = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["x"]}}
    assert http_mirrors(route({"filters": [header, mirror]})) == {"b": percent}
    assert http_mirrors(route({"filters": [header]}, {})) == {}


def virtual(*rules: Manifest) -> Manifest:
    return {"kind": "VirtualService", "metadata": {"name": "chat", "namespace": "shop"}, "spec": {"http": list(rules)}}


def to(host: str, **more: Any) -> Manifest:
    return {"destination": {"host": host, "port": {"number": 80}}, **more}


def test_weights_of_a_virtual_service() -> None:
    routes = [to("a.shop.svc.cluster.local", weight=90), to("b", weight=10), to("c")]
    assert virtual_weights(virtual({"redirect": {}}, {"route": routes})) == {"a": 90, "b": 10, "c": 0}
    assert virtual_weights(virtual({"route": [to("a")]})) == {"a": 1}
    assert virtual_weights(virtual()) == {}


def test_mirrors_of_a_virtual_service() -> None:
    several = {"mirrors": [to("a"), to("b.shop", percentage={"value": 12.5}), to("c", percentage={})]}
    assert virtual_mirrors(virtual(several)) == {"a": 100, "b": 12, "c": 0}
    one = {"mirror": {"host": "a"}, "mirrorPercentage": {"value": 0.1}}
    assert virtual_mirrors(virtual(one, {"route": [to("b")]})) == {"a": 1}


# --- Lists ---------------------------------------------------------------------------------------------------


class Lists:
    """A transport that answers lists by plural, and keeps what was asked for."""

    def __init__(self, **lists: list[Manifest]) -> None:
        self.lists = lists
        self.asked: list[tuple[str, str]] = []

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] = NO_QUERY,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Response:
        self.asked.append((path, query.get("labelSelector", "")))
        items = self.lists.get(path.rpartition("/")[2])
        if items is None:
            return Response(404, {}, b"404 page not found")
        return Response(200, {}, orjson.dumps({"metadata": {}, "items": items}))

    def close(self) -> None:
        """Nothing to close."""


def api(lists: Lists) -> Api:
    return Api(lists, "test", RetryPolicy(attempts=1))


OVERDUE = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
WAITING = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"}


def test_pods_are_asked_for_only_where_a_deadline_is_exceeded() -> None:
    late, young = deployment("late", conditions=OVERDUE), deployment("young")
    pod = {"metadata": {"name": "late-1"}, "status": {"conditions": [WAITING]}}
    lists = Lists(deployments=[late, young], pods=[pod])
    found = {each.name: each.failed for each in take_survey(api(lists), {"a": "b"}, ["Deployment"]).workloads}
    assert found["young"] == ""
    assert found["late"].startswith("0 of 3 replicas updated, 0 available: Unschedulable: 0/3 nodes")
    assert "progress deadline exceeded" in found["late"]
    assert [path.rpartition("/")[2] for path, _ in lists.asked] == ["deployments", "pods"]
    assert lists.asked[1] == ("/api/v1/namespaces/shop/pods", "app=late")


def test_a_deadline_alone_is_no_failure() -> None:
    """The condition stays while pods that have found room load their model."""
    loading = {"metadata": {"name": "late-1"}, "status": {"conditions": [{"type": "PodScheduled", "status": "True"}]}}
    lists = Lists(deployments=[deployment("late", conditions=OVERDUE)], pods=[loading])
    assert take_survey(api(lists), {}, ["Deployment"]).workloads[0].failed == ""


def test_kinds_that_are_not_installed_give_nothing() -> None:
    survey = take_survey(api(Lists(services=[])), {}, ("Deployment", "HTTPRoute", "VirtualService", "Service"))
    assert (survey.workloads, survey.weights, survey.mirrors, survey.selectors) == ((), {}, {}, {})


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no survey reads Pod; it can read Deployment, HTTPRoute"):
        take_survey(api(Lists()), {}, ["Pod"])
