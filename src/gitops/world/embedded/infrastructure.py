"""Infrastructure of the embedded world: a cluster's variables, kept in a file instead of a cloud account."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from gitops.errors import GitopsError, StalePlan
from gitops.plan.observed import InfrastructurePlan, ResourceChange
from gitops.world import effects
from gitops.world.files import write_atomically

Resources = dict[str, dict[str, Any]]


class EmbeddedInfrastructure:
    """Keeps what `terraform.tfvars.json` of one root asks for, one entry for each main resource of the module."""

    def __init__(self, state: Path, root: str) -> None:
        """`state` is the file that holds what exists, `root` the root's directory in the GitOps repository."""
        self._state = state
        self._root = root

    def plan(self, files: Mapping[str, bytes]) -> InfrastructurePlan:
        """Compare the root's variables with what was applied last."""
        present, desired = self._present(), _resources(files[f"{self._root}/terraform.tfvars.json"])
        saved = orjson.dumps({"base": _digest(present), "desired": desired}, option=orjson.OPT_SORT_KEYS)
        return InfrastructurePlan(tuple(_changes(present, desired)), exists=bool(present), saved=saved)

    def read(self, saved: bytes, files: Mapping[str, bytes]) -> InfrastructurePlan:
        """It is what these files give now, or it is stale."""
        plan = self.plan(files)
        if plan.saved != saved:
            raise StalePlan("the saved infrastructure plan is stale", where=self._root, hint="plan again")
        return plan

    def apply(self, saved: bytes, files: Mapping[str, bytes]) -> None:
        """Make what the saved plan says exist. Raises StalePlan when something else was applied since."""
        plan = orjson.loads(saved)
        if plan["base"] != _digest(self._present()):
            raise StalePlan("the saved infrastructure plan is stale", where=self._root, hint="plan again")
        write_atomically(self._state, orjson.dumps(plan["desired"], option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2))
        effects.happened(f"infrastructure {self._root}")

    def access(self, files: Mapping[str, bytes]) -> Mapping[str, str] | None:
        """Embedded clusters are opened by their file; there is nothing to log in to."""
        return {} if self._present() else None

    def _present(self) -> Resources:
        try:
            present: Resources = orjson.loads(self._state.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, orjson.JSONDecodeError) as error:
            raise GitopsError(
                "the embedded world's infrastructure cannot be read",
                where=str(self._state),
                hint="delete the file to start that world afresh",
            ) from error
        return present


def _resources(tfvars: bytes) -> Resources:
    """The module's main resources, as its variables describe them."""
    values = orjson.loads(tfvars)
    network = ("availability_zones", "cidr")
    cluster = ("kubernetes_version", "endpoint_allowed_cidrs", "administrators")
    resources: Resources = {
        "module.cluster.aws_vpc.this": {key: values[key] for key in network},
        "module.cluster.aws_eks_cluster.this": {key: values[key] for key in cluster},
        "module.cluster.aws_eks_node_group.system": values["system_nodes"],
        "module.cluster.aws_s3_bucket.artifacts": {"readers": values["pod_identities"]},
    }
    for name, pool in values["gpu_pools"].items():
        resources[f'module.cluster.aws_eks_node_group.gpu["{name}"]'] = pool
    return resources


def _changes(present: Resources, desired: Resources) -> list[ResourceChange]:
    changes = []
    for address, attributes in desired.items():
        before = present.get(address)
        if before is None:
            changes.append(ResourceChange(address, "create"))
        elif before != attributes:
            keys = sorted(key for key in {*before, *attributes} if before.get(key) != attributes.get(key))
            changes.append(ResourceChange(address, "update", attributes=tuple(keys)))
    changes += [ResourceChange(address, "delete") for address in present if address not in desired]
    return changes


def _digest(resources: Resources) -> str:
    return hashlib.sha256(orjson.dumps(resources, option=orjson.OPT_SORT_KEYS)).hexdigest()
