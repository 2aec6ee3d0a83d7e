"""What happened to each unit, read back from the trailers that `rollout.message` writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from gitops.errors import GitopsError
from gitops.values import Commit, UnitKey

_MODIFIED = " (modified)"
_DIGEST = "sha256:"
_UNITS = ("Release", "Removed")


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One thing that one commit did to one unit, or (`decision` is `register`) to a version in all environments.

    `environment` and `model` are empty for a commit that is about no unit: infrastructure, or a commit by hand;
    the latter has no `decision` either. `time` is the commit's, RFC 3339; `author` is `Name <email>`.
    """

    time: str
    commit: str
    environment: str
    model: str
    version: str
    previous: str
    decision: str
    author: str
    rollout: str
    spec_commit: str
    subject: str
    spec_modified: bool = False
    weight: str = ""
    """Percent of requests that `version` answers afterwards; `mirror` of those mirrored to it."""
    mirror: str = ""
    step: str = ""
    """`2/4`, in the wave `wave` (`1/3`; empty when all clusters go together)."""
    wave: str = ""
    decided: str = ""
    """When it was decided, RFC 3339: by the clock of the world, which an embedded one lets run ahead."""
    reason: str = ""
    by: str = ""
    """The person who decided it; empty when the policy did."""
    said: tuple[str, ...] = ()
    """The lines of the message, if it is about this unit alone: what gates said, and what was ready."""

    @property
    def moment(self) -> str:
        """When it was decided, as far as that is known."""
        return self.decided or self.time


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """Which units to show; an empty part matches all."""

    environment: str = ""
    model: str = ""

    @property
    def models(self) -> tuple[str, ...]:
        """What to ask Repository.log for."""
        return (self.model,) if self.model else ()

    def matches(self, entry: HistoryEntry) -> bool:
        """Whether the entry is about such a unit. Without any part everything is shown, also foreign commits."""
        return (not self.environment or self.environment == entry.environment) and (
            not self.model or self.model == entry.model
        )


def parse_filter(text: str) -> HistoryFilter:
    """`MODEL`, `ENVIRONMENT/MODEL` or `ENVIRONMENT/`; empty text matches everything. Raises GitopsError."""
    environment, slash, model = text.strip().partition("/")
    if "/" in model or (slash and not environment):
        raise GitopsError(
            f"{text!r} names no unit", hint="write MODEL, ENVIRONMENT/MODEL, or ENVIRONMENT/ for all its models"
        )
    return HistoryFilter(environment, model) if slash else HistoryFilter(model=environment)


def entries(commits: Iterable[Commit], only: HistoryFilter | None = None) -> Iterator[HistoryEntry]:
    """The entries of these commits in their order; with `only`, those that match it. Takes commits as they come."""
    wanted = only or HistoryFilter()
    for commit in commits:
        for entry in _expanded(commit):
            if wanted.matches(entry):
                yield entry


def spec_commit(commit: Commit) -> str:
    """The spec commit that this commit was made from; empty when it does not say."""
    return dict(commit.trailers).get("Spec-Commit", "").removesuffix(_MODIFIED)


def _expanded(commit: Commit) -> Iterator[HistoryEntry]:
    last: Mapping[str, str] = dict(commit.trailers)
    units = [(key, value) for key, value in commit.trailers if key in _UNITS]
    for key, value in units:
        yield _unit_entry(commit, last, key, value, alone=len(units) == 1)
    if not units:
        yield _entry(commit, last, UnitKey(last.get("Environment", ""), last.get("Model", "")))


def _unit_entry(commit: Commit, last: Mapping[str, str], key: str, value: str, *, alone: bool) -> HistoryEntry:
    words = [word for word in value.split(" ") if not word.startswith(_DIGEST)]
    name, version, previous = (*words, "", "")[:3]
    environment, _, model = name.partition("/")
    unit = UnitKey(environment, model)
    if alone:
        return _entry(commit, last, unit, version, previous)
    # A commit of many units says its main decision; what became of each unit, its own trailer tells.
    decision = "remove" if key == "Removed" else "update" if version == previous else ""
    return _entry(commit, last, unit, version, previous, decision)


def _entry(
    commit: Commit,
    last: Mapping[str, str],
    unit: UnitKey,
    version: str = "",
    previous: str = "",
    decision: str = "",
) -> HistoryEntry:
    spec = last.get("Spec-Commit", "")
    # Of a commit of many units only its trailers say what became of each.
    several = sum(key in _UNITS for key, _ in commit.trailers) > 1
    return HistoryEntry(
        time=_time(commit.time),
        commit=commit.id,
        environment=unit.environment,
        model=unit.model,
        version=version or last.get("Version", ""),
        previous=previous or last.get("Previous-Version", ""),
        decision=decision or last.get("Decision", ""),
        author=commit.author,
        rollout=last.get("Rollout", ""),
        spec_commit=spec.removesuffix(_MODIFIED),
        subject=commit.subject,
        spec_modified=spec.endswith(_MODIFIED),
        weight=last.get("Weight", ""),
        mirror=last.get("Mirror", ""),
        step=last.get("Step", ""),
        wave=last.get("Wave", ""),
        decided=_time(last.get("Time", "")),
        reason=last.get("Reason", ""),
        by=last.get("By", ""),
        said=() if several else tuple(line.strip() for line in commit.body.splitlines() if line.strip()),
    )


def _time(text: str) -> str:
    """The text if it is a time with a zone: anybody can write a commit with our trailers, or of no year that is one."""
    try:
        moment = datetime.fromisoformat(text)
        moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return ""
    return text if moment.tzinfo else ""
