"""Images that are named by a tag."""

from __future__ import annotations

import pytest

from gitops.render.context import _TERMINATION_GRACE
from gitops.render.images import unpinned
from gitops.spec.complete import DRAIN, DRAIN_SECONDS, complete
from gitops.spec.frozen import runs_of
from gitops.spec.images import DEFAULTS, RECORDED
from gitops.spec.load import load_spec
from gitops.spec.pipeline import Model
from gitops.spec.problems import SpecError
from gitops.spec.resolved import Spec
from gitops.spec.vllm_options import OPTIONS
from tests.spec.conftest import sources

PINNED = "@sha256:" + "a" * 64


def loaded(files: dict[str, bytes]) -> Spec:
    return load_spec(*sources(files))


def test_an_image_with_a_tag_is_told_once_with_its_place(example: dict[str, bytes]) -> None:
    text = example["pipeline.yaml"].decode()
    line = next(number for number, said in enumerate(text.split("\n"), 1) if "ghcr.io/acme/reranker:1.8.0" in said)
    said = list(unpinned(loaded(example)))
    assert said[0] == (
        f"pipeline.yaml:{line}: ghcr.io/acme/reranker:1.8.0 has no digest, so what it means can change: "
        "write ghcr.io/acme/reranker:1.8.0@sha256:…"
    )
    assert sum("reranker" in one for one in said) == 1


def test_an_image_of_an_environment_is_told_with_its_file(example: dict[str, bytes]) -> None:
    file = "environments/dev.yaml"
    old, new = b"reranker: {serve: {", b"reranker: {serve: {image: ghcr.io/acme/other:1, "
    changed = example[file].replace(old, new)
    line = changed[: changed.index(new)].count(b"\n") + 1
    said = list(unpinned(loaded({**example, file: changed})))
    assert any(one.startswith(f"{file}:{line}: ghcr.io/acme/other:1 has no digest") for one in said)


def test_default_images_are_told_together_with_their_fields_and_only_where_they_are_used(
    example: dict[str, bytes],
) -> None:
    told = list(unpinned(loaded(example)))[-1]
    loose = {field: image for field, image in DEFAULTS.items() if "@" not in image}
    assert set(loose) == {"triton", "fetchModel"}
    for field, image in loose.items():
        assert f"{image} (`images.{field}`)" in told
    pinned = "".join(f"  {field}: {image}{PINNED}\n" for field, image in loose.items()).encode()
    text = example["pipeline.yaml"].replace(b"reranker:1.8.0", f"reranker:1.8.0{PINNED}".encode())
    assert not list(unpinned(loaded({**example, "pipeline.yaml": text + b"images:\n" + pinned})))


def test_an_image_in_place_of_a_default_is_told_with_its_place(example: dict[str, bytes]) -> None:
    text = example["pipeline.yaml"] + b"images: {fetchModel: registry.acme.example/initializer:0.15.2}\n"
    file, mirror = "environments/dev.yaml", "registry.acme.example/vllm:0.31"
    changed = {**example, "pipeline.yaml": text, file: example[file] + f"images: {{vllm: '{mirror}'}}\n".encode()}
    said = list(unpinned(loaded(changed)))
    line = example[file].count(b"\n") + 1
    assert any(one.startswith(f"{file}:{line}: {mirror} has no digest") for one in said)
    assert sum("initializer:0.15.2 has no digest" in one for one in said) == 1
    assert not any("fetchModel" in one for one in said)


def test_images_of_an_environment_come_before_those_of_the_pipeline(example: dict[str, bytes]) -> None:
    top = "".join(f"  {field}: mirror/{field.lower()}{PINNED}\n" for field in DEFAULTS).encode()
    file = "environments/dev.yaml"
    here = f"images: {{vllm: other/vllm{PINNED}}}\n".encode()
    files = {**example, "pipeline.yaml": example["pipeline.yaml"] + b"images:\n" + top, file: example[file] + here}
    models = loaded(files).models
    runs = {str(unit): (model.serve.runtime, model.serve.image) for unit, model in models.items()}
    for unit, (runtime, image) in runs.items():
        if runtime != "custom":
            where = "other" if runtime == "vllm" and unit.startswith("dev/") else "mirror"
            assert image == f"{where}/{runtime}{PINNED}"
    assert {model.serve.fetch_image for model in models.values()} <= {
        f"mirror/fetchmodel{PINNED}",
        f"mirror/fetchoci{PINNED}",
    }


@pytest.mark.parametrize(
    ("pipeline", "environment", "message"),
    [
        ("vllm: acme/vllm:latest", "", "`latest` means another image every time"),
        ("", "fetchOci: acme/oras", "the image has no tag and no digest"),
        (
            f"triton: acme/triton{PINNED}",
            "triton: acme/triton:1",
            "the image has a digest in pipeline.yaml, and none here",
        ),
    ],
)
def test_images_that_are_refused(example: dict[str, bytes], pipeline: str, environment: str, message: str) -> None:
    file = "environments/dev.yaml"
    added = {"pipeline.yaml": f"images: {{{pipeline}}}\n", file: f"images: {{{environment}}}\n"}
    with pytest.raises(SpecError) as caught:
        loaded({**example, **{name: example[name] + text.encode() for name, text in added.items()}})
    (found,) = caught.value.found
    assert (found.file, found.message) == (file if environment else "pipeline.yaml", message)


def test_options_are_those_of_the_image_that_runs(example: dict[str, bytes]) -> None:
    text = example["pipeline.yaml"]
    assert b"max-model-len" in text
    broken = text.replace(b"max-model-len", b"max-model-size", 1)
    with pytest.raises(SpecError, match="has no option `max-model-size`"):
        loaded({**example, "pipeline.yaml": broken})
    loaded({**example, "pipeline.yaml": broken + f"images: {{vllm: acme/vllm{PINNED}}}\n".encode()})


def test_vllm_finishes_running_answers_before_its_pod_ends() -> None:
    raw = {
        "version": "1",
        "artifact": {"uri": "s3://models/chat", "digest": "sha256:" + "a" * 64, "format": "safetensors"},
        "rollout": "r",
        "serve": {"runtime": "vllm", "gpu": {"type": "L4", "count": 1}},
    }
    model = Model.model_validate(raw)
    made = complete(model, DEFAULTS)
    assert made.serve.args == {DRAIN: DRAIN_SECONDS}
    assert _TERMINATION_GRACE - 10 > DRAIN_SECONDS, "it has to end by itself"
    assert complete(made, RECORDED) is made
    assert complete(model, RECORDED).serve.args == {}, "an older server does not know the option"
    assert OPTIONS[DRAIN] == "integer"


def test_an_image_that_older_records_leave_out_has_their_digest() -> None:
    raw = {
        "version": "1",
        "artifact": {"uri": "oci://registry.example/chat:1", "digest": "sha256:" + "a" * 64, "format": "onnx"},
        "rollout": "r",
        "serve": {"runtime": "triton", "gpu": {"type": "L4", "count": 1}},
    }
    before = Model.model_validate(raw)
    assert runs_of(complete(before, RECORDED)) == runs_of(before)
    assert runs_of(complete(before, {**RECORDED, "triton": DEFAULTS["triton"]})) != runs_of(before)
    assert runs_of(complete(before, {**RECORDED, "fetchOci": DEFAULTS["fetchOci"]})) != runs_of(before)
