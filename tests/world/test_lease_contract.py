"""What every cluster adapter promises about leases, with holders that really compete."""

import random
import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from gitops.values import ObjectRef
from gitops.world import effects
from gitops.world.kubernetes.cluster import ClusterError, KubernetesCluster
from tests.world.bench import Bench, until

SECONDS = 1


def another(bench: Bench) -> KubernetesCluster:
    """The same cluster as another process sees it."""
    return KubernetesCluster(bench.transport, name="another")


def test_one_holder_at_a_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(effects, "observers", [seen.append])
    one, two, place = bench.cluster, another(bench), (bench.namespace, "leader")
    assert one.lease(*place, "one", 30)
    assert one.lease(*place, "one", 30)
    assert not two.lease(*place, "two", 30)
    two.release(*place, "two")
    assert one.lease(*place, "one", 30)
    one.release(*place, "one")
    assert two.lease(*place, "two", 30)
    assert not one.lease(*place, "one", 30)
    assert seen == []  # who leads is no step of a rollout


def test_what_a_lease_says(bench: Bench) -> None:
    place = (bench.namespace, "leader")
    ref = ObjectRef("coordination.k8s.io/v1", "Lease", *place)
    assert bench.cluster.lease(*place, "one", 30)
    taken = bench.live(ref)["spec"]
    assert (taken["holderIdentity"], taken["leaseDurationSeconds"], taken["leaseTransitions"]) == ("one", 30, 0)
    assert len(taken["renewTime"]) == len("2026-01-01T00:00:00.000000Z")
    assert bench.cluster.lease(*place, "one", 20)
    renewed = bench.live(ref)["spec"]
    assert renewed["renewTime"] > taken["renewTime"]
    assert renewed["acquireTime"] == taken["acquireTime"]
    bench.cluster.release(*place, "one")
    bench.cluster.release(*place, "one")
    assert bench.live(ref)["spec"].get("holderIdentity", "") == ""
    assert bench.cluster.lease(*place, "two", 30)
    assert bench.live(ref)["spec"]["leaseTransitions"] == 1


def test_a_dead_holder_is_found_out_by_waiting(bench: Bench) -> None:
    place = (bench.namespace, "leader")
    two = another(bench)
    assert bench.cluster.lease(*place, "one", SECONDS)
    time.sleep(SECONDS + 0.2)
    assert not two.lease(*place, "two", SECONDS)  # for all that it knows, "one" has renewed just now
    started = time.monotonic()
    until(lambda: two.lease(*place, "two", SECONDS), bool)
    assert time.monotonic() - started >= SECONDS - 0.1
    assert not bench.cluster.lease(*place, "one", SECONDS)


def test_a_version_that_is_not_the_present_one_replaces_nothing(bench: Bench) -> None:
    config = bench.config("config", a="1")
    ref = ObjectRef.of(config)
    bench.apply(config)
    stale = bench.live(ref)
    bench.request("PUT", ref, {**stale, "data": {"a": "2"}})
    with pytest.raises(AssertionError, match=r"cannot be fulfilled on configmaps .*config.*: the object has been mod"):
        bench.request("PUT", ref, {**stale, "data": {"a": "3"}})
    assert bench.live(ref)["data"] == {"a": "2"}


@pytest.mark.parametrize("forward", [True, False])
def test_a_lost_answer_does_not_lose_the_lease(bench: Bench, forward: bool) -> None:
    place = (bench.namespace, "leader")
    for method in ("POST", "PUT"):
        bench.faults.drop(method=method, forward=forward)
        assert bench.cluster.lease(*place, "one", 30)
    assert not another(bench).lease(*place, "two", 30)


def test_a_lost_race_is_no_fault_to_wait_for(bench: Bench) -> None:
    place = (bench.namespace, "leader")
    assert bench.cluster.lease(*place, "one", 30)
    bench.faults.respond(409, times=9, method="PUT")
    assert not bench.cluster.lease(*place, "one", 30)
    assert bench.waits == []


def test_a_lease_needs_its_namespace(bench: Bench) -> None:
    with pytest.raises(ClusterError, match="namespace nowhere-at-all does not exist"):
        bench.cluster.lease("nowhere-at-all", "leader", "one", 30)


# --- Competition ---------------------------------------------------------------------------------------------


@dataclass
class Contender:
    """Takes the lease whenever it can, keeps it for a while, and then gives it up or just falls silent."""

    cluster: KubernetesCluster
    namespace: str
    name: str
    held: list[tuple[float, float]] = field(default_factory=list)
    """From when until when it could rely on having the lease."""

    def run(self, seconds: float) -> None:
        chance, end = random.Random(self.name), time.monotonic() + seconds
        while time.monotonic() < (end if self.held else end + 30):  # a busy machine may take turns unfairly
            self.attempt()
            if self.held and self.held[-1][1] > time.monotonic() and chance.random() < 0.1:
                self.leave(silently=chance.random() < 0.5)
            time.sleep(chance.uniform(0, 0.05))

    def attempt(self) -> None:
        asked = time.monotonic()
        if self.cluster.lease(self.namespace, "leader", self.name, SECONDS):
            self.held.append((time.monotonic(), asked + SECONDS))

    def leave(self, *, silently: bool) -> None:
        if silently:
            time.sleep(2.5 * SECONDS)
            return
        now = time.monotonic()
        self.held = [(begin, min(end, now)) for begin, end in self.held]
        self.cluster.release(self.namespace, "leader", self.name)
        time.sleep(0.2)


def test_never_two_holders_and_never_none_for_long(bench: Bench) -> None:
    contenders = [Contender(another(bench), bench.namespace, name) for name in ("one", "two", "three")]
    threads = [threading.Thread(target=contender.run, args=(8,)) for contender in contenders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spans = sorted((begin, end, each.name) for each in contenders for begin, end in each.held)
    relied = 0.0
    holder = ""
    for begin, end, name in spans:
        assert name == holder or begin >= relied, f"{name} had it while {holder} still relied on it"
        holder, relied = name, end if name != holder else max(relied, end)
    assert {name for _, _, name in spans} == {"one", "two", "three"}, "they have not competed"
    gaps = [after[0] - before[1] for before, after in pairwise(spans)]
    assert max(gaps) < 3 * SECONDS
