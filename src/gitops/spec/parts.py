"""What several parts of the spec say: a GPU, a reference to a Secret."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints

from gitops.spec.catalog import GPU_TYPES
from gitops.spec.fields import ObjectName, SpecModel

GpuType = Literal["T4", "A10G", "L4", "L40S", "A100", "A100-80GB", "H100", "H200", "B200"]
assert GpuType.__args__ == GPU_TYPES  # type: ignore[attr-defined]  # typing offers no public way to ask

Scalar = str | int | float | bool
OptionValue = Scalar | list[JsonValue] | dict[str, JsonValue]
"""A server's option as YAML has it: what is no single value becomes JSON or several words, as the option takes it."""


class Gpu(SpecModel):
    """GPUs of one replica."""

    type: GpuType
    count: Annotated[int, Field(ge=1, le=16)] = 1


class SecretRef(SpecModel):
    """A key of a Secret that something else (External Secrets, a vault) puts into the namespace."""

    secret: ObjectName
    key: Annotated[str, StringConstraints(pattern=r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$", max_length=253)]
