"""What rendered objects need of a cluster's API server, and which of it an older one does not have.

An older server drops such a field without a word: pods then end before gateways know, and the cluster never is where
Git says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from gitops.plan.model import Refusal
from gitops.spec.placement import PRE_STOP_SLEEP
from gitops.spec.problems import listed
from gitops.values import Manifest

RULE = "kubernetes-version"
SHOWN = 4

Release = tuple[int, int]
"""Major and minor version of Kubernetes."""


class Need(NamedTuple):
    """A field that API servers have by default since a release."""

    kind: str
    field: str
    since: Release


NEEDS = (
    Need("Deployment", "lifecycle.preStop.sleep", PRE_STOP_SLEEP),
    Need("PodDisruptionBudget", "unhealthyPodEvictionPolicy", (1, 27)),
)
"""Of what our templates set; a template of the project's own may do without."""


def unserved(cluster: str, version: Release | None, objects: Iterable[tuple[str, Manifest]]) -> Iterator[Refusal]:
    """A refusal for each field that these objects (with their units) have and the cluster does not know; none where
    its version is not known."""
    found: dict[Need, dict[str, None]] = defaultdict(dict)
    for unit, manifest in objects if version else ():
        for need in NEEDS:
            if version and version < need.since and manifest["kind"] == need.kind and _has(manifest["spec"], need):
                found[need][unit] = None
    for need, units in found.items():
        names, (major, minor) = list(units), need.since
        shown = listed(names, limit=SHOWN)
        yield Refusal(
            RULE,
            f"{cluster} runs Kubernetes {_words(version)}, which does not know `{need.field}` of {shown}; "
            f"that takes {major}.{minor} or later — upgrade the cluster, or leave the field out in your own template",
            units=tuple(names),
        )


def _words(version: Release | None) -> str:
    return ".".join(map(str, version or ()))


def _has(spec: Mapping[str, Any], need: Need) -> bool:
    if need.kind != "Deployment":
        return need.field in spec
    return any(_reaches(one, need.field.split(".")) for one in spec["template"]["spec"]["containers"])


def _reaches(value: Any, path: list[str]) -> bool:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value is not None
