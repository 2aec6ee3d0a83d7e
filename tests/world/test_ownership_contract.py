"""Nobody's property is touched: what every cluster adapter promises of objects that others have."""

from dataclasses import replace

import pytest

from gitops.values import FIELD_MANAGER, LABEL_CLUSTER, LABEL_PIPELINE, LABEL_REPOSITORY, ObjectRef, Owner
from gitops.world.kubernetes.cluster import Conflict, NotOurs
from gitops.world.ports import Difference
from tests.world.bench import CLUSTER, REPOSITORY, Bench, Manifest, owner_of

PIPELINE, OTHER = "another-pipeline", "0" * 20
STAMPS = "gitops-applied"


def others(bench: Bench) -> dict[str, Owner]:
    """Everybody who could be taken for us, and what tells them apart."""
    return {
        "belongs to pipeline another-pipeline": owner_of(PIPELINE, OTHER),
        f"belongs to another GitOps repository \\({OTHER}\\)": owner_of(bench.namespace, OTHER),
        "belongs to the cluster name there: two names lead to one place": owner_of(bench.namespace, cluster="there"),
    }


def of(owner: Owner, manifest: Manifest) -> Manifest:
    """As that owner renders it."""
    labels = manifest["metadata"]["labels"] | {LABEL_PIPELINE: owner.pipeline, LABEL_CLUSTER: owner.cluster}
    return {**manifest, "metadata": {**manifest["metadata"], "labels": labels}}


def only(differences: list[Difference]) -> Difference:
    assert len(differences) == 1, differences
    return differences[0]


def as_before(bench: Bench, manifest: Manifest) -> ObjectRef:
    """Applied as it was before objects were marked with their repository: under the field manager of everybody."""
    bench.as_owner(None).apply(manifest)
    return ObjectRef.of(manifest)


def applies(bench: Bench, ref: ObjectRef) -> list[str]:
    return [e["manager"] for e in bench.live(ref)["metadata"]["managedFields"] if e["operation"] == "Apply"]


# --- Marks ---------------------------------------------------------------------------------------------------


def test_what_is_applied_says_whose_it_is(bench: Bench) -> None:
    desired = bench.config("config")
    bench.apply(desired)
    assert bench.live(ObjectRef.of(desired))["metadata"]["labels"][LABEL_REPOSITORY] == REPOSITORY
    assert applies(bench, ObjectRef.of(desired)) == [f"gitops-{bench.namespace}-{REPOSITORY[:8]}"]
    assert bench.cluster.compare([desired], bench.selector) == []


def test_a_cluster_is_told_from_any_other_whatever_leads_to_it(bench: Bench) -> None:
    assert bench.cluster.identity()
    assert bench.cluster.identity() == bench.as_owner(owner_of("x", cluster="there")).identity()


# --- Objects of others ---------------------------------------------------------------------------------------


def test_objects_of_others_are_neither_changed_nor_listed_as_ours(bench: Bench) -> None:
    for said, other in others(bench).items():
        theirs = of(other, bench.config("config", theirs="1"))
        ref = ObjectRef.of(theirs)
        bench.as_owner(other).apply(theirs)
        before = bench.live(ref)
        assert bench.cluster.compare([], bench.selector) == [], said

        desired = of(bench.owner, bench.config("config", ours="1"))
        found = only(bench.cluster.compare([desired], bench.selector))
        assert (found.kind, found.owner) == ("foreign", other)
        for force in (False, True):
            with pytest.raises(NotOurs, match=f"{said}.*--adopt"):
                bench.cluster.apply(desired, force=force)
        assert not bench.cluster.remove(ref, {})
        assert bench.live(ref) == before
        bench.as_owner(other).delete(ref, before["metadata"]["uid"])


def test_what_carries_no_mark_is_not_taken_over(bench: Bench) -> None:
    desired = bench.config("config")
    bench.request("POST", ObjectRef.of(desired), {**desired, "metadata": {**desired["metadata"], "labels": {}}})
    found = only(bench.cluster.compare([desired], bench.selector))
    assert (found.kind, found.owner) == ("foreign", Owner("", "", ""))
    with pytest.raises(NotOurs, match="exists already and carries no label of pipeline"):
        bench.cluster.apply(desired)


def test_adopting_makes_it_ours_with_all_that_its_owner_had_set(bench: Bench) -> None:
    for other in others(bench).values():
        theirs, desired = (of(one, bench.config("config", **data)) for one, data in _both(bench, other))
        bench.as_owner(other).apply(theirs)
        bench.cluster.apply(desired, adopt=True)
        assert bench.live(ObjectRef.of(desired))["data"] == {"ours": "1", "shared": "new"}
        assert bench.cluster.compare([desired], bench.selector) == []
        with pytest.raises(NotOurs):
            bench.as_owner(other).apply(theirs)
        bench.cluster.delete(ObjectRef.of(desired), bench.live(ObjectRef.of(desired))["metadata"]["uid"])


def _both(bench: Bench, other: Owner) -> list[tuple[Owner, dict[str, str]]]:
    return [(other, {"theirs": "1", "shared": "old"}), (bench.owner, {"ours": "1", "shared": "new"})]


def test_adopting_does_not_take_fields_from_other_managers(bench: Bench) -> None:
    desired = bench.config("config", a="1")
    bench.request("POST", ObjectRef.of(desired), bench.config("config", a="2"))
    with pytest.raises(Conflict, match=r"kubectl-edit also manages data\.a"):
        bench.cluster.apply(desired, adopt=True)
    bench.cluster.apply(desired, adopt=True, force=True)
    assert bench.cluster.compare([desired], bench.selector) == []


def test_two_that_begin_at_once_do_not_share_an_object(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have looked and found nothing: then the API server tells the second that it is too late."""
    monkeypatch.setattr("gitops.world.kubernetes.cluster.KubernetesCluster._claim", lambda *_, **__: None)
    other = owner_of(bench.namespace, OTHER)
    bench.as_owner(other).apply(of(other, bench.config("config")))
    with pytest.raises(Conflict, match=f"gitops-{bench.namespace}-{OTHER[:8]} also manages .*{LABEL_REPOSITORY}"):
        bench.cluster.apply(of(bench.owner, bench.config("config")))


def test_without_a_commit_nothing_is_ours(bench: Bench) -> None:
    bench.apply(bench.config("config"))
    as_before(bench, bench.config("older"))
    newcomer = bench.as_owner(replace(bench.owner, repository=""))
    assert newcomer.compare([], bench.selector) == []
    found = newcomer.compare([bench.config("config"), bench.config("older")], bench.selector)
    assert [one.kind for one in found] == ["foreign", "foreign"]


# --- Before objects were marked ------------------------------------------------------------------------------


def test_what_was_applied_before_marks_is_left_for_git_to_tell(bench: Bench) -> None:
    desired = bench.config("config")
    as_before(bench, desired)
    found = only(bench.cluster.compare([desired], bench.selector))
    assert (found.kind, [field.path for field in found.fields]) == ("changed", [f"metadata.labels.{LABEL_REPOSITORY}"])
    assert found.owner == Owner(bench.namespace, "", "")
    surplus = only(bench.cluster.compare([], bench.selector))
    assert (surplus.kind, surplus.owner) == ("surplus", found.owner)


def test_an_upgrade_neither_conflicts_with_itself_nor_leaves_fields_behind(bench: Bench) -> None:
    ref = as_before(bench, bench.config("config", a="1", b="2", c="3"))
    desired = bench.config("config", a="1", b="changed")
    found = only(bench.cluster.compare([desired], bench.selector))
    assert found.kind == "changed"
    assert {field.path for field in found.fields} == {f"metadata.labels.{LABEL_REPOSITORY}", "data.b", "data.c"}
    bench.cluster.apply(desired)
    assert bench.live(ref)["data"] == {"a": "1", "b": "changed"}
    assert applies(bench, ref) == [bench.owner.manager]
    assert bench.cluster.compare([desired], bench.selector) == []


def test_an_upgrade_still_sees_who_else_changed_a_field(bench: Bench) -> None:
    ref = as_before(bench, bench.config("config", a="1"))
    bench.patch(ref, {"data": {"a": "2"}})
    found = only(bench.cluster.compare([bench.config("config", a="1")], bench.selector))
    assert found.kind == "taken-over"
    assert {field.manager for field in found.fields} == {"kubectl-edit", ""}
    with pytest.raises(Conflict, match=r"kubectl-edit also manages data\.a"):
        bench.cluster.apply(bench.config("config", a="1"))
    bench.cluster.apply(bench.config("config", a="1"), force=True)
    assert bench.cluster.compare([bench.config("config", a="1")], bench.selector) == []


def test_an_upgrade_that_was_interrupted_goes_on(bench: Bench) -> None:
    """Killed after the apply of a version that renamed nothing: both names have fields."""
    desired = bench.config("config", a="1", b="2")
    ref = as_before(bench, desired)
    live = bench.live(ref)
    mark = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**desired["metadata"]}, "data": {"a": "1"}}
    mark["metadata"] = {**mark["metadata"], "labels": {**desired["metadata"]["labels"], LABEL_REPOSITORY: REPOSITORY}}
    bench.request("PATCH", ref, mark, manager=bench.owner.manager, content_type="application/apply-patch+yaml")
    assert sorted(applies(bench, ref)) == sorted([FIELD_MANAGER, bench.owner.manager])
    assert live["metadata"]["uid"] == bench.live(ref)["metadata"]["uid"]
    bench.cluster.apply(bench.config("config", a="1"))
    assert bench.live(ref)["data"] == {"a": "1"}
    assert applies(bench, ref) == [bench.owner.manager]


# --- Notes ---------------------------------------------------------------------------------------------------


def test_notes_of_others_are_theirs(bench: Bench) -> None:
    for said, other in others(bench).items():
        bench.as_owner(other).stamp(bench.namespace, STAMPS, {"chat": "tree"})
        with pytest.raises(NotOurs, match=said):
            bench.cluster.stamps(bench.namespace, STAMPS)
        with pytest.raises(NotOurs, match=said):
            bench.cluster.stamp(bench.namespace, STAMPS, {"chat": "other"})
        assert bench.as_owner(other).stamps(bench.namespace, STAMPS) == {"chat": "tree"}
        bench.request("DELETE", ObjectRef("v1", "ConfigMap", bench.namespace, STAMPS))


def test_notes_from_before_marks_are_ours(bench: Bench) -> None:
    bench.as_owner(None).stamp(bench.namespace, STAMPS, {"chat": "tree"})
    assert bench.cluster.stamps(bench.namespace, STAMPS) == {"chat": "tree"}
    bench.cluster.stamp(bench.namespace, STAMPS, {"search": "tree"})
    labels = bench.live(ObjectRef("v1", "ConfigMap", bench.namespace, STAMPS))["metadata"]["labels"]
    assert labels == {LABEL_PIPELINE: bench.namespace, LABEL_REPOSITORY: REPOSITORY, LABEL_CLUSTER: CLUSTER}
    assert bench.cluster.compare([], bench.selector) == []


def test_what_another_repository_runs_is_no_workload_of_ours(bench: Bench) -> None:
    other = owner_of(bench.namespace, OTHER)
    theirs = of(other, bench.deployment("chat-1", replicas=0))
    theirs["metadata"]["labels"] |= {"gitops/version": "1"}
    bench.as_owner(other).apply(theirs)
    assert bench.cluster.survey(bench.selector).workloads == ()
    assert len(bench.as_owner(other).survey(bench.selector).workloads) == 1


def test_notes_are_adopted_with_the_rest(bench: Bench) -> None:
    bench.as_owner(owner_of(bench.namespace, OTHER)).stamp(bench.namespace, STAMPS, {"chat": "tree"})
    bench.cluster.stamp(bench.namespace, STAMPS, {"chat": "ours"}, adopt=True)
    assert bench.cluster.stamps(bench.namespace, STAMPS) == {"chat": "ours"}


def test_what_somebody_took_over_meanwhile_is_not_deleted(bench: Bench) -> None:
    """The plan saw it as ours; before it was applied, another pipeline adopted it."""
    mine = of(bench.owner, bench.config("config"))
    bench.apply(mine)
    surplus = only(bench.cluster.compare([], bench.selector))
    other = owner_of(PIPELINE, OTHER)
    bench.as_owner(other).apply(of(other, bench.config("config")), adopt=True)
    with pytest.raises(NotOurs, match=f"belongs to pipeline {PIPELINE}"):
        bench.cluster.delete(surplus.ref, surplus.uid)
    assert bench.live(surplus.ref)


def test_a_namesake_does_not_take_the_lease(bench: Bench) -> None:
    other = bench.as_owner(owner_of(bench.namespace, OTHER))
    assert other.lease(bench.namespace, "gitops-acme", "theirs", 15)
    other.release(bench.namespace, "gitops-acme", "theirs")
    with pytest.raises(NotOurs, match="belongs to another GitOps repository"):
        bench.cluster.lease(bench.namespace, "gitops-acme", "ours", 15)
    assert other.lease(bench.namespace, "gitops-acme", "theirs", 15)


def test_a_lease_from_before_marks_is_taken_and_marked(bench: Bench) -> None:
    before = bench.as_owner(None)
    assert before.lease(bench.namespace, "gitops-acme", "old", 15)
    before.release(bench.namespace, "gitops-acme", "old")
    assert bench.cluster.lease(bench.namespace, "gitops-acme", "new", 15)
    with pytest.raises(NotOurs):
        bench.as_owner(owner_of(PIPELINE, OTHER)).lease(bench.namespace, "gitops-acme", "theirs", 15)
