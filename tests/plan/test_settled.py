"""Whether a cluster is where Git says: what a look at it has to show, and each way in which it may not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gitops.plan.settled import Sighting, unsettled
from gitops.spec.resolved import Spec
from gitops.values import LABEL_MODEL, LABEL_VERSION
from tests.plan.repository import CANARY, CHAT, Tree, write_spec

CLUSTER = "dev-cluster"
PLACE = ("acme-dev", "chat")
GATEWAY: dict[str, Any] = {"gateway": {"name": "models", "namespace": "gateway"}}
ISTIO: dict[str, Any] = {"gateway": GATEWAY["gateway"] | {"api": "istio"}}
SHADOW = {"strategy": "shadow", "steps": [{"weight": 20, "bake": "5m"}]}


def spec(version: tuple[str, str], environment: dict[str, Any], rollout: dict[str, Any]) -> Spec:
    return write_spec({"chat": version}, {"dev": environment}, rollout=rollout, routed=True)


def on_its_way(environment: dict[str, Any], rollout: dict[str, Any] | None = None) -> tuple[Tree, Spec]:
    """A candidate at its first weight."""
    tree, wanted = Tree(), spec(("2.0.0", "b"), environment, rollout or CANARY)
    tree.release_spec(spec(("1.0.0", "a"), environment, rollout or CANARY))
    tree.release_spec(wanted)
    tree.look(wanted, CHAT, ready=100)
    candidate = tree.release(CHAT).candidate
    assert candidate
    assert candidate.load > 0
    return tree, wanted


def astray(tree: Tree, wanted: Spec, seen: Sighting) -> bool:
    return list(unsettled(wanted, tree.stored().releases, CLUSTER, seen)) == [CHAT]


def with_shares(seen: Sighting, field: str, *shares: tuple[str, int]) -> Sighting:
    changed: Any = {**getattr(seen.survey, field), PLACE: dict(shares)}
    return replace(seen, survey=seen.survey._replace(**{field: changed}))


@pytest.mark.parametrize("environment", [GATEWAY, ISTIO, {}])
def test_a_cluster_that_got_the_commit_is_there(environment: dict[str, Any]) -> None:
    tree, wanted = on_its_way(environment)
    assert not astray(tree, wanted, tree.sighting(CLUSTER))


def test_a_commit_that_was_not_brought_there_is_known_by_its_stamp() -> None:
    tree, wanted = on_its_way(GATEWAY)
    seen = tree.sighting(CLUSTER)
    stamps: dict[str, dict[str, str]]
    for stamps in ({}, {"dev": {}}, {"dev": {"chat": "0" * 40}}):
        assert astray(tree, wanted, replace(seen, stamps=stamps))


def test_a_version_that_is_missing() -> None:
    tree, wanted = on_its_way(GATEWAY)
    seen = tree.sighting(CLUSTER)
    for version in ("1.0.0", "2.0.0"):
        left = {key: one for key, one in seen.workloads.items() if key != (CHAT, version)}
        assert astray(tree, wanted, replace(seen, workloads=left))


@pytest.mark.parametrize("environment", [GATEWAY, ISTIO])
def test_traffic_that_goes_elsewhere(environment: dict[str, Any]) -> None:
    tree, wanted = on_its_way(environment)
    seen = tree.sighting(CLUSTER)
    assert not astray(tree, wanted, with_shares(seen, "weights", ("chat-1-0-0", 90), ("chat-2-0-0", 10)))
    assert not astray(tree, wanted, with_shares(seen, "weights", ("chat-1-0-0", 90), ("chat-2-0-0", 10), ("old", 0)))
    for shares in (
        [("chat-1-0-0", 100)],
        [("chat-1-0-0", 50), ("chat-2-0-0", 50)],
        [("chat", 90), ("chat-2-0-0", 10)],
        [],
    ):
        assert astray(tree, wanted, with_shares(seen, "weights", *shares))


@pytest.mark.parametrize("environment", [GATEWAY, ISTIO])
def test_copies_that_nobody_makes_any_more(environment: dict[str, Any]) -> None:
    tree, wanted = on_its_way(environment, SHADOW)
    seen = tree.sighting(CLUSTER)
    assert not astray(tree, wanted, seen)
    assert not astray(tree, wanted, with_shares(seen, "mirrors", ("chat-2-0-0", 20)))
    for shares in ([], [("chat-2-0-0", 100)], [("chat-1-0-0", 20)]):
        assert astray(tree, wanted, with_shares(seen, "mirrors", *shares))


def test_copies_that_nobody_asked_for() -> None:
    tree, wanted = on_its_way(GATEWAY)
    assert astray(tree, wanted, with_shares(tree.sighting(CLUSTER), "mirrors", ("chat-2-0-0", 5)))


def test_without_a_gateway_the_service_selects_both_or_one() -> None:
    tree, wanted = on_its_way({})
    seen = tree.sighting(CLUSTER)
    assert seen.survey.selectors[PLACE] == {LABEL_MODEL: "chat"}
    for selector in ({LABEL_MODEL: "chat", LABEL_VERSION: "1.0.0"}, {LABEL_MODEL: "chat", LABEL_VERSION: "2.0.0"}):
        other = seen.survey._replace(selectors={**seen.survey.selectors, PLACE: selector})
        assert astray(tree, wanted, replace(seen, survey=other))


def test_a_later_wave_has_its_traffic_where_it_was() -> None:
    clusters = {name: {"provider": "embedded"} for name in ("eu", "us")}
    tree, wanted = on_its_way({"clusters": clusters, "waves": [["eu"], ["us"]], **GATEWAY})
    for cluster, other in (("eu", "us"), ("us", "eu")):
        releases = tree.stored().releases
        seen, elsewhere = tree.sighting(cluster), tree.sighting(other)
        assert list(unsettled(wanted, releases, cluster, seen)) == []
        swapped = replace(seen, survey=elsewhere.survey)
        assert list(unsettled(wanted, releases, cluster, swapped)) == [CHAT]


def test_clusters_and_units_that_are_nobodys_business() -> None:
    tree, wanted = on_its_way(GATEWAY)
    nothing = Sighting.of(tree.sighting("elsewhere").survey, {})
    assert list(unsettled(wanted, tree.stored().releases, "elsewhere", nothing)) == []
    other = write_spec({"rank": ("1.0.0", "a")}, {"dev": GATEWAY}, rollout=CANARY)
    assert list(unsettled(other, tree.stored().releases, CLUSTER, nothing)) == []
