"""Load on an endpoint, and the times that come of it.

An open load sends at instants that are fixed beforehand, and every time counts from the instant at which its request
was due: an endpoint that stalls makes all requests late that were due meanwhile, and none is left out ("coordinated
omission"). In a closed load a client asks again when it has its answer, so a stall is seen once by each client.
"""

from __future__ import annotations

import asyncio
import gc
import resource
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from time import perf_counter, process_time

from gitops.errors import GitopsError
from gitops.stages.endpoints import Target
from gitops.stages.histogram import Histogram
from gitops.stages.lag import WatchedSelector, probe
from gitops.stages.measured import Load, Measured, Second, due_times
from gitops.stages.protocols.base import Answer, AskFailed, Request
from gitops.stages.protocols.connection import Address, Arrivals, Connection, StaleConnection, payload, resolve
from gitops.stages.protocols.reading import Reading, reading_of

MOST_IN_FLIGHT = 10_000
"""Requests of an open load that wait at a time; further ones are errors."""
_SPARE_FILES = 64
_SPIN = 0.0015
"""Seconds before an instant at which it is no longer slept, because asyncio sleeps whole milliseconds."""
_REPORT_EVERY = 5.0

Report = Callable[[str], None]


def _say_nothing(line: str) -> None:
    pass


def measure(
    target: Target, requests: Sequence[Request], load: Load, *, stream: bool, report: Report = _say_nothing
) -> Measured:
    """Send the requests in turn, and wait for the answers to all that were sent.

    `report` is told of the progress. Raises GitopsError when nothing can be reached, or when this machine does not
    allow so many connections.
    """
    needed = _room(load)
    selector = WatchedSelector()
    with _undisturbed(), asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        generator = _Generator(target, requests, load, needed, selector, stream=stream and target.dialect.streams)
        return runner.run(generator.run(report))


class _Generator:
    def __init__(
        self,
        target: Target,
        requests: Sequence[Request],
        load: Load,
        room: int,
        selector: WatchedSelector,
        stream: bool,
    ) -> None:
        self._target, self._load, self._room, self._selector = target, load, room, selector
        self._payloads = [payload(target.url, request, target.headers) for request in requests]
        self._stream = stream
        self._next = 0
        self._idle: deque[Connection] = deque()
        self._in_flight = 0
        self._begun = 0.0
        self._address: Address | None = None
        self._arrivals: Arrivals | None = None
        self.found = Measured(load, seconds=[Second() for _ in range(max(round(load.duration), 1))])

    async def run(self, report: Report) -> Measured:
        try:
            self._address = await resolve(self._target.url)
        except AskFailed as failed:
            hint = "start the server, or name another --endpoint"
            raise GitopsError(f"nothing answers there: {failed.detail}", where=self._target.url, hint=hint) from None
        self._arrivals = Arrivals(self._on_data)
        self._begun, busy = perf_counter(), process_time()
        beside = [asyncio.create_task(self._watch()), asyncio.create_task(self._tell(report))]
        try:
            await (self._open() if self._load.rate else self._closed())
            self.found.cpu = (process_time() - busy) / max(perf_counter() - self._begun, 1e-9)
        finally:
            for task in beside:
                task.cancel()
            for connection in self._idle:
                connection.close()
        return self.found

    # --- When to ask ---

    async def _closed(self) -> None:
        async def client() -> None:
            while (due := perf_counter()) - self._begun < self._load.until:
                ended = await self._ask(due)
                if ended is None:
                    # An endpoint that refuses at once must not be asked a million times.
                    await asyncio.sleep(0.01)
                elif self._is_measured(ended):
                    self.found.late.record(perf_counter() - ended)

        async with asyncio.TaskGroup() as group:
            for _ in range(self._load.clients):
                group.create_task(client())

    async def _open(self) -> None:
        async with asyncio.TaskGroup() as group:
            for after in due_times(self._load):
                due = self._begun + after
                while (left := due - perf_counter()) > 0:
                    await asyncio.sleep(left - 0.001 if left > _SPIN else 0)
                if self._in_flight >= self._room:
                    self._failed(due, AskFailed("too many unanswered", f"{self._in_flight} requests wait"))
                    continue
                self._in_flight += 1
                group.create_task(self._send(due))

    async def _send(self, due: float) -> None:
        if self._is_measured(due):
            self.found.late.record(perf_counter() - due)
        try:
            await self._ask(due)
        finally:
            self._in_flight -= 1

    # --- Asking ---

    async def _ask(self, due: float) -> float | None:
        """When the good answer's last byte came; None without one."""
        request = self._payloads[self._next % len(self._payloads)]
        self._next += 1
        reading_for = partial(self._reading, due)
        try:
            answer, connection = await self._exchange(request, reading_for)
        except AskFailed as failed:
            self._failed(due, failed)
            return None
        if connection.usable:
            self._idle.append(connection)
        self._answered(due, answer)
        return due + answer.times.total

    async def _exchange(self, request: bytes, reading_for: Callable[[str], Reading]) -> tuple[Answer, Connection]:
        timeout = self._target.timeout
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                with suppress(StaleConnection):
                    return await connection.ask(request, reading_for, timeout), connection
        assert self._address
        assert self._arrivals
        connection = await Connection.open(self._address, timeout, self._arrivals)
        return await connection.ask(request, reading_for, timeout), connection

    def _reading(self, due: float, content_type: str) -> Reading:
        return reading_of(self._target.dialect, due, content_type, stream=self._stream)

    # --- What came ---

    def _on_data(self, at: float) -> None:
        self.found.lag.record(self._selector.lag(at))

    def _is_measured(self, due: float) -> bool:
        return self._load.warm_up <= due - self._begun < self._load.until

    def _second(self, due: float) -> Second:
        number = int(due - self._begun - self._load.warm_up)
        return self.found.seconds[min(number, len(self.found.seconds) - 1)]

    def _failed(self, due: float, failed: AskFailed) -> None:
        if self._is_measured(due):
            self.found.errors[failed.kind] += 1
            self.found.examples.setdefault(failed.kind, self._target.redacted(failed.detail))
            self._second(due).errors += 1

    def _answered(self, due: float, answer: Answer) -> None:
        found, times = self.found, answer.times
        end = due + times.total
        share = self._share(due, answer)
        found.tokens += share * answer.tokens
        found.answered += self._is_measured(end)
        found.counted = found.counted or answer.content.tokens is not None
        if not self._is_measured(due):
            return
        found.latency.record(times.total)
        self._second(due).latency.record(times.total)
        if times.first is not None:
            found.first.record(times.first)
        for gap in times.gaps:
            found.gaps.record(gap)

    def _share(self, due: float, answer: Answer) -> float:
        """Which part of an answer's tokens came while throughput is measured."""
        times = answer.times
        begin, end = self._begun + self._load.warm_up - due, self._begun + self._load.until - due
        if times.first is None or (begin <= times.first and times.total <= end):
            return float(begin <= times.total <= end)
        at, inside = times.first, int(begin <= times.first <= end)
        for gap in times.gaps:
            at += gap
            inside += begin <= at <= end
        return inside / (len(times.gaps) + 1)

    async def _watch(self) -> None:
        await asyncio.sleep(self._load.warm_up)
        # What starting up and warming up cost is nobody's time.
        self.found.lag = Histogram()
        await probe(self.found.stalls)

    async def _tell(self, report: Report) -> None:
        while True:
            await asyncio.sleep(_REPORT_EVERY)
            passed = min(perf_counter() - self._begun, self._load.until)
            errors = sum(self.found.errors.values())
            said = f"{self.found.latency.count} answers, {errors} errors"
            report(f"benchmark: {passed:.0f} of {self._load.until:.0f} s, {said}")


def _room(load: Load) -> int:
    """How many requests may be open at a time; makes room for them. Raises GitopsError where it cannot."""
    wanted = (MOST_IN_FLIGHT if load.rate else load.clients) + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft != unlimited and soft < wanted:
        soft = wanted if hard == unlimited else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft != unlimited and soft < wanted and not load.rate:
        message = f"this process may open {soft} files, too few for {load.clients} connections"
        raise GitopsError(message, hint="raise the limit (ulimit -n), or ask with less concurrency")
    return MOST_IN_FLIGHT if soft == unlimited else min(MOST_IN_FLIGHT, soft - _SPARE_FILES)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Without pauses for garbage collection: what is made for an answer is freed with it."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
