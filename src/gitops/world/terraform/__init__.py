"""Terraform, driven through python-terraform: plan, apply exactly that plan, destroy, outputs."""

from gitops.world.terraform.diagnostics import StaleTfplan, TerraformError
from gitops.world.terraform.driver import Terraform
from gitops.world.terraform.tfplan import TerraformPlan

__all__ = ["StaleTfplan", "Terraform", "TerraformError", "TerraformPlan"]
