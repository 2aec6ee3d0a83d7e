"""The state of one unit's rollout, as the release record keeps it. Values only; times are whole seconds of an epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from gitops.rollout.endings import FOR_A_PERSON, PauseCause, Waits
from gitops.rollout.load import Loads
from gitops.rollout.phases import Phase, Stage
from gitops.values import base_version, version_in_words


class ModelVersion(NamedTuple):
    """A version, or a revision of one, by its name and by the digest of its artifact."""

    version: str
    digest: str

    @property
    def words(self) -> str:
        """Its name for people."""
        return version_in_words(self.version)

    def same_version(self, other: ModelVersion | None) -> bool:
        """Whether both are revisions of one version, with one artifact."""
        return other is not None and self.digest == other.digest and self._names(other)

    def contradicts(self, other: ModelVersion | None) -> bool:
        """Whether the other one has another artifact under the same version."""
        return other is not None and self.digest != other.digest and self._names(other)

    def _names(self, other: ModelVersion) -> bool:
        return base_version(self.version) == base_version(other.version)


class Traffic(NamedTuple):
    """Percent of requests that stable and candidate answer, and percent mirrored to the candidate."""

    stable: int
    candidate: int
    mirror: int


@dataclass(frozen=True, slots=True)
class Pause:
    """Why a rollout stands still; `by` names the person, if it was one."""

    cause: PauseCause
    reason: str
    by: str = ""

    @property
    def for_a_person(self) -> bool:
        """Whether only a person ends it."""
        return self.cause in FOR_A_PERSON


@dataclass(frozen=True, slots=True)
class Candidate:
    """A version on its way.

    `weight` is its percentage of traffic and `mirror` its percentage of mirrored requests, both in the clusters of
    `wave`; `step` counts the weights set there so far. It has all traffic in earlier waves and none in later ones.
    `scale` is the largest percentage of traffic that it is rendered to carry in any cluster, never below `weight`.
    `started` is the begin of the rollout, `since` of the present weight, `entered` of the present phase.
    """

    version: ModelVersion
    stage: Stage
    scale: int
    started: int
    since: int
    entered: int
    step: int = 0
    weight: int = 0
    mirror: int = 0
    wave: int = 0
    scales: tuple[int, ...] = ()
    """What it is rendered to carry in each wave, when there are several; otherwise `scale` holds everywhere."""
    clusters: tuple[tuple[str, ...], ...] = ()
    """The clusters by wave as they were when it started; empty in older records."""
    hotfix: bool = False
    """It goes on through a freeze."""
    pause: Pause | None = None
    tolerated: tuple[str, ...] = ()
    """What a person accepted at the present weight: a gate's warning by its name, and `error-rate (no data)`."""
    despite: tuple[str, ...] = ()
    """Rejections in earlier environments that a person knows of who lets it go on (`Objection.key`)."""
    resumed: int = 0
    """When the rollout was last resumed at the present weight; 0 if it never was."""
    earlier: tuple[int, ...] = ()
    """When the weights before the present one were set whose looks still speak of it: those of the present wave, since
    the rollout was last resumed. Empty in older records."""
    basis: Loads = ()
    """The load when its present weight was set: what its ready replicas are held to, however much more comes later."""

    @property
    def load(self) -> int:
        """Percentage of requests that reach it in its present wave, answered or mirrored."""
        return max(self.weight, self.mirror)


@dataclass(frozen=True, slots=True)
class Kept:
    """A version without traffic whose pods still run, until `until`; its last requests are over at `drained`."""

    version: ModelVersion
    drained: int
    until: int
    previous: bool = False
    """It was stable, so that a rollback without a version goes to it."""
    scale: int = 100
    """Percentage of traffic that it is rendered to carry; `scales` says it for each wave where they differ."""
    scales: tuple[int, ...] = ()

    @property
    def full(self) -> bool:
        """Whether it has pods for all traffic everywhere. One that was rolled back at 10 % has them for 10 %."""
        return min((self.scale, *self.scales)) >= 100


@dataclass(frozen=True, slots=True)
class Rejection:
    """A version that gets no traffic again until the spec names another digest or a person retries it."""

    version: ModelVersion
    reason: str
    at: int
    runs: str = ""
    """Digest over everything that its pods ran; empty (also in old records) for the artifact, however it is run."""

    def holds(self, digest: str, runs: str) -> bool:
        """Whether it keeps this artifact away when its pods run this."""
        return self.version.digest == digest and self.runs in ("", runs)


@dataclass(frozen=True, slots=True)
class Returned:
    """A version that went back to stable without a verdict, and what it waits for before it starts again."""

    version: ModelVersion
    reason: str
    at: int
    waits: Waits


class Consent(NamedTuple):
    """A signature over the words of an approval (`rollout.approvals.words_of`), in one line of base64."""

    nonce: str = ""
    """What makes the words of each approval its own: a signature counts once."""
    signature: str = ""


UNSIGNED = Consent()


class Approval(NamedTuple):
    """A person's consent to one artifact and to everything else that its pods run.

    `runs` is empty in records of an older gitops, which did not say what was agreed to.
    """

    digest: str
    by: str
    runs: str = ""


@dataclass(frozen=True, slots=True)
class RolloutState:
    """Everything that the next step needs. Without a candidate nothing is under way."""

    stable: ModelVersion | None = None
    candidate: Candidate | None = None
    kept: tuple[Kept, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    approvals: tuple[Approval, ...] = ()
    load: Loads = ()
    """What every version is sized for until the last of them is gone: the live load when the rollout began, or more
    if it grew since. Autoscalers never go below it, so that going back finds what it takes over."""
    returned: tuple[Returned, ...] = ()

    @property
    def phase(self) -> Phase:
        """Where the rollout stands."""
        if self.candidate is None:
            return "idle"
        return "paused" if self.candidate.pause else self.candidate.stage

    @property
    def begun(self) -> tuple[tuple[str, ...], ...]:
        """The clusters by wave with which what is under way began."""
        return self.candidate.clusters if self.candidate else ()

    @property
    def traffic(self) -> Traffic:
        """Who gets which percentage in the clusters of the present wave."""
        return self.weights(self.candidate.wave + 1 if self.candidate else 1)[-1]

    def weights(self, waves: int) -> tuple[Traffic, ...]:
        """Who gets which percentage in the clusters of each wave, in order; the one place that says it.

        Before the first deployment is ready nobody gets any. A candidate beyond the last wave, since an edit took
        waves away, counts as being in the last one.
        """
        one, untouched = self.candidate, Traffic(100 if self.stable else 0, 0, 0)
        if one is None:
            return (untouched,) * waves
        present = Traffic(100 - one.weight if self.stable else 0, one.weight, one.mirror)
        done = min(one.wave, waves - 1)
        return (*(Traffic(0, 100, 0),) * done, present, *(untouched,) * (waves - done - 1))

    def scales(self, waves: int) -> tuple[int, ...]:
        """Percentage of traffic that the candidate is rendered to carry in the clusters of each wave."""
        one = self.candidate
        if one is None or not one.scales:
            return (one.scale if one else 0,) * waves
        return (*one.scales, *(0,) * waves)[:waves]

    @property
    def versions(self) -> tuple[ModelVersion, ...]:
        """Every version that it names: stable, the candidate, then what is kept."""
        candidate = self.candidate.version if self.candidate else None
        return tuple(one for one in (self.stable, candidate, *(kept.version for kept in self.kept)) if one)

    def rejection(self, digest: str, runs: str = "") -> Rejection | None:
        """Why this artifact is rejected when its pods run this, or None."""
        return next((one for one in self.rejected if one.holds(digest, runs)), None)

    def rejection_of(self, version: ModelVersion) -> Rejection | None:
        """Why a version that is known by name is rejected, or None; another revision of it may not be."""
        found = (one for one in self.rejected if one.version.digest == version.digest)
        return next((one for one in found if one.version == version or not one.version.same_version(version)), None)

    def returned_as(self, version: ModelVersion) -> Returned | None:
        """How this version went back without a verdict, or None."""
        return next((one for one in self.returned if one.version == version), None)
