"""What the GitOps repository holds at one commit, as far as a plan needs it, and which units that leaves stale."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Protocol

from gitops.plan.observed import Entry
from gitops.render.live import Live, Waves
from gitops.render.renderer import Renderer, unit_directory
from gitops.rollout.absent import APPROVALS, REMOVED
from gitops.rollout.release import Release
from gitops.rollout.state import Approval
from gitops.spec.resolved import Spec
from gitops.values import UnitKey

CLUSTERS = "clusters"
RELEASES = "releases"
TERRAFORM = "terraform"


@dataclass(frozen=True, slots=True)
class Stored:
    """The repository at `head`, without the contents of manifests.

    `directories` maps every `clusters/<cluster>/<environment>/<name>` to its tree id; `loose` are the blobs that
    lie directly in `clusters/<cluster>/<environment>/` and everything below `terraform/`. `damaged` says of each unit
    (`environment/model`), or of each whole environment, whose records cannot be read, why not.
    """

    head: str | None
    releases: Mapping[UnitKey, Release] = field(default_factory=lambda: MappingProxyType({}))
    record_ids: Mapping[UnitKey, str] = field(default_factory=lambda: MappingProxyType({}))
    directories: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    loose: Mapping[str, Entry] = field(default_factory=lambda: MappingProxyType({}))
    damaged: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    removed: Mapping[UnitKey, Release] = field(default_factory=lambda: MappingProxyType({}))
    """How units were when the spec left them; also of those that have come back, until they are removed again."""
    consents: Mapping[UnitKey, tuple[Approval, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Approvals of units that were never released."""

    def returning(self, units: Iterable[UnitKey]) -> Stored:
        """The same with those of the units that were removed and have no record as they were, with nothing rendered:
        whoever comes back goes on from there.
        """
        back = {
            unit: replace(self.removed[unit], approvals=self.consents.get(unit, ()))
            for unit in units
            if unit in self.removed and unit not in self.releases and not self.damage(unit)
        }
        return replace(self, releases=MappingProxyType({**self.releases, **back})) if back else self

    def damage(self, unit: UnitKey) -> str:
        """Why nothing may be done to a unit: there is a record, and it cannot be read. Empty when nothing is wrong."""
        return (self.damaged.get(str(unit)) or self.damaged.get(unit.environment, "")) if self.damaged else ""

    def knows(self, model: str) -> bool:
        """Whether the model has been released anywhere, as far as can be told: a damaged record counts."""
        if any(unit.model == model for unit in self.releases):
            return True
        return any("/" not in name or name.endswith(f"/{model}") for name in self.damaged)


class Running(Protocol):
    """What runs of a unit, where that is not simply the version that the spec names."""

    @property
    def lives(self) -> Sequence[Live]: ...
    @property
    def waves(self) -> Waves | None: ...


def stale_units(spec: Spec, renderer: Renderer, stored: Stored, running: Mapping[UnitKey, Running]) -> list[UnitKey]:
    """Units whose files may have to change: the inputs differ, or the files are not those that we rendered."""
    return [
        unit
        for unit in spec.models
        if not stored.damage(unit) and not is_fresh(unit, spec, renderer, stored, running.get(unit))
    ]


def is_fresh(unit: UnitKey, spec: Spec, renderer: Renderer, stored: Stored, running: Running | None) -> bool:
    """Whether the repository holds exactly what would be rendered for the unit now."""
    release = stored.releases.get(unit)
    inputs = renderer.inputs(unit, running.lives, running.waves) if running else renderer.inputs(unit)
    if release is None or release.rendered.inputs != inputs:
        return False
    trees = release.rendered.trees
    clusters = spec.environments[unit.environment].clusters
    return len(trees) == len(clusters) and all(
        trees.get(cluster) == stored.directories.get(unit_directory(cluster, unit), "") for cluster in clusters
    )


def undesired_directories(spec: Spec, stored: Stored) -> list[str]:
    """Directories of the repository that belong to no unit of the spec (any more)."""
    desired = {
        unit_directory(cluster, unit)
        for unit in spec.models
        for cluster in spec.environments[unit.environment].clusters
    }
    return [
        directory
        for directory in stored.directories
        if directory not in desired and not stored.damage(_unit_of(directory))
    ]


def damaged_units(spec: Spec, stored: Stored) -> dict[UnitKey, str]:
    """Units of the spec, and others that the repository has files for, to which nothing may be done, and why."""
    if not stored.damaged:
        return {}
    units = dict.fromkeys((*spec.models, *map(_unit_of, stored.directories)))
    return {unit: why for unit in units if (why := stored.damage(unit))}


def foreign_records(spec: Spec, stored: Stored) -> list[str]:
    """What is said of files that lie where a record would, for units that nothing else is known of."""
    known = damaged_units(spec, stored)
    said = {why for name, why in stored.damaged.items() if "/" in name and why not in known.values()}
    return sorted(said)


def departed_clusters(spec: Spec, stored: Stored) -> Iterator[tuple[str, bool]]:
    """Clusters that the repository has files for and the spec does not name, and whether Terraform keeps them."""
    parts = [path.split("/") for path in (*stored.directories, *stored.loose)]
    named = dict.fromkeys(part[1] for part in parts if part[0] == CLUSTERS)
    kept = {part[1] for part in parts if part[0] == TERRAFORM and part[1] != "modules" and len(part) > 2}
    for name in (*named, *(kept - named.keys())):
        if name not in spec.clusters:
            yield name, name in kept


def gone_units(spec: Spec, stored: Stored) -> Iterator[UnitKey]:
    """Units that have a release record but are not in the spec."""
    return (unit for unit in stored.releases if unit not in spec.models)


def _unit_of(directory: str) -> UnitKey:
    """The unit whose files lie in `clusters/<cluster>/<environment>/<model>`."""
    _, _, environment, model = directory.split("/", 3)
    return UnitKey(environment, model)


def owner_of(path: str) -> str:
    """The unit that a path of the repository belongs to: `environment/model`, or a cluster's name."""
    parts = path.split("/")
    if parts[0] in (RELEASES, REMOVED, APPROVALS) and len(parts) == 3:
        return f"{parts[1]}/{parts[2].rpartition('.')[0]}"
    if parts[0] == CLUSTERS and len(parts) > 4:
        return f"{parts[2]}/{parts[3]}"
    return parts[1] if len(parts) > 1 else ""
