"""Terraform behind the Infrastructure port."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from gitops.plan.observed import InfrastructurePlan
from gitops.world import effects

if TYPE_CHECKING:
    from gitops.world.terraform import Terraform


class TerraformInfrastructure:
    """One cluster's root module, driven by Terraform."""

    def __init__(self, terraform: Terraform, root: str) -> None:
        self._terraform = terraform
        self._root = root

    def plan(self, files: Mapping[str, bytes]) -> InfrastructurePlan:
        """A saved tfplan for these files."""
        return self._terraform.plan(files)

    def read(self, saved: bytes, files: Mapping[str, bytes]) -> InfrastructurePlan:
        """What that tfplan says of itself."""
        return self._terraform.read(saved, files)

    def apply(self, saved: bytes, files: Mapping[str, bytes]) -> None:
        """Apply exactly that tfplan."""
        self._terraform.apply(saved, files)
        effects.happened(f"terraform apply {self._root}")

    def access(self, files: Mapping[str, bytes]) -> Mapping[str, str] | None:
        """The root's outputs, or None while nothing is applied."""
        return self._terraform.outputs(files)
