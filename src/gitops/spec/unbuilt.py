"""The artifact that a build has still to make, read from the build as it is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

UNBUILT = f"sha256:{'0' * 64}"
"""The digest of what a build has still to make."""

_FORMATS = {"torch-export": "pytorch", "frozen-graph": "savedmodel"}
"""Formats of checkpoints that have another name as artifacts."""


def artifact_of(build: object) -> dict[str, Any]:
    """What a build will make, as an artifact is written; empty where the build is not written well enough."""
    if not isinstance(build, dict):
        return {}
    source, output = build.get("source"), build.get("output")
    if not (isinstance(source, dict) and isinstance(output, dict)):
        return {}
    made = str(source.get("format", ""))
    artifact: dict[str, Any] = {"format": _FORMATS.get(made, made)}
    for stage in _stages(build):
        if stage.get("stage") == "convert":
            artifact = {"format": "onnx"}
        elif stage.get("stage") == "optimize":
            artifact = {"format": "tensorrt", "builtFor": {"gpu": stage.get("gpu"), "tensorrt": stage.get("tensorrt")}}
        elif stage.get("stage") == "package" and stage.get("as") == "triton":
            artifact["format"] = "triton"
    return {"uri": output.get("uri"), "digest": UNBUILT, **artifact}


def _stages(build: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    stages = build.get("stages")
    yield from (stage for stage in (stages if isinstance(stages, list) else ()) if isinstance(stage, dict))
