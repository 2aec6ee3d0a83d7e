"""What the program imports when it starts in the directory of somebody else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("given", [str(ROOT / "src"), f"{ROOT / 'src'}:", f":{ROOT / 'src'}"])
def test_nothing_is_imported_from_the_working_directory(tmp_path: Path, given: str) -> None:
    for name in ("yaml", "orjson", "typer", "pydantic", "git", "jinja2"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write('{name} ')\n")
    for command in ("validate", "history"):
        subprocess.run(
            [sys.executable, "-m", "gitops", command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": given},
            capture_output=True,
            check=False,
        )
    assert not (tmp_path / "ran").exists()


def test_started_in_its_own_home_it_finds_itself() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-m", "gitops", "--help"]
    done = subprocess.run(command, cwd=ROOT / "src", env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
