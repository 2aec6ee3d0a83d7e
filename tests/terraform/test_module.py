"""The hand-written modules and the generated root: formatted, valid, and plannable without any API."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gitops.world.terraform import Terraform, TerraformError
from gitops.world.terraform.tfplan import TerraformPlan
from tests.support.terraform import (
    REPOSITORY,
    ROOT,
    SAMPLE,
    module_files,
    need_provider,
    need_terraform,
    root_files,
)

pytestmark = [pytest.mark.terraform, pytest.mark.slow]

BACKENDS: list[dict[str, str]] = [
    {"kind": "local", "path": "terraform.tfstate"},
    {"kind": "s3", "bucket": "acme-state", "key": "aws.tfstate", "region": "eu-west-1"},
    {"kind": "s3", "bucket": "b", "key": "k", "region": "eu-west-1", "kms_key_id": "alias/state"},
]
# Dummy keys, and no request at all: the module reads nothing from the API.
OFFLINE = 'provider "aws" {\n  skip_credentials_validation = true\n  skip_requesting_account_id = true\n}\n'
KEYS = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_EC2_METADATA_DISABLED": "true"}


def write(directory: Path, files: Mapping[str, str | bytes]) -> None:
    for path, content in files.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)


def plan(directory: Path, values: dict[str, Any]) -> TerraformPlan:
    files = {**module_files(), **root_files(values=values), f"{ROOT}/offline_override.tf": OFFLINE}
    return Terraform(directory, ROOT, environment={**need_provider(), **KEYS}).plan(files)


def with_pool(**changes: object) -> dict[str, Any]:
    return {**SAMPLE, "gpu_pools": {"h100": {**SAMPLE["gpu_pools"]["h100"], **changes}}}


def terraform(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Terraform itself, in a directory that the driver has prepared."""
    root = directory / ROOT
    configuration = {"TF_CLI_CONFIG_FILE": str(root / ".gitops" / "terraform.rc")}
    environment = {**os.environ, **KEYS, **configuration}
    return subprocess.run([need_terraform(), *arguments], cwd=root, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("module")


@pytest.fixture(scope="module")
def made(directory: Path) -> TerraformPlan:
    """The plan of the sample cluster; its directory is initialised."""
    return plan(directory, SAMPLE)


def test_modules_are_formatted() -> None:
    command = [need_terraform(), "fmt", "-check", "-recursive", "-diff", str(REPOSITORY / "terraform")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("backend", BACKENDS, ids=["local", "s3", "s3-kms"])
def test_generated_root_is_formatted(tmp_path: Path, backend: dict[str, str]) -> None:
    write(tmp_path, root_files(backend))
    command = [need_terraform(), "fmt", "-check", "-recursive", "-diff", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_hostile_names_stay_strings(tmp_path: Path) -> None:
    name = 'x" }\n${file("/etc/passwd")} %{ if true }'
    write(tmp_path, root_files({"kind": "local", "path": name}, {**SAMPLE, "name": name}))
    command = [need_terraform(), "fmt", "-check", "-recursive", "-diff", str(tmp_path)]
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert "$${file" in (tmp_path / ROOT / "backend.tf").read_text()


def test_plan_of_a_new_cluster_needs_no_api(made: TerraformPlan) -> None:
    kinds = {change.address.split(".")[2] for change in made.changes}
    assert {change.action for change in made.changes} == {"create"}
    assert not made.exists
    assert {"aws_eks_cluster", "aws_eks_node_group", "aws_s3_bucket_lifecycle_configuration", "aws_kms_key"} <= kinds
    assert 'module.cluster.aws_eks_node_group.gpu["h100"]' in {change.address for change in made.changes}
    assert made.outputs["cluster_name"] == "aws-production"


def test_capacity_block_names_its_reservation(directory: Path) -> None:
    pool = with_pool(
        capacity_type="CAPACITY_BLOCK",
        capacity_reservation_id="cr-0123456789abcdef0",
        availability_zones=["eu-west-1b"],
    )
    assert plan(directory, pool).changes


@pytest.mark.usefixtures("made")
def test_module_is_valid(directory: Path) -> None:
    answer = json.loads(terraform(directory, "validate", "-json").stdout)
    assert (answer["valid"], answer["diagnostics"]) == (True, [])


def test_the_longest_names_pass_the_checks_of_the_provider(tmp_path: Path) -> None:
    """`test_limits` asks the module's own; these are the provider's."""
    zones = [f"eu-west-1{letter}" for letter in "abcdef"]
    pools = {"b" * 30: SAMPLE["gpu_pools"]["h100"]}
    longest = {**SAMPLE, "name": "a" * 40, "gpu_pools": pools, "availability_zones": zones, "cidr": "10.0.0.0/18"}
    assert plan(tmp_path, longest).changes


POOL_ERRORS = (
    with_pool(max=0, capacity_type="RESERVED", disk_gb=8, availability_zones=["eu-west-1c"]),
    "Every GPU pool needs 0 <= min <= max",
    "disk_gb >= 50",
    "capacity_type must be ON_DEMAND, SPOT or CAPACITY_BLOCK",
    "must be among those of the cluster",
)
OTHER_ERRORS = (
    {
        **SAMPLE,
        "availability_zones": ["eu-west-1a"],
        "administrators": ["platform"],
        "cidr": "10.0.0.0/24",
        "kubernetes_version": "latest",
        "endpoint_allowed_cidrs": ["everybody"],
        "name": "Has Spaces",
    },
    "at least two availability zones",
    "ARNs of IAM roles or users",
    "between /16 and /18",
    "a minor version such as 1.33",
    "address ranges such as 203.0.113.0/24",
    "3 to 40 characters",
)


@pytest.mark.parametrize(("values", "sentences"), [(e[0], e[1:]) for e in (POOL_ERRORS, OTHER_ERRORS)])
def test_module_refuses_with_sentences(directory: Path, values: dict[str, Any], sentences: tuple[str, ...]) -> None:
    with pytest.raises(TerraformError, match=r"Invalid value for variable: .* \(and \d+ more errors\)") as first:
        plan(directory, values)
    assert first.value.where.startswith(f"{ROOT}/main.tf:")
    said = " ".join(terraform(directory, "plan", "-no-color", "-input=false").stderr.split())
    assert [sentence for sentence in sentences if sentence not in said] == []


def test_capacity_block_without_reservation_is_refused(directory: Path) -> None:
    with pytest.raises(TerraformError, match="capacity_reservation_id must be given"):
        plan(directory, with_pool(capacity_type="CAPACITY_BLOCK"))


def test_root_declares_every_variable_of_the_module() -> None:
    module = (REPOSITORY / "terraform/modules/aws-gpu-cluster/variables.tf").read_text()
    names = {line.split('"')[1] for line in module.splitlines() if line.startswith("variable ")}
    root = root_files()[f"{ROOT}/main.tf"]
    assert names == {line.split('"')[1] for line in root.splitlines() if line.startswith("variable ")}
    assert all(f"= var.{name}\n" in root for name in names)
    assert set(json.loads(root_files()[f"{ROOT}/terraform.tfvars.json"])) == names - {"cidr"}


def test_network_policies_are_enforced(directory: Path, made: TerraformPlan) -> None:
    """The VPC CNI ignores them unless it is told so, and the environment's default-deny would deny nothing."""
    saved = directory / "tfplan"
    saved.write_bytes(made.saved)
    shown = json.loads(terraform(directory, "show", "-json", str(saved)).stdout)
    addons = {
        change["change"]["after"]["addon_name"]: change["change"]["after"].get("configuration_values")
        for change in shown["resource_changes"]
        if change["type"] == "aws_eks_addon"
    }
    assert json.loads(addons["vpc-cni"]) == {"enableNetworkPolicy": "true"}
    assert addons["kube-proxy"] is None
