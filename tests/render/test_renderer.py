"""What the renderer promises beyond the golden trees."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops.errors import GitopsError
from gitops.render.renderer import Renderer
from gitops.render.templates import templates_of
from gitops.values import UnitKey
from tests.render.specs import ROOT, build_spec, project_templates, small

UNIT = UnitKey("dev", "chat")
TEMPLATES = project_templates()
CUSTOM = {"runtime": "custom", "image": "ghcr.io/acme/odd:1"}
# A Kubernetes container cannot hold NUL, and no YAML file can deliver a lone surrogate.
ANY_TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))


def unit_of(**parts: Any) -> dict[str, bytes]:
    return Renderer(small(**parts), TEMPLATES).unit(UNIT)


def manifest(files: dict[str, bytes], name: str) -> dict[str, Any]:
    (content,) = (content for path, content in files.items() if path.endswith(f"/{name}"))
    return yaml.safe_load(content)


@settings(max_examples=50)
@given(st.dictionaries(st.from_regex(r"[A-Z][A-Z_]{0,9}", fullmatch=True), ANY_TEXT), st.lists(ANY_TEXT))
def test_any_text_in_env_and_args_survives(env: dict[str, str], args: list[str]) -> None:
    deployment = manifest(unit_of(model={"serve": {**CUSTOM, "env": env, "args": args}}), "deployment.yaml")
    (server,) = deployment["spec"]["template"]["spec"]["containers"]
    assert {entry["name"]: entry.get("value", "") for entry in server.get("env", [])} == env
    assert server.get("args", []) == args


CHANGES: dict[str, dict[str, Any]] = {
    "version": {"model": {"version": "1.2.1"}},
    "artifact": {"model": {"artifact": {"uri": "s3://models/chat/other"}}},
    "digest": {"model": {"artifact": {"digest": "sha256:" + "cd" * 32}}},
    "image": {"model": {"serve": {"image": "ghcr.io/acme/vllm:1"}}},
    "gpu count": {"model": {"serve": {"gpu": {"count": 2}}}},
    "argument": {"model": {"serve": {"args": {"max-model-len": 1}}}},
    "environment variable": {"model": {"serve": {"env": {"A": "1"}}}},
    "load time": {"model": {"serve": {"loadTime": "301s"}}},
    "replicas": {"model": {"serve": {"replicas": {"min": 2, "max": 4}}}},
    "autoscaler": {
        "model": {"serve": {"replicas": {"max": 4}}},
        "environment": {"autoscaler": {"kind": "keda"}},
    },
    "scaling": {"model": {"serve": {"replicas": {"autoscaling": {"metric": "queue-length", "target": 2}}}}},
    "memory": {"model": {"serve": {"resources": {"memory": "17Gi"}}}},
    "peers": {"model": {"serve": {"network": {"ingress": [{"namespace": "batch"}]}}}},
    "route": {"model": {"route": {"path": "/chat"}}},
    "owner": {"model": {"owner": "Team"}},
    "namespace": {"environment": {"namespace": "models"}},
    "gateway": {"environment": {"gateway": {"name": "private"}}},
    "no gateway": {"environment": {"gateway": None}},
    "gateway's API": {"environment": {"gateway": {"api": "istio"}}},
    "scrape interval": {"environment": {"monitoring": {"interval": "30s"}}},
    "monitoring": {"environment": {"monitoring": {"podMonitors": False}}},
    "selector": {"environment": {"clusters": {"one": {"nodePools": {"l4": {"selector": {"pool": "x"}}}}}}},
    "labels of monitors": {"environment": {"monitoring": {"labels": {"release": "prometheus"}}}},
    "proxies": {"environment": {"gateway": {"proxies": [{"namespace": "proxies"}]}}},
    "protocol": {
        "model": {"serve": {"network": {"egress": [{"cidr": "10.0.0.0/8", "ports": [1], "protocol": "UDP"}]}}}
    },
    "environment's pods": {"environment": {"pods": {"imagePullSecrets": ["registry"]}}},
    "model's pods": {"model": {"serve": {"pods": {"runtimeClass": "nvidia"}}}},
    "cluster's pods": {"environment": {"clusters": {"one": {"pods": {"nodeSelector": {"disk": "nvme"}}}}}},
    "pool's taints": {"environment": {"clusters": {"one": {"nodePools": {"l4": {"tolerations": [{"key": "x"}]}}}}}},
    "dns": {"environment": {"clusters": {"one": {"dns": [{"cidr": "169.254.20.10/32"}]}}}},
    "cluster": {"environment": {"clusters": {"two": {"provider": "existing", "context": "two"}}}},
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_files_changes_the_digest(change: str) -> None:
    before, after = Renderer(small(), TEMPLATES), Renderer(small(**CHANGES[change]), TEMPLATES)
    assert before.unit(UNIT) != after.unit(UNIT)
    assert before.inputs(UNIT) != after.inputs(UNIT)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"model": {"rollout": "other"}},
        {"environment": {"clusters": {"one": {"context": "renamed"}}}},
        {"environment": {"clusters": {"one": {"nodePools": {"l4": {"max": 9, "hourlyPrice": 2.5}}}}}},
    ],
)
def test_what_changes_no_file_keeps_the_digest(parts: dict[str, Any]) -> None:
    before, after = Renderer(small(), TEMPLATES), Renderer(small(**parts), TEMPLATES)
    assert before.inputs(UNIT) == after.inputs(UNIT)
    assert before.unit(UNIT) == after.unit(UNIT)


def test_a_changed_template_changes_the_digest() -> None:
    sources = dict(TEMPLATES.sources)
    sources["kubernetes/model/service.yaml.j2"] += "# more\n"
    assert Renderer(small(), templates_of(sources)).inputs(UNIT) != Renderer(small(), TEMPLATES).inputs(UNIT)


def test_rendering_twice_gives_the_same_bytes() -> None:
    renderer = Renderer(small(), TEMPLATES)
    assert renderer.unit(UNIT) == renderer.unit(UNIT)


def test_inputs_do_not_load_jinja2() -> None:
    code = (
        "import sys; from tests.render.specs import *; from gitops.render.renderer import Renderer\n"
        "Renderer(small(), project_templates()).inputs(UnitKey('dev', 'chat'))\n"
        "sys.exit('jinja2' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env={"PYTHONPATH": "src:."})


def test_scaling_on_a_metric_needs_prometheus() -> None:
    scaled = {"serve": {"replicas": {"max": 3, "autoscaling": {"metric": "queue-length"}}}}
    with pytest.raises(GitopsError, match="needs a Prometheus"):
        unit_of(model=scaled, environment={"monitoring": None})
    with pytest.raises(GitopsError, match="custom has no metric for queue-length"):
        unit_of(model={"serve": {**CUSTOM, **scaled["serve"]}})


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"cpu": "2000m", "memory": "2048Mi"}, {"cpu": "2", "memory": "2Gi"}),
        ({"cpu": "1500m", "memory": "1536Mi"}, {"cpu": "1500m", "memory": "1536Mi"}),
        ({"cpu": 8, "memory": "1024Gi"}, {"cpu": "8", "memory": "1Ti"}),
    ],
)
def test_quantities_are_in_the_form_that_the_api_server_keeps(
    resources: dict[str, Any], expected: dict[str, str]
) -> None:
    deployment = manifest(unit_of(model={"serve": {"resources": resources}}), "deployment.yaml")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"] == expected


@pytest.mark.parametrize("load_time", ["0s", "7s", "90s", "5m", "1h7s"])
def test_the_startup_probe_allows_the_load_time(load_time: str) -> None:
    deployment = manifest(unit_of(model={"serve": {"loadTime": load_time}}), "deployment.yaml")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    probe = container["startupProbe"]
    seconds = int(deployment["spec"]["template"]["metadata"]["annotations"]["gitops/load-time-seconds"])
    allowed = probe["periodSeconds"] * probe["failureThreshold"]
    assert seconds <= allowed <= seconds + 10


def test_a_shared_namespace_is_rendered_once_on_a_cluster() -> None:
    environment = {
        "apiVersion": "gitops/v1",
        "namespace": "models",
        "clusters": {"one": {"provider": "embedded"}},
    }
    model = {
        "version": "1",
        "artifact": {"uri": "s3://a/b", "digest": "sha256:" + "0" * 64, "format": "onnx"},
        "serve": CUSTOM,
        "rollout": "plain",
    }
    pipeline = {
        "apiVersion": "gitops/v1",
        "name": "acme",
        "promotion": ["dev", "staging"],
        "models": {"odd": model},
        "rollouts": {"plain": {"strategy": "rolling"}},
    }
    renderer = Renderer(build_spec(pipeline, {"dev": environment, "staging": environment}), TEMPLATES)
    assert sorted(renderer.base("dev")) == [
        "clusters/one/dev/namespace.yaml",
        "clusters/one/dev/networkpolicy.yaml",
    ]
    assert renderer.base("staging") == {}


@pytest.mark.parametrize(("uri", "reaches_out"), [("s3://models/chat", True), ("file://models/chat", False)])
def test_only_models_that_fetch_over_the_network_may_reach_out(uri: str, reaches_out: bool) -> None:
    policy = manifest(unit_of(model={"artifact": {"uri": uri}}), "chat/networkpolicy.yaml")
    ports = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
    assert (443 in ports) is reaches_out


def test_clusters_that_terraform_does_not_keep_have_no_root() -> None:
    assert Renderer(small(), TEMPLATES).root("one") == {}
