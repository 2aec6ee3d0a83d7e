"""What a build may say, and what contradicts itself."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from gitops.spec.build import CARRY_CODE, Build, contradictions, formats
from gitops.stages.build.convert import PROGRAMS
from tests.stages.build.projects import CONVERT, DIGEST, INT8, TRITON, parsed, written

BASE = "vllm/vllm-openai@sha256:" + "2" * 64
IMAGE: dict[str, Any] = {"stage": "package", "as": "image", "server": "vllm", "base": BASE, "image": "acme/iris"}
FP8: dict[str, Any] = {"stage": "quantize", "method": "fp8", "gpu": {"type": "H100"}}
ENGINE: dict[str, Any] = {"stage": "optimize", "gpu": "L4", "tensorrt": "10.7"}
LLM = {"uri": "s3://acme/llama", "digest": "sha256:" + "3" * 64, "format": "safetensors"}


def found(*stages: dict[str, Any], **changes: Any) -> list[tuple[str, str]]:
    return [(".".join(path), message) for path, message, _ in contradictions(parsed(*stages, **changes))]


def test_a_sound_build_is_said_in_the_words_of_the_spec() -> None:
    build = parsed(CONVERT, INT8, TRITON)
    assert list(contradictions(build)) == []
    assert formats(build) == ("pytorch", "onnx", "onnx", "triton")
    assert Build.model_validate(build.model_dump(mode="json")) == build
    assert formats(parsed(FP8, IMAGE, source=LLM)) == ("safetensors", "safetensors", "image")
    assert found(FP8, IMAGE, source=LLM) == []


def test_numbers_may_be_written_as_yaml_misreads_them() -> None:
    build = parsed({**CONVERT, "tolerance": {"absolute": "1e-5", "relative": 0}})
    assert build.stages[0].tolerance.absolute == 1e-5  # type: ignore[union-attr]
    with pytest.raises(ValidationError, match=r"write it like 0\.0001"):
        parsed({**CONVERT, "tolerance": {"absolute": "little"}})


@pytest.mark.parametrize(
    ("stages", "where", "message"),
    [
        ((TRITON,), "stages.0", "`package` cannot take pytorch"),
        ((CONVERT, TRITON, INT8), "stages.2", "`quantize` cannot take triton"),
        ((CONVERT, FP8), "stages.1", "`quantize` cannot take onnx"),
        (({**CONVERT, "module": None, "code": None},), "source", "a whole pickled module runs the code in it"),
        ((IMAGE,), "source", "a whole pickled module runs the code in it"),
        (({**CONVERT, "code": None},), "stages.0", "`module` and `code` go together"),
        (({**CONVERT, "inputs": {}},), "stages.0", "PyTorch's models need `inputs`"),
        ((CONVERT, {**INT8, "labelled": None}), "stages.1.maxAccuracyDrop", "accuracy needs `labelled` samples"),
        ((CONVERT, {**INT8, "calibration": None}), "stages.1", "`static-int8` needs `calibration`"),
        ((CONVERT, {**TRITON, "maxBatchSize": 0}), "stages.1.batching", "without `maxBatchSize` there are no batches"),
        ((CONVERT, {**TRITON, "maxBatchSize": 4}), "stages.1.batching.preferred", "more than `maxBatchSize` 4"),
        ((CONVERT, {**TRITON, "base": BASE}), "stages.1.base", "`base` belongs to `as: image`"),
        ((CONVERT, {**TRITON, "versions": {}}), "stages.1.versions", "it is either `latest` or `specific`"),
        ((CONVERT, {**IMAGE, "args": {"port": 9000}}), "stages.1.args.port", "`port` says where the server answers"),
        ((CONVERT, {**IMAGE, "args": {"host": "::"}}), "stages.1.args.host", "the Service and the probes expect"),
        ((CONVERT, {**IMAGE, "args": {"enforce-eager": "no"}}), "stages.1.args.enforce-eager", '"no" is text, and'),
        ((CONVERT, {**IMAGE, "server": "custom"}), "stages.1", "a custom server needs `code` and `command`"),
        (
            (CONVERT, {**ENGINE, "dimensions": {"batch": {"min": 4, "best": 2, "max": 8}}}),
            "stages.1.dimensions.batch",
            "min 4, best 2, max 8 are not in order",
        ),
    ],
)
def test_contradictions(stages: tuple[dict[str, Any], ...], where: str, message: str) -> None:
    plain = [{name: value for name, value in stage.items() if value is not None} for stage in stages]
    assert (where, message) in [(path, text[: len(message)]) for path, text in found(*plain)]


@pytest.mark.parametrize("form", ["pytorch", "torch-export", "savedmodel", "frozen-graph"])
def test_a_format_that_is_a_program_is_trusted_by_name(form: str) -> None:
    """Found by use: that nothing of a checkpoint is run was promised of all formats, and held for one."""
    plain = {name: value for name, value in CONVERT.items() if name not in ("module", "code")}
    source = {"uri": "file://checkpoints/iris", "digest": DIGEST, "format": form}
    ((path, message, hint),) = contradictions(parsed(plain, source=source))
    assert path == ("source",)
    assert "when it is" in message
    assert "`trustedCode: true`" in hint
    assert found(plain, source={**source, "trustedCode": True}) == []


def test_both_sides_know_the_same_programs() -> None:
    assert PROGRAMS | {"pytorch"} == CARRY_CODE.keys()


def test_stages_for_two_gpus_do_not_fit_one_machine() -> None:
    assert ("stages", "stages ask for H100 and L4") in found(FP8, ENGINE, source=LLM)


@pytest.mark.parametrize(
    "change",
    [
        {"base": "vllm/vllm-openai:latest"},
        {"image": "acme/iris:1.0.0"},
        {"image": f"acme/iris@sha256:{'0' * 64}"},
        {"user": 0},
    ],
)
def test_an_image_is_pinned_untagged_and_not_root(change: dict[str, Any]) -> None:
    parsed(CONVERT, {**IMAGE, "image": "registry.acme.ai:5000/models/iris"})
    with pytest.raises(ValidationError):
        parsed(CONVERT, {**IMAGE, **change})


@pytest.mark.parametrize("uri", ["http://x/y", "file:////etc/passwd", "file://../x", "s3://", "checkpoints/iris.pt"])
def test_other_addresses_are_refused(uri: str) -> None:
    plain = written(CONVERT)
    with pytest.raises(ValidationError):
        Build.model_validate({**plain, "source": {**plain["source"], "uri": uri}})


@pytest.mark.parametrize("path", ["../secrets.npz", "/etc/passwd", "a/../../b", ".hidden", ""])
def test_paths_stay_in_the_project(path: str) -> None:
    with pytest.raises(ValidationError):
        parsed({**CONVERT, "samples": path})


def test_the_example_of_the_documentation_is_valid() -> None:
    text = (Path(__file__).parents[3] / "docs" / "builds.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (model,) = yaml.safe_load(blocks[0])["models"].values()
    build = Build.model_validate(model["build"])
    assert list(contradictions(build)) == []
    (image,) = yaml.safe_load(blocks[1].replace("sha256:…", "sha256:" + "0" * 64))
    assert found(CONVERT, image) == []
