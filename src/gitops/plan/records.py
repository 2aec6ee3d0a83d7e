"""Which files of the GitOps repository are release records, and which of them cannot be used: one unit's fault is its
own, and nothing is done to such a unit until its record is restored."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

from gitops.errors import GitopsError
from gitops.plan.lives import models_of, target_of
from gitops.plan.observed import Entry
from gitops.plan.stored import RELEASES, Stored
from gitops.rollout.absent import APPROVALS, REMOVED, approvals_path, parse_approvals, removed_path
from gitops.rollout.release import Release, parse_release, record_path
from gitops.rollout.state import Approval
from gitops.spec.pipeline import Model
from gitops.spec.resolved import Spec
from gitops.values import UnitKey

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
"""What an environment or a model can be called."""
_ABSENT = re.compile(rf"[a-z]+/(?P<environment>{_NAME.pattern})/(?P<model>{_NAME.pattern})\.[a-z]+")
_SYMBOLIC_LINK = "120000"


@dataclass(frozen=True, slots=True)
class Candidates:
    """What lies under `releases/`: the files that may be records, by unit, and the places that hold something else."""

    entries: Mapping[UnitKey, Entry]
    damaged: Mapping[str, str]


class Records(NamedTuple):
    """The records that could be read, and for each unit or environment without one, why not."""

    releases: Mapping[UnitKey, Release]
    damaged: Mapping[str, str]


def candidates(entries: Mapping[str, Entry]) -> Candidates:
    """Sort out every entry below `releases/` (trees too). Files of others, at paths of no unit, are left out."""
    found: dict[UnitKey, Entry] = {}
    damaged: dict[str, str] = {}
    for path, entry in entries.items():
        place = _place(path)
        if isinstance(place, str) and entry.kind != "tree":
            damaged[place] = f"{path} is a file, and a directory was expected: {_restore(path)}"
        elif isinstance(place, UnitKey) and entry.kind == "blob" and entry.mode != _SYMBOLIC_LINK:
            found[place] = entry
        elif isinstance(place, UnitKey):
            damaged[str(place)] = f"{path} is no file: {_restore(path)}"
    return Candidates(found, damaged)


def read_records(texts: Mapping[UnitKey, bytes]) -> Records:
    """Parse each unit's record by itself."""
    releases: dict[UnitKey, Release] = {}
    damaged: dict[str, str] = {}
    for unit, text in texts.items():
        path = record_path(unit)
        try:
            release = parse_release(text, path)
        except GitopsError as error:
            damaged[str(unit)] = str(error)
            continue
        if release.unit != unit:
            damaged[str(unit)] = f"{path} holds the record of {release.unit}: {_restore(path)}"
        elif twice := _twice(release):
            damaged[str(unit)] = f"{path} has version {twice} in two places at once: {_restore(path)}"
        else:
            releases[unit] = release
    return Records(releases, damaged)


def _twice(release: Release) -> str:
    """A version that stands in the record more than once, which no step writes: it would run under one name twice."""
    times = Counter(one.version for one in release.state.versions)
    return next((version for version, number in times.items() if number > 1), "")


class Absent(NamedTuple):
    """What is kept of units that have no record, and for each of which it cannot be read, why not."""

    removed: Mapping[UnitKey, Release]
    consents: Mapping[UnitKey, tuple[Approval, ...]]
    damaged: Mapping[str, str]


def absent_paths(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """The files among these that say something of units without a record; those of others are left out."""
    return {path: entry for path, entry in entries.items() if entry.kind == "blob" and _absent(path)}


def read_absent(texts: Mapping[str, bytes]) -> Absent:
    """Parse each file by itself. What was removed and cannot be read damages the unit: else it would be its first
    release again. Approvals that cannot be read are none.
    """
    removed: dict[UnitKey, Release] = {}
    consents: dict[UnitKey, tuple[Approval, ...]] = {}
    damaged: dict[str, str] = {}
    for path, text in texts.items():
        unit = _absent(path)
        assert unit is not None, "only such paths are read"
        try:
            if path.startswith(f"{APPROVALS}/"):
                consents[unit] = parse_approvals(text, path)
            else:
                removed[unit] = parse_release(text, path)
        except GitopsError as error:
            if path.startswith(f"{REMOVED}/"):
                damaged[str(unit)] = str(error)
    return Absent(removed, consents, damaged)


def _absent(path: str) -> UnitKey | None:
    """The unit that such a file is about."""
    found = _ABSENT.fullmatch(path)
    unit = UnitKey(found["environment"], found["model"]) if found else None
    return unit if unit and path in (removed_path(unit), approvals_path(unit)) else None


def with_sound_models(spec: Spec, stored: Stored) -> Stored:
    """The same without units whose frozen models would be needed and cannot be read; those are `damaged`.

    The models of a unit that simply runs what the spec names are never needed, and reading thousands takes time.
    """
    damaged = {unit: why for unit, release in stored.releases.items() if (why := _flaw(release, spec.models.get(unit)))}
    if not damaged:
        return stored
    return replace(
        stored,
        releases=MappingProxyType({unit: one for unit, one in stored.releases.items() if unit not in damaged}),
        damaged=MappingProxyType({**stored.damaged, **{str(unit): why for unit, why in damaged.items()}}),
    )


def _place(path: str) -> UnitKey | str | None:
    """The unit whose record would lie at the path, or the environment whose records would; None for anything else."""
    top, *parts = path.split("/")
    if top != RELEASES or not all(_NAME.fullmatch(part.removesuffix(".yaml")) for part in parts):
        return None
    if len(parts) == 2 and parts[1].endswith(".yaml"):
        return UnitKey(parts[0], parts[1].removesuffix(".yaml"))
    return parts[0] if len(parts) == 1 and not parts[0].endswith(".yaml") else None


def _restore(path: str) -> str:
    return f"restore what was there (git log -p -- {path})"


def _flaw(release: Release, model: Model | None) -> str:
    stable = release.stable
    if model and release.settled and target_of(model) == release.state.stable:
        gpu = model.serve.gpu
        if (stable.gpu_type, stable.gpus) == ((gpu.type, gpu.count) if gpu else ("", 0)):
            return ""
    try:
        models = models_of(release, model)
    except GitopsError as error:
        return str(error)
    missing = [one.version for one in release.state.versions if one.version not in models]
    path = record_path(release.unit)
    return f"{path} does not say how {missing[0]} was released: {_restore(path)}" if missing else ""
