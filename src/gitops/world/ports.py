"""What the engine asks of the world: small protocols, each with a real and an embedded adapter."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Protocol

from gitops.plan.observed import Difference as Difference
from gitops.plan.observed import DriftKind as DriftKind
from gitops.plan.observed import Entry as Entry
from gitops.plan.observed import FieldChange as FieldChange
from gitops.plan.observed import InfrastructurePlan as InfrastructurePlan
from gitops.plan.observed import Place as Place
from gitops.plan.observed import Readiness as Readiness
from gitops.plan.observed import ResourceChange as ResourceChange
from gitops.plan.observed import Survey as Survey
from gitops.plan.observed import Workload as Workload
from gitops.rollout.series import Answers, Question
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

    def commit_all(self, base: str | None, commits: Sequence[tuple[Mapping[str, bytes | None], str]]) -> list[str]:
        """A chain of commits (changes, message) on top of `base`, pushed together; an id for each, in their order.

        All or nothing, as `commit`. One that makes no difference to what is before it is left out of the chain, and
        has the id of what is before it.
        """

    def identity(self, commit: str) -> str:
        """What tells the repository from any other, wherever it lies and however often it is cloned.

        It is the beginning of `root`, as long as fits a label: another repository cannot have the same without its
        history, and it stays when the repository moves. Raises GitopsError as `root` does.
        """

    def root(self, commit: str) -> str:
        """The id of the first commit that led to `commit`. Raises GitopsError where that is missing (shallow clone)."""

    def past(self, commit: str, paths: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """For every file at or below `paths` that the history of `commit` ever had: the ids of its contents."""

    def log(
        self, *, models: Sequence[str] = (), clusters: Sequence[str] = (), limit: int | None = None
    ) -> Iterator[Commit]:
        """Commits of the branch, newest first; with `models` or `clusters`, those whose trailers name one of them."""


# --- Clusters ------------------------------------------------------------------------------------------------

SURVEYED = ("Deployment", "HTTPRoute", "Service")
"""The kinds that a survey reads unless told otherwise; VirtualService is the other one that it can read."""


class Cluster(Protocol):
    """One Kubernetes cluster, real or embedded, as one owner works on it: what others own is left alone.

    Failures are ClusterError, after bounded retries.
    """

    def compare(self, desired: Sequence[Manifest], selector: Mapping[str, str]) -> list[Difference]:
        """Every difference between `desired` and the live objects that carry the labels `selector`.

        A few LIST calls (one per kind), and a server-side dry run for suspects only. Writes nothing.
        """

    def apply(self, manifest: Manifest, *, force: bool = False, adopt: bool = False) -> None:
        """Server-side apply. Raises Conflict, naming the other field manager, unless `force`.

        Raises NotOurs, naming whose it is, where there is an object that is not the owner's, unless `adopt`.
        """

    def delete(self, ref: ObjectRef, uid: str) -> None:
        """Delete that very object (its uid is the precondition); one that is gone already is fine.

        Raises NotOurs when somebody has taken it over.
        """

    def readiness(self, refs: Sequence[ObjectRef]) -> dict[ObjectRef, Readiness]:
        """The present state of each of these objects."""

    def survey(self, selector: Mapping[str, str], kinds: Collection[str] = SURVEYED) -> Survey:
        """Every version that runs with the labels `selector`, and where the traffic goes. One LIST for each kind.

        Workloads come sorted by namespace and name. A kind that the cluster does not know has no objects.
        """

    def remove(self, ref: ObjectRef, labels: Mapping[str, str]) -> bool:
        """Delete the object if it is the owner's and carries these labels; False when there is none, or it is not."""

    def lease(self, namespace: str, name: str, holder: str, seconds: int) -> bool:
        """Take or renew a lease; whether `holder` has it now, for so many seconds from the beginning of the call.

        Somebody else's lease is free when they release it, or when calls over that lease's own duration have seen it
        unchanged: one call alone never takes it over. `holder` names one process.
        """

    def release(self, namespace: str, name: str, holder: str) -> None:
        """Give the lease up, if `holder` has it, so that the next one gets it at once."""

    def stamps(self, namespace: str, name: str) -> dict[str, str]:
        """The data of a ConfigMap; empty when there is none. Raises NotOurs for that of another owner."""

    def stamp(self, namespace: str, name: str, changes: Mapping[str, str | None], *, adopt: bool = False) -> None:
        """Set (or, with None, remove) entries of a ConfigMap, which is made when it is not there.

        Raises NotOurs for that of another owner, unless `adopt`.
        """

    def identity(self) -> str:
        """What tells this cluster from any other, whatever name leads to it; empty when it may not be asked."""

    def version(self) -> tuple[int, int] | None:
        """Major and minor version of Kubernetes; None when it may not be asked, or says none."""

    def close(self) -> None:
        """Give connections back."""


# --- Metrics -------------------------------------------------------------------------------------------------


class MetricSource(Protocol):
    """Where the metrics of an environment's models come from."""

    def read(self, questions: Sequence[Question], now: int, /) -> Answers:
        """An answer to every question: `Unanswered` where it could not be had. Raises nothing for that."""


# --- Infrastructure ------------------------------------------------------------------------------------------


class Infrastructure(Protocol):
    """The infrastructure of one cluster, described by files of the GitOps repository."""

    def plan(self, files: Mapping[str, bytes]) -> InfrastructurePlan:
        """Compare `files` with what exists."""

    def read(self, saved: bytes, files: Mapping[str, bytes]) -> InfrastructurePlan:
        """What a saved plan does. Raises StalePlan when it was not made from these files."""

    def apply(self, saved: bytes, files: Mapping[str, bytes]) -> None:
        """Do exactly what the saved plan says. Raises StalePlan when the state has moved since."""

    def access(self, files: Mapping[str, bytes]) -> Mapping[str, str] | None:
        """How to reach the cluster (Terraform's outputs), or None while it does not exist."""


Progress = Callable[[str], None]
"""Takes one line about work in progress."""
