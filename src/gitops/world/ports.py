"""What the engine asks of the world: three small protocols, each with a real and an embedded adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from gitops.plan.observed import Difference as Difference
from gitops.plan.observed import DriftKind as DriftKind
from gitops.plan.observed import Entry as Entry
from gitops.plan.observed import FieldChange as FieldChange
from gitops.plan.observed import InfrastructurePlan as InfrastructurePlan
from gitops.plan.observed import Readiness as Readiness
from gitops.plan.observed import ResourceChange as ResourceChange
from gitops.values import Commit as Commit
from gitops.values import Manifest, ObjectRef

# --- Git -----------------------------------------------------------------------------------------------------


class Repository(Protocol):
    """The GitOps repository. Reading is by commit, so that everything read belongs together."""

    def head(self) -> str | None:
        """The commit that the branch has now at its origin (fetched), or None while there is no commit."""

    def entries(self, commit: str, *prefixes: str, recursive: bool = True) -> dict[str, Entry]:
        """Paths below any of `prefixes` (without leading or trailing slash), each whole from the root.

        Without a prefix it is everything.
        """

    def read(self, ids: Sequence[str]) -> list[bytes]:
        """The contents of these blobs, in their order."""

    def commit(self, base: str | None, changes: Mapping[str, bytes | None], message: str) -> str:
        """One commit on top of `base` that sets (bytes) or removes (None) these paths, pushed; its id.

        Raises Moved when the branch is no longer at `base`. Nothing is visible unless the push succeeds.
        """

    def log(
        self, *, models: Sequence[str] = (), clusters: Sequence[str] = (), limit: int | None = None
    ) -> Iterator[Commit]:
        """Commits of the branch, newest first; with `models` or `clusters`, those whose trailers name one of them."""


# --- Clusters ------------------------------------------------------------------------------------------------


class Cluster(Protocol):
    """One Kubernetes cluster, real or embedded. Failures are ClusterError, after bounded retries."""

    def compare(self, desired: Sequence[Manifest], selector: Mapping[str, str]) -> list[Difference]:
        """Every difference between `desired` and the live objects that carry the labels `selector`.

        A few LIST calls (one per kind), and a server-side dry run for suspects only. Writes nothing.
        """

    def apply(self, manifest: Manifest, *, force: bool = False) -> None:
        """Server-side apply. Raises Conflict, naming the other field manager, unless `force`."""

    def delete(self, ref: ObjectRef, uid: str) -> None:
        """Delete that very object (its uid is the precondition); one that is gone already is fine."""

    def readiness(self, refs: Sequence[ObjectRef]) -> dict[ObjectRef, Readiness]:
        """The present state of each of these objects."""

    def close(self) -> None:
        """Give connections back."""


# --- Infrastructure ------------------------------------------------------------------------------------------


class Infrastructure(Protocol):
    """The infrastructure of one cluster, described by files of the GitOps repository."""

    def plan(self, files: Mapping[str, bytes]) -> InfrastructurePlan:
        """Compare `files` with what exists."""

    def apply(self, saved: bytes, files: Mapping[str, bytes]) -> None:
        """Do exactly what the saved plan says. Raises StalePlan when the state has moved since."""

    def access(self, files: Mapping[str, bytes]) -> Mapping[str, str] | None:
        """How to reach the cluster (Terraform's outputs), or None while it does not exist."""


Progress = Callable[[str], None]
"""Takes one line about work in progress."""
