"""What a build does, in order, and the keys under which finished stages are kept. Pure: nothing is read or run here.

A key is the SHA-256 of canonical JSON (sorted keys, no spaces, UTF-8) with everything that a stage's output depends
on: its parameters, the digests of all that it reads, the versions of its tools, and facts such as the commit. Paths
of files, time limits and the like are not among them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gitops.spec.build import LLM_METHODS, Build, Convert, Optimize, Package, Quantize, Stage, formats

FORMAT = 2
"""Raised when stages begin to give something else for the same key."""

_FILES = ("samples", "labelled", "calibration", "code", "requirements")
"""Parameters that are paths in the project: what counts of them is their content."""
_NOT_CONTENT = {"stage", "timeout"}
_TENSORFLOW = ("savedmodel", "frozen-graph")
_ONNX = ("numpy", "onnx", "onnxruntime")
_TORCH = ("onnxscript", "safetensors", "torch")
_TF = ("tensorflow", "tensorflow-cpu", "tf2onnx")
_LLM = ("compressed-tensors", "llmcompressor", "torch", "transformers")


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of a build."""

    place: int
    """From 1."""
    stage: str
    """Which work it is: `convert`, `quantize`, `prune`, `optimize`, `triton` or `image`."""
    takes: str
    gives: str
    """Formats, as `gitops.spec.build.formats` has them."""
    parameters: Mapping[str, Any]
    """The stage as the spec has it, under its own keys, as JSON values."""
    files: Mapping[str, str]
    """Paths in the project of what it reads besides."""
    tools: tuple[str, ...]
    """Distributions whose versions matter; `trtexec`; `builder`, which says whether an image can be built."""
    facts: tuple[str, ...]
    """What it has to know of the build: `model`, `version`, `commit`, `commitTime`, `source`, `signature`,
    `trustedCode`."""
    timeout: int
    """Seconds."""

    @property
    def title(self) -> str:
        """`2 quantize`."""
        return f"{self.place} {self.stage}"


def steps(build: Build) -> tuple[Step, ...]:
    """The stages in order."""
    chain = formats(build)
    return tuple(
        _step(place, stage, chain[place - 1], chain[place], build) for place, stage in enumerate(build.stages, 1)
    )


def _step(place: int, stage: Stage, takes: str, gives: str, build: Build) -> Step:
    parameters = stage.model_dump(mode="json")
    return Step(
        place=place,
        stage=stage.kind if isinstance(stage, Package) else stage.stage,
        takes=takes,
        gives=gives,
        parameters=parameters,
        files={name: parameters[name] for name in _FILES if parameters.get(name)},
        tools=_tools(stage, takes),
        facts=_facts(stage),
        timeout=stage.timeout or build.timeout,
    )


def _tools(stage: Stage, takes: str) -> tuple[str, ...]:
    match stage:
        case Convert():
            return (*_ONNX, *(_TF if takes in _TENSORFLOW else _TORCH))
        case Quantize() if stage.method in LLM_METHODS:
            return _LLM
        case Optimize():
            return (*_ONNX, "onnxruntime-gpu", "trtexec")
        case Package() if stage.kind == "image":
            return ("builder",)
        case _:
            return _ONNX


def _facts(stage: Stage) -> tuple[str, ...]:
    if isinstance(stage, Convert):
        return ("trustedCode",)
    if not isinstance(stage, Package):
        return ()
    if stage.kind == "triton":
        return ("model", "signature")
    return ("model", "version", "commit", "commitTime", "source")


def key(step: Step, given: str, files: Mapping[str, str], tools: Mapping[str, str], facts: Mapping[str, Any]) -> str:
    """The key (64 hex digits) of a step whose input has the digest `given`, and whose files those of `files`."""
    parameters = {name: value for name, value in step.parameters.items() if name not in {*_NOT_CONTENT, *step.files}}
    content = {
        "format": FORMAT,
        "stage": step.stage,
        "takes": step.takes,
        "parameters": parameters,
        "inputs": {"given": given, **files},
        "tools": dict(tools),
        "facts": {name: facts.get(name) for name in step.facts},
    }
    return hashlib.sha256(canonical(content)).hexdigest()


def canonical(value: Any) -> bytes:
    """The one JSON text of a value: equal values give equal bytes, in any order of keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "surrogatepass")
