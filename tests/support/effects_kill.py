"""Run `gitops` and kill it with SIGKILL right after its N-th externally visible effect.

    python -m tests.support.effects_kill N LOG <gitops arguments>

Every effect is appended to LOG, one line each, so that a run with N = 0 (never killed) lists them.
"""

import os
import signal
import sys
import threading
from pathlib import Path

from gitops.cli.main import main
from gitops.world import effects


def run(number: int, log: Path) -> None:
    """Install the observer, then behave as the `gitops` command."""
    seen = 0
    lock = threading.Lock()

    def observe(description: str) -> None:
        nonlocal seen
        with lock:
            seen += 1
            with log.open("a") as file:
                file.write(description + "\n")
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    effects.observers.append(observe)
    main()


def start() -> None:
    """Take the arguments from the command line."""
    count, path = int(sys.argv[1]), Path(sys.argv[2])
    sys.argv = ["gitops", *sys.argv[3:]]
    run(count, path)


if __name__ == "__main__":
    start()
