"""What the spec declares, as the state machine reads it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from gitops.rollout.policy import Policy, PolicyStep, policy_of
from gitops.spec.environment import Environment
from gitops.spec.rollouts import Rollout

ROLLOUT: TypeAdapter[Any] = TypeAdapter(Rollout)
STEPS = [{"weight": 10, "bake": "15m"}, {"weight": 100}]


def policy(environment: Environment | None = None, /, **written: Any) -> Policy:
    return policy_of(ROLLOUT.validate_python({"strategy": "rolling", **written}), environment)


def environment(**more: Any) -> Environment:
    clusters = {name: {"provider": "embedded"} for name in ("one", "two", "three")}
    return Environment.model_validate({"apiVersion": "gitops/v1", "clusters": clusters, **more})


def test_the_machine_has_the_defaults_of_the_spec() -> None:
    assert policy() == Policy("rolling")
    assert policy(environment()) == Policy("rolling", clusters=(("one", "two", "three"),))


@pytest.mark.parametrize(
    ("written", "field", "value"),
    [
        ({"readyTimeout": "5m"}, "ready_timeout", 300),
        ({"capacityTimeout": "5m"}, "capacity_timeout", 300),
        ({"warmUp": "0s"}, "warm_up", 0),
        ({"keepWarm": "2h"}, "keep_warm", 7200),
        ({"drain": "10s"}, "drain", 10),
        ({"pauseTimeout": "1h"}, "pause_timeout", 3600),
        ({"afterPauseTimeout": "hold"}, "pause_outcome", "hold"),
        ({"lostCapacity": "pause"}, "lost_capacity", "pause"),
        ({"onHold": "roll-back"}, "on_hold", "roll-back"),
        ({"noData": {"after": "3m"}}, "no_data_deadline", 180),
        ({"noData": {"then": "roll-back"}}, "no_data", "roll-back"),
        ({"tooFewSamples": {"minimum": 7}}, "samples", 7),
        ({"tooFewSamples": {"after": "4m"}}, "too_few_deadline", 240),
        ({"tooFewSamples": {"then": "advance"}}, "too_few", "advance"),
        ({"stride": 25}, "stride", 25),
    ],
)
def test_every_field_arrives_and_nothing_else_changes(written: dict[str, Any], field: str, value: object) -> None:
    found = policy(**written)
    fields = Policy.__dataclass_fields__
    assert {name for name in fields if getattr(found, name) != getattr(Policy("rolling"), name)} == {field}
    assert getattr(found, field) == value


@pytest.mark.parametrize(("load", "ready"), [(0, 1800), (300, 1800), (900, 1800), (1200, 2100), (7200, 8100)])
def test_by_default_a_version_has_the_time_that_its_model_takes_to_load(load: int, ready: int) -> None:
    rollout = ROLLOUT.validate_python({"strategy": "rolling"})
    assert policy_of(rollout, None, load).ready_timeout == ready
    declared = ROLLOUT.validate_python({"strategy": "rolling", "readyTimeout": "20m"})
    assert policy_of(declared, None, load).ready_timeout == 1200


def test_what_stable_holds_back_is_missing_in_the_last_step() -> None:
    assert policy(strategy="canary", steps=STEPS, holdback=1).steps == (PolicyStep(10, 900), PolicyStep(99, 0))
    assert policy(strategy="blue-green", bake="1h", holdback=5).steps == (PolicyStep(95, 3600),)


def test_steps_of_each_strategy() -> None:
    steps = (PolicyStep(10, 900), PolicyStep(100, 0))
    assert policy(strategy="canary", steps=STEPS) == Policy("canary", steps)
    assert policy(strategy="shadow", steps=STEPS[:1]) == Policy("shadow", steps[:1])
    assert policy(strategy="blue-green", bake="5m") == Policy("blue-green", (PolicyStep(100, 300),))
    assert policy(strategy="rolling").steps == ()


def test_gates_go_by_their_metric_or_the_name_of_their_query() -> None:
    gates = [{"metric": "error-rate", "rollback": "1%"}, {"name": "depth", "query": "d{v='$version'}", "pause": 40}]
    assert policy(gates=gates).gates == ("error-rate", "depth")


def test_an_environment_adds_approvals_and_waves() -> None:
    found = policy(environment(approvals={"required": 2}, waves=[["one"], ["two", "three"]]))
    assert found == Policy("rolling", approvals=2, waves=2, clusters=(("one",), ("two", "three")))
    assert policy(environment(approvals={})).approvals == 1


@given(
    st.lists(st.integers(1, 99), unique=True, max_size=4).map(sorted),
    st.integers(1, 4),
    st.integers(0, 3600),
    st.integers(0, 3600),
)
def test_the_longest_rollout_lasts_as_long_as_all_waits_of_all_waves(
    weights: list[int], waves: int, bake: int, deadline: int
) -> None:
    steps = tuple(PolicyStep(weight, bake) for weight in (*weights, 100))
    one = Policy("canary", steps, ("error-rate",), no_data_deadline=deadline, too_few_deadline=0)
    before_traffic = one.ready_timeout + one.capacity_timeout + one.pause_timeout
    assert one.longest == before_traffic + len(steps) * (before_traffic + one.warm_up + bake + deadline)
    assert Policy(
        "canary", steps, ("error-rate",), no_data_deadline=deadline, too_few_deadline=0, waves=waves
    ).longest == (waves * one.longest)
