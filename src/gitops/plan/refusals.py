"""Safety rules: what apply refuses to do without being told, and how much of it each of them stops.

About a unit, which is then left as it is while all else is done: a version that changes its artifact
(`immutable-version`, `artifact-changed`), and fields that others claim (`conflict`). What is wrong there is wrong with
that unit alone.

About the run, of which then nothing is done: many models that leave (`deletion-guard`), infrastructure that would be
destroyed (`destroy-guard`), a cluster that left the spec (`cluster-left`), objects of others (`owner`) and two names
for one place (`one-place-twice`). These say that the spec, the checkout, the cluster or the repository is not the one
that was meant, and then nothing else of the plan can be trusted either.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from gitops.plan.model import ObjectChange, Plan, Refusal
from gitops.plan.ownership import whose
from gitops.plan.stored import Stored, departed_clusters, foreign_records
from gitops.spec.resolved import Spec
from gitops.values import LABEL_CLUSTER, LABEL_PIPELINE


@dataclass(frozen=True, slots=True)
class Allowances:
    """What the user has allowed by flags."""

    deletions: bool = False
    """`--allow-deletions`: any number of models may leave an environment."""
    destruction: bool = False
    """`--allow-destroy`: infrastructure may be destroyed or replaced."""
    conflicts: bool = False
    """`--force-conflicts`: fields that other managers claim are taken back."""
    adoption: bool = False
    """`--adopt`: objects that exist and are not the pipeline's become the pipeline's."""

    def without_allowed(self, found: tuple[Refusal, ...]) -> tuple[Refusal, ...]:
        """Those that these allowances do not overrule: a saved plan may be allowed more than when it was made."""
        given = {
            "--allow-deletions": self.deletions,
            "--allow-destroy": self.destruction,
            "--force-conflicts": self.conflicts,
            "--adopt": self.adoption,
        }
        return tuple(refusal for refusal in found if not given.get(refusal.flag))


MANY = 3
SHARE = 0.25
SHOWN = 4
"""So many objects of a refusal are named."""


def refusals(plan: Plan, stored: Stored, allowed: Allowances) -> tuple[Refusal, ...]:
    """Every rule that this plan breaks, given what the user allowed."""
    return allowed.without_allowed(
        (
            *_foreign(plan),
            *_deletions(plan, stored),
            *_unrecorded(plan),
            *_destruction(plan),
            *_conflicts(plan.objects),
        )
    )


def departures(spec: Spec, stored: Stored) -> tuple[list[Refusal], list[str]]:
    """Refusals and warnings about clusters that left the spec, and about files that are in the way of records."""
    refused, warnings = [], foreign_records(spec, stored)
    for name, kept in departed_clusters(spec, stored):
        if kept:
            refused.append(
                Refusal(
                    "cluster-left",
                    f"cluster {name} is no longer in the spec, but Terraform still keeps it; put it back, or run "
                    f"`terraform destroy` in terraform/{name} of the GitOps repository and remove that directory there",
                )
            )
        else:
            warnings.append(
                f"cluster {name} is no longer in the spec: its files go, and what runs there stays "
                f"(kubectl delete all,configmap,networkpolicy -A "
                f"-l {LABEL_PIPELINE}={spec.pipeline.name},{LABEL_CLUSTER}={name})"
            )
    return refused, warnings


def one_place_twice(spec: Spec, identities: Mapping[str, str]) -> Iterator[Refusal]:
    """Two names that lead to one cluster, and there to one namespace: each would take the other's objects for drift.

    `identities` tell clusters apart, by name; empty where that is not known.
    """
    for one, other in combinations(spec.clusters, 2):
        if not identities.get(one) or identities[one] != identities.get(other):
            continue
        shared = {spec.namespace(name) for name in spec.cluster_environments[one]} & {
            spec.namespace(name) for name in spec.cluster_environments[other]
        }
        for namespace in sorted(shared):
            yield Refusal(
                "one-place-twice",
                f"{one} and {other} are the same cluster, and both keep namespace {namespace} there; "
                "give the cluster one name, or the environments different namespaces",
            )


def _deletions(plan: Plan, stored: Stored) -> Iterator[Refusal]:
    leaving = Counter(change.unit.environment for change in plan.releases if change.action == "delete")
    present = Counter(unit.environment for unit in stored.releases)
    for environment, count in leaving.items():
        total = present[environment]
        if count == total > 1 or (count > MANY and count > SHARE * total):
            yield Refusal(
                "deletion-guard",
                f"{count} of {total} models would leave {environment}; if that is meant, allow it",
                "--allow-deletions",
            )


def _foreign(plan: Plan) -> Iterator[Refusal]:
    """Objects of others that the plan would take over."""
    for (cluster, said), names in _by_owner(plan, (c for c in plan.objects if c.reason == "foreign")):
        hint = "use another namespace or other names, or take over what is there"
        yield Refusal("owner", f"{cluster}: {names} {said}; {hint}", "--adopt")


def _unrecorded(plan: Plan) -> Iterator[Refusal]:
    """Objects with the pipeline's labels that Git never had: deleting them is no part of what it says."""
    doomed = (change for change in plan.objects if change.action == "delete" and change.owner is not None)
    for (cluster, _), names in _by_owner(plan, doomed):
        said = "would be deleted, but the history of this GitOps repository never had it"
        hint = "check that repository and cluster belong together"
        yield Refusal("deletion-guard", f"{cluster}: {names} {said}; {hint}", "--allow-deletions")


def _by_owner(plan: Plan, changes: Iterable[ObjectChange]) -> Iterator[tuple[tuple[str, str], str]]:
    """For every cluster and owner (in words) the names of the objects."""
    found: dict[tuple[str, str], list[ObjectChange]] = defaultdict(list)
    for change in changes:
        assert change.owner is not None
        found[change.cluster, whose(change.owner, plan.base.pipeline, change.cluster)].append(change)
    for key, some in found.items():
        names = ", ".join(str(change.ref) for change in some[:SHOWN])
        yield key, f"each of {len(some)} objects ({names}, …)" if len(some) > SHOWN else _each(some, names)


def _each(some: Sequence[ObjectChange], names: str) -> str:
    return names if len(some) == 1 else f"each of {names}"


def _destruction(plan: Plan) -> Iterator[Refusal]:
    for cluster in plan.infrastructure:
        doomed = [line for line in cluster.resources if line.action in ("delete", "replace")]
        if doomed:
            verb = "replace" if all(line.action == "replace" for line in doomed) else "destroy"
            shown = ", ".join(line.address for line in doomed[:3]) + (", …" if len(doomed) > 3 else "")
            yield Refusal(
                "destroy-guard",
                f"{cluster.cluster}: Terraform would {verb} {len(doomed)} resources ({shown})",
                "--allow-destroy",
            )


def _conflicts(objects: tuple[ObjectChange, ...]) -> Iterator[Refusal]:
    for change in objects:
        if change.conflicts:
            fields = ", ".join(field.path for field in change.fields[:3]) + (", …" if len(change.fields) > 3 else "")
            yield Refusal(
                "conflict",
                f"{change.cluster}: {change.ref}: {fields} set by {', '.join(change.conflicts)}; "
                "take the fields back, or remove them there",
                "--force-conflicts",
                (change.unit,) if change.unit else (),
            )
