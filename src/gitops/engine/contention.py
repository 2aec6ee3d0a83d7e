"""Several processes push to one branch: whoever finds that it has moved looks again, for so long and no longer."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from gitops.errors import GitopsError

PUSH_ATTEMPTS = 40


def push_attempts(sleep: Callable[[float], object]) -> Iterator[int]:
    """The number of each attempt, from 0, with a growing pause of chance between two; `sleep` takes seconds.

    The loop over it returns when it has pushed. Raises GitopsError when the repository has moved every time.
    """
    for attempt in range(PUSH_ATTEMPTS):
        yield attempt
        sleep(random.uniform(0, 0.05 * (attempt + 1)))  # noqa: S311  # spreads contenders, guards nothing
    raise GitopsError(f"the repository moved {PUSH_ATTEMPTS} times while pushing", hint="others are busy; try again")
