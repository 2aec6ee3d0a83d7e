"""Safety rules, on the values they judge."""

from types import MappingProxyType

from gitops.plan.model import Base, ClusterInfrastructure, ObjectChange, Plan, ReleaseChange
from gitops.plan.observed import FieldChange, ResourceChange
from gitops.plan.refusals import Allowances, refusals
from gitops.plan.stored import Stored
from gitops.rollout.release import Release, ReleasedVersion, Rendered
from gitops.values import ObjectRef, UnitKey

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


def surplus(count: int) -> Plan:
    """Live objects of models that Git does not know: somebody points at the wrong repository."""
    return Plan(
        BASE,
        objects=tuple(
            ObjectChange(f"dev/x{n}", "local", "dev", "delete", ObjectRef("v1", "Service", "dev", f"x{n}"), "surplus")
            for n in range(count)
        ),
    )


def test_many_strangers_in_a_cluster_are_not_deleted_unasked() -> None:
    assert rules(surplus(3), stored(dev=1)) == []
    assert rules(surplus(4), stored(dev=1)) == ["deletion-guard"]
    assert rules(surplus(4), stored()) == ["deletion-guard"]


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
