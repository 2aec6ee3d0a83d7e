"""`make tools`: build and fetch, once, what the tests run.

One that cannot be had is an error in CI; elsewhere its tests skip with the reason.
"""

from __future__ import annotations

import os
import sys
import time

from tests.support.tools.actionlint import ACTIONLINT
from tests.support.tools.debian import BUSYBOX, PROMETHEUS
from tests.support.tools.kubernetes import CONTROL_PLANE
from tests.support.tools.npm import LANGUAGE_SERVER
from tests.support.tools.tool import Unavailable
from tests.support.tools.torch import BUILD_PYTHON

TOOLS = (CONTROL_PLANE, BUILD_PYTHON, PROMETHEUS, BUSYBOX, ACTIONLINT, LANGUAGE_SERVER)


def main() -> int:
    """Prepare each, and say what takes long; the exit code."""
    missing = 0
    for tool in TOOLS:
        began = time.monotonic()
        there = tool.find()
        try:
            tool.prepare(_say)
        except Unavailable as error:
            missing += 1
            print(f"{tool.name}: {error}", file=sys.stderr, flush=True)
        else:
            if not there:
                _say(f"{tool.name}: ready after {time.monotonic() - began:.0f} s")
    return 1 if missing and os.environ.get("CI") else 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
