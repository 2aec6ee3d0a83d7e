"""config.pbtxt, Dockerfile, bill of materials: made from plain values, and read by those who read them."""

import asyncio
import hashlib
import json
import re
import subprocess
import sys
import threading
import types
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from gitops.errors import GitopsError
from gitops.stages.addresses import public
from gitops.stages.build import package_image, sbom
from gitops.stages.build.package_triton import config_pbtxt
from gitops.stages.build.runner import BuildResult, code_digest
from gitops.stages.build.task import Task
from tests.stages.build.projects import CONVERT, TRITON, Project, parsed

SIGNATURE: dict[str, Any] = {
    "inputs": [
        {"name": "tokens", "dtype": "int64", "shape": ["batch", "length"]},
        {"name": 'odd "name"', "dtype": "float16", "shape": ["batch"]},
    ],
    "outputs": [{"name": "scores", "dtype": "float32", "shape": ["batch", 3]}],
}
BASE = "python:3.12-slim@sha256:" + "2" * 64
FACTS = {"model": "iris", "version": "1.0.0", "commit": "c0ffee1", "commitTime": 1, "source": {"commit": "5eed"}}


def parameters(stage: dict[str, Any]) -> dict[str, Any]:
    return parsed(CONVERT, stage).stages[1].model_dump(mode="json")


def image(**changes: Any) -> dict[str, Any]:
    return parameters(
        {"stage": "package", "as": "image", "server": "vllm", "base": BASE, "image": "registry.acme.ai/iris", **changes}
    )


# --- Triton --------------------------------------------------------------------------------------------------

READ = """\
import json, sys
from google.protobuf import json_format, text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig
texts = json.load(sys.stdin)
print(json.dumps([json_format.MessageToDict(text_format.Parse(text, ModelConfig())) for text in texts]))
"""


def test_triton_reads_the_configuration_as_it_was_meant(build_tools: Path) -> None:
    batched = config_pbtxt("iris", "onnxruntime", SIGNATURE, parameters(TRITON))
    plain = {**TRITON, "maxBatchSize": 0, "versions": {"specific": [1, 3]}, "instances": {"device": "gpu"}}
    del plain["batching"]
    fixed = {"inputs": [{"name": "x", "dtype": "bool", "shape": []}], "outputs": SIGNATURE["outputs"]}
    whole = config_pbtxt("iris", "tensorrt", fixed, parameters(plain))
    done = subprocess.run(
        [build_tools, "-c", READ], input=json.dumps([batched, whole]), capture_output=True, text=True, check=True
    )
    first, second = json.loads(done.stdout)
    assert first == {
        "name": "iris",
        "backend": "onnxruntime",
        "maxBatchSize": 8,
        "input": [
            {"name": "tokens", "dataType": "TYPE_INT64", "dims": ["-1"]},
            {"name": 'odd "name"', "dataType": "TYPE_FP16", "dims": ["1"], "reshape": {}},
        ],
        "output": [{"name": "scores", "dataType": "TYPE_FP32", "dims": ["3"]}],
        "instanceGroup": [{"kind": "KIND_CPU", "count": 2}],
        "dynamicBatching": {"preferredBatchSize": [4, 8], "maxQueueDelayMicroseconds": "500"},
        "versionPolicy": {"latest": {"numVersions": 1}},
    }
    assert "maxBatchSize" not in second  # 0 is protobuf's default
    assert second["input"] == [{"name": "x", "dataType": "TYPE_BOOL", "dims": ["1"], "reshape": {}}]
    assert second["output"][0]["dims"] == ["-1", "3"]
    assert second["versionPolicy"] == {"specific": {"versions": ["1", "3"]}}


def test_a_fixed_first_size_cannot_be_batched() -> None:
    fixed = {**SIGNATURE, "outputs": [{"name": "scores", "dtype": "float32", "shape": [1, 3]}]}
    with pytest.raises(GitopsError, match="the first size of 'scores' is not open"):
        config_pbtxt("iris", "onnxruntime", fixed, parameters(TRITON))
    strange = {**SIGNATURE, "outputs": [{"name": "z", "dtype": "complex64", "shape": ["batch"]}]}
    with pytest.raises(GitopsError, match="no data type for 'z'"):
        config_pbtxt("iris", "onnxruntime", strange, parameters(TRITON))


def test_the_repository_was_read_back_when_it_was_made(built: tuple[Project, BuildResult]) -> None:
    triton = built[1].stages[3]
    assert triton.notes == ()  # else tritonclient would have been missing
    assert "max_batch_size: 8" in (triton.path / "iris" / "config.pbtxt").read_text()


# --- Images --------------------------------------------------------------------------------------------------


def context(tmp_path: Path, requirements: str = "") -> Path:
    """A build context, made without any builder present."""
    (tmp_path / "server").mkdir(exist_ok=True)
    (tmp_path / "server" / "main.py").write_text("print('serving')\n")
    (tmp_path / "server" / "__pycache__").mkdir(exist_ok=True)
    (tmp_path / "server" / "__pycache__" / "main.pyc").write_bytes(b"x")
    (tmp_path / "given").mkdir(exist_ok=True)
    (tmp_path / "given" / "model.onnx").write_bytes(b"weights")
    files = {"code": tmp_path / "server"}
    changes: dict[str, Any] = {"server": "custom", "code": "server", "command": ["python3", "main.py"]}
    if requirements:
        (tmp_path / "requirements.txt").write_text(requirements)
        files["requirements"] = tmp_path / "requirements.txt"
        changes["requirements"] = "requirements.txt"
    output = tmp_path / "output"
    output.mkdir(exist_ok=True)
    said: list[str] = []
    task = Task("image", image(**changes), tmp_path / "given", "onnx", output, tmp_path, files, FACTS, said.append)
    package_image._fill(task)
    return output


PINNED = f"""\
onnxruntime==1.31.1 \\
    --hash=sha256:{"a" * 64} \\
    --hash=sha256:{"b" * 64}
PyYAML==6.0.3 --hash=sha256:{"c" * 64}
"""


def test_a_context_for_a_custom_server(tmp_path: Path) -> None:
    output = context(tmp_path, PINNED)
    lines = (output / "Dockerfile").read_text().splitlines()
    assert lines[0] == f"FROM {BASE}"
    assert 'org.opencontainers.image.revision="c0ffee1"' in lines[1]
    assert "USER 10001:0" in lines
    assert any(line.startswith("RUN ") and "--require-hashes" in line for line in lines)
    assert any(line.startswith("HEALTHCHECK ") for line in lines)
    assert lines[-1] == 'ENTRYPOINT ["python3", "main.py"]'
    assert lines.index("USER 10001:0") > max(at for at, line in enumerate(lines) if line.startswith("RUN "))
    assert json.loads((output / "version.json").read_text())["version"] == "1.0.0"
    assert not (output / "server" / "__pycache__").exists()


def test_nothing_hidden_and_no_address_goes_into_an_image(tmp_path: Path) -> None:
    """Found by use: .env.production was in the image, and /version said the password in `source.run`."""
    server = tmp_path / "server"
    for name in (".env.production", ".netrc", ".git/config", "lib/.npmrc", "lib/helper.py"):
        (server / name).parent.mkdir(parents=True, exist_ok=True)
        (server / name).write_text("x")
    output = context(tmp_path)
    there = {path.relative_to(output).as_posix() for path in (output / "server").rglob("*") if path.is_file()}
    assert there == {"server/main.py", "server/lib/helper.py"}
    about = json.loads((output / "version.json").read_text())
    assert about == {"model": "iris", "version": "1.0.0", "commit": "c0ffee1", "source": {"commit": "5eed"}}


def test_links_and_keys_are_refused_as_code(tmp_path: Path) -> None:
    outside, server = tmp_path / "id_rsa", tmp_path / "server"
    outside.write_text("secret")
    server.mkdir()
    (server / "settings.py").symlink_to(outside)
    with pytest.raises(GitopsError, match="this is a link"):
        context(tmp_path)
    (server / "settings.py").unlink()
    (server / "lib").symlink_to(tmp_path)
    with pytest.raises(GitopsError, match="this is a link"):
        code_digest(server, network=False)
    (server / "lib").unlink()
    (server / "deploy.pem").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    with pytest.raises(GitopsError, match="this holds a private key"):
        code_digest(server, network=False)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://ada:hunter2@experiments.acme.example/runs/81?token=x#y", "https://experiments.acme.example/runs/81"),
        (
            "see https://glpat-x@git.acme.ai/a and s3://KEY:SECRET@bucket/b",
            "see https://git.acme.ai/a and s3://bucket/b",
        ),
        ("hf://acme/base@v1", "hf://acme/base@v1"),
        ("oci://registry.acme.ai/a@sha256:1", "oci://registry.acme.ai/a@sha256:1"),
        ("az://models@acme.blob.core.windows.net/a", "az://models@acme.blob.core.windows.net/a"),
        ("clouds-2026-10", "clouds-2026-10"),
    ],
)
def test_addresses_are_shown_without_credentials(text: str, shown: str) -> None:
    assert public(text) == shown


def test_what_the_dockerfile_copies_is_not_ignored(tmp_path: Path) -> None:
    output = context(tmp_path, PINNED)
    kept = {line[1:] for line in (output / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copies = [line.split() for line in (output / "Dockerfile").read_text().splitlines() if line.startswith("COPY ")]
    sources = {word for line in copies for word in line[1:-1] if not word.startswith("--")}
    assert sources <= kept
    assert all((output / source).exists() for source in sources)


def test_vllm_is_started_with_our_answer_to_version() -> None:
    command = package_image.entrypoint("iris", image(args={"max-model-len": 4096, "enforce-eager": True, "x": False}))
    assert command[:3] == ["vllm", "serve", "/model"]
    assert "--middleware gitops_version.Version" in " ".join(command)
    assert command[-4:] == ["--max-model-len", "4096", "--enforce-eager", "--no-x"]


def test_the_same_content_gives_the_same_context(tmp_path: Path) -> None:
    from gitops.stages.digest import digest_path

    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    assert digest_path(context(tmp_path / "one", PINNED)) == digest_path(context(tmp_path / "other", PINNED))


def test_the_bill_of_materials(tmp_path: Path) -> None:
    bill = json.loads((context(tmp_path, PINNED) / "sbom.cdx.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bill["serialNumber"])
    by_ref = {component["bom-ref"]: component for component in bill["components"]}
    assert len(by_ref) == len(bill["components"])
    assert by_ref["pkg:pypi/pyyaml@6.0.3"]["hashes"] == [{"alg": "SHA-256", "content": "c" * 64}]
    assert "hashes" not in by_ref["pkg:pypi/onnxruntime@1.31.1"]  # which of the two was installed is not known
    (weights,) = by_ref["file:model/model.onnx"]["hashes"]
    assert weights == {"alg": "SHA-256", "content": hashlib.sha256(b"weights").hexdigest()}
    assert bill["metadata"]["properties"] == [{"name": "gitops:commit", "value": "5eed"}]


def test_requirements_are_pinned() -> None:
    text = "# comment\n--index-url x\nA_b.c[extra]==1.0 ; python_version > '3'  # why\n\n"
    assert sbom.requirements(text) == [("a-b-c", "1.0", ())]
    with pytest.raises(GitopsError, match="has a user or a password"):
        sbom.requirements("--index-url https://ada:hunter2@pypi.acme.ai/simple\nflask==3.0")
    with pytest.raises(GitopsError, match="'flask>=3' is not pinned"):
        sbom.requirements("flask>=3\n")


def test_builders() -> None:
    there, metadata = Path("/context"), Path("/metadata.json")
    first = package_image.builder(there, "a/b:c0ffee", metadata, True, ["docker", "buildctl"])
    assert first[:2] == ["buildctl", "build"]
    assert "--output=type=image,name=a/b:c0ffee,push=true,rewrite-timestamp=true" in first
    second = package_image.builder(there, "a/b:c0ffee", metadata, False, ["docker"])
    assert second[:3] == ["docker", "buildx", "build"]
    assert "--load" in second
    assert package_image.builder(there, "a/b:c0ffee", metadata, False, []) == []
    assert package_image.image_digest({"containerimage.digest": "sha256:1"}) == "sha256:1"
    assert package_image.image_digest({}) == ""


def answers() -> types.ModuleType:
    module = types.ModuleType("gitops_version")
    source = package_image._ANSWER.replace('Path(__file__).with_name("version.json").read_text()', "VERSION")
    module.__dict__["VERSION"] = '{"version": "1.0.0", "model": "iris"}'
    exec(compile(source, "gitops_version.py", "exec"), module.__dict__)
    return module


def ask(app: Any, path: str) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app({"type": "http", "method": "GET", "path": path}, None, send))
    return sent


def test_version_is_answered_in_front_of_any_application() -> None:
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "inner", "path": scope["path"]})

    app = answers().Version(inner)
    assert ask(app, "/health") == [{"type": "inner", "path": "/health"}]
    start, body = ask(app, "/version")
    assert start["status"] == 200
    assert json.loads(body["body"])["version"] == "1.0.0"
    assert dict(start["headers"])[b"content-length"] == str(len(body["body"])).encode()


@pytest.mark.parametrize(
    ("health", "version", "words"),
    [(200, "1.0.0", ""), (503, "1.0.0", "not healthy"), (200, "0.9.0", "/version says 0.9.0, this image holds 1.0.0")],
)
def test_the_health_check_asks_the_server(tmp_path: Path, health: int, version: str, words: str) -> None:
    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(health if self.path == "/health" else 200)
            self.end_headers()
            self.wfile.write(json.dumps({"version": version}).encode())

        def log_message(self, *_: Any) -> None:
            pass

    (tmp_path / "healthcheck.py").write_text(package_image._HEALTHCHECK)
    (tmp_path / "version.json").write_text('{"version": "1.0.0"}')
    with HTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        command = [sys.executable, str(tmp_path / "healthcheck.py"), address, "/health"]
        done = subprocess.run(command, capture_output=True, text=True)
        server.shutdown()
        thread.join()
    assert (done.returncode == 0) == (words == "")
    assert words in done.stderr
