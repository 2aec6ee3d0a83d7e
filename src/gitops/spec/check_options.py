"""Checks of what a runtime's server is told: its own options, and those that rendering sets itself."""

from __future__ import annotations

from collections.abc import Iterator

from gitops.spec.documents import Finding
from gitops.spec.draft import Subject
from gitops.spec.parts import OptionValue
from gitops.spec.pipeline import TritonServe, VllmServe
from gitops.spec.problems import Path
from gitops.spec.server_options import Wrong, is_known, taken, wrong_value

_SAID_BY_PARALLELISM = {"tensor-parallel-size": "tensor", "pipeline-parallel-size": "pipeline"}


def vllm_options(subject: Subject) -> Iterator[Finding]:
    """No option takes what is ours, and those of the version that is known here exist and have values that fit."""
    serve = subject.model.serve
    if not isinstance(serve, VllmServe):
        return
    known = all(map(is_known, (serve.image,) if serve.image else subject.servers))
    for name, value in serve.args.items():
        if wrong := taken(name) or _contradicts(serve, name, value) or wrong_value(name, value, known=known):
            yield subject.finding(("serve", "args", name), *wrong)


def triton_options(subject: Subject) -> Iterator[Finding]:
    """What only a configuration made here says is not said where the model repository brings its own."""
    serve, form = subject.model.serve, subject.model.artifact.format
    if not isinstance(serve, TritonServe) or form in ("onnx", "tensorrt"):
        return
    for name, key in (("max_batch_size", "maxBatchSize"), ("instances", "instances")):
        if name in serve.model_fields_set:
            place: Path = ("serve", key)
            message = f"a model repository of format {form} brings its own configuration"
            yield subject.finding(place, message, "remove it; set it in the repository's config.pbtxt")


def _contradicts(serve: VllmServe, name: str, value: OptionValue) -> Wrong | None:
    if not (field := _SAID_BY_PARALLELISM.get(name)):
        return None
    said = getattr(serve.parallelism, field)
    if str(value) == str(said):
        return None
    return (
        f"{value} contradicts `serve.parallelism.{field}`, which is {said}",
        "remove it; set that, and `serve.gpu.count`",
    )
