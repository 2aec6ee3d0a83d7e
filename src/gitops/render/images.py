"""Which of the images that a spec leads to are no fixed ones."""

from __future__ import annotations

from collections.abc import Iterator

from gitops.spec.images import DEFAULTS
from gitops.spec.resolved import Spec


def unpinned(spec: Spec) -> Iterator[str]:
    """A sentence for each image that the spec names by a tag, with its place, and one for the defaults in use."""
    for image, place in spec.tagged.items():
        yield f"{place}: {image} has no digest, so what it means can change: write {image}@sha256:…"
    serves = [model.serve for model in spec.models.values()]
    used = {image for serve in serves for image in (serve.image, serve.fetch_image)} - spec.tagged.keys()
    loose = [f"{image} (`images.{field}`)" for field, image in DEFAULTS.items() if image in used and "@" not in image]
    if loose:
        yield f"default images without a digest: {', '.join(loose)}; name them with their digests there"
