"""`gitops demo`: the main job on the embedded world, each command shown as a user would type it."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from gitops.cli.console import OK, colored, note, write
from gitops.errors import GitopsError
from gitops.world.files import PIPELINE, example_files, write_atomically

_MODEL = "support-chat"


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

    _say("What would happen? The embedded world stands in for clusters and clouds; nothing real is touched.")
    _gitops(place, "plan", "--embedded")
    _say("Do it: one commit in the GitOps repository, then infrastructure, then the clusters, dev first.")
    _gitops(place, "apply", "--embedded", "--yes", quiet=True)
    _gitops(place, "status", "--embedded")

    old, new = _new_version(place)
    _say(f"A new version arrives: {_MODEL} {old} becomes {new}. One edit, as a pull request would show it:")
    _git(place, "diff", "--unified=1")
    _git(place, "commit", "--quiet", "--all", f"--message=Release {_MODEL} {new}")
    _say("The plan shows exactly that edit.")
    _gitops(place, "plan", "--embedded")
    _gitops(place, "apply", "--embedded", "--yes", quiet=True)
    _gitops(place, "status", "--embedded")

    _say("Who, what, when, why? The history is in Git, for us and for plain git.")
    _gitops(place, "history", _MODEL, "--embedded")
    _git(place / ".gitops/embedded/repository.git", "log", "--max-count=1", "--stat=100")
    write(f"\nThat was the main job. Look around in {place}; change pipeline.yaml and plan again.")
    return OK


def _new_version(place: Path) -> tuple[str, str]:
    """Edit the model's version and digest in place, as a person would; the old and the new version."""
    path = place / PIPELINE
    text = path.read_text()
    start = text.index(f"\n  {_MODEL}:\n")
    head, block = text[: start + 1], text[start + 1 :]
    found = re.search(r"version: \"?([0-9]+)\.([0-9]+)\.([0-9]+)\"?", block)
    if found is None:
        raise GitopsError(f"the example has no version of {_MODEL}", where=str(path))
    old = ".".join(found.groups())
    new = f"{found[1]}.{int(found[2]) + 1}.0"
    digest = "sha256:" + "7e" * 32
    block = re.sub(r"sha256:[0-9a-f]{64}", digest, block.replace(old, new, 2), count=1)
    write_atomically(path, (head + block).encode())
    return old, new


def _say(text: str) -> None:
    bold = ("\x1b[1m", "\x1b[0m") if colored(sys.stdout.isatty()) else ("", "")
    write(f"\n{bold[0]}{text}{bold[1]}")


def _gitops(place: Path, *arguments: str, quiet: bool = False) -> None:
    """Run this very program; a plan's exit code 2 (changes pending) is no failure."""
    write(f"$ gitops {' '.join(arguments)}")
    command = [sys.executable, "-m", "gitops", *arguments, "--project", str(place)]
    shown = subprocess.PIPE if quiet else None
    done = subprocess.run(command, check=False, stdout=shown, text=True)
    if done.returncode not in (0, 2):
        note(done.stdout or "")
        raise GitopsError(f"gitops {arguments[0]} ended with {done.returncode}", where=str(place))
    if quiet:
        write(done.stdout.rstrip().rpartition("\n")[2])


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
