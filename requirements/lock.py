"""`make lock` for CI: what the workflow of `gitops ci` installs, with hashes, and which of it each extra needs.

`ci.txt` has every package of the runtime and of the extras that CI may need, in versions that fit together;
`extras.json` names, for the runtime (`""`) and each extra, the packages that it takes with all that they need.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent
EXTRAS = ("s3", "gs", "az", "hf", "oci", "mlflow", "sign", "sigstore", "validation")
OPTIONS = ("--quiet", "--universal", "--python-version", "3.11", "--no-header", "--no-annotate")
QUIET = ("--no-emit-index-url", "--no-emit-find-links")
BUILDS = "setuptools>=80"
"""python-terraform comes as source, and pip would fetch what builds it without a hash."""


def main(uv: str) -> None:
    """Write the files, with this uv."""
    every = [argument for extra in EXTRAS for argument in ("--extra", extra)]
    locked = FOLDER / "ci.txt"
    project = str(FOLDER.parent / "pyproject.toml")
    compiled(uv, [*every, "--upgrade", "--generate-hashes", "-o", str(locked), project])
    names = {}
    for extra in ("", *EXTRAS):
        wanted = ["--extra", extra] if extra else []
        lines = compiled(uv, [*wanted, "-c", str(locked), project]).splitlines()
        names[extra] = sorted(line.partition("==")[0] for line in lines if "==" in line)
    names = {extra: [name for name in given if not extra or name not in names[""]] for extra, given in names.items()}
    (FOLDER / "extras.json").write_text(json.dumps(names, indent=1) + "\n")
    with tempfile.NamedTemporaryFile("w", suffix=".in") as file:
        file.write(BUILDS + "\n")
        file.flush()
        compiled(uv, ["--upgrade", "--generate-hashes", "-o", str(FOLDER / "ci-build.txt"), file.name])


def compiled(uv: str, arguments: list[str]) -> str:
    """What `uv pip compile` prints."""
    command = [uv, "pip", "compile", *OPTIONS, *QUIET, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main(sys.argv[1])
