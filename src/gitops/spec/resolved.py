"""The spec after loading: every environment with its models as they run there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gitops.values import UnitKey

if TYPE_CHECKING:  # commands that only read history do without pydantic
    from gitops.spec.environment import Cluster, Environment
    from gitops.spec.pipeline import Model, Pipeline


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file as it was read. `path` is how messages name it (relative to the project)."""

    path: str
    data: bytes


def default_namespace(pipeline: str, environment: str) -> str:
    """The namespace of an environment that names none."""
    return f"{pipeline}-{environment}"


@dataclass(frozen=True, slots=True)
class Spec:
    """Everything the user wrote, checked.

    `environments` is in promotion order. `models` holds each unit after the environment's overrides (the same
    Model object wherever nothing is overridden), in promotion order, then in the order of `pipeline.yaml`.
    `clusters` is every cluster by name, `cluster_environments` the environments on it.
    `digest` is over the bytes of all source files. `tagged` has the images that they name without a digest, each with
    its first place.
    """

    pipeline: Pipeline
    environments: Mapping[str, Environment]
    models: Mapping[UnitKey, Model]
    clusters: Mapping[str, Cluster]
    cluster_environments: Mapping[str, tuple[str, ...]]
    digest: str
    tagged: Mapping[str, str] = field(default_factory=dict)

    def namespace(self, environment: str) -> str:
        """The Kubernetes namespace of an environment."""
        return self.environments[environment].namespace or default_namespace(self.pipeline.name, environment)
