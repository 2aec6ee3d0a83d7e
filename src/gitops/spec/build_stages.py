"""The stages that `build` of a model may list: what each may say.

A stage reads what the one before it made. `gitops.stages.build` runs them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from gitops.spec.fields import Duration, Image, Memory, SpecModel
from gitops.spec.parts import Gpu, GpuType, Scalar
from gitops.spec.validation import PROJECT_FILE_PATTERN, Percent, ProjectFile, Seconds

Directory = Annotated[
    str,
    StringConstraints(pattern=rf"{PROJECT_FILE_PATTERN}|^\.$", max_length=1024),
    Field(examples=["training"]),
]
"""A directory of the project."""

Tensor = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_./:-]{0,199}$"), Field(examples=["features"])]
"""The name of an input or output of a model, or of a node."""

Axis = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
"""The name of a dimension whose size is open until a request comes."""

DataType = Literal["float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]


def _number(value: object) -> object:
    """`1e-4` is a number, though YAML 1.1 reads it as text."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise ValueError(f"{value!r} is not a number; write it like 0.0001 or 1e-4") from None
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


Distance = Annotated[
    float,
    BeforeValidator(_number),
    Field(ge=0, le=1e6, allow_inf_nan=False),
    WithJsonSchema({"type": ["number", "string"], "examples": [0.0001, "1e-4"]}),
]


# Defaults that are objects are made when they are needed: made here, they would cost every command its start.


class StageBase(SpecModel):
    """What every stage understands."""

    timeout: Duration | None = None
    """How long this stage may take; by default `build.timeout`."""


class TensorShape(SpecModel):
    """An input of the model."""

    shape: Annotated[
        tuple[Annotated[int, Field(ge=1, le=1_000_000)] | Axis, ...], Field(min_length=1, max_length=8, strict=False)
    ]
    """Sizes, and names where the size is open: `[batch, 3, 224, 224]`."""
    dtype: DataType = "float32"


class RandomSamples(SpecModel):
    """Samples from a generator with a seed: normal numbers, or whole ones from 0 up to `below`."""

    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    rows: Annotated[int, Field(ge=1, le=10_000)] = 16
    """The size of every named dimension."""
    below: Annotated[int, Field(ge=2, le=2**31 - 1)] = 100


class Tolerance(SpecModel):
    """Two numbers agree when they differ by at most absolute + relative x |the original's|, as in numpy.allclose."""

    absolute: Distance = 1e-4
    relative: Distance = 1e-3


class Convert(StageBase):
    """To ONNX, from PyTorch or TensorFlow; then checked, and compared with the original on samples."""

    stage: Literal["convert"]
    module: (
        Annotated[
            str,
            StringConstraints(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"),
            Field(examples=["nets:Iris"]),
        ]
        | None
    ) = None
    """`package.module:Class` of the network that a state dict belongs to."""
    code: Directory | None = None
    """The directory with that package; its Python files are part of what the result depends on."""
    arguments: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z_]\w*$")], Scalar | list[Scalar] | None] = {}
    """What the class is constructed with."""
    inputs: Annotated[dict[Tensor, TensorShape], Field(max_length=64)] = {}
    """The model's inputs in the order of its arguments. TensorFlow's models know theirs, unless they are frozen."""
    outputs: Annotated[tuple[Tensor, ...], Field(max_length=64, strict=False)] = ()
    """What the outputs are called; of a frozen graph, which tensors they are (`Identity:0`)."""
    opset: Annotated[int, Field(ge=13, le=25)] = 18
    samples: ProjectFile | None = None
    """A `.npz` or `.safetensors` file with an array for each input, on which both models are asked."""
    random: RandomSamples = Field(default_factory=lambda: RandomSamples.model_validate({}))
    """Where there is no such file."""
    tolerance: Tolerance = Field(default_factory=lambda: Tolerance.model_validate({}))
    same_class: bool = False
    """Of a classifier: the largest of the first output also has to be the same one for every sample."""


class Judged(StageBase):
    """A stage that may cost accuracy, and what it may cost."""

    labelled: ProjectFile | None = None
    """A `.npz` file with an array for each input, and `labels`: the class of each row."""
    max_accuracy_drop: Percent | None = None
    """How much lower the share of right answers may be after the stage, in percentage points."""
    output: Tensor | None = None
    """Which output scores the classes; by default the first."""
    exclude: Annotated[tuple[Tensor, ...], Field(max_length=256, strict=False)] = ()
    """Nodes that stay as they are."""


class Quantize(Judged):
    """Fewer bits for weights, and for what flows between layers."""

    stage: Literal["quantize"]
    method: Literal["dynamic-int8", "static-int8", "fp8", "awq", "gptq"]
    """int8 by ONNX Runtime, on any machine; the others by llm-compressor, for language models, on a GPU."""
    calibration: ProjectFile | None = None
    """Typical requests: for `static-int8` a `.npz`, for `awq` and `gptq` JSON lines with `text`."""
    calibrate: Literal["minmax", "entropy", "percentile"] = "minmax"
    """How `static-int8` turns the values seen into ranges."""
    per_channel: bool = True
    """A scale for each channel of a weight, where it has several."""
    scheme: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9_]{2,40}$"), Field(examples=["W4A16"])] | None = None
    """llm-compressor's scheme; by default FP8_DYNAMIC, W4A16_ASYM for awq, W4A16 for gptq."""
    ignore: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=200)], ...], Field(strict=False)] = (
        "lm_head",
    )
    """Layers that llm-compressor leaves as they are."""
    calibration_samples: Annotated[int, Field(ge=1, le=100_000)] = 512
    max_sequence_length: Annotated[int, Field(ge=16, le=1_000_000)] = 2048
    gpu: Gpu | None = None
    """What llm-compressor runs on."""


class Prune(Judged):
    """The smallest weights become zero, wherever they are: of all MatMul, Gemm and Conv weights together."""

    stage: Literal["prune"]
    sparsity: Annotated[float, Field(gt=0, lt=1)]
    """The share of zeros afterwards: 0.5 is half of them."""


class Sizes(SpecModel):
    """The sizes of an open dimension that an engine is built for."""

    min: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    best: Annotated[int, Field(ge=1, le=1_000_000)]
    """What the engine is tuned for."""
    max: Annotated[int, Field(ge=1, le=1_000_000)]


class Optimize(StageBase):
    """A TensorRT engine for one GPU type and one TensorRT version, by trtexec."""

    stage: Literal["optimize"]
    gpu: GpuType
    tensorrt: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+(\.\d+){0,2}$"), Field(examples=["10.7"])]
    """The version that the server has; the builder's has to begin with it."""
    precision: Literal["fp32", "fp16", "bf16", "int8"] = "fp16"
    """The lowest that TensorRT may choose; `int8` is for models that `quantize` made with `static-int8`."""
    dimensions: dict[Axis, Sizes] = {}
    """Every open dimension of the model."""
    workspace: Memory = "4Gi"
    min_speedup: Annotated[float, Field(gt=0, le=1000)] | None = None
    """How many times faster than ONNX Runtime on the same GPU the engine has to be."""


class Batching(SpecModel):
    """Requests that Triton puts together."""

    preferred: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(max_length=16, strict=False)] = ()
    """Batch sizes that are sent on at once."""
    max_queue_delay: Annotated[Seconds, Field(le=10)] | None = None
    """How long a request may wait for others."""


class Instances(SpecModel):
    """Copies of the model that answer at the same time."""

    kind: Literal["gpu", "cpu"] = Field("gpu", alias="device")
    count: Annotated[int, Field(ge=1, le=64)] = 1
    """On each GPU, or on all CPUs together."""


class VersionPolicy(SpecModel):
    """Which versions in the repository Triton serves: the latest so many, or these."""

    latest: Annotated[int, Field(ge=1, le=100)] | None = None
    specific: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(max_length=100, strict=False)] = ()


PinnedImage = Annotated[Image, StringConstraints(pattern=r"@sha256:[0-9a-f]{64}$")]


class Package(StageBase):
    """What a server loads: a Triton model repository, or a container image with the model in it."""

    stage: Literal["package"]
    kind: Literal["triton", "image"] = Field(alias="as")
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] | None = None
    """What clients call the model; by default its name here."""

    version: Annotated[int, Field(ge=1, le=2**31 - 1)] = 1
    """In a Triton repository, whose versions are whole numbers."""
    max_batch_size: Annotated[int, Field(ge=0, le=4096)] = 0
    """With 0, requests bring their own batch dimension; above, it is Triton's and the first of every tensor."""
    batching: Batching | None = None
    """Let Triton put requests together; needs `maxBatchSize`."""
    instances: Instances = Field(default_factory=lambda: Instances.model_validate({}))
    versions: VersionPolicy = Field(default_factory=lambda: VersionPolicy.model_validate({"latest": 1}))

    server: Literal["vllm", "custom"] | None = None
    """What answers in an image."""
    base: PinnedImage | None = None
    """The image to start from, by digest."""
    image: Annotated[Image, StringConstraints(pattern=r"^[^@]*(/|^)[^:@/]+$")] | None = None
    """The new image's name, without a tag: that is the commit of the project."""
    code: Directory | None = None
    """The directory of a custom server."""
    requirements: ProjectFile | None = None
    """What it needs, as pip writes it: `name==version`, with hashes."""
    command: Annotated[tuple[str, ...], Field(max_length=64, strict=False)] = ()
    """What starts a custom server."""
    args: dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$")], Scalar] = {}
    """vLLM's own options, without the leading dashes."""
    port: Annotated[int, Field(ge=1024, le=65535)] = 8000
    health: Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9/_.-]*$")] = "/health"
    user: Annotated[int, Field(ge=1, le=2**31 - 1)] = 10001
    """Whom the server runs as; never root."""
    push: bool = False


OF_TRITON = ("version", "max_batch_size", "batching", "instances", "versions")
OF_IMAGE = ("server", "base", "image", "code", "requirements", "command", "args", "port", "health", "user", "push")
"""Which fields belong to one kind of package."""

Stage = Annotated[Convert | Quantize | Prune | Optimize | Package, Field(discriminator="stage")]
