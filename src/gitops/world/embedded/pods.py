"""What the API shows of simulated pods and deployments at a point in time."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from gitops.world.embedded.store import Key

GPU = "nvidia.com/gpu"
DEPLOYMENTS = "deployments.apps/v1"
PODS = "pods.v1"
_PROGRESS_DEADLINE = 600

Manifest = dict[str, Any]


@dataclass(slots=True)
class Pod:
    """A pod's fate; times are in seconds since the epoch, `ready_at` is infinite while it has no node."""

    manifest: Manifest
    owner: tuple[str, str]
    hash: str
    created: float
    node: str = ""
    ready_at: float = math.inf

    @classmethod
    def load(cls, stored: Manifest) -> Pod:
        """From what the store keeps."""
        facts = stored["simulated"]
        ready_at = math.inf if facts["ready_at"] is None else facts["ready_at"]
        return cls(stored, tuple(facts["owner"]), facts["hash"], facts["created"], facts["node"], ready_at)

    @classmethod
    def create(cls, deployment: Manifest, name: str, template_hash: str, time: float) -> Pod:
        """A new pod of a deployment."""
        template, namespace = deployment["spec"]["template"], deployment["metadata"]["namespace"]
        metadata = template.get("metadata", {})
        metadata = {
            **metadata,
            "name": name,
            "namespace": namespace,
            "uid": f"pod-{name}",
            "creationTimestamp": rfc3339(time),
            "labels": {**metadata.get("labels", {}), "pod-template-hash": template_hash},
        }
        manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        return cls(manifest, (namespace, deployment["metadata"]["name"]), template_hash, time)

    @property
    def key(self) -> Key:
        """Where the store keeps it."""
        return Key(PODS, self.owner[0], self.manifest["metadata"]["name"])

    @property
    def gpus(self) -> int:
        """How many GPUs its containers ask for."""
        containers = self.manifest["spec"].get("containers", [])
        limits = (container.get("resources", {}).get("limits", {}) for container in containers)
        return sum(int(limit.get(GPU, 0)) for limit in limits)

    def is_ready(self, time: float) -> bool:
        """Whether it serves at that time."""
        return self.ready_at <= time

    def stored(self) -> Manifest:
        """The reverse of `load`."""
        facts = {
            "owner": self.owner,
            "hash": self.hash,
            "created": self.created,
            "node": self.node,
            "ready_at": None if math.isinf(self.ready_at) else self.ready_at,
        }
        return {**self.manifest, "simulated": facts}

    def shown(self, now: float, why_unscheduled: Callable[[Pod], str]) -> Manifest:
        """As the API shows it."""
        manifest = {key: value for key, value in self.manifest.items() if key != "simulated"}
        spec = {**manifest["spec"], **({"nodeName": self.node} if self.node else {})}
        return {**manifest, "spec": spec, "status": self._status(now, why_unscheduled)}

    def _status(self, now: float, why_unscheduled: Callable[[Pod], str]) -> Manifest:
        if not self.node:
            scheduled = {**_condition("PodScheduled", False, "Unschedulable"), "message": why_unscheduled(self)}
            return {"phase": "Pending", "conditions": [scheduled]}
        ready = self.is_ready(now)
        containers = [
            {"name": container["name"], "ready": ready, "restartCount": 0, "state": {"running": {}}}
            for container in self.manifest["spec"].get("containers", [])
        ]
        conditions = [_condition("PodScheduled", True, ""), _condition("Ready", ready, "" if ready else "Loading")]
        return {"phase": "Running", "conditions": conditions, "containerStatuses": containers}


def deployment_status(manifest: Manifest, replicas: int, pods: Sequence[Pod], now: float, speed: float) -> Manifest:
    """The status of a deployment that should have so many replicas and has these pods."""
    wanted = template_hash(manifest)
    new = [pod for pod in pods if pod.hash == wanted]
    ready = sum(pod.is_ready(now) for pod in pods)
    _, unavailable = rolling_limits(manifest["spec"], replicas)
    return {
        "observedGeneration": manifest["metadata"]["generation"],
        "replicas": len(pods),
        "updatedReplicas": len(new),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "unavailableReplicas": max(0, replicas - ready),
        "conditions": [
            _condition("Available", ready >= replicas - unavailable, "MinimumReplicasAvailable"),
            _progress(manifest, replicas, new, len(pods), now, speed),
        ],
    }


def _progress(manifest: Manifest, replicas: int, new: Sequence[Pod], total: int, now: float, speed: float) -> Manifest:
    ready = [pod for pod in new if pod.is_ready(now)]
    if len(ready) >= replicas and total == len(new):
        return _condition("Progressing", True, "NewReplicaSetAvailable")
    times = [*(pod.created for pod in new), *(pod.ready_at for pod in ready)]
    deadline = manifest["spec"].get("progressDeadlineSeconds", _PROGRESS_DEADLINE) / speed
    if times and now - max(times) > deadline:
        return _condition("Progressing", False, "ProgressDeadlineExceeded")
    return _condition("Progressing", True, "ReplicaSetUpdated")


def rolling_limits(spec: Manifest, replicas: int) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) as counts; the API's default for both is 25%, rounded up and down."""
    strategy = spec.get("strategy", {})
    if strategy.get("type") == "Recreate":
        return 0, replicas
    rolling = strategy.get("rollingUpdate", {})
    surge = _count(rolling.get("maxSurge", "25%"), replicas, math.ceil)
    unavailable = _count(rolling.get("maxUnavailable", "25%"), replicas, math.floor)
    return surge, unavailable if surge or unavailable else 1


def template_hash(deployment: Manifest) -> str:
    """Names the version of a pod template."""
    text = orjson.dumps(deployment["spec"]["template"], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:10]


def rfc3339(time: float) -> str:
    """Seconds since the epoch as the API writes them."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _count(value: int | str, replicas: int, rounding: Callable[[float], int]) -> int:
    return value if isinstance(value, int) else rounding(float(value.removesuffix("%")) / 100 * replicas)


def _condition(kind: str, holds: bool, reason: str) -> Manifest:
    return {"type": kind, "status": "True" if holds else "False", **({"reason": reason} if reason else {})}
