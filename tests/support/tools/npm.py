"""yaml-language-server, which editors ask about YAML files with a schema: from npm."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.support.tools.tool import Tool, Unavailable, cache, last_line, run

VERSION = "1.19.2"
_PROGRAM = "node_modules/yaml-language-server/bin/yaml-language-server"


def _find() -> Path | None:
    program = _kept() / _PROGRAM
    return program if program.exists() and shutil.which("node") else None


def _kept() -> Path:
    return cache() / "npm" / f"yaml-language-server-{VERSION}"


def _install() -> None:
    npm, target = shutil.which("npm"), _kept()
    if not npm or not shutil.which("node"):
        raise Unavailable("yaml-language-server needs node and npm: install them")
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="installing-") as temporary:
        folder = Path(temporary) / target.name
        folder.mkdir()
        command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(folder)]
        done = run([*command, f"yaml-language-server@{VERSION}"])
        if done.returncode:
            raise Unavailable(f"yaml-language-server could not be installed: {last_line(done.stderr)}")
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)


LANGUAGE_SERVER = Tool("yaml-language-server", "installing it with npm", _find, _install)
