"""trtexec and nvidia-smi: their command lines, and what they print.

References: https://docs.nvidia.com/deeplearning/tensorrt/latest/reference/command-line-programs.html and the source
that prints the summary, samples/common/sampleReporting.cpp of NVIDIA/TensorRT.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gitops.errors import GitopsError
from gitops.spec.quantities import amount

CAPABILITY = {
    "T4": "7.5",
    "A10G": "8.6",
    "L4": "8.9",
    "L40S": "8.9",
    "A100": "8.0",
    "A100-80GB": "8.0",
    "H100": "9.0",
    "H200": "9.0",
    "B200": "10.0",
}
"""Compute capability of each GPU type: https://developer.nvidia.com/cuda-gpus"""

_NOT_HERE = "run it where it is, or as a Job: gitops build --job"
_VERSION = re.compile(r"TensorRT v(\d{4,6})")
_SUMMARY = re.compile(r"^.*?\b(Throughput|Latency|GPU Compute Time): (.*)$", re.MULTILINE)
_FIGURE = re.compile(r"(min|max|mean|median|percentile\(99%\)) = ([0-9.e+-]+) ms")


class Measured(NamedTuple):
    """What trtexec measured of an engine: queries a second, and milliseconds from host to host and on the GPU."""

    throughput: float
    latency_mean: float
    latency_p99: float
    compute_mean: float


def build_arguments(onnx: Path, engine: Path, parameters: Mapping[str, Any], shapes: Sequence[str]) -> list[str]:
    """The command line that builds an engine; `shapes` come from `profile`."""
    workspace = _mebibytes(parameters["workspace"])
    # int8 layers that are slower than fp16 are better left to it.
    precision = {"fp32": [], "fp16": ["--fp16"], "bf16": ["--bf16"], "int8": ["--int8", "--fp16"]}
    return [
        "trtexec",
        f"--onnx={onnx}",
        f"--saveEngine={engine}",
        f"--memPoolSize=workspace:{workspace}M",
        *precision[parameters["precision"]],
        *shapes,
        "--skipInference",
    ]


def measure_arguments(engine: Path, shapes: str) -> list[str]:
    """The command line that measures an engine; `shapes` as `x:8x4,mask:8`, empty for fixed ones."""
    chosen = [f"--shapes={shapes}"] if shapes else []
    return ["trtexec", f"--loadEngine={engine}", *chosen, "--warmUp=500", "--duration=5", "--percentile=99"]


def profile(inputs: Sequence[Mapping[str, Any]], dimensions: Mapping[str, Mapping[str, int]]) -> list[str]:
    """`--minShapes`, `--optShapes` and `--maxShapes`; nothing for a model without open sizes.

    Raises GitopsError for an open size that `dimensions` does not name.
    """
    if not any(isinstance(size, str) for tensor in inputs for size in tensor["shape"]):
        return []
    flags = {"min": "--minShapes", "best": "--optShapes", "max": "--maxShapes"}
    return [f"{flag}={shapes_at(inputs, dimensions, which)}" for which, flag in flags.items()]


def shapes_at(inputs: Sequence[Mapping[str, Any]], dimensions: Mapping[str, Mapping[str, int]], which: str) -> str:
    """The inputs with open sizes at their `min`, `best` or `max`, as trtexec writes shapes."""
    return ",".join(
        f"{tensor['name']}:{'x'.join(str(_size(size, dimensions, which)) for size in tensor['shape'])}"
        for tensor in inputs
        if any(isinstance(size, str) for size in tensor["shape"])
    )


def _size(size: int | str, dimensions: Mapping[str, Mapping[str, int]], which: str) -> int:
    if isinstance(size, int):
        return size
    if size not in dimensions:
        hint = f"add it to `dimensions`: {{{size}: {{min: 1, best: 8, max: 32}}}}"
        raise GitopsError(f"the model's size {size!r} is open, and an engine needs its bounds", hint=hint)
    return dimensions[size][which]


def parse_summary(text: str) -> Measured:
    """What a run of trtexec measured. Raises GitopsError when it printed no performance summary."""
    found: dict[str, str] = {}
    for name, rest in _SUMMARY.findall(text):
        found.setdefault(name, rest)
    latency, compute = (dict(_FIGURE.findall(found.get(name, ""))) for name in ("Latency", "GPU Compute Time"))
    throughput = re.match(r"([0-9.e+]+) qps", found.get("Throughput", ""))
    if not throughput or not {"mean", "percentile(99%)"} <= latency.keys() or "mean" not in compute:
        raise GitopsError("trtexec printed no performance summary", hint="see the log")
    p99 = float(latency["percentile(99%)"])
    return Measured(float(throughput[1]), float(latency["mean"]), p99, float(compute["mean"]))


def parse_version(text: str) -> str:
    """`10.7.0` from `[TensorRT v100700]`, `8.5.2` from `[TensorRT v8502]` (NvInferVersion.h says how it is made)."""
    match = _VERSION.search(text)
    if not match:
        raise GitopsError("trtexec does not say its version", hint=_NOT_HERE)
    number = int(match[1])
    parts = (number // 10000, number // 100 % 100, number % 100)
    old = (number // 1000, number // 100 % 10, number % 100)
    return ".".join(map(str, parts if number >= 10000 else old))


def check_version(wanted: str, present: str) -> None:
    """Raises GitopsError unless the version present begins with the parts of the wanted one."""
    parts = wanted.split(".")
    if present.split(".")[: len(parts)] != parts:
        what = f"this trtexec is of TensorRT {present}, the engine is wanted for {wanted}"
        raise GitopsError(what, hint="an engine runs only on the version that built it: use that image")


def check_gpu(wanted: str, smi: str) -> None:
    """Raises GitopsError unless `name, compute capability` of nvidia-smi's first GPU is of the wanted type."""
    name, _, capability = smi.strip().splitlines()[0].rpartition(",") if smi.strip() else ("", "", "")
    model, _, size = wanted.partition("-")
    named = re.search(rf"(^|[\s-]){re.escape(model)}($|[\s-])", name)
    if not named or capability.strip() != CAPABILITY[wanted] or (size and size not in name.replace(" ", "")):
        what = f"this GPU is {name.strip() or 'none'} ({capability.strip()}), the engine is wanted for {wanted}"
        raise GitopsError(what, hint=_NOT_HERE)


def machine() -> dict[str, str]:
    """What an engine belongs to: TensorRT's version and the first GPU. Raises GitopsError where one is missing."""
    gpu = call(["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"])
    return {"tensorrt": parse_version(call(["trtexec", "--help"])), "gpu": gpu.strip().splitlines()[0]}


def call(arguments: Sequence[str]) -> str:
    """Standard output of a program, which also goes to the log. Raises GitopsError when it is missing or fails."""
    try:
        done = subprocess.run(
            arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise GitopsError(f"{arguments[0]} cannot be started: {error.strerror}", hint=_NOT_HERE) from None
    sys.stderr.write(f"$ {' '.join(arguments)}\n{done.stdout}")
    if done.returncode:
        errors = [line for line in done.stdout.splitlines() if "[E]" in line] or done.stdout.strip().splitlines()
        last = errors[-1].strip() if errors else f"exit code {done.returncode}"
        raise GitopsError(f"{arguments[0]} failed: {last}", hint="see the log")
    return done.stdout


def _mebibytes(memory: str) -> int:
    return int(amount(memory) // 2**20)
