"""Field types of the spec: what a name, a version, a duration, a quantity or a threshold may look like."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

from gitops.spec.quantities import QUANTITY_PATTERN, quantity


class SpecModel(BaseModel):
    """Base of everything a user writes: frozen, unknown keys are errors, keys are camelCase, no silent casts."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=False,
        serialize_by_alias=True,
        # Only the outermost models are ever asked to validate; every other would be compiled for nothing.
        defer_build=True,
    )


_DURATION = re.compile(r"(?:(\d{1,12})h)?(?:(\d{1,12})m)?(?:(\d{1,12})s)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(value: object) -> object:
    """`1h30m`, `15m`, `90s` to whole seconds; anything else is a ValueError that shows the form."""
    if isinstance(value, str) and value:
        match = _DURATION.fullmatch(value)
        if match and any(match.groups()):
            hours, minutes, seconds = (int(part or 0) for part in match.groups())
            return hours * 3600 + minutes * 60 + seconds
    raise ValueError(f"{value!r} is not a duration; write it like 90s, 15m or 1h30m")


def format_duration(seconds: int) -> str:
    """Whole seconds in the form that `parse_duration` reads: 5400 gives `1h30m`, 0 gives `0s`."""
    hours, rest = divmod(seconds, 3600)
    minutes, left = divmod(rest, 60)
    parts = [f"{n}{unit}" for n, unit in ((hours, "h"), (minutes, "m"), (left, "s")) if n]
    return "".join(parts) or "0s"


DURATION_PATTERN = r"^(\d+h)?(\d+m)?(\d+s)?$"
Duration = Annotated[
    int,
    BeforeValidator(parse_duration),
    Field(le=30 * 24 * 3600),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["15m", "1h30m"]}),
]
"""A span of time, held as whole seconds, at most 30 days."""


class Threshold(NamedTuple):
    """A gate's limit. `relative` limits are multiples of stable's value; others are in `unit` (s, % or none)."""

    value: float
    unit: str
    relative: bool


_NUMBER = r"\d{1,15}(?:\.\d{1,15})?"
_RELATIVE = re.compile(rf"({_NUMBER})x stable")
_ABSOLUTE = re.compile(rf"({_NUMBER})(ms|s|m|h|%)?")


def parse_threshold(value: object) -> object:
    """`1.1x stable`, `1%`, `800ms`, `2s`, `40` to a Threshold; anything else is a ValueError that shows the forms."""
    text = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    if isinstance(text, str):
        if match := _RELATIVE.fullmatch(text):
            return Threshold(float(match[1]), "", True)
        if match := _ABSOLUTE.fullmatch(text):
            unit = match[2] or ""
            scale = _UNITS.get(unit, 1.0)
            return Threshold(float(match[1]) * scale, "%" if unit == "%" else "s" if unit else "", False)
    raise ValueError(f'{value!r} is not a threshold; write it like "1.1x stable", "1%", 800ms or 40')


def format_threshold(threshold: Threshold) -> str:
    """The form that `parse_threshold` reads."""
    if threshold.relative:
        return f"{threshold.value:g}x stable"
    if threshold.unit == "s" and threshold.value < 1:
        return f"{threshold.value * 1000:g}ms"
    return f"{threshold.value:g}{threshold.unit}"


ThresholdField = Annotated[
    Threshold,
    BeforeValidator(parse_threshold),
    PlainSerializer(format_threshold, return_type=str),
    WithJsonSchema(
        {
            "type": ["string", "number"],
            "pattern": r"^(\d+(\.\d+)?x stable|\d+(\.\d+)?(ms|s|m|h|%)?)$",
            "examples": ["1.1x stable", "1%", "800ms"],
        }
    ),
]


Name = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$")]
"""Models, environments, clusters, pools, rollouts: at most 40 characters, so that names built from them fit."""

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
KubernetesName = Annotated[str, StringConstraints(pattern=rf"^{_LABEL}$")]
"""What Kubernetes calls a DNS label: namespaces."""
ObjectName = Annotated[str, StringConstraints(pattern=rf"^{_LABEL}(\.{_LABEL})*$", max_length=253)]
"""What Kubernetes calls a DNS subdomain: Secrets, service accounts, gateways."""
Version = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9._-]{0,18}[a-z0-9])?$"), Field(examples=["2.3.0"])
]
"""A model version: lower case, at most 20 characters, a valid label value and (with `-` for `.`) part of a name."""

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Cpu = Annotated[
    str,
    BeforeValidator(quantity("an amount of CPU", "write it like 8, 1.5 or 500m", "1m", "9999", "1m")),
    WithJsonSchema({"type": ["string", "number"], "pattern": QUANTITY_PATTERN, "examples": [8, 1.5, "500m"]}),
]
"""A quantity of Kubernetes in the form that the API server keeps; at most a thousandth of a CPU precise."""
Memory = Annotated[
    str,
    BeforeValidator(quantity("an amount of memory", "write it like 512Mi or 64Gi", "1Mi", "1024Ti", "1")),
    WithJsonSchema({"type": ["string", "number"], "pattern": QUANTITY_PATTERN, "examples": ["64Gi"]}),
]
"""A quantity of bytes in the form that the API server keeps."""

_HOST = r"[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?"
_REGISTRY = rf"({_HOST}(\.{_HOST})*|\[[a-fA-F0-9:]+\])(:[0-9]+)?"
_REPOSITORY = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
Image = Annotated[
    str,
    StringConstraints(
        pattern=rf"^({_REGISTRY}/)?{_REPOSITORY}(/{_REPOSITORY})*(:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?"
        r"(@(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}))?$",
        max_length=512,
    ),
]
"""A reference as the grammar of `distribution/reference` has it, with a digest of an algorithm that OCI registers."""
Hostname = Annotated[
    str,
    # The last label has a letter in it: an address is no name (Gateway API, `Hostname`).
    StringConstraints(pattern=rf"^(\*\.)?({_LABEL}\.)+[0-9]*[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?$", max_length=253),
]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""A variable of this process, as POSIX has it."""
PodEnvName = Annotated[str, StringConstraints(pattern=r"^(\.?[-_A-Za-z][-_.A-Za-z0-9]*)$")]
"""A variable of a container, as Kubernetes has it."""
AZURE_URI = r"az://[a-z0-9][a-z0-9-]{1,61}[a-z0-9](@[a-z0-9]{3,24}\.blob\.core\.windows\.net)?(/[A-Za-z0-9._@:/+=-]*)?"
OCI_URI = (
    r"oci://[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*)+"
    r"(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}(@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64})"
)
"""A reference as the OCI Distribution Specification has it, with a tag, a digest or both."""
ArtifactUri = Annotated[
    str,
    StringConstraints(
        pattern=rf"^((s3|gs|hf|file)://[A-Za-z0-9][A-Za-z0-9._@:/+=-]*|{AZURE_URI}|{OCI_URI})$", max_length=1024
    ),
    Field(examples=["s3://acme-models/support-chat/2.3.0"]),
]
OneLine = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f]+$", max_length=200)]
"""Words for people, which go into commits."""

Query = Annotated[
    str,
    StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f]+$", max_length=2000),
    Field(examples=['sum(rate(errors_total{namespace="$namespace",version="$version"}[5m]))']),
]
