"""A process of its own that loads specs, so that one that hangs is killed instead of hanging the tests.

Reads one case a line on stdin (`{"pipeline.yaml": "<base64>", …}`), answers one line: the messages, or null for
a spec that loads. Anything but a SpecError ends it with a traceback.
"""

from __future__ import annotations

import base64
import json
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


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
    """Runs cases in the child; a case that takes more than `seconds` is killed and fails."""

    def __init__(self, seconds: float = 30) -> None:
        self.seconds = seconds
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
        if not select.select([self.child.stdout], [], [], self.seconds)[0]:
            self.close()
            raise AssertionError(f"killed after {self.seconds} s")
        line = self.child.stdout.readline()
        if not line:
            self.close()
            raise AssertionError("the loader died of something that is no SpecError")
        result: list[str] | None = json.loads(line)
        return result

    def close(self) -> None:
        if self.child:
            self.child.kill()
            self.child.communicate()
            self.child = None


if __name__ == "__main__":
    for case in sys.stdin:
        sys.stdout.write(json.dumps(answer(case)) + "\n")
        sys.stdout.flush()
