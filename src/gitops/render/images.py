"""Which of the images that a spec leads to are no fixed ones."""

from __future__ import annotations

from collections.abc import Iterator

from gitops.render.runtimes.base import DEFAULT_IMAGES
from gitops.spec.resolved import Spec


def unpinned(spec: Spec) -> Iterator[str]:
    """A sentence for each image that the spec names by a tag, with its place, and one for the defaults in use."""
    for image, place in spec.tagged.items():
        yield f"{place}: {image} has no digest, so what it means can change: write {image}@sha256:…"
    serves = [model.serve for model in spec.models.values()]
    used = {DEFAULT_IMAGES[serve.runtime] for serve in serves if serve.image is None}
    if loose := sorted(image for image in used if "@" not in image):
        yield f"default images without a digest: {', '.join(loose)}; name them with their digests in `serve.image`"
