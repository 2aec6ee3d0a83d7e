"""Safety rules, on the values they judge."""

from types import MappingProxyType

import pytest

from gitops.plan.model import Base, ClusterInfrastructure, ObjectChange, Plan, Reason, ReleaseChange
from gitops.plan.observed import FieldChange, ResourceChange
from gitops.plan.refusals import Allowances, one_place_twice, refusals
from gitops.plan.stored import Stored
from gitops.rollout.release import Release, ReleasedVersion, Rendered
from gitops.spec.resolved import Spec
from gitops.values import Action, ObjectRef, Owner, UnitKey
from tests.plan.repository import write_spec

BASE = Base("acme", "0" * 40, "sha256:0", "sha256:0", "real", True)


def stored(**environments: int) -> Stored:
    """A repository with so many models in each environment."""
    units = [UnitKey(name, f"m{n}") for name, count in environments.items() for n in range(count)]
    version = ReleasedVersion("1.0.0", "sha256:0", "2026-01-01T00:00:00Z", replicas=1)
    return Stored("0" * 40, MappingProxyType({unit: Release(unit, version, Rendered("sha256:0")) for unit in units}))


def leaving(environment: str, count: int) -> Plan:
    units = (UnitKey(environment, f"m{n}") for n in range(count))
    return Plan(BASE, releases=tuple(ReleaseChange(unit, "delete", "1.0.0", "1.0.0", "") for unit in units))


def rules(plan: Plan, repository: Stored, allowed: Allowances | None = None) -> list[str]:
    return [refusal.rule for refusal in refusals(plan, repository, allowed or Allowances())]


def test_one_model_may_leave() -> None:
    assert rules(leaving("dev", 1), stored(dev=5)) == []
    assert rules(leaving("dev", 1), stored(dev=1)) == []


def test_every_model_may_not_leave_at_once() -> None:
    assert rules(leaving("dev", 2), stored(dev=2)) == ["deletion-guard"]


def test_a_large_share_may_not_leave_at_once() -> None:
    assert rules(leaving("dev", 4), stored(dev=15)) == ["deletion-guard"]
    assert rules(leaving("dev", 4), stored(dev=16)) == []
    assert rules(leaving("dev", 3), stored(dev=5)) == []


def test_each_environment_counts_for_itself() -> None:
    found = list(refusals(leaving("production", 5), stored(dev=50, production=5), Allowances()))
    assert [refusal.message for refusal in found] == [
        "5 of 5 models would leave production; if that is meant, allow it"
    ]


def test_deletions_can_be_allowed() -> None:
    assert rules(leaving("dev", 5), stored(dev=5), Allowances(deletions=True)) == []


def changed(action: Action, reason: Reason, *owners: Owner | None) -> Plan:
    """A plan that does something to live objects of these owners, one each."""
    names = (ObjectRef("v1", "Service", "dev", f"x{n}") for n in range(len(owners)))
    return Plan(
        BASE,
        objects=tuple(
            ObjectChange("dev/x", "local", "dev", action, name, reason, owner=owner)
            for name, owner in zip(names, owners, strict=True)
        ),
    )


def test_what_git_never_had_is_not_deleted_whatever_its_number() -> None:
    ours = Owner("acme", "4f2c", "local")
    assert rules(changed("delete", "surplus", None), stored(dev=1)) == []
    (refusal,) = refusals(changed("delete", "surplus", None, ours), stored(dev=50), Allowances())
    assert refusal.rule == "deletion-guard"
    assert refusal.message.startswith("local: Service dev/x1 would be deleted, but the history of this GitOps")
    assert rules(changed("delete", "surplus", ours), stored(dev=50), Allowances(deletions=True)) == []


@pytest.mark.parametrize(
    ("owner", "said"),
    [
        (Owner("other", "4f2c", "local"), "belongs to pipeline other"),
        (Owner("acme", "4f2c", "local"), "belongs to another GitOps repository (4f2c) of a pipeline acme"),
        (Owner("acme", "4f2c", "eu"), "belongs to the cluster name eu: two names lead to one place"),
        (Owner("acme", "", "local"), "is not in the history of this GitOps repository, though it carries the label"),
        (Owner("", "", ""), "exists already and carries no label of pipeline acme"),
    ],
)
def test_what_others_have_is_not_taken_over_unasked(owner: Owner, said: str) -> None:
    (refusal,) = refusals(changed("update", "foreign", owner), stored(dev=1), Allowances(conflicts=True))
    assert (refusal.rule, refusal.flag) == ("owner", "--adopt")
    assert refusal.message.startswith(f"local: Service dev/x0 {said}")
    assert rules(changed("update", "foreign", owner), stored(dev=1), Allowances(adoption=True)) == []


def test_many_objects_of_one_owner_are_one_refusal() -> None:
    other, third = Owner("other", "4f2c", "local"), Owner("third", "4f2c", "local")
    found = refusals(changed("update", "foreign", *[other] * 7, third), stored(dev=1), Allowances())
    assert [refusal.message.partition(" belongs")[0] for refusal in found] == [
        "local: each of 7 objects (Service dev/x0, Service dev/x1, Service dev/x2, Service dev/x3, …)",
        "local: Service dev/x7",
    ]


def two_clusters(namespace: str) -> Spec:
    return write_spec({"chat": ("1.0.0", "a")}, {"dev": {"namespace": "models"}, "prod": {"namespace": namespace}})


def test_two_names_for_one_cluster_share_no_namespace() -> None:
    one = {"dev-cluster": "uid", "prod-cluster": "uid"}
    (refusal,) = one_place_twice(two_clusters("models"), one)
    assert refusal.message.startswith("dev-cluster and prod-cluster are the same cluster, and both keep namespace mod")
    assert refusal.flag == ""
    assert not list(one_place_twice(two_clusters("others"), one))
    assert not list(one_place_twice(two_clusters("models"), {"dev-cluster": "uid", "prod-cluster": "another"}))
    assert not list(one_place_twice(two_clusters("models"), {"dev-cluster": "", "prod-cluster": ""}))


def test_infrastructure_is_not_destroyed_unasked() -> None:
    for action in ("delete", "replace"):
        lines = (ResourceChange("module.cluster.aws_eks_cluster.this", action), ResourceChange("x", "create"))
        plan = Plan(BASE, infrastructure=(ClusterInfrastructure("aws", True, lines),))
        assert rules(plan, stored()) == ["destroy-guard"]
        assert rules(plan, stored(), Allowances(destruction=True)) == []


def test_conflicts_name_manager_and_fields() -> None:
    field = FieldChange("spec.replicas", 5, 3, "kubectl-edit")
    ref = ObjectRef("apps/v1", "Deployment", "dev", "chat-1")
    change = ObjectChange("dev/chat", "local", "dev", "update", ref, "taken-over", fields=(field,))
    (refusal,) = refusals(Plan(BASE, objects=(change,)), stored(dev=1), Allowances())
    assert "kubectl-edit" in refusal.message
    assert "spec.replicas" in refusal.message
    assert "Deployment dev/chat-1" in refusal.message
    assert refusal.flag == "--force-conflicts"
    assert rules(Plan(BASE, objects=(change,)), stored(dev=1), Allowances(conflicts=True)) == []


def test_a_saved_plan_may_be_allowed_more_when_it_is_applied() -> None:
    found = tuple(refusals(leaving("dev", 5), stored(dev=5), Allowances()))
    assert Allowances(deletions=True).without_allowed(found) == ()
    assert Allowances(destruction=True, conflicts=True).without_allowed(found) == found
