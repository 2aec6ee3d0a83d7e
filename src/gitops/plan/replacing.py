"""Pods on GPUs that a plan replaces in place, under the version that they have: how that goes, and whether a full pool
lets it. A new version or revision walks; this is about a template and `revisions: at-once`."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gitops.plan.model import FileChange, Refusal
from gitops.plan.observed import Entry
from gitops.plan.room import Place, Pools
from gitops.render.check import parse_manifest
from gitops.spec.problems import listed
from gitops.spec.resolved import Spec
from gitops.values import Manifest, UnitKey

RULE = "no-room"
SHOWN = 4
"""So many units of a sentence are named."""
_GPU = "nvidia.com/gpu"
_PODS = b"\n  template:"


class Replacement(NamedTuple):
    """One version's pods on one cluster, and by how many GPUs a change of them goes beyond what they have."""

    unit: UnitKey
    cluster: str
    more: int
    """0: pods end before others take their place."""


@dataclass(frozen=True, slots=True)
class Replacing:
    """What a plan replaces in place, by pool."""

    by_pool: Mapping[Place, Sequence[Replacement]]
    gpu_types: Mapping[Place, str]

    def surges(self) -> dict[UnitKey, dict[Place, int]]:
        """GPUs that units take for a while beyond what they have, by pool."""
        found: dict[UnitKey, dict[Place, int]] = defaultdict(dict)
        for place, some in self.by_pool.items():
            for one in some:
                found[one.unit][place] = found[one.unit].get(place, 0) + one.more
        return found

    def sentences(self, free: Mapping[Place, int]) -> Iterator[str]:
        """How pods are replaced, a sentence for each pool and manner, and what each needs of the `free` GPUs."""
        for place, some in self.by_pool.items():
            for surging in (True, False):
                if units := [one for one in some if (one.more > 0) is surging]:
                    yield self._sentence(place, units, free[place])

    def _sentence(self, place: Place, some: Sequence[Replacement], free: int) -> str:
        cluster, pool = place
        start = f"{cluster}: pods of {named(some)} on pool {pool} are replaced in place"
        if most := max(one.more for one in some):
            kind, each = self.gpu_types[place], " for each" if len(some) > 1 else ""
            return (
                f"{start}, a new one before an old one ends: that takes {most} more {kind}{each}, {max(0, free)} free"
            )
        return f"{start}, an old one ends before its new one starts: one replica less answers meanwhile"

    def refusals(self, free: Mapping[Place, int]) -> Iterator[Refusal]:
        """Units whose new pods would wait for a GPU that their own old pods hold."""
        for (cluster, pool), some in self.by_pool.items():
            left = max(0, free[cluster, pool])
            if stuck := [one for one in some if one.more > left]:
                more, kind = max(one.more for one in stuck), self.gpu_types[cluster, pool]
                message = (
                    f"{cluster}: pods of {named(stuck)} would be replaced in place, which takes {more} more {kind}; "
                    f"pool {pool} has {left} free, so they would wait for ever — raise the pool's max, or set "
                    "`serve.replicas.surge: 0` (an old pod then ends before its new one starts)"
                )
                yield Refusal(RULE, message, units=tuple(str(one.unit) for one in stuck))


def replacing(
    spec: Spec, pools: Pools, files: Iterable[FileChange], existing: Mapping[str, Entry], contents: Mapping[str, bytes]
) -> Replacing:
    """What of these changes replaces pods; `existing` and `contents` are what the repository holds of the files."""
    found: dict[Place, list[Replacement]] = defaultdict(list)
    for change in files:
        if change.action != "update" or not change.path.endswith("/deployment.yaml") or change.content is None:
            continue
        unit, cluster = UnitKey(*change.unit.split("/", 1)), change.path.split("/")[1]
        model = spec.models.get(unit)
        pool = pools.chosen(cluster, model.serve) if model else None
        if pool and (more := _more(change.path, contents[existing[change.path].id], change.content)) is not None:
            found[cluster, pool.name].append(Replacement(unit, cluster, more))
    types = {place: pools.by_cluster[place[0]][place[1]].gpu_type for place in found}
    return Replacing(found, types)


def named(some: Iterable[Replacement]) -> str:
    """Their units, each once."""
    return listed(dict.fromkeys(str(one.unit) for one in some), limit=SHOWN)


def _more(path: str, before: bytes, after: bytes) -> int | None:
    """GPUs that a change of a Deployment takes beyond what it has; None if its pods stay."""
    if before.partition(_PODS)[2] == after.partition(_PODS)[2]:
        return None
    old, new = parse_manifest(before, path), parse_manifest(after, path)
    if old["spec"]["template"] == new["spec"]["template"]:
        return None
    return _surge(new) * sum(_gpus(one) for one in new["spec"]["template"]["spec"]["containers"])


def _surge(deployment: Manifest) -> int:
    """Pods beyond its replicas; the API's default is a quarter, rounded up."""
    strategy = deployment["spec"].get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return 0
    surge = (strategy.get("rollingUpdate") or {}).get("maxSurge", "25%")
    if isinstance(surge, str):
        return math.ceil(int(surge.removesuffix("%")) * int(deployment["spec"].get("replicas", 1)) / 100)
    return int(surge)


def _gpus(container: Mapping[str, Any]) -> int:
    return int((container.get("resources", {}).get("limits") or {}).get(_GPU, 0))
