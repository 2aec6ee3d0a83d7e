"""What the world told us, as plain values: the input of every comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

from gitops.values import ObjectRef, Owner


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a Git tree: `kind` is blob, tree or commit (a submodule); `id` the object's id."""

    mode: str
    kind: str
    id: str


DriftKind = Literal["missing", "changed", "taken-over", "surplus", "foreign"]


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field that differs. `manager` is who else set it, when someone did; values of secrets are masked."""

    path: str
    before: object
    after: object
    manager: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """How one live object differs from what is desired. An object without difference has no Difference.

    missing: it is desired and not there. changed: fields differ and no one else claims them. taken-over: another
    field manager claims fields that we set (each FieldChange names it). surplus: ours, but no longer desired.
    foreign: it is desired, and what is there belongs to somebody else.
    """

    ref: ObjectRef
    kind: DriftKind
    fields: tuple[FieldChange, ...] = ()
    uid: str = ""
    unit: str = ""
    """`environment/model` from the live labels, for surplus objects; empty elsewhere."""
    owner: Owner | None = None
    """The marks of what is there: of another owner for `foreign`; for `surplus` and for what lacks the repository's
    mark, where only Git can tell whether it is ours."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether an object does its work, in words. `failed` means that waiting will not help."""

    ready: bool
    message: str
    failed: bool = False
    crashed: bool = False
    """Its pods end by themselves, or for want of memory."""
    unready: tuple[int, ...] = ()
    """Of a Deployment: since when each replica that it lacks is not ready, in seconds of the epoch, oldest first."""


class Workload(NamedTuple):
    """A Deployment of ours on one cluster. `environment`, `model` and `version` come from its labels."""

    environment: str
    model: str
    version: str
    namespace: str
    name: str
    replicas: int
    """As many as there should be: `spec.replicas` as the API shows it."""
    ready: int | None
    """Ready replicas of the present template; None while its status does not tell."""
    failed: str = ""
    """Why waiting will not make it ready (its progress deadline is exceeded), in a sentence; empty otherwise."""


Place = tuple[str, str]
"""Namespace and name of an object."""
Shares = Mapping[Place, Mapping[str, int]]
"""By route, a number for each Service that it names."""


class Survey(NamedTuple):
    """What runs on a cluster and where its traffic goes, at one look. Kinds that were not asked for are empty."""

    workloads: tuple[Workload, ...] = ()
    weights: Shares = MappingProxyType({})
    """The weight of each Service, by HTTPRoute or VirtualService."""
    mirrors: Shares = MappingProxyType({})
    """The percent of requests that are mirrored to each Service, by HTTPRoute or VirtualService."""
    selectors: Mapping[Place, Mapping[str, str]] = MappingProxyType({})
    """The labels of the pods that a Service sends traffic to."""


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """What the infrastructure plan does to one resource. `attributes` names what changes, never secret values."""

    address: str
    action: Literal["create", "update", "delete", "replace", "read"]
    drifted: bool = False
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InfrastructurePlan:
    """A saved infrastructure plan: applying it does exactly `changes`."""

    changes: tuple[ResourceChange, ...]
    exists: bool
    """The cluster itself is there already."""
    saved: bytes
    """What `apply` takes; for Terraform the tfplan file."""
    drift: tuple[ResourceChange, ...] = ()
