"""What every cluster adapter promises, checked on the embedded cluster and on a real control plane."""

import uuid

import pytest

from gitops.values import LABEL_PIPELINE, ObjectRef
from gitops.world import effects
from gitops.world.kubernetes.cluster import ClusterError, Conflict
from gitops.world.ports import Difference, FieldChange
from tests.world.bench import Bench

PATCH = "PATCH"


def only(differences: list[Difference]) -> Difference:
    assert len(differences) == 1, differences
    return differences[0]


# --- Nothing to do -------------------------------------------------------------------------------------------


def test_what_was_applied_compares_as_equal(bench: Bench) -> None:
    desired = [
        bench.config("config"),
        bench.secret("secret", "aGk="),
        bench.service("web"),
        bench.route("web", 99, 1),
        bench.deployment("web"),
    ]
    assert {difference.kind for difference in bench.cluster.compare(desired, bench.selector)} == {"missing"}
    bench.apply(*desired)
    assert bench.cluster.compare(desired, bench.selector) == []


def test_no_character_is_lost_on_the_way(bench: Bench) -> None:
    odd = '\u2028 \x85\x7f\u2029\ufeff\u00a0\t\r\n\U0001f600 \\ " {{ x }} \x01 :# &a *b'
    desired = bench.config("config", a=odd, b="- yes", c="")
    bench.apply(desired)
    assert bench.live(ObjectRef.of(desired))["data"] == desired["data"]
    assert bench.cluster.compare([desired], bench.selector) == []


def test_an_apply_without_change_writes_nothing(bench: Bench) -> None:
    desired = [bench.config("config"), bench.deployment("web", replicas=0)]
    bench.apply(*desired)
    bench.wait_ready(ObjectRef.of(desired[1]))
    before = [bench.live(ObjectRef.of(manifest))["metadata"]["resourceVersion"] for manifest in desired]
    bench.apply(*desired)
    assert [bench.live(ObjectRef.of(each))["metadata"]["resourceVersion"] for each in desired] == before


def test_comparing_unchanged_objects_asks_only_for_lists(bench: Bench) -> None:
    desired = [bench.config("config"), bench.service("web"), bench.deployment("web")]
    bench.apply(*desired)
    bench.faults.clear()
    assert bench.cluster.compare(desired, bench.selector) == []
    assert bench.faults.count(method=PATCH) == 0
    assert bench.faults.count() <= 12


def test_one_dry_run_answers_for_all_objects_that_the_server_completes_alike(bench: Bench) -> None:
    desired = [bench.route(f"route-{index}", 100) for index in range(20)]
    bench.apply(*desired)
    bench.faults.clear()
    assert bench.cluster.compare(desired, bench.selector) == []
    assert bench.faults.count(method=PATCH) <= 1


def test_many_objects_come_in_pages(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gitops.world.kubernetes.api._PAGE", 3)
    desired = [bench.config(f"config-{index}") for index in range(8)]
    bench.apply(*desired)
    bench.faults.clear()
    assert only(bench.cluster.compare(desired[1:], bench.selector)).kind == "surplus"
    assert bench.faults.count(path="/configmaps") == 3


# --- Drift ---------------------------------------------------------------------------------------------------


def test_an_edit_by_another_manager_is_found_and_taken_back_by_force(bench: Bench) -> None:
    desired = bench.deployment("web", replicas=1)
    ref = ObjectRef.of(desired)
    bench.apply(desired)
    container = {"name": "server", "image": "server:hacked"}
    edited = bench.live(ref)["spec"]["template"]["spec"]["containers"][0] | container
    bench.patch(ref, {"spec": {"template": {"spec": {"containers": [edited]}}}})

    found = only(bench.cluster.compare([desired], bench.selector))
    assert (found.ref, found.kind) == (ref, "taken-over")
    change = only_field(found)
    assert change.path == "spec.template.spec.containers[server].image"
    assert (change.before, change.after, change.manager) == ("server:hacked", "server:1", "kubectl-edit")

    with pytest.raises(Conflict, match=r"kubectl-edit also manages .*\[server\]\.image.*--force-conflicts"):
        bench.cluster.apply(desired)
    bench.cluster.apply(desired, force=True)
    assert bench.cluster.compare([desired], bench.selector) == []


def only_field(found: Difference) -> FieldChange:
    assert len(found.fields) == 1, found.fields
    return found.fields[0]


def test_a_removed_field_is_found_and_put_back(bench: Bench) -> None:
    desired = bench.config("config", a="1", b="2")
    bench.apply(desired)
    bench.patch(ObjectRef.of(desired), {"data": {"b": None}})
    found = only(bench.cluster.compare([desired], bench.selector))
    change = only_field(found)
    assert (found.kind, change.path, change.before, change.after) == ("changed", "data.b", None, "2")
    bench.cluster.apply(desired)
    assert bench.cluster.compare([desired], bench.selector) == []


def test_a_field_that_is_no_longer_desired_is_removed(bench: Bench) -> None:
    bench.apply(bench.config("config", a="1", b="2"))
    desired = bench.config("config", a="1")
    change = only_field(only(bench.cluster.compare([desired], bench.selector)))
    assert (change.path, change.before, change.after) == ("data.b", "2", None)
    bench.cluster.apply(desired)
    assert bench.live(ObjectRef.of(desired))["data"] == {"a": "1"}


def test_a_part_of_an_atomic_value_that_is_no_longer_desired_is_found(bench: Bench) -> None:
    mirrored = bench.route("web", 100)
    filters = [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "shadow", "port": 80}}}]
    mirrored["spec"]["rules"][0]["filters"] = filters
    bench.apply(mirrored)
    desired = bench.route("web", 100)
    change = only_field(only(bench.cluster.compare([desired], bench.selector)))
    assert change.path.startswith("spec.rules[0].filters")


def test_new_weights_are_found(bench: Bench) -> None:
    bench.apply(bench.route("web", 99, 1), bench.route("other", 50, 50))
    found = only(bench.cluster.compare([bench.route("web", 90, 10), bench.route("other", 50, 50)], bench.selector))
    assert [(change.path, change.before, change.after) for change in found.fields] == [
        ("spec.rules[0].backendRefs[web-0].weight", 99, 90),
        ("spec.rules[0].backendRefs[web-1].weight", 1, 10),
    ]


def test_a_deleted_object_is_found_and_made_again(bench: Bench) -> None:
    desired = [bench.config("one"), bench.config("two")]
    bench.apply(*desired)
    bench.request("DELETE", ObjectRef.of(desired[0]))
    found = only(bench.cluster.compare(desired, bench.selector))
    assert (found.ref, found.kind) == (ObjectRef.of(desired[0]), "missing")
    bench.apply(desired[0])
    assert bench.cluster.compare(desired, bench.selector) == []


def test_an_object_that_lost_our_labels_is_still_found(bench: Bench) -> None:
    desired = [bench.config(f"config-{index}") for index in range(5)]
    bench.apply(*desired)
    bench.patch(ObjectRef.of(desired[0]), {"metadata": {"labels": {LABEL_PIPELINE: None}}})
    found = only(bench.cluster.compare(desired, bench.selector))
    assert (found.kind, only_field(found).path) == ("changed", f"metadata.labels.{LABEL_PIPELINE}")


def test_surplus_is_ours_alone(bench: Bench) -> None:
    ours, labelled, other = bench.config("ours"), bench.config("labelled"), bench.config("other")
    other["metadata"]["labels"] = {LABEL_PIPELINE: "other-pipeline"}
    bench.apply(ours, other)
    bench.request("POST", ObjectRef.of(labelled), labelled)

    found = only(bench.cluster.compare([], bench.selector))
    assert (found.ref, found.kind, found.unit) == (ObjectRef.of(ours), "surplus", "dev/chat")
    bench.cluster.delete(found.ref, found.uid)
    assert bench.cluster.compare([], bench.selector) == []
    assert bench.live(ObjectRef.of(labelled))
    assert bench.live(ObjectRef.of(other))


def test_deleting_is_about_one_object_and_not_about_its_name(bench: Bench) -> None:
    desired = bench.config("config")
    ref = ObjectRef.of(desired)
    bench.apply(desired)
    bench.cluster.delete(ref, str(uuid.uuid4()))
    live = bench.live(ref)
    bench.cluster.delete(ref, live["metadata"]["uid"])
    bench.cluster.delete(ref, live["metadata"]["uid"])
    assert only(bench.cluster.compare([desired], bench.selector)).kind == "missing"


def test_fields_of_others_are_theirs(bench: Bench) -> None:
    desired = bench.deployment("web", replicas=1)
    del desired["spec"]["replicas"]
    bench.apply(desired)
    bench.patch(ObjectRef.of(desired), {"spec": {"replicas": 2}, "metadata": {"annotations": {"a": "b"}}}, "hpa")
    assert bench.cluster.compare([desired], bench.selector) == []
    bench.cluster.apply(desired)
    assert bench.live(ObjectRef.of(desired))["spec"]["replicas"] == 2


def test_secret_values_never_leave(bench: Bench) -> None:
    bench.apply(bench.secret("secret", "b2xk"))
    found = bench.cluster.compare([bench.secret("secret", "bmV3")], bench.selector)
    assert only_field(only(found)).path == "data.token"
    assert "b2xk" not in repr(found)
    assert "bmV3" not in repr(found)
    with pytest.raises(ClusterError) as caught:
        bench.cluster.apply(bench.secret("UPPER", "bmV3"))
    assert "bmV3" not in str(caught.value)


def test_writes_are_observed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(effects, "observers", [seen.append])
    desired = bench.config("config")
    bench.apply(desired)
    bench.cluster.compare([bench.config("config", a="2")], bench.selector)
    bench.cluster.delete(ObjectRef.of(desired), bench.live(ObjectRef.of(desired))["metadata"]["uid"])
    place = f"ConfigMap {bench.namespace}/config"
    assert seen == [f"apply {place}", f"delete {place}"]


# --- Readiness -----------------------------------------------------------------------------------------------


def test_a_deployment_is_ready_when_its_pods_have_loaded(bench: Bench) -> None:
    desired = bench.deployment("web", replicas=2, load=2)
    ref = ObjectRef.of(desired)
    bench.apply(desired)
    bench.wait_ready(ref, ready=False, saying="0 of 2 replicas available")
    bench.wait_ready(ref, saying="2 of 2 replicas available")

    desired = bench.deployment("web", replicas=2, load=1, image="server:2")
    bench.apply(desired)
    bench.wait_ready(ref, ready=False, saying="of 2 replicas updated, 2 available")
    bench.wait_ready(ref, saying="2 of 2 replicas available")


def test_what_does_not_fit_says_so(bench: Bench) -> None:
    desired = bench.deployment("big", replicas=3, gpus=8)
    ref = ObjectRef.of(desired)
    bench.apply(desired)
    state = bench.wait_ready(ref, ready=False, saying="Insufficient nvidia.com/gpu")
    assert not state.failed
    bench.wait_ready(ref, ready=False, saying="2 of 3 replicas available: Unschedulable: 0/3 nodes are available")
    bench.cluster.delete(ref, bench.live(ref)["metadata"]["uid"])


def test_other_objects_are_ready_when_they_exist(bench: Bench) -> None:
    config, route = bench.config("config"), bench.route("web", 1)
    bench.apply(config, route)
    missing = ObjectRef.of(bench.config("missing"))
    namespace = ObjectRef("v1", "Namespace", "", bench.namespace)
    refs = [ObjectRef.of(config), ObjectRef.of(route), namespace, missing]
    states = bench.cluster.readiness(refs)
    assert [states[ref].ready for ref in refs] == [True, True, True, False]


def test_many_readiness_questions_are_one_list(bench: Bench) -> None:
    desired = [bench.deployment(f"web-{index}", replicas=0) for index in range(6)]
    bench.apply(*desired)
    for manifest in desired:
        bench.wait_ready(ObjectRef.of(manifest))
    bench.faults.clear()
    states = bench.cluster.readiness([ObjectRef.of(manifest) for manifest in desired])
    assert all(state.ready for state in states.values())
    assert bench.faults.count() == 1


# --- Refusals and faults -------------------------------------------------------------------------------------


def test_refusals_name_the_object_and_are_not_repeated(bench: Bench) -> None:
    lost = bench.config("lost")
    lost["metadata"]["namespace"] = "nowhere"
    cases = [(lost, "namespace nowhere does not exist"), (bench.config("UPPER"), "calls it invalid.*metadata.name")]
    for manifest, message in cases:
        bench.faults.clear()
        with pytest.raises(ClusterError, match=message) as caught:
            bench.cluster.apply(manifest)
        assert caught.value.where == f"contract, {ObjectRef.of(manifest)}"
        assert bench.faults.count(method=PATCH) == 1
    assert bench.waits == []


def test_an_immutable_field_is_explained(bench: Bench) -> None:
    desired = bench.deployment("web", replicas=0)
    bench.apply(desired)
    desired["spec"]["selector"] = {"matchLabels": {"app": "other"}}
    desired["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    with pytest.raises(ClusterError, match=r"immutable.*another name"):
        bench.cluster.apply(desired)


@pytest.mark.parametrize("status", [429, 500, 503, 504])
def test_passing_faults_are_repeated(bench: Bench, status: int) -> None:
    bench.faults.respond(status, times=2, method=PATCH)
    bench.apply(bench.config("config"))
    assert bench.faults.count(method=PATCH) == 3
    assert len(bench.waits) == 2
    assert all(0 < wait < 1 for wait in bench.waits)


def test_a_server_that_asks_for_patience_gets_it(bench: Bench) -> None:
    bench.faults.respond(429, method=PATCH, retry_after=7)
    bench.faults.respond(429, method=PATCH, retry_after=3600)
    bench.apply(bench.config("config"))
    assert bench.waits == [7, 30]


def test_a_lasting_fault_is_reported_with_the_object(bench: Bench) -> None:
    bench.faults.respond(503, times=9, method=PATCH)
    with pytest.raises(ClusterError, match="503") as caught:
        bench.cluster.apply(bench.config("config"))
    assert f"ConfigMap {bench.namespace}/config" in caught.value.where
    assert bench.faults.count(method=PATCH) == 3


@pytest.mark.parametrize("forward", [True, False])
def test_a_dropped_connection_is_repeated(bench: Bench, forward: bool) -> None:
    bench.faults.drop(method=PATCH, forward=forward)
    desired = bench.config("config")
    bench.apply(desired)
    assert bench.cluster.compare([desired], bench.selector) == []


def test_lasting_silence_is_reported_with_the_object(bench: Bench) -> None:
    bench.faults.hang(times=3, method=PATCH)
    with pytest.raises(ClusterError, match=r"no answer .* after 3 attempts: the answer timed out") as caught:
        bench.cluster.apply(bench.config("config"))
    assert f"ConfigMap {bench.namespace}/config" in caught.value.where


def test_a_fault_while_listing_is_repeated(bench: Bench) -> None:
    desired = bench.config("config")
    bench.apply(desired)
    bench.faults.respond(503, times=2, method="GET", path="/configmaps")
    assert bench.cluster.compare([desired], bench.selector) == []
    bench.faults.respond(401, method="GET", path="/configmaps")
    with pytest.raises(ClusterError, match="credentials"):
        bench.cluster.compare([desired], bench.selector)


def test_only_applied_fields_are_ours(bench: Bench) -> None:
    desired = bench.config("config")
    bench.apply(desired)
    entries = bench.live(ObjectRef.of(desired))["metadata"]["managedFields"]
    assert [(entry["manager"], entry["operation"]) for entry in entries] == [(bench.owner.manager, "Apply")]


def test_a_server_says_its_version(bench: Bench) -> None:
    version = bench.cluster.version()
    assert version
    assert version >= (1, 30)
