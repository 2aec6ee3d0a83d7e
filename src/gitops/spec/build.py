"""What `build` of a model may say: how its artifact is made from a checkpoint.

```yaml
build:
  source: {uri: file://checkpoints/iris.safetensors, digest: "sha256:…", format: safetensors}
  stages:
    - {stage: convert, module: nets:Iris, code: training, inputs: {features: {shape: [batch, 4]}}}
    - {stage: quantize, method: dynamic-int8, labelled: samples/iris.npz, maxAccuracyDrop: 1%}
    - {stage: package, as: triton, maxBatchSize: 32}
  output: {uri: s3://acme-models/iris/1.2.0}
```
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from gitops.spec.build_stages import OF_IMAGE, OF_TRITON
from gitops.spec.build_stages import Convert as Convert
from gitops.spec.build_stages import Optimize as Optimize
from gitops.spec.build_stages import Package as Package
from gitops.spec.build_stages import Prune as Prune
from gitops.spec.build_stages import Quantize as Quantize
from gitops.spec.build_stages import Sizes as Sizes
from gitops.spec.build_stages import Stage as Stage
from gitops.spec.fields import (
    AZURE_URI,
    OCI_URI,
    Digest,
    Duration,
    KubernetesName,
    Memory,
    Name,
    OneLine,
    SpecModel,
    format_duration,
)
from gitops.spec.parts import Gpu
from gitops.spec.problems import listed
from gitops.spec.server_options import taken, wrong_value
from gitops.spec.validation import Job
from gitops.spec.validation_data import Contradiction

Format = Literal["pytorch", "torch-export", "safetensors", "savedmodel", "frozen-graph", "onnx"]
"""`pytorch` is a `.pt`: a state dict, or a whole module. `torch-export` is a `.pt2`. `safetensors` is a state dict, or
the directory of a language model. TensorFlow has SavedModel directories and frozen graphs (`.pb`)."""

CARRY_CODE: Mapping[str, str] = {
    "pytorch": "a whole pickled module runs the code in it when it is loaded",
    "torch-export": "torch evaluates expressions in it when it is loaded",
    "savedmodel": "a SavedModel can read and write files when it is asked",
    "frozen-graph": "a frozen graph can read and write files when it is asked",
}
"""Formats that are programs and not weights, and why. Of `pytorch`, a state dict is weights: one that `convert` puts
into a `module`."""

LLM_METHODS = ("fp8", "awq", "gptq")
"""What llm-compressor does."""

_PATH = r"[A-Za-z0-9._@:/+=-]*"
_PLACE = rf"(s3|gs|hf)://[A-Za-z0-9][A-Za-z0-9._-]*(/{_PATH})?|file:///?[A-Za-z0-9]{_PATH}|{AZURE_URI}"
SourceUri = Annotated[
    str,
    StringConstraints(pattern=rf"^({_PLACE}|{OCI_URI})$", max_length=1024),
    Field(examples=["s3://acme-training/iris/run-81/model.pt", "file://checkpoints/iris.pt"]),
]
"""`file://` with two slashes is a path in the project, with three one of the machine."""
OutputUri = Annotated[
    str,
    StringConstraints(pattern=rf"^({_PLACE})$", max_length=1024),
    Field(examples=["s3://acme-models/iris/1.2.0", "file://artifacts/iris/1.2.0"]),
]
"""The same, without registries, to which nothing is pushed."""


class Source(SpecModel):
    """The checkpoint, known by digest, and where it comes from."""

    uri: SourceUri
    digest: Digest
    format: Format
    trusted_code: bool = False
    """You trust whoever made this checkpoint to run code on the machine of the build and of the gates. Formats that
    are programs need it: a whole pickled module, `torch-export`, `savedmodel`, `frozen-graph`. Weights run nothing."""
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,64}$")] | None = None
    """Of the training code."""
    run: OneLine | None = None
    """Of the training, such as the address of an experiment."""
    dataset: OneLine | None = None
    """What it was trained on: a digest, an address."""


class Output(SpecModel):
    """Where the finished artifact goes with `gitops build --publish`."""

    uri: OutputUri


class BuildJob(Job):
    """The build as a Kubernetes Job (`gitops build --job`)."""

    namespace: KubernetesName = "builds"
    cluster: Name | None = None
    """A cluster of this pipeline: the node pool with the GPU of the stages is found there."""
    pool: Name | None = None
    cache: KubernetesName | None = None
    """A PersistentVolumeClaim that keeps finished stages over retries; without it they last as long as the pod."""


class Build(SpecModel):
    """From a checkpoint to what is served."""

    source: Source
    stages: Annotated[tuple[Stage, ...], Field(min_length=1, max_length=16, strict=False)]
    output: Output
    python: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]{1,1000}$")] | None = None
    """The Python that has the stages' tools (torch, onnxruntime, …), absolute or in the project; by default ours."""
    timeout: Annotated[Duration, Field(ge=1)] = 3600
    """How long each stage may take."""
    memory: Memory = "16Gi"
    """How much memory each stage may take; one that takes more is ended. Watched on Linux only."""
    job: BuildJob | None = None

    @property
    def gpu(self) -> Gpu | None:
        """The GPU that its stages need; None if a machine without one will do."""
        return next((gpu for stage in self.stages if (gpu := gpu_of(stage))), None)


def gpu_of(stage: Stage) -> Gpu | None:
    """The GPU that a stage runs on, where it needs one."""
    if isinstance(stage, Optimize):
        return Gpu.model_validate({"type": stage.gpu})
    return stage.gpu if isinstance(stage, Quantize) else None


def judged(build: Build) -> int | None:
    """The place of the last stage whose loss of accuracy is bounded, from 0: what is served has to hold to it too."""
    places = (place for place, stage in enumerate(build.stages) if isinstance(stage, Quantize | Prune))
    return max((place for place in places if _is_bounded(build.stages[place])), default=None)


def _is_bounded(stage: Stage) -> bool:
    return isinstance(stage, Quantize | Prune) and bool(stage.labelled) and stage.max_accuracy_drop is not None


def formats(build: Build) -> tuple[str, ...]:
    """What each stage gets, and what the last one gives: `("safetensors", "onnx", "onnx", "triton")`.

    A language model that llm-compressor handles stays `safetensors`.
    """
    found = [str(build.source.format)]
    for stage in build.stages:
        if isinstance(stage, Convert):
            found.append("onnx")
        elif isinstance(stage, Optimize):
            found.append("tensorrt")
        elif isinstance(stage, Package):
            found.append(stage.kind)
        else:
            found.append(found[-1])
    return tuple(found)


def contradictions(build: Build) -> Iterator[Contradiction]:
    """What each field allows but the whole does not; paths begin below `build`."""
    if (source := build.source).format in CARRY_CODE and not (source.trusted_code or _is_weights(build)):
        hint = "add `trustedCode: true` if you trust whoever made it"
        if source.format in ("pytorch", "torch-export"):
            hint = f"save its state_dict() and convert that with `module`, or {hint}"
        yield Contradiction(("source",), CARRY_CODE[source.format], hint)
    gpus = {gpu.type for stage in build.stages if (gpu := gpu_of(stage))}
    if len(gpus) > 1:
        hint = "one build runs on one machine; make two models of it"
        yield Contradiction(("stages",), f"stages ask for {listed(sorted(gpus), 'and')}", hint)
    if build.job and build.job.timeout < build.timeout:
        message = f"after {format_duration(build.job.timeout)} the Job ends, and a stage may take longer (`timeout`)"
        yield Contradiction(("job", "timeout"), message, f"write {format_duration(build.timeout)} or more")
    for index, (stage, given) in enumerate(zip(build.stages, formats(build), strict=False)):
        for field, message, hint in (*_order(stage, given), *_fields(stage, given)):
            yield Contradiction(("stages", str(index), *field), message, hint)


def _is_weights(build: Build) -> bool:
    """Whether a checkpoint of PyTorch is read as tensors alone."""
    first = build.stages[0]
    return build.source.format == "pytorch" and isinstance(first, Convert) and first.module is not None


_Finding = tuple[tuple[str, ...], str, str]


def _accepts(stage: Stage) -> Sequence[str]:
    if isinstance(stage, Convert):
        return ("pytorch", "torch-export", "safetensors", "savedmodel", "frozen-graph")
    if isinstance(stage, Quantize) and stage.method in LLM_METHODS:
        return ("safetensors",)
    if isinstance(stage, Package) and stage.kind == "triton":
        return ("onnx", "tensorrt")
    if isinstance(stage, Package):
        return ("safetensors", "onnx", "tensorrt", "pytorch", "savedmodel", "triton")
    return ("onnx",)


def _order(stage: Stage, given: str) -> Iterator[_Finding]:
    accepted = _accepts(stage)
    if given not in accepted:
        hint = f"it takes {listed(accepted, 'or')}; look at the stages before it"
        yield (), f"`{stage.stage}` cannot take {given}", hint


def _fields(stage: Stage, given: str) -> Iterator[_Finding]:
    if isinstance(stage, Convert):
        yield from _of_convert(stage, given)
    elif isinstance(stage, Quantize):
        yield from _of_quantize(stage)
    elif isinstance(stage, Optimize):
        for axis, sizes in stage.dimensions.items():
            if not sizes.min <= sizes.best <= sizes.max:
                message = f"min {sizes.min}, best {sizes.best}, max {sizes.max} are not in order"
                yield ("dimensions", axis), message, "min is the smallest and max the largest"
    elif isinstance(stage, Package):
        yield from _of_package(stage)
    if isinstance(stage, Quantize | Prune) and stage.max_accuracy_drop is not None and not stage.labelled:
        yield ("maxAccuracyDrop",), "accuracy needs `labelled` samples", "name a .npz with the inputs and `labels`"


def _of_convert(stage: Convert, given: str) -> Iterator[_Finding]:
    if given in ("pytorch", "torch-export", "safetensors") and not stage.inputs:
        yield (), "PyTorch's models need `inputs`", "add `inputs: {x: {shape: [batch, 4]}}`"
    if given == "frozen-graph" and not (stage.inputs and stage.outputs):
        yield (), "a frozen graph needs `inputs` and `outputs`", "name its tensors, such as `x:0`"
    if bool(stage.module) != bool(stage.code) and not (stage.code and given == "pytorch"):
        yield (), "`module` and `code` go together", "say which class it is, and in which directory"
    if given == "safetensors" and not stage.module:
        yield (), "weights alone are no model", "name the class with `module` and its directory with `code`"


def _of_quantize(stage: Quantize) -> Iterator[_Finding]:
    if stage.method in ("static-int8", "awq", "gptq") and not stage.calibration:
        yield (), f"`{stage.method}` needs `calibration`", "name a file of typical requests"
    if stage.method in LLM_METHODS:
        if not stage.gpu:
            yield (), f"`{stage.method}` needs a GPU", "add `gpu: {type: H100}`"
        if stage.labelled:
            yield ("labelled",), "language models are not judged here", "judge them with `validate.golden`"
    elif stage.gpu:
        yield ("gpu",), f"`{stage.method}` runs without a GPU", "remove it"


_OF_THE_IMAGE = {
    "served-model-name": ("`name` says what clients call the model", "remove it; set `name`"),
    "port": ("`port` says where the server answers", "remove it; set `port`"),
    "middleware": ("the image answers /version by a middleware of its own", "remove it"),
    "api-key": ("a key does not belong in an image", "remove it; set VLLM_API_KEY where the image runs"),
    "hf-token": ("a token does not belong in an image", "remove it; set HF_TOKEN where the image runs"),
}


def _of_package(stage: Package) -> Iterator[_Finding]:
    other, kind = (OF_IMAGE, "image") if stage.kind == "triton" else (OF_TRITON, "triton")
    for name in other:
        if name in stage.model_fields_set:
            alias = Package.model_fields[name].alias or name
            yield (alias,), f"`{alias}` belongs to `as: {kind}`", f"remove it, or write `as: {kind}`"
    if stage.kind == "image" and not (stage.server and stage.base and stage.image):
        yield (), "an image needs `server`, `base` and `image`", "say what answers, what it starts from, and its name"
    for name, value in stage.args.items():
        if wrong := _OF_THE_IMAGE.get(name) or taken(name) or wrong_value(name, value, known=False):
            yield ("args", name), *wrong
    if stage.server == "custom" and not (stage.code and stage.command):
        yield (), "a custom server needs `code` and `command`", "say where it is and how it starts"
    if stage.batching and not stage.max_batch_size:
        yield ("batching",), "without `maxBatchSize` there are no batches", "add `maxBatchSize: 32`"
    if stage.batching and any(size > stage.max_batch_size for size in stage.batching.preferred):
        yield ("batching", "preferred"), f"more than `maxBatchSize` {stage.max_batch_size}", "choose smaller ones"
    if stage.kind == "triton" and (stage.versions.latest is None) == (not stage.versions.specific):
        yield ("versions",), "it is either `latest` or `specific`", "write `versions: {latest: 1}`"
