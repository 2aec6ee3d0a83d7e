"""MLflow's registry by its REST API: a server on loopback that answers as MLflow documents it, and its faults."""

import base64
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

pytest.importorskip("httpx", reason="MLflow's registry is an extra: pip install httpx")

from gitops.errors import GitopsError
from gitops.stages import registry
from gitops.stages.registry import resolve

PREFIX = "/api/2.0/mlflow/"


@dataclass
class MLflow:
    """The four calls, on versions that a test puts in."""

    versions: list[dict[str, Any]] = field(default_factory=list)
    uris: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    authorization: str = ""
    faults: list[tuple[int, bytes]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def add(self, version: str, uri: str, status: str = "READY") -> None:
        tags = [{"key": "framework", "value": "torch"}]
        message = "" if status == "READY" else "copying"
        one = {"name": "chat", "version": version, "status": status, "status_message": message, "run_id": "r1"}
        self.versions.insert(0, {**one, "creation_timestamp": 1, "source": "runs:/r1/model", "tags": tags})
        self.uris[version] = uri

    def answer(self, path: str, asked: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if path == "model-versions/search":
            assert asked["order_by"] == "version_number DESC"
            return 200, {"model_versions": self.versions} if asked["filter"] == "name='chat'" else {}
        version = asked.get("version") or self.aliases.get(asked.get("alias", ""), "")
        found = next((v for v in self.versions if (v["name"], v["version"]) == (asked["name"], version)), None)
        if found is None:
            what = f"Model Version (name={asked['name']}, version={version}) not found"
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": what}
        if path == "model-versions/get-download-uri":
            return 200, {"artifact_uri": self.uris[version]}
        assert path in ("model-versions/get", "registered-models/alias")
        return 200, {"model_version": found}


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[MLflow]:
    state = MLflow()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            assert url.path.startswith(PREFIX)
            state.asked.append(url.path.removeprefix(PREFIX))
            if state.faults:
                status, body = state.faults.pop(0)
            elif self.headers.get("Authorization", "") != state.authorization:
                status, body = 401, b"You are not authenticated."
            else:
                status, document = state.answer(url.path.removeprefix(PREFIX), dict(parse_qsl(url.query)))
                body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    for name in ("REGISTRY_URI", "TRACKING_TOKEN", "TRACKING_USERNAME", "TRACKING_PASSWORD"):
        monkeypatch.delenv(f"MLFLOW_{name}", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(registry, "PAUSE", 0.001)
    state.add("3", "s3://acme/3")
    state.add("4", "s3://acme/4/")
    state.add("5", "s3://acme/5", "PENDING_REGISTRATION")
    state.aliases = {"champion": "3"}
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("reference", "version", "uri"),
    [("chat/3", "3", "s3://acme/3"), ("chat@champion", "3", "s3://acme/3"), ("chat", "4", "s3://acme/4")],
)
def test_the_version_that_is_named(mlflow: MLflow, reference: str, version: str, uri: str) -> None:
    found = resolve(reference)
    assert (found.name, found.version, found.uri, found.run) == ("chat", version, uri, "r1")
    assert dict(found.tags) == {"framework": "torch"}


@pytest.mark.parametrize("reference", ["", "chat/x", "chat@", "a/b/c", "chat:3", "/3"])
def test_references_that_name_nothing(mlflow: MLflow, reference: str) -> None:
    with pytest.raises(GitopsError, match="names no registered model"):
        resolve(reference)
    assert not mlflow.asked


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("chat/9", r"does not have it: Model Version \(name=chat, version=9\) not found"),
        ("chat@nobody", "does not have it"),
        ("other", "no such registered model"),
        ("chat/5", "version 5 is not ready: copying"),
    ],
)
def test_what_is_not_there(mlflow: MLflow, reference: str, said: str) -> None:
    with pytest.raises(GitopsError, match=said) as caught:
        resolve(reference)
    assert caught.value.where == reference


@pytest.mark.parametrize("uri", ["mlflow-artifacts:/1/r1/artifacts", "dbfs:/x", "/srv/mlruns/1", "", "runs:/r1/model"])
def test_files_that_clusters_cannot_fetch(mlflow: MLflow, uri: str) -> None:
    mlflow.add("6", uri)
    with pytest.raises(GitopsError, match=r"cannot fetch|does not say where") as caught:
        resolve("chat/6")
    assert "--uri" in caught.value.hint


def test_tokens_and_passwords(mlflow: MLflow, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow.authorization = "Bearer t0ken"
    with pytest.raises(GitopsError, match="refuses") as caught:
        resolve("chat/3")
    assert "MLFLOW_TRACKING_TOKEN" in caught.value.hint
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    assert resolve("chat/3").version == "3"
    mlflow.authorization = "Basic " + base64.b64encode(b"ada:secret").decode()
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0k\udceb")
    with pytest.raises(GitopsError, match="holds no token"):
        resolve("chat/3")
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    assert resolve("chat/3").version == "3"


def test_faults_that_pass_and_faults_that_stay(mlflow: MLflow) -> None:
    mlflow.faults = [(503, b""), (429, b"slow down")]
    assert resolve("chat/3").version == "3"
    mlflow.faults = [(500, b"")] * 10
    with pytest.raises(GitopsError, match="does not answer: HTTP 500"):
        resolve("chat/3")


@pytest.mark.parametrize("body", [b"<html>login</html>", b"[]", b"{}", b'{"model_version": 3}', b"[" * 100_000])
def test_answers_that_are_not_mlflows(mlflow: MLflow, body: bytes) -> None:
    mlflow.faults = [(200, body)]
    with pytest.raises(GitopsError, match=r"not what MLflow|does not say which"):
        resolve("chat/3")


def test_answers_are_bounded(mlflow: MLflow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "MAX_ANSWER", 2**20)
    mlflow.faults = [(200, b" " * 2**21)]
    with pytest.raises(GitopsError, match="the answer is packed, or larger than 1 MiB"):
        resolve("chat/3")


def test_a_token_in_the_address_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "PAUSE", 0.001)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    for server in ("http://t0ken@127.0.0.1:1", "ftp://ada:t0ken@mlflow.acme.ai"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
        with pytest.raises(GitopsError) as caught:
            resolve("chat/3")
        assert "t0ken" not in f"{caught.value} {caught.value.where} {caught.value.hint}"


def test_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    monkeypatch.setattr(registry, "PAUSE", 0.001)
    for uri, said in (
        ("", "no MLflow server"),
        ("databricks", "no MLflow server"),
        ("http://127.0.0.1:1", "ConnectError"),
    ):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(GitopsError, match=said):
            resolve("chat/3")
