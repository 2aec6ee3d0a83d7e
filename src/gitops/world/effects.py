"""Tells observers about each externally visible write, right after it succeeded.

Between a write and the next one is where a crash hurts most. Crash tests stop the process there, and a trace
prints what was really done; the adapters themselves need to know neither. In ordinary use nobody listens.
"""

from __future__ import annotations

from collections.abc import Callable

observers: list[Callable[[str], None]] = []
"""Each is called with one description, such as `apply Deployment shop/web`, in the thread that wrote."""


def happened(description: str) -> None:
    """Report a write that is done. An observer's exception passes through to the writer."""
    for observer in observers:
        observer(description)
