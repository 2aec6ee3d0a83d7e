"""How an artifact gets into a pod: who fetches it and from where, and what checks it before the server starts."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from gitops.errors import GitopsError
from gitops.render.artifact import FETCH_ENV_PREFIXES, fetch, fetch_env
from gitops.render.renderer import Renderer
from gitops.spec.images import DEFAULTS, RECORDED
from gitops.values import UnitKey
from tests.render.specs import DIGEST, project_templates, small

TEMPLATES = project_templates()
KSERVE, ORAS = RECORDED["fetchModel"], RECORDED["fetchOci"]
ACCOUNT = {"AZURE_STORAGE_ACCOUNT_NAME": "acmestore"}
AT_A_DIGEST = f"registry.example.com:5000/acme/chat@{DIGEST}"

FETCHED = {
    "gs://models/chat/1.2.0": "gs://models/chat/1.2.0",
    "hf://acme/chat@a1b2c3d": "hf://acme/chat:a1b2c3d",
    "hf://acme/chat": "hf://acme/chat",
    "file://models/chat": "file://models/chat",
    # A directory of S3 ends in a slash, a single object does not.
    "s3://models/chat/1.2.0": "s3://models/chat/1.2.0/",
    "s3://models/chat/1.2.0/": "s3://models/chat/1.2.0/",
    "s3://models/chat/llama-3.1-8b": "s3://models/chat/llama-3.1-8b/",
    "s3://models/.hidden": "s3://models/.hidden/",
    "s3://models/encoder.onnx": "s3://models/encoder.onnx",
    "s3://models/1/model.tflite": "s3://models/1/model.tflite",
    "az://models/chat/1.2.0": "https://acmestore.blob.core.windows.net/models/chat/1.2.0",
    "az://models@other.blob.core.windows.net/m.onnx": "https://other.blob.core.windows.net/models/m.onnx",
}


def pod_of(artifact: dict[str, str], **serve: Any) -> dict[str, Any]:
    spec = small(model={"artifact": artifact, "serve": serve})
    files = Renderer(spec, TEMPLATES).unit(UnitKey("dev", "chat"))
    return yaml.safe_load(files["clusters/one/dev/chat/1.2.0/deployment.yaml"])["spec"]["template"]["spec"]


@pytest.mark.parametrize("uri", FETCHED)
def test_the_storage_initializer_reads_other_uris(uri: str) -> None:
    assert fetch(uri, ACCOUNT) == (KSERVE, (FETCHED[uri], "/models"))


@pytest.mark.parametrize("reference", ["registry.example.com/acme/chat:1.2.0", AT_A_DIGEST])
def test_oras_pulls_what_lies_in_a_registry(reference: str) -> None:
    assert fetch(f"oci://{reference}", {}) == (ORAS, ("pull", "-o", "/models", reference))


def test_images_are_pinned() -> None:
    assert all(re.search(r":v?\d+(\.\d+)+", image) for image in DEFAULTS.values())


@pytest.mark.parametrize("env", [{}, {"AZURE_STORAGE_ACCOUNT_NAME": ""}, {"AZURE_STORAGE_ACCOUNT_NAME": "a/b?c"}])
def test_a_container_without_an_account_is_not_rendered(env: dict[str, str]) -> None:
    with pytest.raises(GitopsError, match="nothing names the storage account") as caught:
        fetch("az://models/chat", dict(env))
    assert caught.value.hint == "set serve.env.AZURE_STORAGE_ACCOUNT_NAME"


def test_the_download_gets_the_credentials_and_nothing_else() -> None:
    ours = {f"{prefix}X": "1" for prefix in FETCH_ENV_PREFIXES}
    assert fetch_env({**ours, "HF_HUB_OFFLINE": "1", "VLLM_X": "1", "XAWS_X": "1"}) == ours
    assert {"AZURE_CLIENT_ID", "AZ_CLIENT_SECRET", "AZURE_STORAGE_ACCESS_KEY"} <= fetch_env(
        {"AZURE_CLIENT_ID": "1", "AZ_CLIENT_SECRET": "2", "AZURE_STORAGE_ACCESS_KEY": "3"}
    ).keys()


@pytest.mark.parametrize("uri", ["s3://models/chat", "hf://acme/chat@a1", "oci://registry.example.com/chat:1"])
def test_what_is_fetched_is_checked_before_the_server_starts(uri: str) -> None:
    pod = pod_of({"uri": uri}, resources={"cpu": "2", "memory": "3Gi"})
    fetching, verifying = pod["initContainers"]
    assert (fetching["name"], verifying["name"]) == ("fetch-model", "verify-model")
    assert verifying["image"] == fetching["image"]
    shell, option, script, name = verifying["command"]
    assert (shell, option, name) == ("/bin/sh", "-c", "verify-model")
    assert script == TEMPLATES.sources["kubernetes/version/verify-model.sh.j2"].partition("#}\n")[2]
    assert verifying["args"] == ["/models", DIGEST, uri, "chat"]
    assert verifying["resources"] == fetching["resources"]
    assert verifying["securityContext"] == fetching["securityContext"]
    assert {"name": "models", "mountPath": "/models", "readOnly": True} in verifying["volumeMounts"]
    assert {one["terminationMessagePolicy"] for one in pod["initContainers"]} == {"FallbackToLogsOnError"}
    assert "env" not in verifying


def test_what_is_not_fetched_is_not_checked() -> None:
    assert [one["name"] for one in pod_of({"uri": "file://models/chat"})["initContainers"]] == ["fetch-model"]


@pytest.mark.parametrize("form", ["triton", "pytorch", "savedmodel", "onnx", "tensorrt"])
def test_triton_gets_a_repository_with_directories_of_models(form: str) -> None:
    """Of a whole repository the artifact is the directory itself; of a single model it is a version of one."""
    (server,) = pod_of({"uri": "s3://models/chat/1", "format": form}, runtime="triton", gpu={"type": "L4"})[
        "containers"
    ]
    mounts = {mount["mountPath"]: mount.get("subPath", "") for mount in server["volumeMounts"]}
    (repository,) = [one.partition("=")[2] for one in server["args"] if one.startswith("--model-repository=")]
    whole = {repository: ""}
    single = {f"{repository}/chat/1": "", f"{repository}/chat/config.pbtxt": "config.pbtxt"}
    assert mounts == {**(single if form in ("onnx", "tensorrt") else whole), "/tmp": ""}
