"""Overlay, sharing, and what a loaded spec holds."""

from __future__ import annotations

import gc
import random

import pytest

from gitops.spec.check_capacity import nodes_needed
from gitops.spec.load import load_spec, merge
from gitops.spec.problems import SHOWN, Problem, SpecError, suggestion
from gitops.spec.resolved import Spec
from gitops.values import UnitKey
from tests.spec.conftest import sources

DEV = b"""
apiVersion: gitops/v1
clusters:
  local: {provider: embedded, nodePools: {l4: {gpu: {type: L4}, max: 9}}}
"""


def load(files: dict[str, bytes]) -> Spec:
    return load_spec(*sources(files))


def three(base: dict[str, bytes], **environments: bytes) -> dict[str, bytes]:
    order = b"promotion: [dev, staging, production]"
    files = {"pipeline.yaml": base["pipeline.yaml"].replace(b"promotion: [dev]", order)}
    for name in ("dev", "staging", "production"):
        files[f"environments/{name}.yaml"] = DEV + environments.get(name, b"")
    return files


def test_the_example_loads(example: dict[str, bytes]) -> None:
    spec = load(example)
    assert tuple(spec.environments) == ("dev", "staging", "production")
    assert len(spec.models) == 18
    assert spec.cluster_environments["acme-production"] == ("production",)
    assert spec.namespace("production") == "inference"
    assert spec.namespace("dev") == "acme-inference-dev"
    assert next(iter(spec.models)) == UnitKey("dev", "support-chat")


def test_an_unchanged_model_is_one_object(base: dict[str, bytes]) -> None:
    spec = load(
        three(
            base,
            staging=b"models: {chat: {version: 1.0.1, artifact: {uri: s3://m/1, digest: 'sha256:" + b"a" * 64 + b"'}}}",
        )
    )
    assert spec.models[UnitKey("dev", "chat")] is spec.models[UnitKey("production", "chat")]
    assert spec.models[UnitKey("staging", "chat")].version == "1.0.1"
    assert spec.cluster_environments == {"local": ("dev", "staging", "production")}


def test_override_merges_replaces_and_removes(base: dict[str, bytes]) -> None:
    files = three(base, dev=b"models: {chat: {serve: {replicas: {max: 3}, gpu: {count: null}}, owner: me}}")
    model = load(files).models[UnitKey("dev", "chat")]
    assert (model.serve.replicas.min, model.serve.replicas.max) == (1, 3)
    assert model.serve.gpu
    assert model.serve.gpu.count == 1
    assert model.owner == "me"


def test_nulls_below_a_new_mapping_vanish() -> None:
    assert merge({"a": 1}, {"b": {"c": None, "d": [None]}, "a": None}) == {"b": {"d": [None]}}


def test_excluded_models_do_not_run(base: dict[str, bytes]) -> None:
    assert list(load(three(base, staging=b"exclude: [chat]")).models) == [
        UnitKey("dev", "chat"),
        UnitKey("production", "chat"),
    ]


def test_digest_covers_names_and_bytes_in_any_order(base: dict[str, bytes]) -> None:
    files = three(base)
    digest = load(files).digest
    assert load(dict(reversed(files.items()))).digest == digest
    assert load({**files, "environments/dev.yaml": DEV + b"# more\n"}).digest != digest


def test_errors_are_bounded(base: dict[str, bytes]) -> None:
    broken = base["pipeline.yaml"] + b"".join(b"k%d: 1\n" % n for n in range(150))
    with pytest.raises(SpecError) as caught:
        load({**base, "pipeline.yaml": broken})
    assert len(caught.value.problems) == SHOWN
    assert str(caught.value).endswith("\nand 50 more")
    assert caught.value.where == "pipeline.yaml:22:1"


def test_no_message_shows_a_secret(base: dict[str, bytes]) -> None:
    env = b"runtime: vllm\n      env: {A_TOKEN: hunter2, B: [hunter2], C: {secret: a, key: b, hunter: 1}, D: 77777}"
    with pytest.raises(SpecError) as caught:
        load({**base, "pipeline.yaml": base["pipeline.yaml"].replace(b"runtime: vllm", env)})
    assert "hunter2" not in str(caught.value)
    assert "77777" not in str(caught.value)
    assert len(caught.value.problems) >= 3


def test_the_collector_is_left_as_it_was(base: dict[str, bytes]) -> None:
    assert gc.isenabled()
    load(base)
    assert gc.isenabled()


def test_a_problem_in_one_line() -> None:
    assert str(Problem("a.yaml", 4, 3, "models.x", "unknown key", "valid: a")) == (
        "a.yaml:4:3: models.x: unknown key — valid: a"
    )


def test_suggestions() -> None:
    assert suggestion("carefull", ["careful", "quick"], "rollout") == (
        "did you mean careful? rollouts: careful and quick"
    )
    assert suggestion("zzz", ["a", "b"]) == "valid: a and b"


@pytest.mark.parametrize(
    ("gpus", "replicas", "nodes"),
    [
        (8, {4: 3}, 2), (8, {3: 5}, 3), (8, {4: 1, 2: 1, 1: 2}, 1), (8, {8: 1, 1: 1}, 2), (1, {1: 7}, 7), (8, {}, 0),
        (8, {5: 1, 3: 1}, 1), (8, {5: 2, 3: 3}, 3),
    ],
)  # fmt: skip
def test_nodes_needed(gpus: int, replicas: dict[int, int], nodes: int) -> None:
    assert nodes_needed(gpus, replicas) == nodes


def test_nodes_needed_agrees_with_placing_one_by_one() -> None:
    chance = random.Random(1)
    for _ in range(300):
        gpus = chance.choice((1, 4, 8))
        replicas = {size: chance.randint(0, 9) for size in range(1, gpus + 1)}
        free: list[int] = []
        for size in sorted((s for s, n in replicas.items() for _ in range(n)), reverse=True):
            fitting = [n for n, gap in enumerate(free) if gap >= size]
            if fitting:
                free[min(fitting, key=lambda n: free[n])] -= size
            else:
                free.append(gpus - size)
        assert nodes_needed(gpus, replicas) == len(free)
