"""Commits through our repository adapter: the first of everything, and one model's change; GitPython beside it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.commit import commit_everything
from benchmarks.harness import Figure, Setting, stopwatch
from benchmarks.synthetic import change_one_model, write_project


def measure(setting: Setting) -> Iterator[Figure]:
    """See the module."""
    remote = setting.directory / "remote.git"
    for kind, url in (("embedded", ""), ("file:// remote", remote.as_uri())):
        project = setting.directory / kind.split()[0]
        if url:
            _team_repository(remote, setting.directory / "seed")
        write_project(project, setting.models, url=url)
        first = commit_everything(project, url)
        note = f"{len(first.files):,} files"
        yield Figure("git", f"first commit, {kind}", first.cpu, first.wall, goal="3 s", note=note)
        change_one_model(project)
        one = commit_everything(project, url)
        note = f"{len(one.files)} files: its new version starts in the first environment"
        yield Figure("git", f"one model's change, {kind}", one.cpu, one.wall, goal="0.3 s", note=note)
        if not url:
            subset = dict(list(first.files.items())[:2000])
            yield _gitpython(setting.directory / "peer", subset, len(first.files))


def _team_repository(remote: Path, seed: Path) -> None:
    """A repository with a first commit by somebody else, as teams have one."""
    for command in (
        ("git", "init", "--quiet", "--bare", "--initial-branch=main", str(remote)),
        ("git", "init", "--quiet", "--initial-branch=main", str(seed)),
        ("git", "-C", str(seed), *_WHO, "commit", "--quiet", "--allow-empty", "--message=start"),
        ("git", "-C", str(seed), "push", "--quiet", str(remote), "main"),
    ):
        subprocess.run(command, check=True)


_WHO = ("-c", "user.name=bench", "-c", "user.email=bench@example.com")


def _gitpython(directory: Path, files: dict[str, bytes], total: int) -> Figure:
    from git import Actor, Repo

    repository = Repo.init(directory)
    for path, content in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)
    who = Actor("bench", "bench@example.com")
    with stopwatch() as taken:
        repository.index.add(list(files))
        repository.index.commit("all", author=who, committer=who)
    note = f"{len(files):,} files; {taken[0] * total / len(files):.0f} CPU s for all at that pace"
    return Figure("git", "peer: GitPython index.add and commit", taken[0], taken[1], note=note)
