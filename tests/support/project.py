"""Projects for tests: a directory with a spec, edited and run as a user does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.forkserver import forked

ROOT = Path(__file__).resolve().parents[2]
IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


@dataclass
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Project:
    """A directory with pipeline.yaml and environments/."""

    path: Path
    env: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def example(cls, path: Path, env: Mapping[str, str] | None = None) -> Project:
        """A copy of the committed example."""
        path.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "pipeline.yaml", path)
        shutil.copytree(ROOT / "environments", path / "environments")
        return cls(path, env or {})

    def environment(self) -> dict[str, str]:
        # A job of CI says who started it, and a terminal how wide it is: tests say that themselves.
        foreign = ("GIT_", "GITOPS_", "GITHUB_", "GITLAB_", "COLUMNS")
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        return inherited | IDENTITY | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"} | dict(self.env)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "gitops", *arguments, "--project", str(self.path)]

    def gitops(self, *arguments: str, expect: int | tuple[int, ...] | None = 0, timeout: float = 300) -> Outcome:
        """Run the command line; `expect` is the exit code (None: any)."""
        return self._run("gitops", [*arguments, "--project", str(self.path)], expect, timeout)

    def killed_after(self, number: int, log: Path, *arguments: str) -> Outcome:
        """Run it and SIGKILL it after its `number`-th effect; with 0 it runs to its end."""
        given = [str(number), str(log), *arguments, "--project", str(self.path)]
        return self._run("tests.support.effects_kill", given, None, 300)

    def init(self) -> Outcome:
        """Write the example spec, as a new user does."""
        return self._run("gitops", ["init", str(self.path)], 0, 60)

    def _run(
        self, program: str, arguments: Sequence[str], expect: int | tuple[int, ...] | None, timeout: float
    ) -> Outcome:
        if any(name.startswith("PYTHON") for name in self.env):  # read only while an interpreter starts
            command = [sys.executable, "-m", program, *arguments]
            done = subprocess.run(command, capture_output=True, text=True, env=self.environment(), timeout=timeout)
            outcome = Outcome(done.returncode, done.stdout, done.stderr)
        else:
            outcome = Outcome(*forked().run(program, arguments, self.environment(), timeout))
        wanted = (expect,) if isinstance(expect, int) else expect
        assert wanted is None or outcome.code in wanted, f"exit {outcome.code}\n{outcome.out}\n{outcome.err}"
        assert "Traceback" not in outcome.err, outcome.err
        return outcome

    def git(self, *arguments: str) -> str:
        """Plain git in the project's directory."""
        return run_git(self.path, *arguments)

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace the first `old` in a file, which must be there."""
        path = self.path / file
        text = path.read_text()
        assert old in text, f"{old!r} is not in {file}"
        path.write_text(text.replace(old, new, 1))

    def commit_spec(self, message: str) -> str:
        """Commit the spec to the project's own Git repository (made on first use); the commit's id."""
        if not (self.path / ".git").exists():
            self.git("init", "--quiet", "--initial-branch=main")
            (self.path / ".gitignore").write_text(".gitops/\n")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD").strip()


def run_git(directory: Path, *arguments: str) -> str:
    """Plain git, with an identity and without the machine's configuration; its standard output."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    done = subprocess.run(["git", *arguments], cwd=directory, capture_output=True, text=True, env=inherited | IDENTITY)
    assert done.returncode == 0, f"git {arguments}: {done.stderr}"
    return done.stdout
