"""`gitops demo`: the main job on the embedded world, each command shown as a user would type it."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from gitops.cli.console import OK, colored, note, write
from gitops.errors import GitopsError
from gitops.world.files import PIPELINE, SIMULATION, example_files, write_atomically

_MODEL = "support-chat"
_BEHAVIOUR = """\
# How the embedded world's model servers behave. Nothing of this is needed for real clusters.
apiVersion: gitops/v1
models:
  {model}:
    requestsPerSecond: 40
    latency: {{median: 400ms, p99: 900ms}}
    errorRate: "0.1%"
    versions:
      {bad}:
        faults:
          - {{metric: error-rate, becomes: "3%", from: 18m}} # it leaks: 18 minutes after its first request
"""


def demo(directory: Path | None) -> int:
    """Play in `directory` (new or empty), or in a temporary directory that stays for a look afterwards."""
    place = directory or Path(tempfile.mkdtemp(prefix="gitops-demo-"))
    if place.exists() and any(place.iterdir()):
        raise GitopsError("not empty", where=str(place), hint="name a new directory")
    _say(f"A new project in {place}: the example's models, environments and rollout policies.")
    for path, data in example_files().items():
        write_atomically(place / path, data)
    _git(place, "init", "--initial-branch=main")
    _git(place, "add", PIPELINE, "environments")
    _git(place, "commit", "--quiet", "--message=Describe our models")
    _gitops(place, "validate")
    _say("The embedded world stands in for clusters and clouds; nothing real is touched. First releases are made at")
    _say("once: one commit in the GitOps repository, then infrastructure, then the clusters, dev first.", gap=False)
    _gitops(place, "apply", "--embedded", "--yes", quiet=True)
    _gitops(place, "status", "--embedded")

    old, good = _new_version(place, "7e")
    _say(f"A new version arrives: {_MODEL} {old} becomes {good}. One edit, as a pull request would show it:")
    _git(place, "diff", "--unified=1")
    _git(place, "commit", "--quiet", "--all", f"--message=Release {_MODEL} {good}")
    _say("Applied with --wait, it walks: dev, then staging, then production, and there 1 % → 10 % → 50 % → 100 %.")
    _say("Time in the embedded world passes as fast as needed: these are hours.", gap=False)
    _gitops(place, "apply", "--embedded", "--yes", "--wait", only_events=True)

    bad = _next(good)
    write_atomically(place / SIMULATION, _BEHAVIOUR.format(model=_MODEL, bad=bad).encode())
    _new_version(place, "b4")
    _git(place, "commit", "--quiet", "--all", f"--message=Release {_MODEL} {bad}")
    _say(f"The next version, {bad}, is bad: some time after its first request it begins to fail.")
    _gitops(place, "apply", "--embedded", "--yes", "--wait", only_events=True, fails=True)
    _say(f"It was rolled back by itself, production never saw it, and Git names {good} again.")
    _gitops(place, "status", "--embedded")

    _say("Who, what, when, why? The history is in Git, for us and for plain git.")
    _gitops(place, "history", _MODEL, "--embedded", "--limit", "12")
    _git(place / ".gitops/embedded/repository.git", "log", "--max-count=1", "--grep=Decision: roll-back")
    write(f"\nThat was the main job. Look around in {place}; change pipeline.yaml and plan again.")
    return OK


def _new_version(place: Path, byte: str) -> tuple[str, str]:
    """Edit the model's version and digest in place, as a person would; the old and the new version."""
    path = place / PIPELINE
    text = path.read_text()
    start = text.index(f"\n  {_MODEL}:\n")
    head, block = text[: start + 1], text[start + 1 :]
    found = re.search(r"version: \"?([0-9]+\.[0-9]+\.[0-9]+)\"?", block)
    if found is None:
        raise GitopsError(f"the example has no version of {_MODEL}", where=str(path))
    old, new = found[1], _next(found[1])
    block = re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{byte * 32}", block.replace(old, new, 2), count=1)
    write_atomically(path, (head + block).encode())
    return old, new


def _next(version: str) -> str:
    major, minor, _ = version.split(".")
    return f"{major}.{int(minor) + 1}.0"


def _say(text: str, *, gap: bool = True) -> None:
    bold = ("\x1b[1m", "\x1b[0m") if colored(sys.stdout.isatty()) else ("", "")
    write(("\n" if gap else "") + f"{bold[0]}{text}{bold[1]}")


def _gitops(place: Path, *arguments: str, quiet: bool = False, only_events: bool = False, fails: bool = False) -> None:
    """Run this very program; a plan's exit code 2 (changes pending) is no failure."""
    write(f"$ gitops {' '.join(arguments)}")
    # Without -P a directory `gitops` where we were started would be taken for us, unless that is where we are.
    safe = () if Path(__file__).parents[2] == Path.cwd() else ("-P",)
    command = [sys.executable, *safe, "-m", "gitops", *arguments, "--project", str(place)]
    if only_events:
        code = _stream(command)
    else:
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE if quiet else None, text=True)
        code = done.returncode
        if quiet and code in (0, 2):
            write(done.stdout.rstrip().rpartition("\n")[2])
        elif quiet:
            note(done.stdout)
    if code not in ((1,) if fails else (0, 2)):
        raise GitopsError(f"gitops {arguments[0]} ended with {code}", where=str(place))


def _stream(command: list[str]) -> int:
    """Show what comes after the plan, line by line as it comes; errors too, progress not."""
    begun = False
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None, "a pipe"
        assert process.stderr is not None, "a pipe"
        for line in process.stdout:
            begun = begun or line.startswith("Applied: ")
            if begun:
                write(line)
        for line in process.stderr:
            if line.startswith(("error:", "  next:")):
                write(line)
        return process.wait()


def _git(place: Path, *arguments: str) -> None:
    from git import Git, GitCommandError

    write(f"$ git {' '.join(arguments)}")
    git = Git(place)
    # A newcomer may have no identity yet; theirs wins where there is one.
    if not git.config("--get", "user.email", with_exceptions=False):
        git.update_environment(
            GIT_AUTHOR_NAME="you",
            GIT_AUTHOR_EMAIL="you@example.com",
            GIT_COMMITTER_NAME="you",
            GIT_COMMITTER_EMAIL="you@example.com",
        )
    try:
        shown = git.execute(["git", *arguments], strip_newline_in_stdout=False)
    except GitCommandError as error:
        raise GitopsError(f"git {arguments[0]} failed: {error.stderr.strip()}", where=str(place)) from error
    if shown:
        write(str(shown))
