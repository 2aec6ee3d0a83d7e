"""Offline plans of a big spec: everything new, nothing changed, one model changed; and what starting costs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.commit import commit_everything
from benchmarks.harness import Figure, Setting
from benchmarks.synthetic import change_one_model, write_project

UNCHANGED, CHANGED = (0,), (2,)


def measure(setting: Setting) -> Iterator[Figure]:
    """See the module."""
    project = setting.directory / "project"
    write_project(project, setting.models)
    help_ = setting.best([sys.executable, "-m", "gitops", "--help"])
    yield Figure("plan", "gitops --help", help_.cpu, help_.wall, help_.memory, "0.15 CPU s")
    validate = setting.gitops("validate", project=project)
    yield Figure("plan", f"validate, {setting.models:,} models", validate.cpu, validate.wall, validate.memory)
    yield from plans(setting, project)


def plans(setting: Setting, project: Path) -> Iterator[Figure]:
    """The three plans of a project whose GitOps repository does not exist yet."""
    plan = ("plan", "--offline")
    full = setting.gitops(*plan, project=project, expect=CHANGED)
    committed = commit_everything(project)
    note = f"{committed.manifests:,} manifests, {committed.size / 1e6:.0f} MB"
    yield Figure("plan", "everything changed", full.cpu, full.wall, full.memory, "2.5 CPU s, 300 MB", note)
    nothing = setting.gitops(*plan, project=project, expect=UNCHANGED)
    yield Figure("plan", "nothing changed", nothing.cpu, nothing.wall, nothing.memory, "0.4 CPU s")
    change_one_model(project)
    one = setting.gitops(*plan, project=project, expect=CHANGED)
    yield Figure("plan", "one model changed", one.cpu, one.wall, one.memory, "0.5 CPU s")
