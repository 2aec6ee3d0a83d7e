"""The project's own files: spec, templates and Terraform modules, read bounded, named as the user knows them."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from gitops.errors import GitopsError
from gitops.render.ci.requirements import Locked
from gitops.spec.resolved import SourceFile
from gitops.values import readable

PIPELINE = "pipeline.yaml"
ENVIRONMENTS = "environments"
SIMULATION = "simulation.yaml"
VERIFY_SCRIPT = "kubernetes/version/verify-model.sh.j2"
MAX_FILE = 8 * 1024 * 1024
MAX_ENVIRONMENTS = 100
MAX_SAVED_PLAN = 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Project:
    """The spec's files as read from the directory `root`."""

    root: Path
    pipeline: SourceFile
    environments: tuple[SourceFile, ...]

    def paths(self) -> list[Path]:
        """Every file that belongs to the spec."""
        return [self.root / source.path for source in (self.pipeline, *self.environments)]


def read_project(root: Path) -> Project:
    """Read `pipeline.yaml` and `environments/*.yaml` below `root`.

    Raises GitopsError for a file that is missing, unreadable, too large, no regular file, or a link that leads out
    of `root`. Sources are named relative to `root`; errors name the whole path.
    """
    pipeline = read_pipeline(root)
    folder = root / ENVIRONMENTS
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith((".yaml", ".yml")))
    except OSError as error:
        raise _unreadable(error, f"{folder}/", "create one file per name under `promotion:`") from error
    if len(names) > MAX_ENVIRONMENTS:
        raise GitopsError(
            f"{len(names)} environment files, at most {MAX_ENVIRONMENTS} are read",
            where=f"{folder}/",
            hint="split the pipeline",
        )
    environments = tuple(SourceFile(f"{ENVIRONMENTS}/{name}", _read_inside(root, folder / name)) for name in names)
    return Project(root, pipeline, environments)


def read_simulation(root: Path) -> SourceFile | None:
    """Read `simulation.yaml`, which may be absent. Raises GitopsError as `read_project` does."""
    path = root / SIMULATION
    return SourceFile(SIMULATION, _read_inside(root, path)) if path.exists() else None


def read_pipeline(root: Path) -> SourceFile:
    """Read `pipeline.yaml` alone. Raises GitopsError as `read_project` does."""
    hint = "run this in the directory that holds it, pass --project DIR, or start with `gitops init`"
    return SourceFile(PIPELINE, _read_inside(root, root / PIPELINE, hint))


def read_templates(project: Path) -> dict[str, str]:
    """Every template by name; one in the project's `templates/` replaces the built-in of the same name.

    Raises GitopsError for what cannot be read, for any link, and for a template in place of the script that refuses
    files of another digest than the artifact's: a pull request must not take that away.
    """
    _, *own = _folders("templates", project)
    return with_own_templates(project, {name: text for folder in own for name, text in _templates(folder).items()})


def with_own_templates(project: Path, own: Mapping[str, str]) -> dict[str, str]:
    """The built-in templates with these in their places; raises GitopsError as `read_templates` does."""
    sources = _templates(next(_folders("templates", project)))
    if VERIFY_SCRIPT in own and VERIFY_SCRIPT in sources:
        raise GitopsError(
            "this template checks what pods serve, and cannot be replaced",
            where=f"{project / 'templates' / VERIFY_SCRIPT}",
            hint="remove it from your templates/",
        )
    return sources | dict(own)


def _templates(folder: Path) -> dict[str, str]:
    sources: dict[str, str] = {}
    for path, data in _tree(folder, ".j2"):
        try:
            sources[path] = data.decode()
        except UnicodeDecodeError as error:
            raise GitopsError(
                "this template is not UTF-8", where=f"{folder / path}", hint="save it as UTF-8"
            ) from error
    return sources


def own_templates(project: Path) -> frozenset[str]:
    """The names of the templates that the project replaces by its own."""
    _, *own = _folders("templates", project)
    return frozenset(path for folder in own for path, _ in _tree(folder, ".j2"))


def read_modules(project: Path) -> dict[str, bytes]:
    """Every file of the Terraform modules, by its path in the GitOps repository (`terraform/modules/…`).

    Raises GitopsError for what cannot be read, and for any link.
    """
    modules: dict[str, bytes] = {}
    for folder in _folders("terraform/modules", project):
        modules |= {f"terraform/modules/{path}": data for path, data in _tree(folder, (".tf", ".md"))}
    return modules


def example_files() -> dict[str, bytes]:
    """The example project that `gitops init` writes, by relative path."""
    installed = _package_data() / "example"
    root = installed if installed.is_dir() else _checkout()
    paths = [PIPELINE, *(f"{ENVIRONMENTS}/{p.name}" for p in sorted((root / ENVIRONMENTS).glob("*.yaml")))]
    return {path: (root / path).read_bytes() for path in paths}


def read_locked() -> Locked:
    """What CI installs gitops with, as it comes with gitops."""
    installed = _package_data() / "requirements"
    folder = installed if installed.is_dir() else _checkout() / "requirements"
    packages, build, extras = (_read(folder / name).decode() for name in ("ci.txt", "ci-build.txt", "extras.json"))
    return Locked(packages, build, orjson.loads(extras))


def read_saved_plan(path: Path) -> bytes:
    """A plan saved by `gitops plan --out`. Raises GitopsError when it cannot be read."""
    return _read(path, "save one with: gitops plan --out FILE", MAX_SAVED_PLAN)


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace `path` by `data` or leave it as it is. Raises GitopsError (disk full, no permission)."""
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
        temporary = ""
    except OSError as error:
        raise GitopsError(
            f"cannot write: {error.strerror or error}", where=str(path), hint=_write_hint(error)
        ) from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def _write_hint(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space; the file is as it was before"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "choose a path you may write to; the file is as it was before"
    return "choose another path; nothing was written"


def _read(path: Path, missing_hint: str = "", most: int = MAX_FILE) -> bytes:
    try:
        # Asked before opening, because opening a named pipe would wait for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise GitopsError("this is not a regular file", where=str(path), hint="put a file of text in its place")
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise _unreadable(error, str(path), missing_hint) from error
    if len(data) > most:
        raise GitopsError(
            f"larger than {most // 2**20} MiB", where=str(path), hint="it should hold text only; split it if it does"
        )
    return data


def _read_inside(root: Path, path: Path, missing_hint: str = "") -> bytes:
    """As `_read`. A link may lead to another file of the project (a mounted ConfigMap consists of links), not out."""
    # Unlike Path.resolve, this takes a link to itself as it is: reading it says what is wrong.
    base, real = Path(os.path.realpath(root)), Path(os.path.realpath(path))
    if not real.is_relative_to(base) or real.relative_to(base).parts[:1] in ((".git",), (".gitops",)):
        raise GitopsError(f"this is a link that leads out of the project, to {real}", where=str(path), hint=_NO_LINK)
    return _read(path, missing_hint)


_NO_LINK = "put the file itself in its place"


def _unreadable(error: OSError, where: str, missing_hint: str) -> GitopsError:
    if isinstance(error, FileNotFoundError):
        return GitopsError("not found", where=where, hint=missing_hint or "restore it")
    if isinstance(error, PermissionError):
        return GitopsError("no permission to read it", where=where, hint="check its owner and mode")
    hint = missing_hint if isinstance(error, NotADirectoryError) else "check the path and the disk"
    return GitopsError(f"cannot be read: {error.strerror or error}", where=where, hint=hint)


def _folders(name: str, project: Path) -> Iterator[Path]:
    """Built-in first, then the project's own, each once."""
    installed = _package_data() / name
    built_in = installed if installed.is_dir() else _checkout() / name
    yield built_in
    own = project / name
    if own.is_dir() and own.resolve() != built_in.resolve():
        _refuse_links(project, own)
        yield own


def _tree(folder: Path, suffix: str | tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    for directory, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if not name.startswith("."))
        for name in names:
            _refuse_links(folder, Path(directory, name))
        for file in sorted(files):
            if file.endswith(suffix):
                path = Path(directory, file)
                _refuse_links(folder, path)
                if readable(str(path)) != str(path):
                    raise GitopsError("the name of this file is not UTF-8", where=readable(str(path)), hint="rename it")
                yield path.relative_to(folder).as_posix(), _read(path)


def _refuse_links(root: Path, path: Path) -> None:
    """What is read is copied into the GitOps repository, where more people read than may read this machine's files.

    That holds for links inside the project too: `.git/config` has a CI job's credentials.
    """
    for part in (path, *path.parents):
        if part == root:
            return
        if part.is_symlink():
            raise GitopsError(
                f"this is a link (to {part.readlink()}), and links are not followed here",
                where=str(part),
                hint=_NO_LINK,
            )


def _package_data() -> Path:
    return Path(__file__).resolve().parent.parent / "_data"


def _checkout() -> Path:
    return Path(__file__).resolve().parents[3]
