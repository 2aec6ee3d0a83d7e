"""The main job on real parts: a Kubernetes API server, Terraform with the AWS provider, and a Git repository."""

from __future__ import annotations

import json
import re
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gitops.values import LABEL_REPOSITORY
from tests.support.controlplane import ControlPlane
from tests.support.moto_aws import AwsServer
from tests.support.project import ROOT, Project, run_git
from tests.support.terraform import need_provider

PIPELINE = """\
apiVersion: gitops/v1
name: {name}
repository: {{url: gitops.git}}
promotion: [{promotion}]
rollouts:
  quick: {{strategy: rolling, readyTimeout: 1m, keepWarm: 0s, drain: 1s}}
models:
  chat:
    version: 1.0.0
    artifact:
      uri: s3://acme-models/chat/1.0.0
      digest: "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      format: safetensors
    serve: {{runtime: vllm, gpu: {{type: H100}}, replicas: {{min: 1, max: 3}}, loadTime: 30s}}
    route: {{hostnames: [chat.acme.example]}}
    rollout: quick
  ranker:
    version: 1.0.0
    artifact:
      uri: s3://acme-models/ranker/1.0.0
      digest: "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
      format: onnx
    serve:
      runtime: custom
      image: "registry.acme.example/ranker:1.0.0"
      loadTime: 30s
      resources: {{cpu: 1, memory: 1Gi}}
    rollout: quick
"""
STAGING = """\
apiVersion: gitops/v1
namespace: {namespace}-staging
clusters:
  staging:
    provider: existing
    context: {context}
    nodePools:
      h100:
        gpu: {{type: H100, count: 8}}
        max: 2
        selector: {{nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3}}
gateway: {{name: models, namespace: gateway}}
monitoring: {{prometheus: "http://prometheus:9090"}}
"""
PRODUCTION = """\
apiVersion: gitops/v1
namespace: {namespace}-production
clusters:
  aws-production:
    provider: aws
    region: eu-west-1
    availabilityZones: [eu-west-1a, eu-west-1b]
    context: {context}
    nodePools:
      h100:
        instance: p5.48xlarge
        max: 2
        selector: {{nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3}}
    state: {{s3: {{bucket: acme-state, region: eu-west-1}}}}
"""
WITHOUT_LIFECYCLE = 'resource "aws_s3_bucket_lifecycle_configuration" "artifacts" {\n  count = 0\n}\n'


def new_project(path: Path, plane: ControlPlane, promotion: str, env: dict[str, str]) -> Project:
    """A project whose environments use the control plane, in namespaces of its own."""
    name = f"t{uuid.uuid4().hex[:8]}"
    values = {"name": name, "namespace": name, "context": plane.context, "promotion": promotion}
    (path / "environments").mkdir(parents=True)
    (path / "pipeline.yaml").write_text(PIPELINE.format(**values))
    for environment, text in (("staging", STAGING), ("production", PRODUCTION)):
        if environment in promotion:
            (path / "environments" / f"{environment}.yaml").write_text(text.format(**values))
    return Project(path, {"KUBECONFIG": str(plane.kubeconfig), **env})


def release_next(project: Project) -> None:
    project.edit("pipeline.yaml", "version: 1.0.0", "version: 1.1.0")
    project.edit("pipeline.yaml", "chat/1.0.0", "chat/1.1.0")
    project.edit("pipeline.yaml", "a" * 64, "b" * 64)


def name_of(project: Project) -> str:
    found = re.search(r"^name: (\S+)", (project.path / "pipeline.yaml").read_text(), re.MULTILINE)
    assert found
    return found[1]


@pytest.fixture(autouse=True)
def _gpus_are_given_back(control_plane: ControlPlane) -> Iterator[None]:
    """The control plane serves other tests as well: nothing may stay on its few GPUs."""
    yield
    labelled = control_plane.kubectl("get", "namespaces", "-l", "gitops/pipeline", "-o", "name").split()
    if labelled:
        control_plane.kubectl("delete", "--wait=false", *labelled)


def live(plane: ControlPlane, project: Project) -> dict[str, Any]:
    """The project's objects, without what differs between any two runs."""
    kinds = "ns,sa,cm,svc,deploy,hpa,netpol,pdb,httproutes,podmonitors"
    out = plane.kubectl("get", kinds, "-A", "-l", f"gitops/pipeline={name_of(project)}", "-o", "json")
    found = {}
    for item in json.loads(out)["items"]:
        metadata = item["metadata"]
        if metadata["name"].endswith("-applied"):
            continue  # what a cluster remembers: where that lags, the next pass compares
        spec = {k: v for k, v in item.get("spec", {}).items() if not k.startswith("clusterIP")}
        # Whoever starts anew has a repository of its own.
        labels = {key: value for key, value in metadata["labels"].items() if key != LABEL_REPOSITORY}
        text = json.dumps({"labels": labels, "spec": spec, "data": item.get("data")}, sort_keys=True)
        text = re.sub(r'"nodePort": \d+', '"nodePort": 0', text)
        key = f"{item['kind']} {metadata.get('namespace', '')}/{metadata['name']}"
        found[key.replace(name_of(project), "NAME")] = text.replace(name_of(project), "NAME")
    return found


def until_it_runs_alone(plane: ControlPlane, project: Project) -> None:
    """Make passes until the version before is gone: its requests are over a second after it lost its traffic."""
    for _ in range(20):
        project.gitops("reconcile")
        if "Deployment NAME-staging/chat-1-0-0" not in live(plane, project):
            return
        time.sleep(1)
    raise AssertionError("the version before is still there")


# --- Kubernetes and Git --------------------------------------------------------------------------------------


@pytest.fixture
def staging(control_plane: ControlPlane, tmp_path: Path) -> Project:
    project = new_project(tmp_path / "project", control_plane, "staging", {})
    project.gitops("apply", "--yes")
    return project


@pytest.mark.controlplane
def test_release_edit_and_drift(control_plane: ControlPlane, staging: Project) -> None:
    assert staging.gitops("plan", expect=0).out.endswith("match the spec.\n")
    assert set(json.loads(staging.gitops("status", "--format", "json").out)["environments"]) == {"staging"}
    before = live(control_plane, staging)
    assert "Deployment NAME-staging/chat-1-0-0" in before
    assert "HTTPRoute NAME-staging/chat" in before

    release_next(staging)
    plan = staging.gitops("plan", "--format", "json", expect=2).json
    assert {change["unit"] for change in plan["changes"]} == {"staging/chat"}
    assert plan["summary"]["release"] == {"create": 0, "update": 1, "delete": 0}
    staging.gitops("apply", "--yes", "--wait")
    until_it_runs_alone(control_plane, staging)
    after = live(control_plane, staging)
    assert "Deployment NAME-staging/chat-1-1-0" in after
    assert "Deployment NAME-staging/chat-1-0-0" not in after
    untouched = {key for key in before if "ranker" in key}
    assert untouched
    assert {key: before[key] for key in untouched} == {key: after[key] for key in untouched}

    namespace = f"{name_of(staging)}-staging"
    control_plane.kubectl("-n", namespace, "set", "image", "deployment/ranker-1-0-0", "server=evil.example/ranker:9")
    drift = staging.gitops("diff", "--format", "json", expect=2).json
    (change,) = drift["changes"]
    assert change["reason"] == "taken-over"
    assert "kubectl" in change["fields"][0]["manager"]
    refused = staging.gitops("apply", "--yes", expect=1)
    assert "conflict" in refused.out + refused.err
    assert "--force-conflicts" in refused.out + refused.err
    staging.gitops("apply", "--yes", "--force-conflicts")
    staging.gitops("diff", expect=0)

    control_plane.kubectl("-n", namespace, "delete", "service", "ranker")
    assert [c["action"] for c in staging.gitops("plan", "--format", "json", expect=2).json["changes"]] == ["create"]
    staging.gitops("apply", "--yes")
    staging.gitops("plan", expect=0)


@pytest.mark.controlplane
def test_a_version_that_does_not_become_ready_gets_no_traffic(control_plane: ControlPlane, staging: Project) -> None:
    """Eight GPUs that stable leaves for it, says the spec, and no node has them: others use what pools share."""
    namespace = f"{name_of(staging)}-staging"
    release_next(staging)
    staging.edit("pipeline.yaml", "readyTimeout: 1m", "readyTimeout: 10s")
    for _ in "chat", "ranker":
        staging.edit("pipeline.yaml", "loadTime: 30s", "loadTime: 2s")
    staging.edit("pipeline.yaml", "gpu: {type: H100}", "gpu: {type: H100, count: 8}, parallelism: {tensor: 8}")
    staging.edit("environments/staging.yaml", "max: 2", "max: 9")
    staging.edit("pipeline.yaml", "replicas: {min: 1, max: 3}", "replicas: {min: 4, max: 4}")
    failed = staging.gitops("apply", "--yes", "--wait", expect=1)
    assert "staging/chat: 1.1.0 is rejected: not ready" in failed.err
    assert "nvidia.com/gpu" in failed.out + failed.err
    service = json.loads(control_plane.kubectl("-n", namespace, "get", "service", "chat", "-o", "json"))
    assert service["spec"]["selector"]["gitops/version"] == "1.0.0"
    assert control_plane.kubectl("-n", namespace, "get", "deployment", "chat-1-0-0", "-o", "name").strip()
    run_git(staging.path / "gitops.git", "fsck", "--strict")


@pytest.mark.controlplane
@pytest.mark.slow
def test_every_effect_is_survived(control_plane: ControlPlane, tmp_path: Path) -> None:
    """SIGKILL after every externally visible effect; the next run ends where an undisturbed run ends."""

    def prepared(name: str) -> Project:
        project = new_project(tmp_path / name, control_plane, "staging", {})
        project.gitops("apply", "--yes")
        release_next(project)
        project.edit("pipeline.yaml", "memory: 1Gi", "memory: 2Gi")
        return project

    def end_state(project: Project) -> dict[str, Any]:
        repository = project.path / "gitops.git"
        files = {
            path: re.sub(
                r"\b(since|started|entered|id|inputs|staging): .*",
                r"\1: …",
                run_git(repository, "show", f"main:{path}"),
            ).replace(name_of(project), "NAME")
            for path in run_git(repository, "ls-tree", "-r", "--name-only", "main").split()
        }
        commits = run_git(repository, "rev-list", "--count", "main").strip()
        return {"commits": commits, "files": files, "live": live(control_plane, project)}

    undisturbed, log = prepared("undisturbed"), tmp_path / "effects"
    assert undisturbed.killed_after(0, log, "apply", "--yes").code == 0
    effects, expected = log.read_text().splitlines(), end_state(undisturbed)
    assert {effect.split()[0] for effect in effects} == {"push", "apply", "stamp"}
    for number, effect in enumerate(effects, start=1):
        project = prepared(str(number))
        killed = project.killed_after(number, tmp_path / f"{number}.log", "apply", "--yes")
        assert killed.code == -signal.SIGKILL, f"after {effect}: {killed.err}"
        project.gitops("apply", "--yes")
        reached = end_state(project)
        for part, value in expected.items():
            assert reached[part] == value, f"{part} differs; killed after {effect}"
        control_plane.kubectl("delete", "--wait=false", "namespace", f"{name_of(project)}-staging")


# --- and Terraform -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def aws() -> Iterator[AwsServer]:
    need_provider()
    with AwsServer() as server:
        server.client("s3").create_bucket(
            Bucket="acme-state", CreateBucketConfiguration={"LocationConstraint": server.region}
        )
        yield server


@pytest.mark.controlplane
@pytest.mark.terraform
@pytest.mark.slow
def test_infrastructure_clusters_and_git_together(control_plane: ControlPlane, aws: AwsServer, tmp_path: Path) -> None:
    env = {**aws.environment, **need_provider()}
    project = new_project(tmp_path / "project", control_plane, "staging, production", env)
    teach_moto(project, aws)

    plan = project.gitops("plan", "--format", "json", "--out", str(tmp_path / "plan.json"), expect=2).json
    created = plan["summary"]["infrastructure"]["create"]
    assert created > 40
    assert {change["unit"] for change in plan["changes"] if change["kind"] == "infrastructure"} == {"aws-production"}
    production = [c for c in plan["changes"] if c["kind"] == "object" and c.get("cluster") == "aws-production"]
    assert production
    assert {change["action"] for change in production} == {"create"}

    # Killed when Terraform is done and before any object is there: the next run finishes the job.
    log = tmp_path / "effects"
    number = 2
    killed = project.killed_after(number, log, "apply", str(tmp_path / "plan.json"), "--yes")
    assert killed.code == -signal.SIGKILL, killed.err
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["push", "terraform"]
    done = project.gitops("apply", "--yes")
    assert "Applied" in done.out
    settled = project.gitops("plan", "--format", "json", expect=0).json
    assert settled["changes"] == []
    assert aws.client("s3").head_object(Bucket="acme-state", Key="gitops/aws-production.tfstate")
    assert run_git(project.path / "gitops.git", "rev-list", "--count", "main").strip() == "1"

    project.edit("environments/production.yaml", "max: 2", "max: 3")
    change = project.gitops("plan", "--format", "json", expect=2).json
    assert change["summary"]["infrastructure"] == {"create": 0, "update": 1, "delete": 0}
    assert change["summary"]["object"] == {"create": 0, "update": 0, "delete": 0}
    assert change["summary"]["release"] == {"create": 0, "update": 0, "delete": 0}


def teach_moto(project: Project, aws: AwsServer) -> None:
    """Provider settings that only moto needs, by the project's own template and module file."""
    template = (ROOT / "templates/terraform/aws/main.tf.j2").read_text()
    settings = aws.override_tf().removeprefix('provider "aws" {\n').removesuffix("}\n")
    own = project.path / "templates/terraform/aws/main.tf.j2"
    own.parent.mkdir(parents=True)
    own.write_text(template.replace('provider "aws" {\n', f'provider "aws" {{\n{settings}', 1))
    module = project.path / "terraform/modules/aws-gpu-cluster/moto_override.tf"
    module.parent.mkdir(parents=True)
    module.write_text(WITHOUT_LIFECYCLE)
