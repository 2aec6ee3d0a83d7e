"""actionlint, the linter of GitHub workflows: that of the machine, else built with Go."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.support.tools.go import go
from tests.support.tools.tool import Tool, cache

VERSION = "v1.7.12"
_MODULE = "github.com/rhysd/actionlint/cmd/actionlint"
_GO = (1, 25)


def _find() -> Path | None:
    kept = _kept()
    found = shutil.which("actionlint")
    return Path(found) if found else kept if kept.is_file() else None


def _kept() -> Path:
    return cache() / "actionlint" / VERSION / "actionlint"


def _build() -> None:
    target = _kept().parent
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="building-") as temporary:
        place = Path(temporary) / target.name
        command = ("install", f"{_MODULE}@{VERSION}")
        go(command, cwd=Path(temporary), needed=_GO, what="building actionlint", GOBIN=str(place))
        shutil.rmtree(target, ignore_errors=True)
        place.rename(target)


ACTIONLINT = Tool("actionlint", "building it with Go, some seconds", _find, _build)
