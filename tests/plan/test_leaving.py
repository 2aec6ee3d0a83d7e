"""A plan without what cannot or must not be done: everything else stays in it."""

from gitops.plan.leaving import out_of_reach, refused_units, without
from gitops.plan.model import (
    Base,
    FileChange,
    LeftAlone,
    ObjectChange,
    Plan,
    PlannedStep,
    Refusal,
    ReleaseChange,
)
from gitops.values import ObjectRef, UnitKey
from tests.plan.repository import write_spec

SPEC = write_spec(
    {"chat": ("1.0.0", "a")},
    {
        "dev": {},
        "prod": {"clusters": {"eu": {"provider": "embedded"}, "us": {"provider": "embedded"}}},
    },
)
DEV, PROD = "dev/chat", "prod/chat"
AWAY = "connection refused"


def changed(unit: str, cluster: str) -> FileChange:
    environment, model = unit.split("/")
    return FileChange(unit, "update", f"clusters/{cluster}/{environment}/{model}/service.yaml", b"")


def plan(*away: str, steps: tuple[str, ...] = (), refusals: tuple[Refusal, ...] = ()) -> Plan:
    return Plan(
        base=Base("acme", None, "", "", "real", live=True),
        releases=tuple(
            ReleaseChange(UnitKey(*unit.split("/")), "update", "1.0.0", "1.0.0", "") for unit in (DEV, PROD)
        ),
        files=(changed(DEV, "dev-cluster"), changed(PROD, "eu"), changed(PROD, "us")),
        objects=(ObjectChange(DEV, "dev-cluster", "dev", "update", ObjectRef("v1", "Service", "dev", "chat"), "spec"),),
        steps=tuple(PlannedStep(unit, "", {}) for unit in steps),
        unreachable=tuple(LeftAlone(name, AWAY) for name in away),
        refusals=refusals,
        seen={DEV: "1", PROD: "2"},
    )


def test_a_unit_that_runs_nowhere_else_waits_for_its_cluster() -> None:
    found = plan("dev-cluster")
    assert out_of_reach(SPEC, found) == {DEV: "dev-cluster cannot be reached"}
    left = without(found, out_of_reach(SPEC, found))
    assert {change.unit for change in left.files} == {PROD}
    assert {str(change.unit) for change in left.releases} == {PROD}
    assert (left.objects, dict(left.seen)) == ((), {PROD: "2"})
    assert left.left_alone == (LeftAlone(DEV, "dev-cluster cannot be reached"),)
    assert left.unreachable == found.unreachable, "it is still said"


def test_one_of_two_clusters_does_not_hold_up_the_other() -> None:
    assert out_of_reach(SPEC, plan("eu")) == {}
    assert set(out_of_reach(SPEC, plan("eu", "us"))) == {PROD}


def test_a_version_does_not_start_where_nobody_sees_whether_it_gets_ready() -> None:
    assert set(out_of_reach(SPEC, plan("eu", steps=(PROD,)))) == {PROD}
    assert out_of_reach(SPEC, plan("eu", steps=(DEV,))) == {}


def test_the_own_files_of_a_cluster_wait_with_it() -> None:
    found = plan("eu")
    own = FileChange("eu", "update", "terraform/eu/main.tf", b"")
    assert set(out_of_reach(SPEC, Plan(found.base, files=(own,), unreachable=found.unreachable))) == {"eu"}


def test_a_refusal_about_a_unit_leaves_that_unit() -> None:
    about_one, about_all = Refusal("conflict", "", units=(DEV,)), Refusal("deletion-guard", "")
    found = plan(refusals=(about_one, about_all))
    assert found.stopped == (about_all,)
    assert refused_units(found) == {DEV: "refused by the rule conflict"}
    assert {change.unit for change in without(found, refused_units(found)).files} == {PROD}
