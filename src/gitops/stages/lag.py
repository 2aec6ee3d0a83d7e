"""How late an event loop is: what it adds to every time that it measures."""

from __future__ import annotations

import asyncio
import selectors
from time import perf_counter

from gitops.stages.histogram import Histogram

_PROBE = 0.01
"""Seconds between two looks for stalls."""
_GRANULARITY = 0.001
"""Seconds: asyncio rounds what it waits for up to milliseconds."""


class WatchedSelector(selectors.DefaultSelector):
    """Knows whether events had to wait because the loop was busy, and at most how long."""

    def __init__(self) -> None:
        super().__init__()
        self.returned = perf_counter()
        """When the loop got its last events."""
        self.waited = 0.0
        """Seconds that they may have waited until then."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As its base; a look without waiting comes first, because what is there then came while the loop worked."""
        busy = perf_counter() - self.returned
        events = super().select(0)
        if events:
            self.waited = busy
        else:
            self.waited = 0.0
            if timeout is None or timeout > 0:
                events = super().select(timeout)
        self.returned = perf_counter()
        return events

    def lag(self, now: float) -> float:
        """Seconds that something which is looked at now, among the last events, may have waited."""
        return now - self.returned + self.waited


async def probe(found: Histogram) -> None:
    """Record, until cancelled, how much longer than asked the loop sleeps: busy, or not given the processor."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _PROBE
        await asyncio.sleep(_PROBE)
        found.record(max(loop.time() - due - _GRANULARITY, 0.0))
