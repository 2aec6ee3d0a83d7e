"""Pods that a plan replaces in place: what that takes, and that a full pool refuses it before it hangs."""

from __future__ import annotations

from typing import Any

import pytest

from gitops.plan.capacity import free_gpus, loads
from gitops.plan.census import Census
from gitops.plan.observed import Entry, Workload
from gitops.plan.replacing import Replacing, replacing
from gitops.plan.room import Pools
from gitops.render.tree import blob_id
from gitops.spec.resolved import Spec
from tests.plan.repository import CHAT, Tree, write_spec

AT_ONCE = {"strategy": "rolling", "revisions": "at-once"}


def spec(image: str, *, surge: int | None = None, replicas: int = 2, gpu: bool = True) -> Spec:
    """chat with four GPUs for each replica; four replicas fill the pool, and an autoscaler may run them."""
    pool = {"gpu": {"type": "H100", "count": 8}, "max": 2}
    bounds = {"min": replicas, "max": 4} | ({"surge": surge} if surge is not None else {})
    serve: dict[str, Any] = {"image": image, "replicas": bounds} | (
        {"gpu": {"type": "H100", "count": 4}} if gpu else {}
    )
    place = {"clusters": {"dev-cluster": {"provider": "embedded", "nodePools": {"h100": pool}}}}
    return write_spec({"chat": ("1.0.0", "a")}, {"dev": place}, rollout=AT_ONCE, serve=serve)


def found(before: Spec, after: Spec, running: int = 2) -> tuple[Replacing, dict[tuple[str, str], int], int]:
    """What is replaced, what is free beside so many replicas that run, and the peak."""
    census = Census(
        {"dev-cluster": {(CHAT, "1.0.0"): Workload("dev", "chat", "1.0.0", "acme-dev", "chat-1-0-0", running, running)}}
    )
    tree = Tree()
    tree.release_spec(before)
    planned, pools = tree.plan(after), Pools(after)
    existing = {path: Entry("100644", "blob", blob_id(data)) for path, data in tree.files.items()}
    contents = {blob_id(data): data for data in tree.files.values()}
    replaced = replacing(after, pools, planned.files, existing, contents)
    changing = {change.unit for change in planned.releases}
    total = loads(after, tree.stored(), pools, {}, changing, census=census, surges=replaced.surges())
    return replaced, free_gpus(pools, total), total.peak["dev-cluster", "h100"]


def test_another_image_takes_one_replica_more_for_a_while() -> None:
    replaced, free, peak = found(spec("acme/chat:1"), spec("acme/chat:2"))
    assert list(replaced.sentences(free)) == [
        "dev-cluster: pods of dev/chat on pool h100 are replaced in place, a new one before an old one ends: "
        "that takes 4 more H100, 8 free"
    ]
    assert list(replaced.refusals(free)) == []
    assert peak == 12


def test_a_full_pool_refuses_it() -> None:
    replaced, free, _ = found(spec("acme/chat:1"), spec("acme/chat:2"), running=4)
    (refusal,) = replaced.refusals(free)
    assert (refusal.rule, refusal.units) == ("no-room", ("dev/chat",))
    assert "takes 4 more H100; pool h100 has 0 free" in refusal.message
    assert "serve.replicas.surge: 0" in refusal.message


def test_without_surge_an_old_pod_ends_first() -> None:
    replaced, free, peak = found(spec("acme/chat:1"), spec("acme/chat:2", surge=0), running=4)
    assert list(replaced.refusals(free)) == []
    assert "an old one ends before its new one starts" in next(replaced.sentences(free))
    assert peak == 16


@pytest.mark.parametrize("after", [spec("acme/chat:1", surge=0), spec("acme/chat:1", replicas=1)])
def test_another_size_replaces_no_pod(after: Spec) -> None:
    replaced, _, _ = found(spec("acme/chat:1"), after)
    assert replaced.by_pool == {}


def test_without_a_gpu_nothing_is_said() -> None:
    replaced, _, _ = found(spec("acme/chat:1", gpu=False), spec("acme/chat:2", gpu=False))
    assert replaced.surges() == {}


def test_the_units_of_a_sentence_are_those_of_the_pool() -> None:
    replaced, _, _ = found(spec("acme/chat:1"), spec("acme/chat:2"))
    assert replaced.surges() == {CHAT: {("dev-cluster", "h100"): 4}}
