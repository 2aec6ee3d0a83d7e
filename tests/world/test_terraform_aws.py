"""The driver, the module and the generated root against the real AWS provider and a moto server."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from gitops.world.terraform import StaleTfplan, Terraform, TerraformError, TerraformPlan
from tests.support.moto_aws import AwsServer
from tests.support.terraform import ROOT, SAMPLE, module_files, need_provider, root_files

pytestmark = [pytest.mark.terraform, pytest.mark.slow]

Files = dict[str, str | bytes]
LAUNCH_TEMPLATE = 'module.cluster.aws_launch_template.gpu["l4"]'
POOL = 'module.cluster.aws_eks_node_group.gpu["l4"]'
STATE = {"kind": "s3", "bucket": "acme-state", "key": "aws-production.tfstate", "region": "eu-west-1"}
# The provider watches a lifecycle configuration settle for a minute, whatever answers; test_module plans it.
WITHOUT_LIFECYCLE = 'resource "aws_s3_bucket_lifecycle_configuration" "artifacts" {\n  count = 0\n}\n'


@pytest.fixture(scope="module")
def aws() -> Iterator[AwsServer]:
    need_provider()
    with AwsServer() as server:
        server.client("s3").create_bucket(
            Bucket=STATE["bucket"], CreateBucketConfiguration={"LocationConstraint": server.region}
        )
        yield server


def cluster(aws: AwsServer, **l4: object) -> Files:
    values: dict[str, Any] = copy.deepcopy(SAMPLE)
    values["gpu_pools"]["l4"].update(l4)
    return {
        **module_files(),
        **root_files(STATE, values),
        f"{ROOT}/moto_override.tf": aws.override_tf(),
        "terraform/modules/aws-gpu-cluster/moto_override.tf": WITHOUT_LIFECYCLE,
    }


def driver(aws: AwsServer, directory: Path, **settings: Any) -> Terraform:
    return Terraform(directory, ROOT, environment={**need_provider(), **aws.environment}, **settings)


def node_group(aws: AwsServer) -> str:
    names: list[str] = aws.client("eks").list_nodegroups(clusterName="aws-production")["nodegroups"]
    return next(name for name in names if name.startswith("l4-"))


def actions(plan: TerraformPlan) -> dict[str, str]:
    return {change.address: change.action for change in plan.changes}


def interrupt_halfway(line: str) -> None:
    """Ctrl-C once the network stands and Terraform only waits, for the key's policy and the endpoint.

    A request in flight would be lost together with what it creates: see the test about what is there already.
    """
    if "aws_route.nat" in line and "Creation complete" in line:
        time.sleep(1.5)
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def applied(aws: AwsServer, tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    """A cluster: planned in one directory and applied in another, as CI jobs do; interrupted, and applied again."""
    planned = driver(aws, tmp_path_factory.mktemp("plan")).plan(cluster(aws))
    assert not planned.exists
    assert {change.action for change in planned.changes} == {"create"}
    directory = tmp_path_factory.mktemp("apply")
    with pytest.raises(KeyboardInterrupt):
        driver(aws, directory, progress=interrupt_halfway).apply(planned.tfplan, cluster(aws))
    terraform = driver(aws, directory)
    rest = terraform.plan(cluster(aws))
    assert not rest.exists
    assert 0 < len(rest.changes) < len(planned.changes)
    with pytest.raises(StaleTfplan):
        terraform.apply(planned.tfplan, cluster(aws))
    outputs = terraform.apply(rest.tfplan, cluster(aws))
    assert outputs["cluster_name"] == "aws-production"
    assert outputs["artifact_bucket"].startswith("aws-production-artifacts-")
    assert outputs["image_registry"].endswith("/aws-production/serving")
    assert terraform.outputs(cluster(aws)) == outputs
    return terraform


def test_second_plan_is_empty_also_when_the_autoscaler_was_at_work(aws: AwsServer, applied: Terraform) -> None:
    scaling = {"minSize": 1, "maxSize": 6, "desiredSize": 3}
    aws.client("eks").update_nodegroup_config(
        clusterName="aws-production", nodegroupName=node_group(aws), scalingConfig=scaling
    )
    plan = applied.plan(cluster(aws))
    assert (plan.changes, plan.drift, plan.changed_outputs) == ((), (), ())
    assert plan.exists
    assert plan.empty


def may(policy: dict[str, Any], model: str, action: str, resource: str, prefix: str | None = None) -> bool:
    """Whether IAM allows it to a pod with this service account, as far as policies of this kind go."""
    for statement in policy["Statement"]:
        text = json.dumps(statement).replace("${aws:PrincipalTag/kubernetes-service-account}", model)
        one = json.loads(text)
        actions, resources = (one[key] if isinstance(one[key], list) else [one[key]] for key in ("Action", "Resource"))
        wanted = one.get("Condition", {}).get("StringLike", {}).get("s3:prefix")
        fits = wanted is None or (prefix is not None and any(fnmatchcase(prefix, pattern) for pattern in wanted))
        if action in actions and fits and any(fnmatchcase(resource, pattern) for pattern in resources):
            return True
    return False


@pytest.mark.usefixtures("applied")
def test_a_model_reads_its_own_artifacts_and_what_is_for_all(aws: AwsServer) -> None:
    role = {"RoleName": "aws-production-models", "PolicyName": "read-artifacts"}
    policy = aws.client("iam").get_role_policy(**role)["PolicyDocument"]
    (own,) = [b["Name"] for b in aws.client("s3").list_buckets()["Buckets"] if "artifacts" in b["Name"]]
    shared, models, others = ("arn:aws:s3:::acme-" + name for name in ("shared", "models", "others"))
    get, listed = "s3:GetObject", "s3:ListBucket"
    for place in (f"{models}/chat/1.0/x", f"{models}/teams/chat/1.0/x", f"{shared}/any/x", f"{others}/rankers/9/x"):
        assert may(policy, "chat", get, place)
    assert may(policy, "chat", get, f"arn:aws:s3:::{own}/chat/1.0/x")
    for place in (f"{models}/ranker/1.0/x", f"{models}/chat-2/x", f"{others}/chat/x", "arn:aws:s3:::elsewhere/chat/x"):
        assert not may(policy, "chat", get, place)
    assert not may(policy, "chat", get, f"arn:aws:s3:::{own}/ranker/1.0/x")
    assert may(policy, "chat", listed, models, "chat/1.0/")
    assert may(policy, "chat", listed, shared)
    assert may(policy, "chat", listed, f"arn:aws:s3:::{own}", "chat/1.0/")
    for prefix in (None, "", "ranker/1.0/", "chat"):
        assert not may(policy, "chat", listed, models, prefix)
    assert all(may(policy, "chat", "s3:GetBucketLocation", place) for place in (models, shared, others))


def test_update_shows_just_that(aws: AwsServer, applied: Terraform) -> None:
    (change,) = applied.plan(cluster(aws, max=8)).changes
    assert (change.address, change.action, change.drifted) == (POOL, "update", False)
    assert change.attributes == ("scaling_config",)


def test_drift_is_explained_and_set_right(aws: AwsServer, applied: Terraform) -> None:
    eks, name = aws.client("eks"), node_group(aws)
    scaling = {"minSize": 1, "maxSize": 9, "desiredSize": 5}
    eks.update_nodegroup_config(clusterName="aws-production", nodegroupName=name, scalingConfig=scaling)
    plan = applied.plan(cluster(aws))
    (change,) = plan.changes
    assert (change.address, change.action, change.drifted) == (POOL, "update", True)
    (drift,) = plan.drift
    assert (drift.address, drift.action, drift.attributes) == (POOL, "update", ("scaling_config",))
    applied.apply(plan.tfplan, cluster(aws))
    group = eks.describe_nodegroup(clusterName="aws-production", nodegroupName=name)["nodegroup"]
    assert group["scalingConfig"] == {"minSize": 1, "maxSize": 6, "desiredSize": 5}  # desired is the autoscaler's


def test_lock_of_somebody_else(aws: AwsServer, applied: Terraform) -> None:
    s3, key = aws.client("s3"), f"{STATE['key']}.tflock"
    lock = (
        '{"ID": "6f1c2a4e-0000-4000-8000-000000000000", "Operation": "OperationTypeApply", "Info": "",'
        ' "Who": "ci@runner-7", "Version": "1.11.4", "Created": "2026-11-21T06:00:00Z", "Path": "acme-state/x"}'
    )
    s3.put_object(Bucket=STATE["bucket"], Key=key, Body=lock)
    try:
        with pytest.raises(TerraformError, match=r"locked by ci@runner-7 since 2026-11-21.*\(apply\)") as refused:
            driver(aws, applied._workdir.directory, lock_timeout=0).plan(cluster(aws))
    finally:
        s3.delete_object(Bucket=STATE["bucket"], Key=key)
    assert "force-unlock 6f1c2a4e-0000-4000-8000-000000000000" in refused.value.hint


def test_bucket_of_the_state_is_missing(aws: AwsServer, tmp_path: Path) -> None:
    files = root_files({**STATE, "bucket": "nowhere"})
    with pytest.raises(TerraformError) as refused:
        driver(aws, tmp_path).plan({**cluster(aws), **files})
    assert refused.value.what == 'the bucket for the Terraform state is missing: S3 bucket "nowhere" does not exist'


def test_no_credentials(aws: AwsServer, tmp_path: Path) -> None:
    absent = {**aws.environment, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    terraform = Terraform(tmp_path, ROOT, environment={**need_provider(), **absent})
    with pytest.raises(
        TerraformError, match="no valid cloud credentials: No valid credential sources found"
    ) as refused:
        terraform.plan(cluster(aws))
    assert "log in" in refused.value.hint


def test_refusal_of_the_api_is_told_where_it_happened(aws: AwsServer, applied: Terraform) -> None:
    files = cluster(aws, min=6)
    with pytest.raises(TerraformError, match=r"Minimum capacity 6 can't be greater than desired size") as refused:
        applied.apply(applied.plan(files).tfplan, files)
    assert refused.value.where.startswith("terraform/modules/aws-gpu-cluster/nodes.tf:")
    assert "RequestID" not in refused.value.what


def test_what_is_there_already_can_be_imported(aws: AwsServer, applied: Terraform) -> None:
    identity = {"namespace": "models", "serviceAccount": "new"}
    role = aws.client("iam").get_role(RoleName="aws-production-models")["Role"]["Arn"]
    eks = aws.client("eks")
    made = eks.create_pod_identity_association(clusterName="aws-production", roleArn=role, **identity)
    files = cluster(aws)
    values = json.loads(files[f"{ROOT}/terraform.tfvars.json"])
    values["pod_identities"].append({"namespace": "models", "service_account": "new"})
    files[f"{ROOT}/terraform.tfvars.json"] = json.dumps(values)
    with pytest.raises(TerraformError, match="Association already exists") as refused:
        applied.apply(applied.plan(files).tfplan, files)
    assert refused.value.where.startswith("terraform/modules/aws-gpu-cluster/identity.tf:")
    assert "import" in refused.value.hint
    eks.delete_pod_identity_association(
        clusterName="aws-production", associationId=made["association"]["associationId"]
    )


def test_upgrade_converges(aws: AwsServer, applied: Terraform) -> None:
    files = cluster(aws, disk_gb=300)
    values = json.loads(files[f"{ROOT}/terraform.tfvars.json"])
    values |= {"kubernetes_version": "1.34", "tags": {"team": "serving"}, "endpoint_allowed_cidrs": []}
    values["pod_identities"].pop()
    files[f"{ROOT}/terraform.tfvars.json"] = json.dumps(values)
    plan = applied.plan(files)
    assert {POOL: "update", LAUNCH_TEMPLATE: "update"}.items() <= actions(plan).items()
    assert "replace" not in actions(plan).values()
    applied.apply(plan.tfplan, files)
    assert applied.plan(files).empty


def test_destroy_removes_everything(aws: AwsServer, applied: Terraform) -> None:
    plan = applied.destroy_plan(cluster(aws))
    assert plan.exists
    assert set(actions(plan).values()) == {"delete"}
    assert POOL in actions(plan)
    applied.apply(plan.tfplan, cluster(aws))
    assert aws.client("eks").list_clusters()["clusters"] == []
    assert applied.outputs(cluster(aws)) is None
