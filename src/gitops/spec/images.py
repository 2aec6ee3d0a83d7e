"""Which images run where a model names none: the defaults, and those that a team puts in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gitops.spec.fields import Image, SpecModel
from gitops.spec.vllm_options import DIGEST, IMAGE, VERSION

DEFAULTS: Mapping[str, str] = {
    "vllm": f"{IMAGE}:v{VERSION}@{DIGEST}",
    "triton": "nvcr.io/nvidia/tritonserver:26.08-py3",
    "fetchModel": "kserve/storage-initializer:v0.15.2",
    "fetchOci": "ghcr.io/oras-project/oras:v1.3.4"
    "@sha256:f7bc056d54d97baa399414ed5048ecc67c3371b750d4bbce1d871827a5758179",
}
"""By the field of `images` that replaces it. The two that fetch need a shell: they check what they fetched."""

RECORDED: Mapping[str, str] = {
    "vllm": "vllm/vllm-openai:v0.11.0",
    "triton": "nvcr.io/nvidia/tritonserver:25.08-py3",
    "fetchModel": "kserve/storage-initializer:v0.15.2",
    "fetchOci": "ghcr.io/oras-project/oras:v1.3.2",
}
"""What a released model runs whose record names no image: the defaults of the last version that wrote such records.
They never change, since these pods must not change by an upgrade."""


class Images(SpecModel):
    """Images in place of the defaults, such as those of a mirror. Name each with its digest."""

    vllm: Image | None = None
    """vLLM, where `serve.image` names none."""
    triton: Image | None = None
    """Triton, where `serve.image` names none."""
    fetch_model: Image | None = None
    """KServe's storage initializer, which downloads artifacts from s3://, gs://, az:// and hf://."""
    fetch_oci: Image | None = None
    """ORAS, which downloads artifacts from oci://. It needs a shell."""


def chosen(pipeline: Images, environment: Images) -> Mapping[str, str]:
    """The image for each field of `images`: the environment's before the pipeline's before the default."""
    return {**DEFAULTS, **named(pipeline), **named(environment)}


def named(images: Images) -> dict[str, str]:
    """The images that are named, by field as it is written."""
    said: dict[str, str] = images.model_dump(exclude_none=True)
    return said


def moving(image: str) -> tuple[str, str] | None:
    """What is wrong with a reference that means another image every time, and what to write."""
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    hint = "name a version, such as :1.4.2, or a digest"
    if tag == "latest":
        return "`latest` means another image every time", hint
    return None if tag or digest else ("the image has no tag and no digest", hint)


def unpins(before: object, after: object) -> tuple[str, str] | None:
    """What is wrong where an environment takes the digest off an image, and what to write."""
    if isinstance(before, str) and isinstance(after, str) and "@" in before and "@" not in after:
        return "the image has a digest in pipeline.yaml, and none here", "add @sha256:…"
    return None


def fetched_by(uri: str) -> str:
    """The field of `images` whose image downloads an artifact from there."""
    return "fetchOci" if uri.startswith("oci://") else "fetchModel"


def without_recorded(serve: Mapping[str, Any], uri: str) -> dict[str, Any]:
    """`serve` as JSON without the images that a record without images means, so that both have one digest."""
    meant = {"image": RECORDED.get(serve["runtime"]), "fetchImage": RECORDED[fetched_by(uri)]}
    return {key: value for key, value in serve.items() if key not in meant or value != meant[key]}
