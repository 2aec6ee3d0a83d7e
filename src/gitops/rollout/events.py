"""What a decision changes, as a value, and the one function that changes a state.

`step` and `replay` both go through `evolve`, so that the history in Git gives the state that the machine had.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from gitops.errors import GitopsError
from gitops.rollout.endings import PauseCause, Waits
from gitops.rollout.load import Loads
from gitops.rollout.message import line_of
from gitops.rollout.phases import Kind, Stage
from gitops.rollout.state import (
    UNSIGNED,
    Approval,
    Candidate,
    Consent,
    Kept,
    ModelVersion,
    Pause,
    Rejection,
    Returned,
    RolloutState,
)
from gitops.values import readable


@dataclass(frozen=True, slots=True)
class Event:
    """One change of a rollout. Fields that a kind has no use for keep their defaults.

    `version` is the version that the rollout is about; of a `roll-back` the one that loses its traffic, and
    `previous` names the one that gets it. Texts are one line, as a trailer can carry them.
    """

    kind: Kind
    at: int
    version: ModelVersion
    previous: str = ""
    stage: Stage | None = None
    """The stage afterwards (`start`, `scale`, `resume`)."""
    step: int = 0
    steps: int = 0
    weight: int = 0
    mirror: int = 0
    scale: int = 0
    scales: tuple[int, ...] = ()
    wave: int = 0
    """Index of the wave that the weight is of; `waves` is how many there are."""
    waves: int = 1
    hotfix: bool = False
    cause: PauseCause = "person"
    by: str = ""
    reason: str = ""
    tolerates: tuple[str, ...] = ()
    despite: tuple[str, ...] = ()
    """Rejections in earlier environments that the person who asked for it knows of."""
    clusters: tuple[tuple[str, ...], ...] = ()
    """The clusters by wave at the start."""
    rejects: bool = False
    """A roll-back after which the version stays away until the spec changes or a person retries it."""
    rejects_too: str = ""
    """Of a person's roll-back past stable: the digest of stable, which stays away as well."""
    waits: Waits = ""
    """What the version waits for after a roll-back that does not reject it."""
    drained: int = 0
    until: int = 0
    load: Loads = ()
    """What every version is sized for afterwards (`start`, `scale`, `size`, `advance`, `promote`, `roll-back`)."""
    consent: Consent = UNSIGNED
    """What an `approve` is signed with, where it is."""
    runs: str = ""
    """Digest over everything that a pod of the version runs, where the event is about that: what starts, is approved
    or rejected."""


def one_line(text: str) -> str:
    """The text as a trailer can carry it and gives it back."""
    return line_of(readable(text))


def evolve(state: RolloutState, event: Event) -> RolloutState:
    """The state after the event. Raises GitopsError when there is no candidate for an event that needs one."""
    match event.kind:
        case "start":
            return _start(state, event)
        case "roll-back":
            return _roll_back(state, event)
        case "promote":
            return _promote(state, event)
        case "retire":
            kept = tuple(one for one in state.kept if one.version != event.version)
            return _released(replace(state, kept=kept))
        case "size":
            return replace(state, load=event.load)
        case "retry":
            rejected = _others(state.rejected, event.version.digest)
            return replace(state, rejected=rejected, returned=_without(state.returned, event.version))
        case "approve":
            approval = Approval(event.version.digest, event.by, event.runs)
            return replace(state, approvals=(*state.approvals, approval))
        case "clear":
            return replace(state, rejected=(), returned=(), approvals=_approvals(state, event))
        case "scale" | "advance":
            return replace(state, candidate=_moved(_candidate(state, event), event), load=event.load)
        case _:
            return replace(state, candidate=_moved(_candidate(state, event), event))


def _released(state: RolloutState) -> RolloutState:
    """With a single version left, its autoscaler goes by what is declared again: it has had all traffic for a while."""
    return state if state.candidate or state.kept else replace(state, load=())


def _candidate(state: RolloutState, event: Event) -> Candidate:
    if state.candidate is None:
        raise GitopsError(f"{event.kind} of {event.version.version} without a rollout under way")
    return state.candidate


def _moved(candidate: Candidate, event: Event) -> Candidate:
    """The candidate after an event that keeps the rollout under way."""
    if event.kind == "pause":
        # A person who takes over a pause does not prolong it.
        entered = candidate.entered if candidate.pause else event.at
        return replace(candidate, entered=entered, pause=Pause(event.cause, event.reason, event.by))
    despite = tuple(dict.fromkeys((*candidate.despite, *event.despite)))
    going_on = replace(candidate, entered=event.at, pause=None, despite=despite)
    if event.kind == "wait":
        return replace(going_on, stage="waiting-for-capacity")
    if event.kind == "scale":
        return replace(going_on, stage=event.stage or candidate.stage, scale=event.scale, scales=event.scales)
    if event.kind == "resume":
        return replace(
            going_on, stage=event.stage or candidate.stage, tolerated=event.tolerates, resumed=event.at, earlier=()
        )
    return replace(
        going_on,
        stage="baking",
        since=event.at,
        step=event.step,
        weight=event.weight,
        mirror=event.mirror,
        wave=event.wave,
        scale=event.scale,
        scales=event.scales,
        tolerated=(),
        resumed=0,
        earlier=_earlier(candidate, event),
        basis=event.load,
    )


def _earlier(candidate: Candidate, event: Event) -> tuple[int, ...]:
    """Another wave is compared with another stable, and what a person accepted does not accuse at the next weight."""
    if not candidate.load or candidate.tolerated or event.wave != candidate.wave:
        return ()
    return (*candidate.earlier, candidate.resumed or candidate.since)


def _start(state: RolloutState, event: Event) -> RolloutState:
    load = event.load or state.load
    candidate = Candidate(
        version=event.version,
        stage=event.stage or "starting",
        scale=event.scale,
        started=event.at,
        since=event.at,
        entered=event.at,
        scales=event.scales,
        hotfix=event.hotfix,
        despite=event.despite,
        clusters=event.clusters,
        basis=load,
    )
    # Its own pods, when they are still there, are taken over; those of another artifact of that name cannot stay.
    kept = tuple(one for one in state.kept if one.version.version != event.version.version)
    # Consent lasts until the version is stable or rejected: what a freeze took back starts again without asking.
    approvals = _approvals(state, event)
    after = replace(state, candidate=candidate, kept=kept, load=load)
    return replace(after, rejected=(), returned=(), approvals=approvals)


def _promote(state: RolloutState, event: Event) -> RolloutState:
    candidate = _candidate(state, event)
    # One warm version is enough: older ones stay only until their last requests are over.
    kept = [replace(one, until=one.drained, previous=False) for one in state.kept if one.drained > event.at]
    if state.stable:
        kept.append(Kept(state.stable, event.drained, event.until, previous=True))
    load = event.load or state.load
    after = replace(state, stable=candidate.version, candidate=None, kept=tuple(kept), approvals=(), load=load)
    return _released(after)


def _roll_back(state: RolloutState, event: Event) -> RolloutState:
    """Traffic goes to stable, or to a kept version that takes stable's place."""
    leaving = list(_leaving(state.candidate, event))
    stable, kept = state.stable, state.kept
    back = next((one.version for one in kept if one.version.version == event.previous), None)
    if back and stable and stable.version != event.previous:
        kept = tuple(one for one in kept if one.version != back)
        leaving.append(Kept(stable, event.drained, event.until))
        stable = back
    approvals = () if event.rejects else state.approvals
    rejected = _rejected(state, event)
    returned = _without(state.returned, event.version)
    if event.waits:
        returned = (*returned, Returned(event.version, event.reason, event.at, event.waits))
    after = replace(state, stable=stable, candidate=None, kept=(*kept, *leaving))
    after = replace(after, rejected=rejected, returned=returned, approvals=approvals)
    return _released(replace(after, load=event.load or state.load))


def _leaving(candidate: Candidate | None, event: Event) -> Iterator[Kept]:
    """The candidate's pods drain at the size that they have; one that never had any leaves none."""
    if candidate and candidate.scale:
        yield Kept(candidate.version, event.drained, event.until, scale=candidate.scale, scales=candidate.scales)


def _rejected(state: RolloutState, event: Event) -> tuple[Rejection, ...]:
    if not event.rejects:
        return state.rejected
    found = (
        *_others(state.rejected, event.version.digest),
        Rejection(event.version, event.reason, event.at, event.runs),
    )
    stable = state.stable
    if stable is None or stable.digest != event.rejects_too or stable.digest == event.version.digest:
        return found
    return (*_others(found, stable.digest), Rejection(stable, event.reason, event.at))


def _approvals(state: RolloutState, event: Event) -> tuple[Approval, ...]:
    """Those of what the event is about."""
    about = event.version.digest, event.runs
    return tuple(one for one in state.approvals if (one.digest, one.runs) == about)


def _without(returned: Iterable[Returned], version: ModelVersion) -> tuple[Returned, ...]:
    return tuple(one for one in returned if one.version != version)


def _others(rejected: Iterable[Rejection], digest: str) -> tuple[Rejection, ...]:
    return tuple(one for one in rejected if one.version.digest != digest)
