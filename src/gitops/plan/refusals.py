"""Safety rules: what apply refuses to do without being told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from gitops.plan.model import ObjectChange, Plan, Refusal
from gitops.plan.stored import Stored, departed_clusters, foreign_records
from gitops.spec.resolved import Spec
from gitops.values import LABEL_PIPELINE


@dataclass(frozen=True, slots=True)
class Allowances:
    """What the user has allowed by flags."""

    deletions: bool = False
    """`--allow-deletions`: any number of models may leave an environment."""
    destruction: bool = False
    """`--allow-destroy`: infrastructure may be destroyed or replaced."""
    conflicts: bool = False
    """`--force-conflicts`: fields that other managers claim are taken back."""

    def without_allowed(self, found: tuple[Refusal, ...]) -> tuple[Refusal, ...]:
        """Those that these allowances do not overrule: a saved plan may be allowed more than when it was made."""
        given = {
            "--allow-deletions": self.deletions,
            "--allow-destroy": self.destruction,
            "--force-conflicts": self.conflicts,
        }
        return tuple(refusal for refusal in found if not given.get(refusal.flag))


MANY = 3
SHARE = 0.25


def refusals(plan: Plan, stored: Stored, allowed: Allowances) -> tuple[Refusal, ...]:
    """Every rule that this plan breaks, given what the user allowed."""
    return allowed.without_allowed((*_deletions(plan, stored), *_destruction(plan), *_conflicts(plan.objects)))


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
                f"(kubectl delete all,configmap,networkpolicy -A -l {LABEL_PIPELINE}={spec.pipeline.name})"
            )
    return refused, warnings


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
    yield from _surplus(plan, present, leaving)


def _surplus(plan: Plan, present: Counter[str], leaving: Counter[str]) -> Iterator[Refusal]:
    """Live objects of units that Git does not know (any more): many of them mean that something is wrong."""
    known = {str(change.unit) for change in plan.releases}
    strangers = {change.unit for change in plan.objects if change.reason == "surplus" and change.unit not in known}
    by_environment = Counter(unit.split("/")[0] for unit in strangers if "/" in unit)
    for environment, count in by_environment.items():
        total = max(present[environment], 1)
        if environment not in leaving and count > MANY and count > SHARE * total:
            yield Refusal(
                "deletion-guard",
                f"live objects of {count} models in {environment} are not in Git and would be deleted; check that "
                "the repository and the cluster belong together",
                "--allow-deletions",
            )


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
            )
