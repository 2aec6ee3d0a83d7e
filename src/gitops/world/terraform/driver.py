"""The driver: files of the GitOps repository in, saved plans and outputs out."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from gitops.world.terraform import diagnostics
from gitops.world.terraform.diagnostics import StaleTfplan, TerraformError
from gitops.world.terraform.origin import foreign_part
from gitops.world.terraform.process import Outcome, Runner
from gitops.world.terraform.settings import cli_configuration, plugin_cache_lock, process_environment
from gitops.world.terraform.tfplan import TerraformPlan, known_outputs, read_plan
from gitops.world.terraform.workdir import Files, Workdir

OLDEST = (1, 11, 0)
_CHANGES_PENDING = 2  # exit code of plan -detailed-exitcode


class Terraform:
    """One root module of the GitOps repository.

    workdir: a directory of our own, kept between calls to spare `init` (and holding the state of a local backend).
    root: where the root module lies in the repository, such as `terraform/aws-production`; `files` in the methods
    are keyed by path in the repository and hold the root and the modules that it calls.
    timeout, grace, lock_timeout: seconds for one Terraform command, for its orderly end after an interrupt, and to
    wait for somebody else's state lock. environment: variables on top of this process's own.

    Every method raises TerraformError, and KeyboardInterrupt only after Terraform has ended.
    """

    def __init__(
        self,
        workdir: Path,
        root: str,
        *,
        binary: str | None = None,
        timeout: float = 3600,
        grace: float = 600,
        lock_timeout: float = 30,
        progress: Callable[[str], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._workdir = Workdir(workdir, root)
        self._binary = binary
        self._given = {**os.environ, **(environment or {})}
        self._timeout, self._grace, self._lock_timeout = timeout, grace, lock_timeout
        self._progress = progress or _silent
        self._version: tuple[int, int, int] | None = None

    def version(self) -> tuple[int, int, int]:
        """The version of the binary. TerraformError when it is absent or older than OLDEST."""
        if self._version is None:
            self._version = self._ask_version()
        return self._version

    def plan(self, files: Files) -> TerraformPlan:
        """What it takes to make the infrastructure equal to `files`. Changes nothing but the state's lock."""
        return self._plan(files, destroy=False)

    def destroy_plan(self, files: Files) -> TerraformPlan:
        """What it takes to remove everything in the state; `apply` does it."""
        return self._plan(files, destroy=True)

    def read(self, saved: bytes, files: Files) -> TerraformPlan:
        """What a saved plan does. StaleTfplan when it was made from other files than these."""
        with self._ready(files) as runner, self._workdir.tfplan(saved) as tfplan:
            shown = json.loads(self._run(runner, "show", str(tfplan), json=True, stream=False).stdout)
        if foreign := foreign_part(saved, shown, self._workdir.name, files):
            what = f"{foreign} in the saved tfplan is not from the files that the spec gives"
            raise StaleTfplan(what, where=self._workdir.name, hint="plan again")
        return read_plan(shown, saved)

    def apply(self, saved: bytes, files: Files) -> dict[str, str]:
        """Do exactly what a saved plan says; the outputs that are not sensitive.

        StaleTfplan when the state moved since. An apply that fails or is interrupted leaves a consistent state:
        a new plan shows what is left.
        """
        with self._ready(files) as runner, self._workdir.tfplan(saved) as tfplan:
            outcome = self._run(runner, "apply", str(tfplan), input=False, json=True, lock_timeout=self._lock)
        answers = [message["outputs"] for message in outcome.messages if message.get("type") == "outputs"]
        return known_outputs(answers[-1]) if answers else {}

    def outputs(self, files: Files) -> dict[str, str] | None:
        """The outputs in the state that are not sensitive, or None while there is no state."""
        with self._ready(files) as runner:
            answer = json.loads(self._run(runner, "output", json=True, stream=False).stdout)
        return known_outputs(answer) if answer else None

    def _plan(self, files: Files, *, destroy: bool) -> TerraformPlan:
        with self._ready(files) as runner, self._workdir.tfplan() as tfplan:
            self._run(
                runner,
                "plan",
                input=False,
                json=True,
                detailed_exitcode=True,
                out=str(tfplan),
                lock_timeout=self._lock,
                destroy=destroy or None,
                good=(0, _CHANGES_PENDING),
            )
            shown = self._run(runner, "show", str(tfplan), json=True, stream=False)
            return read_plan(json.loads(shown.stdout), tfplan.read_bytes())

    @contextmanager
    def _ready(self, files: Files) -> Iterator[Runner]:
        """Files written and Terraform initialised, with nobody else of ours in the directory."""
        version = self.version()
        with self._workdir.exclusive():
            self._workdir.write(files)
            runner, configuration = self._configured(files)
            key = self._workdir.init_key(files, str(version), configuration)
            if not self._workdir.initialised(key):
                self._init(runner, key)
            yield runner

    def _configured(self, files: Files) -> tuple[Runner, str]:
        """A runner with a CLI configuration file, and what identifies that configuration."""
        locked = any(path.endswith(".terraform.lock.hcl") for path in files)
        configuration = cli_configuration(self._given, locked=locked)
        path = configuration if isinstance(configuration, Path) else self._workdir.private / "terraform.rc"
        if isinstance(configuration, str):
            path.write_text(configuration, encoding="utf-8")
        return self._runner(TF_CLI_CONFIG_FILE=str(path)), str(configuration)

    def _init(self, runner: Runner, key: str) -> None:
        # Never -reconfigure: with the state left behind in an old backend, a plan would create everything anew.
        self._workdir.mark_initialised(None)
        mirrored = "TF_PLUGIN_MIRROR" in self._given
        with nullcontext() if mirrored else plugin_cache_lock(self._given):
            self._run(runner, "init", input=False, json=True)
        self._workdir.mark_initialised(key)

    def _run(
        self,
        runner: Runner,
        verb: str,
        *arguments: str,
        good: tuple[int, ...] = (0,),
        stream: bool = True,
        **options: object,
    ) -> Outcome:
        """Run a command and return its outcome, or raise what its errors mean."""
        outcome = runner.run(self._workdir.root, verb, *arguments, stream=stream, **options)
        if outcome.code in good:
            return outcome
        errors = diagnostics.errors_in(outcome.messages, self._workdir.name)
        if any(diagnostics.NEEDS_INIT.search(error.text) for error in errors):
            self._workdir.mark_initialised(None)  # something else removed it: the next call starts with init
        directory = str(self._workdir.root)
        raise diagnostics.explain(verb, errors, root=self._workdir.name, directory=directory, stderr=outcome.stderr)

    @property
    def _lock(self) -> str:
        return f"{self._lock_timeout:g}s"

    def _runner(self, **variables: str) -> Runner:
        environment = {**process_environment(self._given), **variables}
        return Runner(self._find_binary(), environment, self._timeout, self._grace, self._progress)

    def _find_binary(self) -> str:
        found = shutil.which(self._binary or "terraform", path=self._given.get("PATH"))
        if found is None:
            raise TerraformError(
                f"{self._binary or 'terraform'} is not installed",
                hint=f"install Terraform {_dotted(OLDEST)} or newer: https://developer.hashicorp.com/terraform/install",
            )
        return found

    def _ask_version(self) -> tuple[int, int, int]:
        self._workdir.private.mkdir(mode=0o700, parents=True, exist_ok=True)
        # An empty configuration: the machine's could be broken, and the version does not depend on it.
        runner = self._runner(TF_CLI_CONFIG_FILE=os.devnull)
        outcome = runner.run(self._workdir.private, "version", stream=False, json=True)
        version = _parsed_version(outcome.stdout)
        if version is None:
            raise TerraformError(f"{runner.binary} does not answer like Terraform", hint="install Terraform again")
        if version < OLDEST:
            raise TerraformError(
                f"Terraform {_dotted(version)} is too old (it lacks lock files in S3)",
                where=runner.binary,
                hint=f"install Terraform {_dotted(OLDEST)} or newer",
            )
        return version


def _parsed_version(answer: str) -> tuple[int, int, int] | None:
    try:
        said: Any = json.loads(answer)
        major, minor, patch = str(said["terraform_version"]).partition("-")[0].split(".")
        return int(major), int(minor), int(patch)
    except (ValueError, KeyError, TypeError):
        return None


def _dotted(version: tuple[int, int, int]) -> str:
    return ".".join(map(str, version))


def _silent(_: str) -> None:
    """Nobody listens to progress."""
