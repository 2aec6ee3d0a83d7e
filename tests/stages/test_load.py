"""The load generator: when it asks, what it times, and what a stalled server does to its figures."""

import asyncio
import socket
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.errors import GitopsError
from gitops.stages.endpoints import Target
from gitops.stages.lag import WatchedSelector
from gitops.stages.load import measure
from gitops.stages.measured import Load, Measured, due_times
from gitops.stages.protocols.base import AskFailed, Description, Question, Request, Settings
from gitops.stages.protocols.connection import Arrivals, Connection, StaleConnection, payload, resolve
from gitops.stages.protocols.openai import OpenAI
from gitops.stages.protocols.plain import PlainJson
from gitops.stages.protocols.reading import WholeReading
from tests.stages.endpoint import MODEL, Server

pytestmark = pytest.mark.slow

STALL = 1.0
PLAIN = Request("POST", "/predict", b"{}")


def streamed(prompt: str = "q") -> Request:
    return OpenAI(MODEL).request(Question(prompt, settings=Settings(stream=True)), Description())


def run(server: Server, load: Load, *, stream: bool = False, timeout: float = 30) -> Measured:
    dialect = OpenAI(MODEL) if stream else PlainJson("/predict", tokens_path="used")
    target = Target(server.url, dialect, MODEL, timeout)
    return measure(target, [streamed() if stream else PLAIN], load, stream=stream)


def stall_at(number: int) -> Server:
    """A server that answers nothing for a second from the request of this number on."""
    until = 0.0

    def hold(count: int) -> float:
        nonlocal until
        now = asyncio.get_running_loop().time()
        if count == number:
            until = now + STALL
        return max(until - now, 0.0)

    return Server(hold=hold)


# --- when ---


@given(st.floats(0.5, 500), st.floats(0.1, 5), st.integers(0, 100))
def test_instants_are_fixed_in_advance(rate: float, duration: float, seed: int) -> None:
    load = Load(rate=rate, duration=duration, warm_up=0.5, seed=seed)
    times = list(due_times(load))
    assert times == list(due_times(load))
    assert times == sorted(times)
    assert all(0 <= at < load.until for at in times)


def test_even_instants_are_evenly_apart() -> None:
    times = list(due_times(Load(rate=50, poisson=False, duration=2)))
    assert len(times) == 100
    assert all(after - before == pytest.approx(0.02) for before, after in pairwise(times))


def test_poisson_instants_are_as_many_as_the_rate_and_spread_as_far_as_their_mean() -> None:
    times = list(due_times(Load(rate=100, duration=1000)))
    assert len(times) == pytest.approx(100_000, rel=0.02)
    gaps = [after - before for before, after in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert deviation == pytest.approx(mean, rel=0.02)


# --- coordinated omission ---


def test_a_stall_is_in_the_times_of_all_that_was_due_meanwhile() -> None:
    with stall_at(50) as server:
        found = run(server, Load(rate=100, poisson=False, duration=2))
    assert found.asked == found.latency.count == 200
    # Half of all requests were due during the stall: one waited for all of it, one for half of it, and so on.
    assert found.latency.quantile(0.99) >= 0.9 * STALL
    assert found.latency.quantile(0.90) >= 0.6 * STALL
    assert found.latency.quantile(0.70) >= 0.3 * STALL
    # Each counts in the second in which it was due: the first half of the stall, and the second.
    assert found.seconds[0].latency.quantile(0.9) >= 0.8 * STALL
    # 0.45 of it, and later on a busy machine, but less than those of the first second.
    assert 0.3 * STALL <= found.seconds[1].latency.quantile(0.9) < 0.8 * STALL


def test_a_closed_load_sees_a_stall_once_for_each_client() -> None:
    with stall_at(20) as server:
        server.delay = 0.005
        found = run(server, Load(clients=2, duration=2.5))
    # This is why the two are not comparable: here the stall is in two of all the answers.
    assert found.latency.count > 40
    assert found.latency.highest >= 0.9 * STALL
    assert found.latency.quantile(0.90) < 0.5 * STALL


# --- what ---


def test_tokens_of_streams_have_times_of_their_own() -> None:
    with Server(answers={"q": "a b c d e"}, token_delay=0.03) as server:
        found = run(server, Load(clients=4, duration=1.5), stream=True)
    assert not found.errors
    assert found.first.count == found.latency.count > 10
    assert found.gaps.count == 4 * found.latency.count
    # Loopback can be late, never early.
    assert found.gaps.quantile(0.5) >= 0.029
    assert found.latency.lowest >= 0.119
    assert found.first.quantile(0.5) < found.latency.quantile(0.5)
    assert found.counted
    assert found.tokens == pytest.approx(5 * found.answered, rel=0.2)


def test_warming_up_is_not_measured() -> None:
    with Server(hold=lambda number: 0.2 if number < 4 else 0.0) as server:
        found = run(server, Load(clients=4, warm_up=1, duration=1))
        assert len(server.questions) > found.asked
    assert found.latency.count > 4
    assert found.answered <= len(server.questions) - 4


def test_answers_without_streams_are_counted_by_what_they_say() -> None:
    with Server(delay=0.02) as server:
        found = run(server, Load(clients=2, duration=1))
    assert found.tokens == 3 * found.answered
    assert found.gaps.count == found.first.count == 0


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("503", "status 503", "out of memory"),
        ("cut", "truncated", "middle of an answer"),
        ("no-done", "truncated", "ended after"),
        ("garbage", "malformed", "no HTTP"),
        ("close", "closed", "before an answer"),
        ("bad-event", "malformed", "not json"),
        ("bad-chunk", "malformed", "size of a chunk"),
        ("error-event", "error in the stream", "engine died"),
        ("wrong-type", "malformed", "asked for a stream"),
        ("hang", "timeout", "0.3 s"),
    ],
)
def test_errors_are_counted_by_kind(fault: str, kind: str, said: str) -> None:
    with Server(answers={"q": "a b c d"}, fault=fault) as server:
        found = run(server, Load(clients=2, duration=1), stream=True, timeout=0.3)
    assert set(found.errors) == {kind}
    assert found.asked == found.errors[kind] == sum(second.errors for second in found.seconds) > 0
    assert found.latency.count == 0
    assert said in found.examples[kind]


def test_nothing_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        target = Target(f"http://127.0.0.1:{taken.getsockname()[1]}", PlainJson("/"), MODEL)
        found = measure(target, [PLAIN], Load(clients=1, duration=1), stream=False)
        assert set(found.errors) == {"refused"}
    with pytest.raises(GitopsError, match="nothing answers there"):
        measure(Target("http://no.such.host.invalid", PlainJson("/"), MODEL), [PLAIN], Load(), stream=False)


def test_a_thousand_streams_at_once() -> None:
    with Server(answers={"q": "a b c d e f"}, token_delay=0.2) as server:
        found = run(server, Load(clients=1000, duration=1), stream=True)
    assert not found.errors
    assert found.latency.count >= 1000
    assert found.gaps.count == 5 * found.latency.count


# --- connections ---


def test_a_kept_connection_that_was_closed_is_told_from_an_answer_that_did_not_come() -> None:
    async def check(server: Server) -> None:
        arrivals = Arrivals(lambda at: None)
        address = await resolve(server.url)
        connection = await Connection.open(address, 5, arrivals)
        target = Target(server.url, PlainJson("/predict"), MODEL)
        request = payload(server.url, PLAIN, target.headers)
        reading = lambda content_type: WholeReading(target.dialect, 0.0)  # noqa: E731
        await connection.ask(request, reading, 5)
        assert connection.usable
        server.fault = "close"
        with pytest.raises(StaleConnection):
            await connection.ask(request, reading, 5)
        fresh = await Connection.open(address, 5, arrivals)
        with pytest.raises(AskFailed, match="closed"):
            await fresh.ask(request, reading, 5)
        assert not fresh.usable

    with Server() as server:
        asyncio.run(check(server))


# --- lag ---


def test_a_busy_loop_is_found_late() -> None:
    selector = WatchedSelector()
    seen = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        here, there = socket.socketpair()
        with here, there:
            here.setblocking(False)

            def look() -> None:
                seen.append(selector.lag(time.perf_counter()))
                here.recv(1)

            loop.add_reader(here, look)
            there.send(b"x")
            # The byte is there, and nobody looks at it.
            time.sleep(0.2)
            await asyncio.sleep(0.01)
            there.send(b"x")
            await asyncio.sleep(0.01)
            loop.remove_reader(here)

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(main())
    assert len(seen) == 2
    assert seen[0] >= 0.19
    assert seen[1] < seen[0]
