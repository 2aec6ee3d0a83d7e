"""Measures whole processes: CPU seconds of a command and everything it starts, its memory, its wall time."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOPICS = ("plan", "git", "history", "growth", "rollouts", "breach", "peers", "live", "digest", "load")


@dataclass(frozen=True)
class Cost:
    """`cpu` and `wall` in seconds, `memory` in MB (10^6 bytes, the largest process), and how it ended."""

    cpu: float
    wall: float
    memory: float
    status: int
    output: str = field(default="", repr=False)


@dataclass(frozen=True)
class Figure:
    """One line of the table. `goal` and `note` are for people."""

    topic: str
    what: str
    cpu: float
    wall: float
    memory: float = 0.0
    goal: str = ""
    note: str = ""


@dataclass(frozen=True)
class Setting:
    """What a benchmark was asked for: `models` is the size, `repeat` how often the best is looked for."""

    directory: Path
    models: int = 1000
    repeat: int = 5
    commits: int = 10_000
    objects: int = 10_000
    report: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)

    def gitops(self, *arguments: str, project: Path, expect: Sequence[int] = (0,), repeat: int = 0) -> Cost:
        """The cheapest of several runs of our command line."""
        command = [sys.executable, "-m", "gitops", *arguments, "--project", str(project)]
        return self.best(command, expect=expect, repeat=repeat)

    def best(
        self, command: Sequence[str], *, expect: Sequence[int] = (0,), repeat: int = 0, cwd: Path | None = None
    ) -> Cost:
        """The run with the least CPU; one run before warms caches. Raises when a run ends otherwise."""
        times = repeat or self.repeat
        costs = [run(command, environment(self.directory), cwd) for _ in range(times + (times > 1))]
        for cost in costs:
            if cost.status not in expect:
                raise RuntimeError(f"{' '.join(command)} ended with {cost.status}: {cost.output[-2000:]}")
        return min(costs, key=lambda cost: cost.cpu)


def environment(directory: Path) -> Mapping[str, str]:
    """As on a user's machine: byte code is cached (in the benchmark's own place), and no settings from outside."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "GIT_", "GITOPS_"))}
    return ours | {
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
        "PYTHONPYCACHEPREFIX": str(directory / "pycache"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
    }


def run(command: Sequence[str], env: Mapping[str, str], cwd: Path | None = None) -> Cost:
    """Run to the end. CPU is that of the process and of all children it waited for (os.wait4).

    A small process in between starts it, because Linux counts the memory of whoever starts a process as its own.
    """
    with tempfile.TemporaryFile() as output:
        launch = [sys.executable, "-I", "-S", "-c", _LAUNCH, *command]
        done = subprocess.run(
            launch, env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, check=True
        )
        output.seek(0)
        text = output.read().decode(errors="replace")
    cpu, wall, memory, status = done.stderr.split(b"\n")[-1].split()
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(float(cpu), float(wall), int(memory) * unit / 1e6, int(status), text)


_LAUNCH = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stderr=subprocess.STDOUT)
_, status, usage = os.wait4(process.pid, 0)
wall = time.perf_counter() - start
cpu = usage.ru_utime + usage.ru_stime
sys.stderr.write(f"\\n{cpu} {wall} {usage.ru_maxrss} {os.waitstatus_to_exitcode(status)}")
"""


@contextmanager
def stopwatch() -> Iterator[list[float]]:
    """CPU (children included) and wall seconds of a block, put into the list at its end."""
    taken: list[float] = []
    before, start = _cpu(), time.perf_counter()
    yield taken
    taken += [_cpu() - before, time.perf_counter() - start]


def _cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def machine() -> str:
    """Cores, processor, memory, Python and Git, in one line."""
    processor = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if "model name" in line), "?")
    memory = next((int(line.split()[1]) / 1e6 for line in _lines("/proc/meminfo") if "MemTotal" in line), 0)
    git = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    python = ".".join(map(str, sys.version_info[:3]))
    return f"{os.cpu_count()} cores of {processor}, {memory:.0f} GB memory, Python {python}, Git {git}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def table(figures: Sequence[Figure]) -> str:
    """For the terminal."""
    rows = [("topic", "what", "CPU s", "wall s", "MB", "goal", "note")]
    rows += [
        (f.topic, f.what, f"{f.cpu:.3f}", f"{f.wall:.3f}", f"{f.memory:.0f}" if f.memory else "", f.goal, f.note)
        for f in figures
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
