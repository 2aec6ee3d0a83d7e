"""What can be said about delivery: gates of one's own, and an environment with everything, by loader and schema."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft7Validator

from gitops.spec.catalog import METRICS, Metric
from gitops.spec.load import load_spec
from gitops.spec.resolved import SourceFile
from gitops.spec.rollouts import Gate, Shadow
from gitops.spec.schema import environment_schema, pipeline_schema
from gitops.spec.source import read_yaml
from tests.spec.conftest import sources

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVNsxBDkJ2QmAHkUZPJ3TVmqSWd0WtxdsT5iLJc9yXh"

ROLLOUTS = b"""\
rollouts:
  careful:
    strategy: shadow
    steps: [{weight: 5, bake: 15m}, {weight: 40, bake: 1h}]
    gates:
      - {metric: prediction-accuracy, pause: 0.98x stable, rollback: "80%", window: 10m}
      - name: checkout-time
        query: >-
          histogram_quantile(0.99, sum by (le)
          (rate(checkout_bucket{namespace="$namespace",model="$model",version=~"$version$"}[5m])))
        unit: s
        worse: higher
        rollback: 800ms
      - {name: share, query: 'label_replace(share{v="$version"}, "a", "$1", "b", "(.*)")', worse: lower, pause: 40}
    readyTimeout: 45m
    capacityTimeout: 2h
    warmUp: 30s
    keepWarm: 4h
    drain: 5m
    pauseTimeout: 12h
    afterPauseTimeout: hold
    lostCapacity: pause
    noData: {after: 5m, then: roll-back}
    tooFewSamples: {minimum: 500, after: 1h, then: advance}
"""
ENVIRONMENT = f"""\
apiVersion: gitops/v1
clusters:
  east: {{provider: existing, context: east, nodePools: {{l4: {{gpu: {{type: L4}}, max: 9}}}}}}
  west: {{provider: existing, context: west, nodePools: {{l4: {{gpu: {{type: L4}}, max: 9}}}}}}
gateway: {{name: models, namespace: gateway, api: istio}}
monitoring: {{prometheus: http://prometheus:9090, interval: 30s}}
promotion: manual
approvals:
  required: 2
  approvers: [alice@acme.example, bob]
  identity: signature
  signers:
    alice@acme.example: {KEY} alice@laptop
    bob: {KEY[:-1]}i
freeze:
  - {{reason: end of year, from: 2026-12-19T00:00:00Z, until: 2027-01-04T08:00:00+01:00}}
  - {{reason: weekend, days: [fri, sat], from: "16:00", until: "08:00", timezone: Europe/Berlin}}
  - {{reason: closed, days: [sun], from: "00:00", until: "24:00"}}
waves: [[west], [east]]
hotfix: allowed
""".encode()


@pytest.fixture
def everything(base: dict[str, bytes]) -> dict[str, bytes]:
    head = base["pipeline.yaml"].partition(b"rollouts:")[0]
    routed = head.replace(b"    rollout:", b"    route: {hostnames: [chat.example.com]}\n    rollout:")
    return {"pipeline.yaml": routed + ROLLOUTS, "environments/dev.yaml": ENVIRONMENT}


def test_everything_loads(everything: dict[str, bytes]) -> None:
    spec = load_spec(*sources(everything))
    rollout, environment = spec.pipeline.rollouts["careful"], spec.environments["dev"]
    assert isinstance(rollout, Shadow)
    assert [step.weight for step in rollout.steps] == [5, 40]
    assert [gate.key for gate in rollout.gates] == ["prediction-accuracy", "checkout-time", "share"]
    assert (rollout.no_data.then, rollout.too_few_samples.minimum) == ("roll-back", 500)
    assert environment.approvals
    assert environment.approvals.signers["alice@acme.example"].endswith("alice@laptop")
    assert environment.waves == (("west",), ("east",))
    assert environment.freeze[0].begin == "2026-12-19T00:00:00Z"
    assert environment.monitoring
    assert environment.monitoring.interval == 30


def test_nothing_has_to_be_said(base: dict[str, bytes]) -> None:
    environment = load_spec(*sources(base)).environments["dev"]
    assert (environment.approvals, environment.freeze, environment.waves) == (None, (), ())
    assert (environment.promotion, environment.hotfix) == ("automatic", "denied")


def complaints(name: str, data: bytes) -> list[str]:
    schema = pipeline_schema() if name == "pipeline.yaml" else environment_schema()
    return [error.message for error in Draft7Validator(schema).iter_errors(read_yaml(SourceFile(name, data)))]


def test_the_schema_knows_everything(everything: dict[str, bytes]) -> None:
    for name, data in everything.items():
        assert complaints(name, data) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"strategy: shadow", b"strategy: shade"),
        (b"afterPauseTimeout: hold", b"afterPauseTimeout: stay"),
        (b"then: roll-back", b"then: advance"),
        (b"minimum: 500", b"minimum: 0"),
        (b"name: share, ", b""),
        (b"{metric: prediction-accuracy, ", b"{"),
        (b"api: istio", b"api: linkerd"),
        (b"interval: 30s", b"interval: 30"),
        (b"identity: signature", b"identity: trust"),
        (b"days: [fri, sat]", b"days: [friday]"),
        (b"reason: closed, ", b""),
        (b"waves: [[west], [east]]", b"waves: [west, east]"),
        (b"hotfix: allowed", b"hotfix: yes"),
        (b"promotion: manual", b"promotion: off"),
    ],
)
def test_the_schema_refuses_what_is_wrong(everything: dict[str, bytes], old: bytes, new: bytes) -> None:
    name = next(name for name, data in everything.items() if old in data)
    assert complaints(name, everything[name].replace(old, new, 1))


def test_every_field_of_a_rollout_and_an_environment_is_explained() -> None:
    """An editor shows the text; what its own name says needs none."""
    silent = {"strategy", "apiVersion", "name", "namespace", "then", "reason", "noData", "tooFewSamples", "podMonitors"}
    schemas = {**pipeline_schema()["$defs"], **environment_schema()["$defs"], "Environment": environment_schema()}
    for name in ("Gate", "Step", "NoData", "TooFewSamples", "Canary", "BlueGreen", "Rolling", "Shadow", "Approvals"):
        for field, schema in schemas[name]["properties"].items():
            assert field in silent or schema["description"], (name, field)
    for field in ("promotion", "approvals", "freeze", "waves", "hotfix"):
        assert schemas["Environment"]["properties"][field]["description"]


def test_defaults_in_the_schema_are_what_one_would_write() -> None:
    for schema in (pipeline_schema(), environment_schema()):
        definitions = schema["$defs"]
        for name, definition in definitions.items():
            for field, described in definition.get("properties", {}).items():
                if described.get("default") is not None:
                    root = {**described, "$defs": definitions}
                    assert Draft7Validator(root).is_valid(described["default"]), (name, field)


def gate(**written: Any) -> Gate:
    return Gate.model_validate(written)


def test_a_built_in_gate_is_measured_as_the_catalogue_says() -> None:
    for metric, measure in METRICS.items():
        assert (gate(metric=metric).key, gate(metric=metric).measure) == (metric, measure)


def test_a_gate_of_ones_own_is_measured_as_it_says() -> None:
    query = "depth{version='$version'}"
    assert gate(name="depth", query=query).key == "depth"
    assert gate(name="depth", query=query).measure == Metric("", "higher")
    assert gate(name="depth", query=query, unit="%", worse="lower").measure == Metric("%", "lower")
    assert gate(name="depth", query=query).window == 300
