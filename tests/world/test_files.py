"""The project's files: no link leads out of it, and what is copied into Git comes from no link at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gitops.errors import GitopsError
from gitops.world.files import (
    VERIFY_SCRIPT,
    example_files,
    own_templates,
    read_modules,
    read_project,
    read_simulation,
    read_templates,
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for name, data in example_files().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / ".git").mkdir()
    (root / ".git/config").write_text("password = the job's write key")
    (tmp_path / "secret").write_text("credentials of this machine")
    return root


READERS: dict[str, Callable[[Path], Any]] = {
    "pipeline.yaml": read_project,
    "environments/dev.yaml": read_project,
    "simulation.yaml": read_simulation,
    "templates/kubernetes/model/service.yaml.j2": read_templates,
    "templates/more/new.j2": own_templates,
    "terraform/modules/aws-gpu-cluster/stolen.tf": read_modules,
}


@pytest.mark.parametrize("target", ["../secret", ".git/config", "absolute"])
@pytest.mark.parametrize("name", READERS)
def test_a_link_out_of_the_project_is_refused(project: Path, name: str, target: str) -> None:
    aim = project.parent / "secret" if target == "absolute" else project / target
    link(project / name, aim)
    with pytest.raises(GitopsError, match="this is a link") as error:
        READERS[name](project)
    assert error.value.where.endswith(name)
    assert "credentials" not in str(error.value)


@pytest.mark.parametrize(
    "folder", ["environments", "templates", "templates/kubernetes", "terraform/modules", "terraform"]
)
def test_so_is_a_directory_that_is_one(project: Path, folder: str) -> None:
    elsewhere = project.parent / "elsewhere"
    (elsewhere / "modules").mkdir(parents=True)
    for name in ("dev.yaml", "x.j2", "x.tf"):
        (elsewhere / name).write_text("name: [")
        (elsewhere / "modules" / name).write_text("name: [")
    for old in (project / "environments").iterdir():
        old.unlink()
    (project / "environments").rmdir()
    link(project / folder, elsewhere)
    read = read_project if folder == "environments" else read_templates if "templates" in folder else read_modules
    with pytest.raises(GitopsError, match="this is a link"):
        read(project)


def test_links_inside_the_project_are_how_kubernetes_mounts_a_config_map(project: Path) -> None:
    data = project / "..2026_11_28"
    data.mkdir()
    (project / "pipeline.yaml").rename(data / "pipeline.yaml")
    (project / "..data").symlink_to(data.name)
    (project / "pipeline.yaml").symlink_to("..data/pipeline.yaml")
    assert read_project(project).pipeline.data == example_files()["pipeline.yaml"]


def test_the_project_itself_may_be_behind_a_link(project: Path) -> None:
    current = project.parent / "current"
    current.symlink_to(project)
    assert read_project(current).pipeline.data == example_files()["pipeline.yaml"]
    mine = project / "templates/mine.j2"
    mine.parent.mkdir()
    mine.write_text("x")
    assert own_templates(current) == {"mine.j2"}


def test_what_checks_the_artifact_cannot_be_replaced(project: Path) -> None:
    mine = project / "templates" / VERIFY_SCRIPT
    mine.parent.mkdir(parents=True)
    mine.write_text("exit 0\n")
    with pytest.raises(GitopsError, match="cannot be replaced") as error:
        read_templates(project)
    assert error.value.where == str(mine)


def link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize("name", ["templates/kubernetes/model/Zo\udceb.yaml.j2", "terraform/modules/Zo\udceb/main.tf"])
def test_names_that_are_not_utf_8(tmp_path: Path, name: str) -> None:
    """Git would keep them, and nothing here could write them down again."""
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).touch()
    read = read_templates if "templates" in name else read_modules
    with pytest.raises(GitopsError, match="not UTF-8") as caught:
        read(tmp_path)
    assert "Zo\ufffd" in caught.value.where
