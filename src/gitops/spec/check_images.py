"""Checks of what `images` puts in place of the default images."""

from __future__ import annotations

from collections.abc import Iterator

from gitops.spec.documents import Finding
from gitops.spec.draft import Draft
from gitops.spec.images import moving, named, unpins


def images(draft: Draft) -> Iterator[Finding]:
    """Every image has a version, and no environment takes the digest off one that has it in `pipeline.yaml`."""
    everywhere = named(draft.pipeline.images)
    places = [(None, everywhere), *((name, named(one.images)) for name, one in draft.environments.items())]
    for environment, said in places:
        for field, image in said.items():
            if wrong := moving(image) or unpins(everywhere.get(field), image):
                yield Finding(("images", field), *wrong, environment)
