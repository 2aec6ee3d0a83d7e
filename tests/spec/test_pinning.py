"""Images that are named by a tag."""

from __future__ import annotations

from gitops.render.images import unpinned
from gitops.render.runtimes import DEFAULT_IMAGES
from gitops.spec.load import load_spec
from gitops.spec.resolved import Spec
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


def test_default_images_are_told_together_and_only_where_they_are_used(example: dict[str, bytes]) -> None:
    told = list(unpinned(loaded(example)))[-1]
    assert told.startswith("default images without a digest: ")
    assert DEFAULT_IMAGES["vllm"] in told
    assert DEFAULT_IMAGES["triton"] in told
    pinned = example["pipeline.yaml"].decode()
    for runtime in ("vllm", "triton"):
        pinned = pinned.replace(f"runtime: {runtime}\n", f"runtime: {runtime}\n      image: {runtime}{PINNED}\n")
    pinned = pinned.replace("ghcr.io/acme/reranker:1.8.0", f"ghcr.io/acme/reranker:1.8.0{PINNED}")
    assert not list(unpinned(loaded({**example, "pipeline.yaml": pinned.encode()})))
