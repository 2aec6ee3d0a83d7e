"""GPUs and money before, after, and at the peak of a plan."""

from types import MappingProxyType

import pytest

from gitops.plan.capacity import pool_use, stalls
from gitops.plan.model import PoolUse
from gitops.plan.stored import Stored
from gitops.rollout.release import Release, ReleasedVersion, Rendered
from gitops.spec.load import load_spec
from gitops.spec.resolved import SourceFile, Spec
from gitops.values import UnitKey

CHAT = UnitKey("dev", "chat")


def spec(version: str = "2.0.0", minimum: int = 2, limit: int = 3, price: str = "10") -> Spec:
    pipeline = f"""\
apiVersion: gitops/v1
name: acme
promotion: [dev]
models:
  chat:
    version: {version}
    artifact: {{uri: s3://acme/chat, digest: "sha256:{"a" * 64}", format: safetensors}}
    serve:
      runtime: vllm
      gpu: {{type: H100, count: 4}}
      parallelism: {{tensor: 4}}
      replicas: {{min: {minimum}, max: {minimum}}}
    rollout: quick
rollouts:
  quick: {{strategy: rolling}}
"""
    pool = f"gpu: {{type: H100, count: 8}}, max: {limit}" + (f", hourlyPrice: {price}" if price else "")
    environment = (
        f"apiVersion: gitops/v1\nclusters: {{local: {{provider: embedded, nodePools: {{h100: {{{pool}}}}}}}}}\n"
    )
    return load_spec(
        SourceFile("pipeline.yaml", pipeline.encode()), [SourceFile("environments/dev.yaml", environment.encode())]
    )


def stored(version: str, replicas: int) -> Stored:
    released = ReleasedVersion(version, f"sha256:{'a' * 64}", "2026-01-01T00:00:00Z", "H100", 4, replicas)
    release = Release(CHAT, released, Rendered("sha256:0", MappingProxyType({"local": "0" * 40})))
    return Stored("0" * 40, MappingProxyType({CHAT: release}))


def use(wanted: Spec, present: Stored, *changing: UnitKey) -> PoolUse:
    (found,) = pool_use(wanted, present, changing)
    return found


def test_a_first_release_starts_from_nothing() -> None:
    found = use(spec(), Stored(None), CHAT)
    assert (found.before, found.after, found.peak, found.capacity) == (0, 8, 8, 24)
    assert (found.hourly_before, found.hourly_after, found.hourly_peak) == (0.0, 10.0, 10.0)


def test_a_new_version_runs_beside_the_old_one_at_the_peak() -> None:
    found = use(spec(), stored("1.0.0", 2), CHAT)
    assert (found.before, found.after, found.peak) == (8, 8, 16)
    assert found.hourly_peak == 20.0


def test_a_new_configuration_surges_by_one_replica() -> None:
    found = use(spec(), stored("2.0.0", 2), CHAT)
    assert (found.before, found.after, found.peak) == (8, 8, 12)


def test_nothing_changing_has_no_peak() -> None:
    found = use(spec(), stored("2.0.0", 2))
    assert (found.before, found.after, found.peak) == (8, 8, 8)


@pytest.mark.parametrize(("limit", "sentences"), [(2, 0), (1, 1)])
def test_a_peak_over_the_limit_would_stall(limit: int, sentences: int) -> None:
    found = use(spec(limit=limit), stored("1.0.0", 2), CHAT)
    assert len(list(stalls([found]))) == sentences


def test_without_a_price_the_cost_is_unknown() -> None:
    found = use(spec(price=""), stored("1.0.0", 2), CHAT)
    assert (found.hourly_before, found.hourly_after, found.hourly_peak) == (None, None, None)
