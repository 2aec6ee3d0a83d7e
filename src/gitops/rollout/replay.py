"""Events as trailers of a commit, and back: the history in Git holds the whole state.

The trailers of a decision join those that every rollout commit has (`Rollout`, `Model`, `Environment`,
`Spec-Commit`; see `rollout.message`). `Version` is the version that the rollout is about and `Previous-Version` the
one it replaces; of a `roll-back` the version that loses its traffic and the one that gets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import cast, get_args

from gitops.errors import GitopsError
from gitops.rollout.endings import PauseCause, Waits
from gitops.rollout.events import Event, evolve, one_line
from gitops.rollout.load import read_loads, write_loads
from gitops.rollout.phases import Kind, Stage
from gitops.rollout.state import Consent, ModelVersion, RolloutState

Trailers = Sequence[tuple[str, str]]

_STAGED: tuple[Kind, ...] = ("start", "scale", "resume")
_KINDS, _STAGES, _CAUSES, _WAITS = get_args(Kind), get_args(Stage), get_args(PauseCause), get_args(Waits)


def trailers_of(event: Event) -> tuple[tuple[str, str], ...]:
    """The event's trailers, in the order in which a reader wants them. Raises ValueError for a time after 9999."""
    numbers = (("Mirror", event.mirror), ("Scale", event.scale))
    times = (("Drained-At", event.drained), ("Kept-Until", event.until))
    found = [
        ("Version", event.version.version),
        ("Digest", event.version.digest),
        ("Runs", event.runs),
        ("Previous-Version", event.previous),
        ("Wave", f"{event.wave + 1}/{event.waves}" if event.waves > 1 else ""),
        ("Clusters", "; ".join(" ".join(wave) for wave in event.clusters)),
        ("Step", f"{event.step}/{event.steps}" if event.steps else str(event.step or "")),
        ("Weight", str(event.weight)),
        *((key, str(number or "")) for key, number in numbers),
        ("Scale-By-Wave", " ".join(map(str, event.scales))),
        ("Load", write_loads(event.load)),
        ("Phase", event.stage or ""),
        ("Decision", event.kind),
        ("Hotfix", "yes" if event.hotfix else ""),
        ("Cause", event.cause if event.kind == "pause" else ""),
        ("By", event.by),
        ("Reason", event.reason),
        *(("Tolerates", gate) for gate in event.tolerates),
        *(("Despite", one) for one in event.despite),
        ("Nonce", event.consent.nonce),
        ("Signed", event.consent.signature),
        ("Rejects", event.version.digest if event.rejects else ""),
        ("Rejects", event.rejects_too),
        ("Time", _time(event.at)),
        ("Waits-For", event.waits),
        *((key, _time(at) if at else "") for key, at in times),
    ]
    return tuple((key, value) for key, value in found if value)


def event_of(trailers: Trailers) -> Event | None:
    """The event that these trailers say; None when they say another decision or none.

    Raises GitopsError when they are of a rollout's decision and somebody broke them.
    """
    said = dict(trailers)
    kind = said.get("Decision", "")
    if kind not in _KINDS:
        return None
    try:
        return _event(said, kind, trailers)
    except (KeyError, ValueError, OverflowError) as error:
        where = f"Decision: {kind}"
        raise GitopsError(f"these trailers were not written by gitops ({error})", where=where) from error


def replay(history: Iterable[Trailers], state: RolloutState | None = None) -> RolloutState:
    """The state after these commits of one unit, oldest first; `state` is the one before them.

    Commits that decide nothing about a rollout are passed over. Raises GitopsError when the history does not fit.
    """
    now = state or RolloutState()
    for trailers in history:
        event = event_of(trailers)
        if event:
            now = evolve(now, event)
    return now


def _event(said: dict[str, str], kind: str, trailers: Trailers) -> Event:
    step, _, steps = said.get("Step", "0").partition("/")
    wave, _, waves = said.get("Wave", "1/1").partition("/")
    stage, cause = said.get("Phase"), said.get("Cause", "person")
    waits = said.get("Waits-For", "")
    if (stage is None) == (kind in _STAGED) or (stage and stage not in _STAGES) or cause not in _CAUSES:
        raise ValueError("Phase or Cause")
    if waits not in _WAITS:
        raise ValueError("Waits-For")
    if not 1 <= int(wave) <= int(waves):
        raise ValueError("Wave")
    return Event(
        kind=cast(Kind, kind),
        at=_seconds(said["Time"]),
        version=ModelVersion(said["Version"], said["Digest"]),
        runs=said.get("Runs", ""),
        consent=Consent(one_line(said.get("Nonce", "")), one_line(said.get("Signed", ""))),
        previous=said.get("Previous-Version", ""),
        stage=cast(Stage | None, stage),
        step=int(step),
        steps=int(steps or 0),
        weight=int(said.get("Weight", "0")),
        mirror=int(said.get("Mirror", "0")),
        scale=int(said.get("Scale", "0")),
        scales=tuple(int(one) for one in said.get("Scale-By-Wave", "").split()),
        wave=int(wave) - 1,
        waves=int(waves),
        clusters=tuple(tuple(wave.split()) for wave in said.get("Clusters", "").split(";") if wave),
        hotfix="Hotfix" in said,
        cause=cast(PauseCause, cause),
        by=one_line(said.get("By", "")),
        reason=one_line(said.get("Reason", "")),
        tolerates=tuple(value for key, value in trailers if key == "Tolerates"),
        despite=tuple(value for key, value in trailers if key == "Despite"),
        rejects="Rejects" in said,
        rejects_too=next((value for key, value in trailers if key == "Rejects" and value != said["Digest"]), ""),
        waits=cast(Waits, waits),
        drained=_seconds(said["Drained-At"]) if "Drained-At" in said else 0,
        until=_seconds(said["Kept-Until"]) if "Kept-Until" in said else 0,
        load=read_loads(said.get("Load", "")),
    )


def _time(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp())
