"""The spec's limits against the module's: what `validate` accepts the module accepts, over generated clusters.

Only the module's variables are planned, so that hundreds of clusters take one run of Terraform without a provider.
"""

from __future__ import annotations

import functools
import json
import os
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from gitops.render.terraform import root_variables
from gitops.spec.environment import AwsCluster
from gitops.spec.load import load_spec
from gitops.spec.problems import SpecError
from gitops.spec.resolved import SourceFile
from tests.support.terraform import REPOSITORY, need_terraform

pytestmark = pytest.mark.terraform

AT_ONCE = 20
"""Terraform takes longer than in proportion for more."""
BASE = REPOSITORY / "tests/spec/corpus/base"
ACCOUNT = "123456789012"
ZONES = [f"eu-west-1{letter}" for letter in "abcdef"]
FIELDS: dict[str, list[Any]] = {
    "key": ["eu", "aws", "a-b", "a--b", "a", "1aws", "aws-", "a" * 40, "a" * 41],
    "pool": ["l4", "a" * 30, "a" * 31, "a" * 38, "a", "1l4", "l4-", "l-4"],
    "pipeline": ["acme", "a" * 40],
    "environment": ["dev", "b" * 22, "b" * 23, "b" * 40],
    "namespace": [None, "models", "n" * 63, "n" * 64, "1n", "-n"],
    "model": ["chat", "c" * 40],
    "cidr": [f"10.0.0.0/{size}" for size in (8, 15, 16, 17, 18, 19, 20, 24, 28)] + ["10.0.0.1/16", "::/16", "10.0.0.0"],
    "kubernetesVersion": ["1.25", "1.29", "1.30", "1.33", "1.99", "2.0", "1.33.1", "latest"],
    "availabilityZones": [ZONES[:count] for count in range(1, 7)] + [["eu-west-1a"] * 2, [*ZONES, "eu-west-1g"]],
    "endpointAllowedCidrs": [[], ["0.0.0.0/0"], ["192.0.2.0/24"], ["192.0.2.0/33"], ["everybody"]],
    "systemNodes": [{"min": low, "max": high} for low in (0, 1, 3) for high in (1, 2, 4)],
    "disk": [f"{size}Gi" for size in (10, 20, 49, 50, 200, 99999)] + ["200"],
    "sizes": [(low, high) for low in (-1, 0, 1, 3) for high in (0, 1, 2)],
    "administrators": [
        [],
        [f"arn:aws:iam::{ACCOUNT}:root"],
        [f"arn:aws:iam::{ACCOUNT}:role/ops"],
        [f"arn:aws-cn:iam::{ACCOUNT}:user/a/b@c"],
        [f"arn:aws:iam::{ACCOUNT}:group/ops"],
        [f"arn:aws:sts::{ACCOUNT}:assumed-role/ops/me"],
        ["arn:aws:iam::1234:role/ops"],
    ],
    "artifactBuckets": [[], ["models"], ["a..b"], ["ab"], ["a" * 63], ["a" * 64], ["a-.b"], ["Models"], ["models."]],
    "tags": [{}, {"team": "ml"}, {"aws:team": "ml"}, {"AWS:x": "y"}, {"a b": ""}],
    "selector": [{}, {"tier": "gpu"}, {"gitops/pool": "other"}],
}
"""Values on both sides of every limit; the first of each is a good one."""
GOOD = {name: values[0] for name, values in FIELDS.items()} | {
    "key": "aws",
    "cidr": "10.0.0.0/16",
    "kubernetesVersion": "1.33",
    "availabilityZones": ZONES[:2],
    "systemNodes": {"min": 1, "max": 2},
    "disk": "200Gi",
    "sizes": (1, 2),
}


class Verdict(NamedTuple):
    case: dict[str, Any]
    spec: str
    """What `validate` says; empty when it accepts."""
    module: tuple[str, ...]
    """What the module says."""


def cases() -> Iterator[dict[str, Any]]:
    """Every value by itself, then any values together."""
    for name, values in FIELDS.items():
        for value in values:
            yield {**GOOD, name: value}
    chance = random.Random(1130)
    for _ in range(100):
        changed = chance.sample(sorted(FIELDS), 3)
        yield {**GOOD, **{name: chance.choice(FIELDS[name]) for name in changed}}


def sources(case: dict[str, Any]) -> tuple[SourceFile, list[SourceFile]]:
    pipeline = yaml.safe_load((BASE / "pipeline.yaml").read_text())
    pipeline |= {"name": case["pipeline"], "promotion": [case["environment"]]}
    pipeline["models"] = {case["model"]: pipeline["models"]["chat"]}
    pool = {"instance": "g6.xlarge", "min": case["sizes"][0], "max": case["sizes"][1], "disk": case["disk"]}
    same = ("cidr", "kubernetesVersion", "availabilityZones", "endpointAllowedCidrs", "systemNodes")
    cluster = {
        "provider": "aws",
        "region": "eu-west-1",
        **{name: case[name] for name in (*same, "administrators", "artifactBuckets", "tags")},
        "nodePools": {case["pool"]: {**pool, "selector": case["selector"]}},
    }
    monitoring = {"prometheus": "http://prometheus:9090"}
    environment = {"apiVersion": "gitops/v1", "clusters": {case["key"]: cluster}, "monitoring": monitoring}
    if case["namespace"]:
        environment["namespace"] = case["namespace"]
    path = f"environments/{case['environment']}.yaml"
    return (
        SourceFile("pipeline.yaml", yaml.safe_dump(pipeline).encode()),
        [SourceFile(path, yaml.safe_dump(environment).encode())],
    )


def what_the_spec_says(case: dict[str, Any]) -> str:
    try:
        load_spec(*sources(case))
    except SpecError as error:
        return str(error)
    return ""


@functools.cache
def good_variables() -> dict[str, Any]:
    spec = load_spec(*sources(GOOD))
    cluster = spec.clusters["aws"]
    assert isinstance(cluster, AwsCluster)
    return root_variables(spec, "aws", cluster)


def variables(case: dict[str, Any]) -> dict[str, Any]:
    """What Terraform would be given, without asking `validate`: of a spec beside it in which the rest is good."""
    good = good_variables()
    pool = {**good["gpu_pools"]["l4"], "min": case["sizes"][0], "max": case["sizes"][1], "labels": case["selector"]}
    pool["disk_gb"] = int(case["disk"].removesuffix("Gi"))
    namespace = case["namespace"] or f"{case['pipeline']}-{case['environment']}"
    return {
        **good,
        "name": case["key"],
        "cidr": case["cidr"],
        "kubernetes_version": case["kubernetesVersion"],
        "availability_zones": case["availabilityZones"],
        "endpoint_allowed_cidrs": case["endpointAllowedCidrs"],
        "system_nodes": {"instance_type": "m7i.large", **case["systemNodes"]},
        "gpu_pools": {case["pool"]: pool},
        "pod_identities": [{"namespace": namespace, "service_account": case["model"]}],
        "administrators": case["administrators"],
        "artifact_buckets": case["artifactBuckets"],
        "tags": case["tags"],
    }


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> list[Verdict]:
    directory = tmp_path_factory.mktemp("limits")
    (directory / "module").mkdir()
    shutil.copy(REPOSITORY / "terraform/modules/aws-gpu-cluster/variables.tf", directory / "module")
    generated = list(cases())
    said = [
        words for start in range(0, len(generated), AT_ONCE) for words in asked(directory, generated[start:][:AT_ONCE])
    ]
    return [Verdict(case, what_the_spec_says(case), words) for case, words in zip(generated, said, strict=True)]


def asked(directory: Path, some: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """What the module says to each of these cases."""
    padded = some + [GOOD] * (AT_ONCE - len(some))
    modules = {f"case_{number}": {"source": "./module", **variables(case)} for number, case in enumerate(padded)}
    (directory / "main.tf.json").write_text(json.dumps({"module": modules}))
    if not (directory / ".terraform").exists():
        assert terraform(directory, "init", "-input=false").returncode == 0
    said = complaints(directory)
    return [tuple(said.get(f"module.case_{number}", ())) for number in range(len(some))]


def terraform(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TF_CLI_CONFIG_FILE": os.devnull}
    command = [need_terraform(), *arguments]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)


def complaints(directory: Path) -> dict[str, list[str]]:
    """What the module says about each of its calls."""
    done = terraform(directory, "plan", "-input=false", "-json")
    found: dict[str, list[str]] = {}
    for message in map(json.loads, done.stdout.splitlines()):
        if diagnostic := message.get("diagnostic"):
            where = (diagnostic.get("snippet") or {}).get("context") or "elsewhere"
            assert where.startswith("module.case_"), diagnostic
            found.setdefault(where, []).append(f"{diagnostic['summary']}: {diagnostic['detail']}")
    return found


def test_whatever_the_spec_accepts_the_module_accepts(verdicts: list[Verdict]) -> None:
    accepted = [verdict for verdict in verdicts if not verdict.spec]
    assert len(accepted) > 60
    assert [(verdict.case, verdict.module) for verdict in accepted if verdict.module] == []


def test_the_module_is_asked(verdicts: list[Verdict]) -> None:
    """No limit of the module is left out: each refuses something here."""
    text = (REPOSITORY / "terraform/modules/aws-gpu-cluster/variables.tf").read_text()
    said = "\n".join(line for verdict in verdicts for line in verdict.module)
    for sentence in re.findall(r'error_message = "(.*)"', text):
        assert sentence in said or sentence.startswith(UNREACHABLE), sentence


UNREACHABLE = (
    "capacity_type must be",
    "capacity_reservation_id",
    "The availability_zones of a GPU pool",
    "artifact_prefixes must hold",
)
"""The spec has no words for these; prefixes come from the addresses of artifacts, which it checks."""
