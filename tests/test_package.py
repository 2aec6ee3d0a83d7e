"""The wheel holds all that a user needs: templates, Terraform modules and the example."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.project import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The contents of the wheel, as pip would lay them out."""
    directory = tmp_path_factory.mktemp("wheel")
    # Built from what Git tracks, so that a stray file cannot make it work here only.
    source = directory / "source"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    for name in filter(None, tracked):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (wheel,) = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory / "installed")
    return directory / "installed"


def test_an_installed_gitops_initialises_and_plans(installed: Path, tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT")} | {
        "PYTHONPATH": str(installed)
    }

    def gitops(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gitops", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    assert gitops("init").returncode == 0
    assert (tmp_path / "environments" / "production.yaml").is_file()
    assert gitops("validate").returncode == 0
    assert '"gitops/plan/v1"' in gitops("schema", "--plan").stdout
    planned = gitops("plan", "--offline")
    assert planned.returncode == 2, planned.stderr
    assert "terraform" in gitops("render").stdout
    again = gitops("init")
    assert again.returncode == 1
    assert "already there" in again.stderr
