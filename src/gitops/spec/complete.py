"""A model with everything written out that its pods run by default: what is released does not change by an upgrade."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gitops.spec.images import fetched_by
from gitops.spec.pipeline import Model, VllmServe
from gitops.spec.server_options import is_known

DRAIN = "shutdown-timeout"
DRAIN_SECONDS = 100
"""How long vLLM finishes running answers when its pod ends, within the pod's own grace. Its default is to abort them;
older versions do not know the option."""


def complete(model: Model, images: Mapping[str, str]) -> Model:
    """The model with `images` (by field, see `gitops.spec.images.chosen`) where it names none, and with what vLLM of
    the known version has to be told. It may be asked again of what it gave.
    """
    serve = model.serve
    change: dict[str, Any] = {}
    if serve.image is None:
        change["image"] = images[serve.runtime]
    if serve.fetch_image is None:
        change["fetch_image"] = images[fetched_by(model.artifact.uri)]
    if isinstance(serve, VllmServe) and DRAIN not in serve.args and is_known(change.get("image", serve.image)):
        change["args"] = {**serve.args, DRAIN: DRAIN_SECONDS}
    return model.model_copy(update={"serve": serve.model_copy(update=change)}) if change else model
