"""Who may hold a lease, decided on plain values; and how lost races and lost answers end."""

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.world.kubernetes.api import Api
from gitops.world.kubernetes.errors import ClusterError
from gitops.world.kubernetes.lease import Leases, Sighting, claim, relinquished, sight
from gitops.world.kubernetes.transport import NO_QUERY, Response, RetryPolicy, TransportError

HELD = {
    "holderIdentity": "one",
    "leaseDurationSeconds": 15,
    "acquireTime": "09:00",
    "renewTime": "09:05",
    "leaseTransitions": 3,
}


def test_a_new_lease() -> None:
    assert claim(Sighting({}, 0), 0, "one", 15, "10:00") == {
        "holderIdentity": "one",
        "leaseDurationSeconds": 15,
        "acquireTime": "10:00",
        "renewTime": "10:00",
        "leaseTransitions": 0,
    }


def test_renewing_keeps_when_it_was_taken() -> None:
    renewed = claim(Sighting(HELD, 0), 1000, "one", 20, "10:00")
    assert renewed == {**HELD, "renewTime": "10:00", "leaseDurationSeconds": 20}


def test_a_lease_that_ran_out_before_our_eyes_is_taken_over() -> None:
    for now in (100, 107.5, 114.9):
        assert claim(Sighting(HELD, 100), now, "two", 20, "10:00") is None
    taken = {**HELD, "holderIdentity": "two", "leaseDurationSeconds": 20, "acquireTime": "10:00", "renewTime": "10:00"}
    assert claim(Sighting(HELD, 100), 115, "two", 20, "10:00") == {**taken, "leaseTransitions": 4}


def test_a_lease_that_was_given_up_is_free_at_once() -> None:
    given_up = relinquished(HELD, "09:30")
    assert given_up["holderIdentity"] == ""
    assert given_up["leaseTransitions"] == 3
    taken = claim(Sighting(given_up, 100), 100, "two", 20, "10:00")
    assert taken
    assert (taken["holderIdentity"], taken["leaseTransitions"], taken["acquireTime"]) == ("two", 4, "10:00")


def test_a_lease_without_duration_counts_as_long_as_ours() -> None:
    strange: dict[str, Any] = {"holderIdentity": "one"}
    assert claim(Sighting(strange, 0), 9, "two", 10, "10:00") is None
    assert claim(Sighting(strange, 0), 10, "two", 10, "10:00")


def test_time_counts_from_the_first_sight_of_a_change() -> None:
    first = sight(None, HELD, 5)
    assert first == Sighting(HELD, 5)
    assert sight(first, dict(HELD), 9) == Sighting(HELD, 5)
    renewed = {**HELD, "renewTime": "09:06"}
    assert sight(first, renewed, 9) == Sighting(renewed, 9)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 10), st.booleans()), max_size=30))
def test_never_two_holders(steps: list[tuple[str, float, bool]]) -> None:
    """Whoever asks when, and gives up when: what a holder may rely on ends before another one begins."""
    spec: Mapping[str, Any] = {}
    sightings: dict[str, Sighting] = {}
    until = dict.fromkeys("ab", 0.0)
    now = 100.0
    for number, (holder, pause, gives_up) in enumerate(steps):
        now += pause
        other = "b" if holder == "a" else "a"
        sightings[holder] = sight(sightings.get(holder), spec, now)
        wanted = claim(sightings[holder], now, holder, 8, str(number))
        if wanted is None:
            assert spec["holderIdentity"] == other
            continue
        assert now >= until[other]
        spec, until[holder] = wanted, now + 8
        if gives_up:
            spec, until[holder] = relinquished(spec, f"{number} up"), now


# --- Races ---------------------------------------------------------------------------------------------------


class Server:
    """One lease, with the API server's optimistic locking; `meddle` acts before the next writes arrive."""

    def __init__(self) -> None:
        self.live: dict[str, Any] | None = None
        self.version = 0
        self.meddle: list[str] = []
        self.writes: list[str] = []

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] = NO_QUERY,
        body: bytes | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Response:
        if method == "GET":
            return self.answer(200, self.live) if self.live else self.answer(404, {"kind": "Status"})
        self.writes.append(method)
        event = self.meddle.pop(0) if self.meddle else ""
        if event == "taken":
            self.put({"spec": {**HELD, "renewTime": str(self.version)}})
        elif event == "labelled":
            assert self.live
            self.put({**self.live, "metadata": {**self.live["metadata"], "labels": {"by": "somebody"}}})
        elif event == "deleted":
            self.live = None
        response = self.write(method, orjson.loads(body or b""))
        if event == "answer lost":
            raise TransportError("the connection was dropped")
        return response

    def write(self, method: str, new: dict[str, Any]) -> Response:
        if method == "POST" and self.live:
            return self.answer(409, {"kind": "Status", "reason": "AlreadyExists"})
        if method == "PUT" and not self.live:
            return self.answer(404, {"kind": "Status", "message": "not found"})
        if self.live and new["metadata"]["resourceVersion"] != self.live["metadata"]["resourceVersion"]:
            return self.answer(409, {"kind": "Status", "message": "the object has been modified"})
        self.put(new)
        return self.answer(200, new)

    def put(self, new: dict[str, Any]) -> None:
        self.version += 1
        self.live = {**new, "metadata": {**new.get("metadata", {}), "resourceVersion": str(self.version)}}

    def answer(self, status: int, content: Mapping[str, Any]) -> Response:
        return Response(status, {}, orjson.dumps(content))

    def close(self) -> None:
        """Nothing to close."""


class Contender:
    def __init__(self, server: Server) -> None:
        self.now = 0.0
        self.waits: list[float] = []
        api = Api(server, "test", RetryPolicy(attempts=3, sleep=self.waits.append))
        self.leases = Leases(api, lambda: self.now)

    def acquire(self, holder: str = "two") -> bool:
        return self.leases.acquire("shop", "leader", holder, 10)

    def release(self, holder: str = "two") -> None:
        self.leases.release("shop", "leader", holder)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.mark.parametrize("exists", [False, True])
def test_of_two_who_find_it_free_one_gets_it(server: Server, exists: bool) -> None:
    contender = Contender(server)
    if exists:
        contender.acquire()
        contender.release()
    server.meddle = ["taken"]
    assert not contender.acquire()
    assert server.live
    assert server.live["spec"]["holderIdentity"] == "one"
    assert contender.waits == []


@pytest.mark.parametrize("exists", [False, True])
def test_an_answer_that_was_lost_does_not_lose_the_lease(server: Server, exists: bool) -> None:
    contender = Contender(server)
    if exists:
        contender.acquire()
    server.meddle = ["answer lost"]
    assert contender.acquire()
    assert not Contender(server).acquire("three")


@pytest.mark.parametrize("event", ["labelled", "deleted"])
def test_others_may_touch_the_object(server: Server, event: str) -> None:
    contender = Contender(server)
    assert contender.acquire()
    server.meddle = [event]
    assert contender.acquire()
    assert server.live
    assert server.live["spec"]["holderIdentity"] == "two"
    server.meddle = [event]
    contender.release()
    assert server.live is None or server.live["spec"]["holderIdentity"] == ""


def test_giving_up_what_one_has_not_does_nothing(server: Server) -> None:
    contender = Contender(server)
    contender.release()
    assert contender.acquire("one")
    server.writes.clear()
    contender.release("two")
    assert server.writes == []
    server.meddle = ["taken"]
    contender.release("one")
    assert server.live


def test_expiry_is_what_this_process_has_seen(server: Server) -> None:
    one, two = Contender(server), Contender(server)
    assert one.acquire("one")
    two.now = 1e6  # its clock says something else altogether
    assert not two.acquire("two")
    two.now += 9.9
    assert not two.acquire("two")
    assert one.acquire("one")
    two.now += 9.9
    assert not two.acquire("two")
    two.now += 10
    assert two.acquire("two")
    assert not one.acquire("one")


def test_refusals_are_told() -> None:
    class Closed(Server):
        def request(self, method: str, path: str, **_: Any) -> Response:
            return self.answer(403 if method != "GET" else 404, {"kind": "Status", "message": "no"})

    with pytest.raises(ClusterError, match="not allowed to create leases"):
        Contender(Closed()).acquire()
