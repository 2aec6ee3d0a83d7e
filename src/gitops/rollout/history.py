"""What happened to each unit, read back from the trailers that `rollout.message` writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from gitops.errors import GitopsError
from gitops.values import Commit, UnitKey

_MODIFIED = " (modified)"


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One thing that one commit did to one unit.

    `environment` and `model` are empty for a commit that is about no unit: infrastructure, or a commit by hand;
    the latter has no `decision` either. `time` is RFC 3339, `author` is `Name <email>`.
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
    units = [(key, value) for key, value in commit.trailers if key in ("Release", "Removed")]
    for key, value in units:
        yield _unit_entry(commit, last, key, value, alone=len(units) == 1)
    if not units:
        yield _entry(commit, last, UnitKey(last.get("Environment", ""), last.get("Model", "")))


def _unit_entry(commit: Commit, last: Mapping[str, str], key: str, value: str, *, alone: bool) -> HistoryEntry:
    name, version, previous = (*value.split(" "), "", "")[:3]
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
    return HistoryEntry(
        time=commit.time,
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
    )
