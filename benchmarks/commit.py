"""Plans a project offline and commits what the plan holds, as `gitops apply` does, without any cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import stopwatch
from gitops.engine.planning import plan
from gitops.engine.session import Options, open_session
from gitops.values import Owner
from gitops.world.git.repository import open_repository
from gitops.world.ports import Repository


@dataclass(frozen=True)
class Committed:
    """How much was committed, and the CPU and wall seconds that commit and push alone took."""

    files: dict[str, bytes]
    owner: Owner
    """Whose the objects are, on the one cluster."""
    cpu: float
    wall: float

    @property
    def manifests(self) -> int:
        return sum(path.startswith("clusters/") for path in self.files)

    @property
    def size(self) -> int:
        return sum(len(content) for path, content in self.files.items() if path.startswith("clusters/"))


def commit_everything(project: Path, remote: str = "") -> Committed:
    """Bring the project's GitOps repository to its spec; with `remote`, as one that is reached through a cache."""
    with open_session(Options(project, offline=True)) as session:
        wanted = plan(session)
        commits = (
            [({change.path: change.content for change in wanted.at_once}, wanted.message)] if wanted.message else []
        )
        commits += [(dict(step.files), step.message) for step in wanted.steps]
        repository: Repository = session.world.repository(create=True)
        if remote:
            repository = open_repository(remote, "main", state=project / ".gitops", project=project, direct=False)
            repository.head()
        with stopwatch() as taken:
            repository.commit_all(wanted.base.head, commits)
        session.world.stored()
        owner = session.world.owner(next(iter(session.spec.clusters)))
    changes = {path: content for files, _ in commits for path, content in files.items()}
    return Committed({path: content for path, content in changes.items() if content is not None}, owner, *taken)
