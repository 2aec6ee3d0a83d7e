"""What an existing cluster asks of pods: where they may run, on what, and with which right to fetch images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from gitops.spec.fields import ObjectName, SpecModel

LabelKey = Annotated[
    str,
    StringConstraints(
        pattern=r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*/)?"
        r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$",
        max_length=317,
    ),
]
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$")]


class Toleration(SpecModel):
    """A taint of nodes that pods may run in spite of. GPU pods always tolerate `nvidia.com/gpu`."""

    key: LabelKey
    value: LabelValue | None = None
    """By default any."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """By default any."""


Tolerations = Annotated[tuple[Toleration, ...], Field(max_length=32, strict=False)]


class Pods(SpecModel):
    """What every pod gets: of an environment, of a cluster, or of one model. The narrower adds to the wider."""

    image_pull_secrets: Annotated[tuple[ObjectName, ...], Field(max_length=16, strict=False)] = ()
    """Secrets of type kubernetes.io/dockerconfigjson, in the environment's namespace, for private registries."""
    runtime_class: ObjectName | None = None
    """A RuntimeClass, such as `nvidia` where that is not the nodes' default runtime; the narrowest counts."""
    tolerations: Tolerations = ()
    """Taints of nodes that pods may run in spite of."""
    node_selector: dict[LabelKey, LabelValue] = {}
    """Labels that a node must have, beside those of the model's node pool."""


def together(*layers: Pods | None) -> Pods:
    """Everything that these say, from the widest to the narrowest; for one key or one name the narrowest counts."""
    said = [layer for layer in layers if layer]
    classes = [layer.runtime_class for layer in said if layer.runtime_class]
    return Pods.model_construct(
        image_pull_secrets=tuple(dict.fromkeys(name for layer in said for name in layer.image_pull_secrets)),
        runtime_class=classes[-1] if classes else None,
        tolerations=tuple(dict.fromkeys(one for layer in said for one in layer.tolerations)),
        node_selector={key: value for layer in said for key, value in layer.node_selector.items()},
    )
