"""What every cluster adapter promises about looking at versions and traffic, and about removing a version."""

from typing import Any

import pytest

from gitops.values import LABEL_MODEL, LABEL_VERSION, ObjectRef
from gitops.world import effects
from gitops.world.kubernetes.cluster import ClusterError
from gitops.world.ports import Survey, Workload
from tests.world.bench import Bench, Manifest, until


def version(bench: Bench, model: str, number: str, **more: Any) -> Manifest:
    manifest = bench.deployment(f"{model}-{number.replace('.', '-')}", **more)
    manifest["metadata"]["labels"] |= {LABEL_MODEL: model, LABEL_VERSION: number}
    return manifest


def only(survey: Survey) -> Workload:
    (found,) = survey.workloads
    return found


def test_versions_and_their_traffic_at_one_look(bench: Bench) -> None:
    new, old = version(bench, "chat", "2.4.0", replicas=2), version(bench, "chat", "2.3.0", replicas=1)
    route = bench.route("chat", 90, 10)
    route["spec"]["rules"][0]["filters"] = [
        {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "chat-2", "port": 80}, "percent": 5}}
    ]
    unlabelled = bench.deployment("other")
    bench.apply(new, old, unlabelled, route, bench.service("chat"))
    survey = until(lambda: bench.cluster.survey(bench.selector), lambda found: all(w.ready for w in found.workloads))
    assert survey.workloads == (
        Workload("dev", "chat", "2.3.0", bench.namespace, "chat-2-3-0", 1, 1),
        Workload("dev", "chat", "2.4.0", bench.namespace, "chat-2-4-0", 2, 2),
    )
    place = (bench.namespace, "chat")
    assert survey.weights == {place: {"chat-0": 90, "chat-1": 10}}
    assert survey.mirrors == {place: {"chat-2": 5}}
    assert survey.selectors == {place: {"app": "chat"}}
    assert bench.cluster.survey({**bench.selector, LABEL_VERSION: "2.3.0"}).workloads == survey.workloads[:1]


def test_a_survey_is_one_list_for_each_kind(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.apply(*(version(bench, f"m{index}", "1", replicas=0) for index in range(5)), bench.service("web"))
    bench.faults.clear()
    assert len(bench.cluster.survey(bench.selector).workloads) == 5
    assert bench.faults.count() == bench.faults.count(method="GET", path="limit=500") == 3
    monkeypatch.setattr("gitops.world.kubernetes.api._PAGE", 2)
    bench.faults.clear()
    found = bench.cluster.survey(bench.selector, ["Deployment"])
    assert [workload.model for workload in found.workloads] == [f"m{index}" for index in range(5)]
    assert found.selectors == {}
    assert bench.faults.count() == bench.faults.count(path="/deployments") == 3


def test_what_is_ready_is_of_the_present_template(bench: Bench) -> None:
    bench.apply(version(bench, "chat", "1", replicas=2))
    until(lambda: only(bench.cluster.survey(bench.selector)), lambda found: found.ready == 2)
    bench.apply(version(bench, "chat", "1", replicas=2, image="server:2", load=2))
    seen: list[Workload] = []

    def look() -> Workload:
        seen.append(only(bench.cluster.survey(bench.selector)))
        return seen[-1]

    until(look, lambda found: found.ready == 2)
    assert any(found.ready != 2 for found in seen)
    assert all((found.replicas, found.failed) == (2, "") for found in seen)


def test_a_version_scaled_to_nothing_and_back(bench: Bench) -> None:
    bench.apply(version(bench, "chat", "1", replicas=0))
    bench.wait_ready(ObjectRef.of(version(bench, "chat", "1")), saying="0 of 0 replicas")
    assert only(bench.cluster.survey(bench.selector))[5:] == (0, 0, "")
    bench.apply(version(bench, "chat", "1", replicas=2))
    until(lambda: only(bench.cluster.survey(bench.selector))[5:], lambda found: found == (2, 2, ""))
    bench.apply(version(bench, "chat", "1", replicas=0))
    until(lambda: only(bench.cluster.survey(bench.selector))[5:], lambda found: found == (0, 0, ""))


def test_what_cannot_get_ready_says_why(bench: Bench) -> None:
    large = version(bench, "chat", "1", replicas=1, gpus=99)
    large["spec"]["progressDeadlineSeconds"] = 1
    bench.apply(large)
    found = until(lambda: only(bench.cluster.survey(bench.selector)), lambda found: bool(found.failed))
    assert "Insufficient nvidia.com/gpu" in found.failed
    assert (found.replicas, found.ready) == (1, 0)


def test_a_kind_that_the_cluster_does_not_know_has_no_objects(bench: Bench) -> None:
    assert bench.cluster.survey(bench.selector, ["VirtualService"]) == Survey((), {}, {}, {})


def test_a_survey_of_a_cluster_that_does_not_answer_is_an_error(bench: Bench) -> None:
    bench.faults.respond(503, times=2, method="GET", path="/services")
    assert bench.cluster.survey(bench.selector).selectors == {}
    bench.faults.respond(403, method="GET", path="/services")
    with pytest.raises(ClusterError, match="not allowed to list services"):
        bench.cluster.survey(bench.selector)


# --- Removing ------------------------------------------------------------------------------------------------


def test_only_what_carries_the_labels_is_removed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(effects, "observers", [seen.append])
    ours = version(bench, "chat", "1", replicas=0)
    ref = ObjectRef.of(ours)
    bench.apply(ours)
    assert not bench.cluster.remove(ref, {**bench.selector, LABEL_VERSION: "2"})
    assert not bench.cluster.remove(ref, {"absent": "label"})
    assert bench.live(ref)
    assert bench.cluster.remove(ref, {**bench.selector, LABEL_MODEL: "chat"})
    assert bench.cluster.survey(bench.selector).workloads == ()
    assert not bench.cluster.remove(ref, bench.selector)
    place = f"Deployment {bench.namespace}/chat-1"
    assert seen == [f"apply {place}", f"delete {place}"]


def test_removing_is_about_the_object_that_was_looked_at(bench: Bench) -> None:
    config = bench.config("config")
    ref = ObjectRef.of(config)
    bench.apply(config)
    uid = bench.live(ref)["metadata"]["uid"]
    bench.faults.drop(method="DELETE", forward=True)  # done, but the answer is lost
    assert bench.cluster.remove(ref, bench.selector)
    bench.apply(config)
    bench.cluster.delete(ref, uid)
    assert bench.live(ref)["metadata"]["uid"] != uid
