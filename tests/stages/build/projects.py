"""Builds and projects for the tests."""

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gitops.spec.build import Build
from gitops.stages.build.runner import BuildResult, run_build
from gitops.stages.digest import digest_path
from gitops.world.git.checkout import project_commit

DIGEST = "sha256:" + "0" * 64
CONVERT: dict[str, Any] = {
    "stage": "convert",
    "module": "nets:Iris",
    "code": "training",
    "inputs": {"petals": {"shape": ["batch", 2]}, "sepals": {"shape": ["batch", 2]}},
    "outputs": ["scores"],
    "sameClass": True,
}
INT8: dict[str, Any] = {
    "stage": "quantize",
    "method": "static-int8",
    "calibration": "samples/typical.npz",
    "labelled": "samples/iris.npz",
    "maxAccuracyDrop": "3%",
}
TRITON: dict[str, Any] = {
    "stage": "package",
    "as": "triton",
    "maxBatchSize": 8,
    "batching": {"preferred": [4, 8], "maxQueueDelay": "0.5ms"},
    "instances": {"device": "cpu", "count": 2},
}


def written(*stages: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A build as it is written in pipeline.yaml."""
    source = {"uri": "file://checkpoints/iris.pt", "digest": DIGEST, "format": "pytorch"}
    return {"source": source, "stages": list(stages), "output": {"uri": "file://artifacts/iris"}, **changes}


def parsed(*stages: dict[str, Any], **changes: Any) -> Build:
    """The same, parsed."""
    return Build.model_validate(written(*stages, **changes))


@dataclass(frozen=True)
class Project:
    """A directory with a checkpoint, and the Python that builds it."""

    path: Path
    python: Path

    def written(self, *stages: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """A build of the checkpoint in this project."""
        plain = written(*stages, python=str(self.python))
        plain["source"] = {**plain["source"], "digest": digest_path(self.path / "checkpoints" / "iris.pt").digest}
        return {**plain, **changes}

    def build(self, *stages: dict[str, Any], say: Any = lambda _: None, **changes: Any) -> BuildResult:
        """Build here."""
        build = Build.model_validate(self.written(*stages, **changes))
        commit = partial(project_commit, self.path)
        return run_build(build, self.path, model="iris", version="1.0.0", commit=commit, say=say)

    def copy(self, path: Path) -> "Project":
        """The same elsewhere, with what is in the cache."""
        shutil.copytree(self.path, path)
        return Project(path, self.python)
