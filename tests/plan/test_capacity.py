"""GPUs and money before, after, and at the peak of a plan; and rollouts that would find no room."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from gitops.plan.capacity import Loads, loads, pool_use, stalls
from gitops.plan.census import NOTHING_SEEN, Census
from gitops.plan.model import PoolUse
from gitops.plan.observed import Workload
from gitops.plan.rehearsal import rehearse
from gitops.plan.rollouts import courses
from gitops.plan.room import Pools, Room
from gitops.plan.stored import Stored
from gitops.rollout.observation import Command
from gitops.spec.resolved import Spec
from tests.plan.repository import CHAT, Tree, write_spec

CAREFUL: dict[str, Any] = {
    "strategy": "canary",
    "steps": [{"weight": 10, "bake": "10m"}, {"weight": 50, "bake": "10m"}, {"weight": 100}],
    "capacityTimeout": "90m",
}
AT_ONCE: dict[str, Any] = {"strategy": "canary", "steps": [{"weight": 100}]}
WHOLE = {"strategy": "blue-green", "bake": "10m"}


def spec(
    *versions: str,
    rollout: dict[str, Any] | None = None,
    replicas: int = 2,
    nodes: int = 3,
    price: float | None = 10,
    most: int = 0,
) -> Spec:
    """chat, and with a second version rank, in that order; 4 GPUs for each replica, 8 in a node."""
    pool = {"gpu": {"type": "H100", "count": 8}, "max": nodes} | ({"hourlyPrice": price} if price else {})
    serve = {"gpu": {"type": "H100", "count": 4}, "replicas": {"min": replicas, "max": most or replicas}}
    place = {"clusters": {"dev-cluster": {"provider": "embedded", "nodePools": {"h100": pool}}}}
    letters = {"1.0.0": "a", "2.0.0": "b", "3.0.0": "c"}
    models = {name: (version, letters[version]) for name, version in zip(("chat", "rank"), versions, strict=False)}
    gateway = {"gateway": {"name": "models", "namespace": "gateway"}}
    return write_spec(models, {"dev": place | gateway}, rollout=rollout or CAREFUL, serve=serve, routed=True)


class Foreseen:
    """What a plan of this spec would say of capacity."""

    def __init__(
        self, wanted: Spec, tree: Tree | None = None, alone: Collection[str] = (), census: Census = NOTHING_SEEN
    ) -> None:
        self.census = census
        self.tree = tree or Tree()
        self.stored: Stored = self.tree.stored()
        self.pools = Pools(wanted)
        found = courses(wanted, self.stored, self.tree.now, census=census)
        self.ahead = {
            unit: rehearse(self.pools, course, self.tree.now)
            for unit, course in found.items()
            if str(unit) not in alone
        }
        changing = {change.unit for change in self.tree.plan(wanted).releases if str(change.unit) not in alone}
        self.loads: Loads = loads(wanted, self.stored, self.pools, self.ahead, changing, alone, census)

    @property
    def use(self) -> PoolUse:
        (found,) = pool_use(self.stored, self.pools, self.loads, self.census)
        return found

    @property
    def gpus(self) -> tuple[int, int, int]:
        return self.use.before, self.use.after, self.use.peak

    @property
    def stalls(self) -> list[str]:
        return list(stalls(self.pools, self.ahead, self.loads, self.census))


def released(*versions: str, **said: Any) -> Tree:
    tree = Tree()
    tree.release_spec(spec(*versions, **said))
    return tree


# --- Before, after, peak -------------------------------------------------------------------------------------


def test_a_first_release_starts_from_nothing() -> None:
    found = Foreseen(spec("1.0.0"))
    assert found.gpus == (0, 8, 8)
    assert found.use.capacity == 24
    assert (found.use.hourly_before, found.use.hourly_after, found.use.hourly_peak) == (0.0, 10.0, 10.0)


def test_a_new_version_runs_beside_the_old_one_at_the_peak() -> None:
    found = Foreseen(spec("2.0.0"), released("1.0.0"))
    assert found.gpus == (8, 8, 16)
    assert found.use.hourly_peak == 20.0


def test_the_peak_is_that_of_the_largest_step() -> None:
    half = {"strategy": "shadow", "steps": [{"weight": 10}]}
    assert Foreseen(spec("2.0.0", rollout=half, replicas=2), released("1.0.0", rollout=half)).gpus == (8, 8, 16)
    down = spec("2.0.0", replicas=1)
    assert Foreseen(down, released("1.0.0")).gpus == (8, 4, 12)
    up = spec("2.0.0", replicas=3)
    assert Foreseen(up, released("1.0.0")).gpus == (8, 12, 20)


def test_another_size_replaces_no_pod() -> None:
    """`test_replacing` has what does."""
    assert Foreseen(spec("1.0.0", replicas=3), released("1.0.0")).gpus == (8, 12, 12)
    assert Foreseen(spec("1.0.0", replicas=1), released("1.0.0")).gpus == (8, 4, 8)


def test_nothing_changing_has_no_peak() -> None:
    assert Foreseen(spec("1.0.0"), released("1.0.0")).gpus == (8, 8, 8)


def test_a_model_that_leaves_is_there_until_it_is_gone() -> None:
    assert Foreseen(spec("1.0.0"), released("1.0.0", "1.0.0")).gpus == (16, 8, 16)


def test_what_is_under_way_and_what_is_kept_count() -> None:
    tree, wanted = released("1.0.0"), spec("2.0.0")
    tree.release_spec(wanted)
    assert Foreseen(wanted, tree).gpus == (12, 8, 16)
    tree.look(wanted, CHAT, commands=(Command("promote", "ada"),), ready=100)
    assert tree.release(CHAT).kept
    assert Foreseen(wanted, tree).gpus == (16, 8, 16)
    tree.now += 3700
    tree.look(wanted, CHAT)
    assert Foreseen(wanted, tree).gpus == (8, 8, 8)


def test_a_rejected_version_does_not_come_back() -> None:
    tree, wanted = released("1.0.0"), spec("2.0.0", replicas=3)
    tree.release_spec(wanted)
    tree.look(wanted, CHAT, commands=(Command("abort", "ada"),))
    assert Foreseen(wanted, tree).gpus == (12, 8, 12)


def test_what_a_newer_checkout_released_stays_as_it_is() -> None:
    assert Foreseen(spec("2.0.0"), released("1.0.0"), alone={"dev/chat"}).gpus == (8, 8, 8)


def test_without_a_price_the_cost_is_unknown() -> None:
    found = Foreseen(spec("2.0.0", price=None), released("1.0.0", price=None)).use
    assert (found.hourly_before, found.hourly_after, found.hourly_peak) == (None, None, None)


# --- Room ----------------------------------------------------------------------------------------------------


def test_a_rollout_that_fits_says_nothing() -> None:
    assert Foreseen(spec("2.0.0"), released("1.0.0")).stalls == []
    assert Foreseen(spec("1.0.0"), released("1.0.0")).stalls == []


def test_the_step_that_finds_no_room_is_named() -> None:
    """3 of stable and 1 fit into 16, but not the second one."""
    found = Foreseen(spec("2.0.0", replicas=3, nodes=2), released("1.0.0", replicas=3, nodes=2))
    assert found.stalls == [
        "dev/chat: step 2 (50 %) needs 4 more H100 on dev-cluster; pool h100 ends at 16, none of them free: the "
        "rollout would wait up to 1h30m for room, then roll back — raise the pool's max or lower replicas.min"
    ]
    assert (found.use.peak, found.use.capacity) == (24, 16)


def test_a_rollout_may_find_no_room_to_start() -> None:
    tree = released("1.0.0", replicas=3, nodes=2, rollout=AT_ONCE)
    (said,) = Foreseen(spec("2.0.0", replicas=3, nodes=2, rollout=AT_ONCE), tree).stalls
    assert said.startswith("dev/chat: step 1 (100 %) needs 12 more H100 on dev-cluster; pool h100 ends at 16, ")


def test_what_autoscalers_run_leaves_no_room() -> None:
    """Two are declared at least and would leave half of the pool; four run, and it is full."""
    tree, wanted = released("1.0.0", most=4, nodes=2), spec("2.0.0", most=4, nodes=2)
    running = Workload("dev", "chat", "1.0.0", "acme-dev", "chat-1-0-0", 4, 4)
    found = Foreseen(wanted, tree, census=Census({"dev-cluster": {(CHAT, "1.0.0"): running}}))
    assert (found.use.before, found.use.live, found.use.capacity) == (8, 16, 16)
    (said,) = found.stalls
    assert said.startswith("dev/chat: step 1 (10 %) needs 4 more H100 on dev-cluster; pool h100 ends at 16, none of ")
    here = found.ahead[CHAT].standing
    assert Room(wanted, found.stored).fits(CHAT, here.model, {"dev-cluster": 10})
    course = courses(wanted, found.stored, tree.now, census=found.census)[CHAT]
    assert course.state.phase == "waiting-for-capacity", "and nothing is rendered that would stay pending"
    assert Foreseen(wanted, tree).stalls == [], "which the declared size does not tell"


def test_the_sentence_is_what_the_state_machine_does() -> None:
    tree, wanted = released("1.0.0", replicas=3, nodes=2), spec("2.0.0", replicas=3, nodes=2)
    tree.release_spec(wanted)
    tree.look(wanted, CHAT, ready=34)
    tree.now += 700
    decision = tree.look(wanted, CHAT, ready=34)
    assert decision
    assert (decision.kind, decision.sentence) == ("wait", "no room to carry 50 % yet")
    tree.now += 90 * 60
    decision = tree.look(wanted, CHAT, ready=34)
    assert decision
    assert decision.kind == "roll-back"


def test_room_of_the_units_own_kept_versions_is_free_when_it_is_needed() -> None:
    """1.0.0 is warm still; a rollout that waits for room takes it."""
    tree, two = released("1.0.0", nodes=2), spec("2.0.0", nodes=2)
    tree.release_spec(two)
    tree.look(two, CHAT, commands=(Command("promote", "ada"),), ready=100)
    found = Foreseen(spec("3.0.0", nodes=2), tree)
    assert found.use.peak > found.use.capacity
    assert found.stalls == []


def test_rollouts_that_only_fit_one_by_one() -> None:
    found = Foreseen(spec("2.0.0", "2.0.0"), released("1.0.0", "1.0.0"))
    assert found.stalls == [
        "dev-cluster: pool h100 ends at 24 H100, and the rollouts that start there now (2) need up to 32 with "
        "everything else: each waits for those that started before it — raise the pool's max or lower replicas.min, "
        "or release fewer models at a time"
    ]
    assert Foreseen(spec("2.0.0", "2.0.0", nodes=4), released("1.0.0", "1.0.0", nodes=4)).stalls == []


def test_what_is_made_at_once_beside_a_rollout() -> None:
    said: dict[str, Any] = {"replicas": 3, "nodes": 4, "rollout": AT_ONCE}
    tree = released("1.0.0", **said)
    tree.release_spec(spec("2.0.0", **said))
    found = Foreseen(spec("2.0.0", "1.0.0", **said), tree)
    assert found.stalls == [
        "dev-cluster: pool h100 ends at 32 H100, and what this plan makes there needs 36: pods would stay pending — "
        "raise the pool's max or lower replicas.min"
    ]


def test_a_first_release_that_waits_takes_no_room_yet() -> None:
    """rank is not verified before this environment: it is in the end, and not when the plan is applied."""
    tree, wanted = released("1.0.0", nodes=3), spec("2.0.0", "1.0.0", nodes=3)
    found = Foreseen(wanted, tree, alone={"dev/rank"})
    assert (found.loads.steady["dev-cluster", "h100"], found.use.after) == (8, 8)
    barred = loads(wanted, tree.stored(), found.pools, found.ahead, ())
    assert (barred.steady["dev-cluster", "h100"], barred.after["dev-cluster", "h100"]) == (8, 16)
