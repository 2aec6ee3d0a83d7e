"""The project's files as they were before: what goes on while the present ones are broken.

From the checkout's own history, the first parents of HEAD, newest first: whoever may change the spec wrote these, and
nobody else. Where there is no history (no Git, a shallow clone), from the copy that the last command that acted here
left in the project's state directory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from gitops.errors import GitopsError
from gitops.spec.resolved import SourceFile
from gitops.world.files import ENVIRONMENTS, PIPELINE, Project, write_atomically
from gitops.world.git.checkout import earlier_files

COMMITS = 50
"""So many commits that changed the spec are looked at."""
_COPY = "last-valid-spec.json"
_TEMPLATES = "templates"


@dataclass(frozen=True, slots=True)
class Past:
    """The project at an earlier moment. `commit` is empty when it is the copy."""

    commit: str
    project: Project
    templates: Mapping[str, str]
    """The project's own, by their path below `templates/`."""

    @property
    def words(self) -> str:
        """Where it comes from, for people."""
        return f"spec commit {self.commit[:10]}" if self.commit else "the spec that acted here last"


def pasts(project: Path, state: Path) -> Iterator[Past]:
    """Earlier states of the project, the newest first."""
    with suppress(GitopsError):  # a checkout that Git refuses to read has no history for us
        for commit, files in earlier_files(project, (PIPELINE, ENVIRONMENTS, _TEMPLATES), COMMITS):
            if PIPELINE in files:
                yield _past(project, commit, files)
    with suppress(OSError, ValueError, TypeError, AttributeError, KeyError):
        texts = orjson.loads((state / _COPY).read_bytes())
        yield _past(project, "", {path: text.encode() for path, text in texts.items()})


def remember(project: Project, templates: Mapping[str, str], state: Path) -> None:
    """Keep a copy of a valid spec, for a day on which there is no other; where that cannot be written there is none."""
    sources = (project.pipeline, *project.environments)
    texts = {source.path: source.data.decode() for source in sources}
    texts |= {f"{_TEMPLATES}/{path}": text for path, text in templates.items()}
    data = orjson.dumps(texts)
    path = state / _COPY
    with suppress(GitopsError, OSError):
        if not path.exists() or path.read_bytes() != data:
            write_atomically(path, data)


def _past(project: Path, commit: str, files: Mapping[str, bytes]) -> Past:
    environments = tuple(
        SourceFile(path, data)
        for path, data in sorted(files.items())
        if path.startswith(f"{ENVIRONMENTS}/") and path.count("/") == 1 and path.endswith((".yaml", ".yml"))
    )
    own = {
        path.removeprefix(f"{_TEMPLATES}/"): data.decode(errors="replace")
        for path, data in files.items()
        if path.startswith(f"{_TEMPLATES}/") and path.endswith(".j2")
    }
    return Past(commit, Project(project, SourceFile(PIPELINE, files[PIPELINE]), environments), own)
