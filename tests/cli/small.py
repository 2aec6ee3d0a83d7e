"""A small project for tests of the command line: two models, an embedded cluster for dev, AWS for production."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gitops.world.embedded.apiserver import ApiServer
from gitops.world.embedded.clock import FILE, EmbeddedClock
from gitops.world.kubernetes.kinds import KINDS
from tests.support.project import Project, run_git

NAMES = {kind.name: kind for kind in KINDS.values()}

PIPELINE = """\
apiVersion: gitops/v1
name: acme
promotion: [dev, production]
rollouts:
  quick: {strategy: rolling, readyTimeout: 20s}
models:
  chat:
    version: 1.0.0
    artifact:
      uri: s3://acme-models/chat/1.0.0
      digest: "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      format: safetensors
    serve: {runtime: vllm, gpu: {type: L4}, loadTime: 3s}
    rollout: quick
  search:
    version: 2.0.0
    artifact:
      uri: s3://acme-models/search/2.0.0
      digest: "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
      format: onnx
    serve: {runtime: custom, image: "registry.acme.ai/search:2.0.0", loadTime: 3s, resources: {cpu: 1, memory: 1Gi}}
    rollout: quick
"""
DEV = """\
apiVersion: gitops/v1
clusters:
  local: {provider: embedded, speed: 1000, nodePools: {l4: {gpu: {type: L4}, max: 4}}}
"""
PRODUCTION = """\
apiVersion: gitops/v1
clusters:
  aws:
    provider: aws
    region: us-east-1
    availabilityZones: [us-east-1a, us-east-1b]
    nodePools:
      l4: {instance: g6.2xlarge, max: 4}
      spare: {instance: g6e.xlarge, max: 2}
"""


def small_project(path: Path, *, production: bool = True) -> Project:
    """Written, not applied. Without `production` there is dev alone, and the project is its own world."""
    environments = path / "environments"
    environments.mkdir(parents=True)
    promotion = "[dev, production]" if production else "[dev]"
    (path / "pipeline.yaml").write_text(PIPELINE.replace("[dev, production]", promotion))
    (environments / "dev.yaml").write_text(DEV)
    if production:
        (environments / "production.yaml").write_text(PRODUCTION)
    return Project(path)


def release_chat(project: Project, version: str = "1.1.0", digest: str = "c" * 64) -> None:
    """Edit the spec to another version of chat."""
    project.edit("pipeline.yaml", "version: 1.0.0", f"version: {version}")
    project.edit("pipeline.yaml", "chat/1.0.0", f"chat/{version}")
    project.edit("pipeline.yaml", "a" * 64, digest)


def repository(project: Project, *, embedded: bool = True) -> Path:
    """The bare repository of the project's world."""
    state = project.path / ".gitops"
    return (state / "embedded" if embedded else state) / "repository.git"


def commits(project: Project, *, embedded: bool = True) -> int:
    """How many commits it has; checked by git fsck. 0 when there is none."""
    where = repository(project, embedded=embedded)
    if not where.exists():
        return 0
    run_git(where, "fsck", "--strict")
    return int(run_git(where, "rev-list", "--all", "--count"))


class LiveCluster:
    """An embedded cluster, changed as somebody with kubectl would."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server

    def get(self, kind: str, namespace: str, name: str) -> Any:
        """The object, or None."""
        answer = self._server.request("GET", NAMES[kind].path(namespace, name))
        return json.loads(answer.body) if answer.status == 200 else None

    def names(self, kind: str, namespace: str) -> list[str]:
        """kubectl get, names only"""
        listed = json.loads(self._server.request("GET", NAMES[kind].path(namespace)).body)
        return [item["metadata"]["name"] for item in listed["items"]]

    def delete(self, kind: str, namespace: str, name: str) -> None:
        """kubectl delete"""
        self._expect(self._server.request("DELETE", NAMES[kind].path(namespace, name)).status)

    def edit(self, kind: str, namespace: str, name: str, patch: dict[str, Any]) -> None:
        """kubectl edit: a merge patch; null removes."""
        answer = self._server.request(
            "PATCH",
            NAMES[kind].path(namespace, name),
            query={"fieldManager": "kubectl-edit"},
            body=json.dumps(patch).encode(),
            content_type="application/merge-patch+json",
        )
        self._expect(answer.status)

    def apply(self, manifest: dict[str, Any], manager: str = "gitops") -> None:
        """kubectl apply --server-side --field-manager"""
        metadata = manifest["metadata"]
        answer = self._server.request(
            "PATCH",
            NAMES[manifest["kind"]].path(metadata.get("namespace", ""), metadata["name"]),
            query={"fieldManager": manager},
            body=json.dumps(manifest).encode(),
            content_type="application/apply-patch+yaml",
        )
        self._expect(answer.status)

    def _expect(self, status: int) -> None:
        assert status < 300, status


@contextmanager
def live(project: Project, cluster: str, *, embedded: bool = True) -> Iterator[LiveCluster]:
    """The objects of one of the project's embedded clusters."""
    state = project.path / ".gitops"
    path = (state / "embedded" if embedded else state) / "clusters" / f"{cluster}.db"
    server = ApiServer(path, [], 1000.0, EmbeddedClock(state / "embedded" / FILE).now if embedded else time.time)
    try:
        yield LiveCluster(server)
    finally:
        server.close()
