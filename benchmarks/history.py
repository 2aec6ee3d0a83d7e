"""`gitops history` of one model in a repository with many rollout commits, beside plain `git log`."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Figure, Setting
from benchmarks.synthetic import write_project
from gitops.rollout.message import Released, commit_message
from gitops.rollout.release import SpecSource
from gitops.values import UnitKey

MODEL = "support-chat"
_OTHERS = 39
"""Other models that are released in turn."""


def measure(setting: Setting) -> Iterator[Figure]:
    """See the module."""
    project = setting.directory / "project"
    repository = project / ".gitops/repository.git"
    write_project(project, 5)
    fill(repository, setting.commits)
    text = setting.gitops("history", MODEL, project=project)
    note = f"{text.output.count(MODEL):,} of {setting.commits:,} commits"
    yield Figure("history", f"gitops history {MODEL}", text.cpu, text.wall, text.memory, "0.25 s", note)
    everything = setting.gitops("history", "--limit", "20", project=project)
    yield Figure("history", "gitops history --limit 20", everything.cpu, everything.wall, everything.memory)
    log = ["git", "-C", str(repository), "log", "--format=%H %cI %an %s %(trailers:only,unfold)", "main"]
    plain = setting.best(log)
    yield Figure("history", "plain git log with trailers", plain.cpu, plain.wall, plain.memory)
    grep = setting.best([*log, f"--grep=^Model: {MODEL}$"])
    yield Figure("history", "plain git log --grep", grep.cpu, grep.wall, grep.memory)


def fill(repository: Path, commits: int) -> None:
    """Make a bare repository with so many release commits, every fortieth of them about MODEL."""
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(repository)], check=True)
    stream = b"".join(_commit(number) for number in range(commits)) + b"done\n"
    command = ["git", "-C", str(repository), "fast-import", "--quiet", "--done"]
    subprocess.run(command, input=stream, check=True)


def _commit(number: int) -> bytes:
    turn = number % (_OTHERS + 1)
    model = MODEL if turn == 0 else f"model-{turn:02d}"
    unit = UnitKey(("dev", "staging", "production")[number % 3], model)
    version, previous = f"1.{number}.0", f"1.{max(number - 1, 0)}.0"
    source = SpecSource(f"{number:040x}")
    message = commit_message([Released(unit, version, previous)], [], [], f"{number:026d}", source).encode()
    record = f"version: {version}\n".encode()
    return (
        f"commit refs/heads/main\ncommitter Ada <ada@example.com> {1_700_000_000 + 600 * number} +0000\n".encode()
        + b"data %d\n%s\n" % (len(message), message)
        + f"M 100644 inline releases/{unit.environment}/{unit.model}.yaml\ndata {len(record)}\n".encode()
        + record
        + b"\n"
    )
