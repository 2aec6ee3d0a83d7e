"""`gitops ci github|gitlab`: write the CI workflow, print it, or say whether the file is still what it would write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gitops.cli.console import OK, PENDING, note, write
from gitops.cli.project import load
from gitops.errors import GitopsError

if TYPE_CHECKING:
    from gitops.render.ci.workflow import CiModel, System
    from gitops.spec.resolved import Spec


class CiFlags(NamedTuple):
    """What to do with the file; by default it is written."""

    stdout: bool = False
    """Print it and write nothing."""
    check: bool = False
    """Write nothing; exit code 2 where the file is missing or differs."""
    force: bool = False
    """Replace a file that this program did not write."""


def ci(project: Path, system: System, flags: CiFlags) -> int:
    """Render the workflow of `project`, which must be the root of its repository, and do with it what was asked."""
    wanted = {project / path: data for path, data in _rendered(project, system).items()}
    if flags.stdout:
        write(next(iter(wanted.values())).decode())
        return OK
    present = {file: _present(file) for file in wanted}
    if flags.check:
        return max(_checked(file, present[file], data, system) for file, data in wanted.items())
    for file, data in present.items():
        if data is not None and data != wanted[file] and not flags.force:
            _check_ours(file, data, system)
    from gitops.world.files import write_atomically

    for file, data in wanted.items():
        if present[file] == data:
            write(f"{file} is up to date")
        else:
            write_atomically(file, data)
            write(f"wrote {file}")
    return OK


def _rendered(project: Path, system: System) -> dict[str, bytes]:
    from gitops.render.ci.workflow import render_ci
    from gitops.spec.ci import Ci
    from gitops.world.files import read_locked, read_templates

    spec = load(project)
    settings = spec.pipeline.ci or Ci()
    return render_ci(system, spec, settings, read_templates(project), list(_models(spec)), locked=read_locked())


def _models(spec: Spec) -> Iterator[CiModel]:
    from gitops.render.ci.workflow import CiModel

    for name, model in spec.pipeline.models.items():
        yield CiModel(name, builds=model.build is not None, validates=model.validation is not None)


def _present(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _checked(file: Path, present: bytes | None, wanted: bytes, system: System) -> int:
    if present == wanted:
        write(f"{file} is what the spec asks for")
        return OK
    state = "is missing" if present is None else "differs from what the spec asks for"
    note(f"{file} {state}")
    note(f"  next: gitops ci {system}")
    return PENDING


def _check_ours(file: Path, present: bytes, system: System) -> None:
    from gitops.render.ci.workflow import marker

    if not present.startswith(marker(system).encode()):
        raise GitopsError(
            "this file was not written by gitops",
            where=str(file),
            hint="move it away, compare it with --stdout, or replace it with --force",
        )
