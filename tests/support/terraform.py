"""What Terraform tests share: the real binary and provider, the rendered example root, a sample cluster."""

from __future__ import annotations

import functools
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gitops.render.hcl import hcl
from gitops.world.terraform import Terraform, TerraformError

REPOSITORY = Path(__file__).resolve().parents[2]
ROOT = "terraform/aws-production"
PROVIDER = "registry.terraform.io/hashicorp/aws/5.100.0"

SAMPLE: dict[str, Any] = {
    "name": "aws-production",
    "region": "eu-west-1",
    "availability_zones": ["eu-west-1a", "eu-west-1b"],
    "kubernetes_version": "1.33",
    "endpoint_allowed_cidrs": ["203.0.113.0/24"],
    "system_nodes": {"instance_type": "m7i.large", "min": 2, "max": 4},
    "gpu_pools": {
        "h100": {
            "instance_type": "p5.48xlarge",
            "min": 0,
            "max": 4,
            "gpu_type": "H100",
            "gpus_per_node": 8,
            "disk_gb": 500,
            "capacity_type": "ON_DEMAND",
        },
        "l4": {
            "instance_type": "g6.2xlarge",
            "min": 1,
            "max": 6,
            "gpu_type": "L4",
            "gpus_per_node": 1,
            "disk_gb": 200,
            "capacity_type": "SPOT",
            "labels": {"tier": "small"},
        },
    },
    "pod_identities": [
        {"namespace": "models", "service_account": "support-chat"},
        {"namespace": "models", "service_account": "ranker"},
    ],
    "administrators": ["arn:aws:iam::123456789012:role/platform"],
    "artifact_buckets": ["acme-shared"],
    "artifact_prefixes": ["acme-models/<model>/", "acme-models/teams/<model>/", "acme-others/rankers/"],
    "tags": {"team": "ml"},
}


_ONLY_PROVIDER = """\
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "5.100.0"
    }
  }
}
"""


def unavailable(reason: str) -> None:
    """A missing component is an error in CI and a skip elsewhere."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def need_terraform() -> str:
    """The path of the binary; without it the test skips, or fails in CI."""
    found = shutil.which("terraform")
    if found is None:
        unavailable("terraform is not installed")
    assert found is not None
    return found


def need_provider() -> dict[str, str]:
    """Environment with which the driver finds the AWS provider without a network."""
    need_terraform()
    mirror = provider_mirror()
    if mirror is not None:
        return {"TF_PLUGIN_MIRROR": str(mirror)}
    if not _provider_installs():
        unavailable(f"the AWS provider is neither mirrored here (no directory {PROVIDER}) nor can it be downloaded")
    return {}


@functools.cache
def _provider_installs() -> bool:
    """Whether `terraform init` gets the provider from its registry; it stays in the driver's plugin cache."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            Terraform(Path(directory), ROOT).plan({f"{ROOT}/main.tf": _ONLY_PROVIDER})
        except TerraformError:
            return False
        return True


@functools.cache
def provider_mirror() -> Path | None:
    """A directory that holds the AWS provider in the layout of a filesystem mirror."""
    named = os.environ.get("TF_PLUGIN_MIRROR")
    places = [Path(named)] if named else []
    for base in (Path("/opt"), Path("/usr/local/share"), Path.home() / ".terraform.d"):
        places += [base, *sorted(base.glob("*/")), *sorted(base.glob("*/*/"))] if base.is_dir() else []
    return next((place for place in places if (place / PROVIDER).is_dir()), None)


def module_files() -> dict[str, bytes]:
    """The hand-written modules, keyed as in the GitOps repository."""
    files = (REPOSITORY / "terraform" / "modules").rglob("*.tf")
    return {str(path.relative_to(REPOSITORY)): path.read_bytes() for path in files}


def root_files(
    backend: Mapping[str, str] | None = None, values: Mapping[str, Any] = SAMPLE, root: str = ROOT
) -> dict[str, str]:
    """The generated root as the renderer writes it, with its values."""
    templates = FileSystemLoader(REPOSITORY / "templates" / "terraform" / "aws")
    jinja = Environment(
        loader=templates,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    jinja.filters["hcl"] = hcl
    cluster = {
        "name": values["name"],
        "region": values["region"],
        "backend": backend or {"kind": "local", "path": "terraform.tfstate"},
    }
    rendered = {name: jinja.get_template(f"{name}.j2").render(cluster=cluster) for name in ("main.tf", "backend.tf")}
    return {
        **{f"{root}/{name}": text for name, text in rendered.items()},
        f"{root}/terraform.tfvars.json": json.dumps(values, indent=2, sort_keys=True) + "\n",
    }
