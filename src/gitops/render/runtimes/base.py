"""What a model server is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from gitops.spec.images import RECORDED
from gitops.spec.pipeline import Model, Serve

LoadMetric = Literal["requests-running", "queue-length"]

MODELS_DIR = "/models"
"""Where the artifact lies, for the download and (unless a runtime wants it elsewhere) for the server."""


def image_of(serve: Serve) -> str:
    """The server's image. A spec that is loaded names one for every model; a record may be older than that."""
    return serve.image or RECORDED[serve.runtime]


@dataclass(frozen=True, slots=True)
class Container:
    """How one model server is started and watched.

    `files` go into a ConfigMap by name, and each is mounted at its path in `file_paths`. `models_path` is where
    the downloaded artifact is mounted, read-only. `writable` are directories that the server writes to, by volume
    name. `health` answers for start and life, `ready` for readiness; `metrics` is the path on `metrics_port`.
    """

    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: Mapping[str, str]
    http_port: int
    metrics_port: int
    ready: str
    health: str
    metrics: str = "/metrics"
    models_path: str = MODELS_DIR
    files: Mapping[str, str] = field(default_factory=dict)
    file_paths: Mapping[str, str] = field(default_factory=dict)
    writable: Mapping[str, str] = field(default_factory=dict)
    read_only_root: bool = True

    def files_digest(self) -> str:
        """A digest of names and contents of `files`."""
        digest = hashlib.sha256()
        for name, content in sorted(self.files.items()):
            digest.update(f"{name}\0{content}\0".encode())
        return "sha256:" + digest.hexdigest()


class Runtime(Protocol):
    """A model server: how it runs, and how its load is read from Prometheus."""

    def container(self, name: str, model: Model, /) -> Container:
        """How the model called `name` is served."""

    def load_query(self, metric: LoadMetric, labels: str, /) -> str | None:
        """The PromQL expression (one element) for the load of the pods with these labels; None if it has none."""
