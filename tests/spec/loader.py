"""A process of its own that loads specs, so that one that takes for ever is killed instead of hanging the tests.

Reads one case a line on stdin (`{"pipeline.yaml": "<base64>", …}`), answers one line: the messages, or null for
a spec that loads. Anything but a SpecError ends it with a traceback.
"""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS = 30
"""Of CPU, so that what else the machine does plays no part."""


def answer(line: str) -> list[str] | None:
    from gitops.spec.load import load_spec
    from gitops.spec.problems import SpecError
    from gitops.spec.resolved import SourceFile

    files = {name: SourceFile(name, base64.b64decode(data)) for name, data in json.loads(line).items()}
    pipeline = files.pop("pipeline.yaml")
    try:
        load_spec(pipeline, list(files.values()))
    except SpecError as error:
        return str(error).splitlines()
    return None


class Loader:
    """Runs cases in the child; a case that takes more than SECONDS is killed and fails."""

    def __init__(self) -> None:
        self.child: subprocess.Popen[bytes] | None = None

    def load(self, files: Mapping[str, bytes]) -> list[str] | None:
        if self.child is None:
            environment = {"PYTHONPATH": str(ROOT / "src"), "PATH": ""}
            self.child = subprocess.Popen(
                [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
            )
        assert self.child.stdin
        assert self.child.stdout
        case = json.dumps({name: base64.b64encode(data).decode() for name, data in files.items()})
        self.child.stdin.write(case.encode() + b"\n")
        self.child.stdin.flush()
        line = self.child.stdout.readline()
        if not line:
            slow = self.child.wait() == -signal.SIGPROF
            self.close()
            raise AssertionError(f"killed after {SECONDS} s of CPU" if slow else "it died of no SpecError")
        result: list[str] | None = json.loads(line)
        return result

    def close(self) -> None:
        if self.child:
            self.child.kill()
            self.child.communicate()
            self.child = None


if __name__ == "__main__":
    for case in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # whose signal ends the process
        sys.stdout.write(json.dumps(answer(case)) + "\n")
        sys.stdout.flush()
