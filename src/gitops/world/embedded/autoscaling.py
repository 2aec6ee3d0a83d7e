"""How many replicas the autoscalers of an embedded cluster run: what the declared load takes, within their bounds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from gitops.values import LABEL_MODEL, LABEL_VERSION
from gitops.world.embedded.pods import DEPLOYMENTS
from gitops.world.embedded.store import Key, Store
from gitops.world.kubernetes.survey import http_weights, virtual_weights

AUTOSCALERS: Mapping[str, tuple[str, str, int, int]] = {
    "horizontalpodautoscalers.autoscaling/v2": ("minReplicas", "maxReplicas", 1, 1),
    "scaledobjects.keda.sh/v1alpha1": ("minReplicaCount", "maxReplicaCount", 0, 100),
}
"""Resource, the fields of its spec with the least and the largest number of replicas, and the defaults of both."""
_HTTP, _VIRTUAL = "httproutes.gateway.networking.k8s.io/v1", "virtualservices.networking.istio.io/v1"
_SERVICES = "services.v1"
ROUTES = frozenset({_HTTP, _VIRTUAL, _SERVICES})
"""What says how many of the requests a version gets."""

Manifest = dict[str, Any]
Owner = tuple[str, str]
Needs = Mapping[tuple[str, str], int]
"""By namespace and model, how many replicas all its requests take; without an entry, the least of its autoscaler."""


def autoscaled(store: Store, needs: Needs) -> Iterator[tuple[Owner, int]]:
    """The replicas that autoscalers keep, by namespace and name of the Deployment."""
    for resource, (least, most, low, high) in AUTOSCALERS.items():
        for manifest in store.scan(resource):
            spec, namespace = manifest.get("spec", {}), manifest["metadata"]["namespace"]
            owner = namespace, spec.get("scaleTargetRef", {}).get("name", "")
            bounds = int(spec.get(least, low)), int(spec.get(most, high))
            yield owner, max(bounds[0], min(bounds[1], _wanted(store, needs, owner)))


def _wanted(store: Store, needs: Needs, owner: Owner) -> int:
    namespace, name = owner
    deployment = store.get(Key(DEPLOYMENTS, namespace, name)) if needs else None
    labels: Mapping[str, str] = deployment["metadata"].get("labels", {}) if deployment else {}
    model = labels.get(LABEL_MODEL, "")
    need = needs.get((namespace, model), 0)
    return math.ceil(need * _share(store, namespace, model, name, labels.get(LABEL_VERSION, ""))) if need else 0


def _share(store: Store, namespace: str, model: str, workload: str, version: str) -> float:
    """The part of a model's requests that this workload answers."""
    for resource, read in ((_HTTP, http_weights), (_VIRTUAL, virtual_weights)):
        if route := store.get(Key(resource, namespace, model)):
            weights: Mapping[str, int] = read(route)
            return weights.get(workload, 0) / max(1, sum(weights.values()))
    service = store.get(Key(_SERVICES, namespace, model))
    selector: Mapping[str, str] = service["spec"].get("selector", {}) if service else {}
    if LABEL_VERSION in selector:
        return 1.0 if selector[LABEL_VERSION] == version else 0.0
    # Such a Service spreads over the pods of all versions: each gets what it has pods for, of those that there are.
    labels = (one["metadata"].get("labels", {}) for one in store.scan(DEPLOYMENTS, namespace))
    return 1 / max(1, len([one for one in labels if one.get(LABEL_MODEL) == model]))
