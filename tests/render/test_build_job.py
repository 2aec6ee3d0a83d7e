"""Builds as Kubernetes Jobs: rendered, within the restricted standard, and taken by a real API server."""

import json
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
import yaml

from gitops.errors import GitopsError
from gitops.render.build_job import build_job, job_name
from gitops.render.pod_security import violations
from gitops.spec.build import Build
from tests.render.specs import DIGEST, build_spec, project_templates
from tests.support.controlplane import ControlPlane, Failed

ENGINE = {"stage": "optimize", "gpu": "L4", "tensorrt": "10.7", "dimensions": {"batch": {"best": 8, "max": 32}}}
TRITON = {"stage": "package", "as": "triton", "maxBatchSize": 32}
JOB = {"image": "registry.acme.ai/builder@sha256:" + "1" * 64, "cluster": "main"}
SPEC = build_spec(
    {
        "apiVersion": "gitops/v1",
        "name": "acme",
        "promotion": ["dev"],
        "rollouts": {"quick": {"strategy": "rolling"}},
        "models": {
            "iris": {
                "version": "1.2.0",
                "artifact": {"uri": "s3://acme/iris", "digest": DIGEST, "format": "onnx"},
                "serve": {"runtime": "custom", "image": "registry.acme.ai/iris:1"},
                "rollout": "quick",
            }
        },
    },
    {
        "dev": {
            "apiVersion": "gitops/v1",
            "clusters": {
                "main": {
                    "provider": "existing",
                    "context": "main",
                    "pods": {
                        "imagePullSecrets": ["registry"],
                        "tolerations": [{"key": "spot", "effect": "NoSchedule"}],
                    },
                    "nodePools": {
                        "h100": {"gpu": {"type": "H100", "count": 8}, "max": 1, "runtimeClass": "nvidia"},
                        "l4": {"gpu": {"type": "L4"}, "max": 2},
                        "l4-spot": {"gpu": {"type": "L4"}, "max": 2, "selector": {"acme/spot": "true"}},
                    },
                }
            },
        }
    },
)


def a_build(*stages: dict[str, Any], **job: Any) -> Build:
    source = {"uri": "s3://acme/iris/model.onnx", "digest": DIGEST, "format": "onnx"}
    output = {"uri": "s3://acme/iris/1.2.0"}
    return Build.model_validate({"source": source, "stages": stages, "output": output, "job": {**JOB, **job}})


def manifests(build: Build, **changes: Any) -> dict[str, dict[str, Any]]:
    """By kind."""
    made = build_job(SPEC, project_templates(), "iris", "1.2.0", build, **changes)
    return {manifest["kind"]: manifest for manifest in yaml.safe_load_all(made)}


def rendered(build: Build, **changes: Any) -> dict[str, Any]:
    return manifests(build, **changes)["Job"]


def test_its_pod_is_kept_apart() -> None:
    """It runs what a checkpoint holds, with the credentials of a store."""
    made = manifests(a_build(TRITON))
    assert made["Namespace"]["metadata"]["name"] == "builds"
    assert made["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    policy, pod = made["NetworkPolicy"], made["Job"]["spec"]["template"]
    assert policy["metadata"]["namespace"] == made["Job"]["metadata"]["namespace"] == "builds"
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy["spec"]
    names, stores = policy["spec"]["egress"]
    assert {port["port"] for port in names["ports"]} == {53}
    (there,) = stores["to"]
    closed = [ip_network(network) for network in there["ipBlock"]["except"]]
    for address in ("169.254.169.254", "169.254.170.23", "10.0.0.1", "172.20.0.1", "192.168.1.1", "100.64.0.1"):
        assert any(ip_address(address) in network for network in closed), address
    assert stores["ports"] == [{"port": 443, "protocol": "TCP"}]


def test_a_namespace_of_an_environment_is_left_alone() -> None:
    assert "Namespace" not in manifests(a_build(TRITON, namespace="acme-dev"))


def test_a_gpu_build_runs_where_the_gpu_is() -> None:
    job = rendered(a_build(ENGINE, TRITON, queue="gpu-queue", retries=1, keep="1h", timeout="2h"))
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu-queue"
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"], spec["ttlSecondsAfterFinished"]) == (1, 7200, 3600)
    assert pod["nodeSelector"] == {"gitops/pool": "l4"}
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["tolerations"] == [
        {"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in ("nvidia.com/gpu", "spot")
    ]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["command"] == ["gitops"]
    assert container["args"] == ["build", "iris", "--project=/project", "--cache=/work", "--publish"]
    assert list(violations(pod)) == []


def test_a_build_without_a_gpu_asks_for_none() -> None:
    job = rendered(a_build(TRITON))
    pod = job["spec"]["template"]["spec"]
    assert "nodeSelector" not in pod
    assert [one["key"] for one in pod["tolerations"]] == ["spot"]
    assert "runtimeClassName" not in pod
    assert "nvidia.com/gpu" not in pod["containers"][0]["resources"]["limits"]
    assert "kueue.x-k8s.io/queue-name" not in job["metadata"]["labels"]
    assert {"name": "work", "emptyDir": {"sizeLimit": "50Gi"}} in pod["volumes"]


def test_it_is_not_taken_for_something_that_git_keeps() -> None:
    labels = rendered(a_build(TRITON))["metadata"]["labels"]
    assert not {"gitops/pipeline", "gitops/cluster", "gitops/environment"} & labels.keys()


def test_a_cache_secrets_and_the_commit() -> None:
    env = {"AWS_SECRET_ACCESS_KEY": {"secret": "s3", "key": "secret"}, "AWS_REGION": "eu-west-1"}
    job = rendered(a_build(TRITON, cache="build-cache", env=env), commit="c0ffee", commit_time=7)
    pod = job["spec"]["template"]["spec"]
    assert {"name": "work", "persistentVolumeClaim": {"claimName": "build-cache"}} in pod["volumes"]
    variables = {entry["name"]: entry for entry in pod["containers"][0]["env"]}
    assert variables["GITOPS_COMMIT"]["value"] == "c0ffee"
    assert variables["SOURCE_DATE_EPOCH"]["value"] == "7"
    assert variables["AWS_SECRET_ACCESS_KEY"]["valueFrom"] == {"secretKeyRef": {"name": "s3", "key": "secret"}}


def test_pools_are_named_or_found() -> None:
    named = rendered(a_build(ENGINE, pool="l4-spot"))["spec"]["template"]["spec"]
    assert named["nodeSelector"] == {"acme/spot": "true"}
    for change, words in (
        ({"pool": "h100"}, "no node pool of main has 1 x L4"),
        ({"cluster": "other"}, "there is no cluster other"),
        ({"cluster": None, "pool": "l4"}, "a pool belongs to a cluster"),
    ):
        with pytest.raises(GitopsError, match=words):
            rendered(a_build(ENGINE, **change))


def test_without_job_there_is_none() -> None:
    build = a_build(TRITON).model_copy(update={"job": None})
    with pytest.raises(GitopsError, match="does not say how it runs as a Job"):
        rendered(build)


def test_another_build_has_another_name() -> None:
    one, other = a_build(TRITON), a_build(TRITON, memory="32Gi")
    assert job_name("iris", "1.2.0", one).startswith("build-iris-1-2-0-")
    assert job_name("iris", "1.2.0", one) != job_name("iris", "1.2.0", other)
    longest = job_name("m" * 40, "1." + "2" * 18, one)
    assert len(longest) <= 63


@pytest.mark.controlplane
def test_an_api_server_takes_it_whole(control_plane: ControlPlane, namespace: str) -> None:
    build = a_build(ENGINE, TRITON, queue="gpu-queue", namespace=namespace, cache="c", env={"A": "1"})
    manifest = rendered(build)
    asked = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-", "-o", "json")
    taken = json.loads(control_plane.kubectl(*asked, stdin=json.dumps(manifest)))
    pod, ours = taken["spec"]["template"]["spec"], manifest["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"] == {"memory": "16Gi", "nvidia.com/gpu": "1"}
    assert pod["nodeSelector"] == ours["nodeSelector"]
    assert taken["spec"]["podFailurePolicy"]["rules"][0]["action"] == "FailJob"
    manifest["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] = [0]
    with pytest.raises(Failed, match="must not be 0"):
        control_plane.kubectl(*asked, stdin=json.dumps(manifest))
