"""Values of the spec as templates may see them: strings, numbers, lists and dicts of these, and no object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel


def plain(value: Any) -> Any:
    """The value with every Pydantic model and dataclass in it as a dict by field name (`pod_monitors`)."""
    if isinstance(value, BaseModel):
        return {name: plain(item) for name, item in value}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
