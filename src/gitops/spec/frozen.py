"""A model as it was released, kept as JSON, so that any live version can be rendered again after the spec moved on.

Defaults are written out: a later version of this project may change them, and what was released must not change.
Only what is not there at all (None) is left out.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import ValidationError

from gitops.errors import GitopsError
from gitops.spec.images import without_recorded
from gitops.spec.lenient import read_leniently
from gitops.spec.pipeline import Model
from gitops.values import base_version

_IN_PLACE = frozenset({"replicas", "network"})
"""What of `serve` changes no pod: it is brought to a version that runs."""
_HINT = "it was edited by hand, or written by a newer version of gitops"


def dump_model(model: Model) -> str:
    """One line of ASCII. Equal models whose mappings have the same order give the same bytes."""
    # How it was built and judged is in its registration; here is what runs.
    data = model.model_dump(mode="json", exclude_none=True, exclude={"build", "validation"})
    # Its record names it; what it is named by there may be a revision.
    return _line(data | {"version": base_version(model.version)})


def runs_of(model: Model) -> str:
    """The digest (`sha256:…`) over everything that a pod of the model runs: the artifact, image, command, arguments,
    environment, GPUs, resources, probes. What is changed in place (replicas, network, route) is not part of it, nor
    is what the version is called.
    """
    data = model.model_dump(mode="json", exclude_none=True, include={"artifact": True, "serve": True})
    serve = without_recorded(data["serve"], model.artifact.uri)
    serve = {key: value for key, value in serve.items() if key not in _IN_PLACE}
    return "sha256:" + hashlib.sha256(_line({"artifact": data["artifact"], "serve": serve}).encode()).hexdigest()


def _line(data: dict[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"))


def load_model(text: str) -> Model:
    """The model that `dump_model` wrote, also of an earlier version that took values which this one refuses;
    GitopsError for anything else. What the text holds is never shown.
    """
    try:
        return Model.model_validate_json(text)
    except ValidationError as error:
        if error.errors(include_url=False, include_context=False, include_input=False)[0]["type"] == "json_invalid":
            raise GitopsError("a released model cannot be read", hint=_HINT) from None
    except UnicodeEncodeError:  # half of a surrogate pair is no text
        raise GitopsError("a released model cannot be read", hint=_HINT) from None
    try:
        return read_leniently(Model, json.loads(text))
    except ValueError as error:
        place = f" at {error}" if str(error) else ""
        raise GitopsError(f"a released model cannot be read{place}", hint=_HINT) from None
