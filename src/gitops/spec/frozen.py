"""A model as it was released, kept as JSON, so that any live version can be rendered again after the spec moved on.

Defaults are written out: a later version of this project may change them, and what was released must not change.
Only what is not there at all (None) is left out.
"""

from __future__ import annotations

import json

from pydantic import ValidationError

from gitops.errors import GitopsError
from gitops.spec.pipeline import Model
from gitops.spec.problems import dotted

_HINT = "it was edited by hand, or written by a newer version of gitops"


def dump_model(model: Model) -> str:
    """One line of ASCII. Equal models whose mappings have the same order give the same bytes."""
    # How it was built and judged is in its registration; here is what runs.
    data = model.model_dump(mode="json", exclude_none=True, exclude={"build", "validation"})
    return json.dumps(data, separators=(",", ":"))


def load_model(text: str) -> Model:
    """The model that `dump_model` wrote; GitopsError for anything else. What the text holds is never shown."""
    try:
        return Model.model_validate_json(text)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = dotted(detail["loc"])
        raise GitopsError(f"a released model cannot be read{f' at {place}' if place else ''}", hint=_HINT) from None
    except UnicodeEncodeError:  # half of a surrogate pair is no text
        raise GitopsError("a released model cannot be read", hint=_HINT) from None
