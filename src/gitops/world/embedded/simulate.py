"""Deployments that become pods, and pods that find GPUs, load a model and get ready: as a function of time.

Nothing runs in the background. Each look computes what has happened since the last one, event by event, so the
outcome does not depend on how often anybody looks. Pods are kept in the store; status is worked out on reading.
"""

from __future__ import annotations

import math
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gitops.values import API_GROUP
from gitops.world.embedded.autoscaling import ROUTES, Needs, autoscaled
from gitops.world.embedded.pods import (
    DEPLOYMENTS,
    GPU,
    PODS,
    Pod,
    deployment_status,
    rolling_limits,
    template_hash,
)
from gitops.world.embedded.store import Key, Store

LOAD_TIME = f"{API_GROUP}/load-time-seconds"
"""Annotation of a pod template: how long a pod takes from its node to Ready. Default: one second."""
_REACTION_SECONDS = 0.2

Manifest = dict[str, Any]
Owner = tuple[str, str]


@dataclass(frozen=True, slots=True)
class EmbeddedPool:
    """Nodes of one kind: `gpus` in each of `nodes` nodes, which carry `labels`."""

    name: str
    gpus: int
    nodes: int
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Node:
    name: str
    gpus: int
    labels: Mapping[str, str]


@dataclass(slots=True)
class _Deployment:
    """A deployment with its pods, while time is advanced."""

    manifest: Manifest
    replicas: int
    hash: str
    pods: list[Pod]


@dataclass(slots=True)
class _State:
    """Everything simulated; `touched` and `removed` pods go back to the store."""

    deployments: dict[Owner, _Deployment]
    touched: dict[Key, Pod] = field(default_factory=dict)
    removed: set[Key] = field(default_factory=set)

    def pods(self) -> Iterator[Pod]:
        for deployment in self.deployments.values():
            yield from deployment.pods

    def remove(self, pod: Pod) -> None:
        self.touched.pop(pod.key, None)
        self.removed.add(pod.key)


class Simulation:
    """What the controllers, the scheduler and the kubelets of a cluster with these pools would do.

    `speed` divides load times and deadlines, and `needs` says what autoscalers go by. Every method belongs into a
    transaction of the store.
    """

    def __init__(self, store: Store, pools: Sequence[EmbeddedPool], speed: float, needs: Needs) -> None:
        self._store = store
        self._needs = needs
        self._speed = speed
        self._kept: tuple[float, Mapping[Owner, int]] = (-1, {})
        self._nodes = [_Node("cpu-0", 0, {})]
        for pool in pools:
            self._nodes += [_Node(f"{pool.name}-{index}", pool.gpus, pool.labels) for index in range(pool.nodes)]

    def look_around(self) -> None:
        """Let pods that wait try again, and autoscalers react, when pools or load are not those of the last time."""
        nodes = zlib.crc32(repr((self._nodes, sorted(self._needs.items()))).encode())
        if self._store.number("nodes") != nodes:
            self._store.set_number("nodes", nodes)
            self.disturb()

    def depends_on(self, resource: str) -> bool:
        """Whether autoscalers look at objects of this resource: at routes only if they know the load."""
        return bool(self._needs) and resource in ROUTES

    def disturb(self, resource: str = "") -> None:
        """Say that an object has changed on which the simulation depends, and of which resource it is."""
        self._store.set_number("disturbed", 1)
        # A new Deployment may be the one that an autoscaler waits for.
        if resource != DEPLOYMENTS or self._needs:
            self._store.count("autoscalers")

    def is_due(self, now: float) -> bool:
        """Whether anything has happened that `advance` would find."""
        return bool(self._store.number("disturbed")) or 0 < self._store.number("next_event") <= now

    def catch_up(self, now: float) -> None:
        """Advance before a write, so that what is past happens by the old rules.

        Writes that follow each other closely count as simultaneous, as to a controller that takes its time:
        otherwise each of many would look at everything.
        """
        if now - self._store.number("time") >= _REACTION_SECONDS:
            self.advance(now)

    def advance(self, now: float) -> None:
        """Let everything happen that happens up to `now`. Time never runs backwards."""
        time = self._store.number("time") or now
        if self.is_due(now):
            state = self._load()
            upcoming = time
            while upcoming <= now:
                time = upcoming
                while self._control(state, time) or self._schedule(state, time):
                    pass
                upcoming = min((pod.ready_at for pod in state.pods() if pod.ready_at > time), default=math.inf)
            self._save(state)
            self._store.set_number("disturbed", 0)
            self._store.set_number("next_event", 0 if math.isinf(upcoming) else upcoming)
        self._store.set_number("time", max(now, time))

    def present_deployments(self, manifests: Sequence[Manifest], now: float) -> list[Manifest]:
        """Deployments as the API shows them: with the number of replicas and their status."""
        pods, shown = self._pods_of([_owner(manifest) for manifest in manifests]), []
        for manifest in manifests:
            replicas = self._replicas(manifest)
            status = deployment_status(manifest, replicas, pods[_owner(manifest)], now, self._speed)
            shown.append({**manifest, "spec": {**manifest["spec"], "replicas": replicas}, "status": status})
        return shown

    def _pods_of(self, owners: Sequence[Owner]) -> Mapping[Owner, list[Pod]]:
        """Their pods, in one reading from the first one's to behind everyone's."""
        found: dict[Owner, list[Pod]] = {owner: [] for owner in owners}
        # Not behind those of the last owner: pods of `a` may lie behind all of `a-b`.
        end = max(((namespace, f"{name}-~") for namespace, name in owners), default=("", ""))
        for stored in self._store.scan(PODS, after=min(owners, default=end), until=end):
            pod = Pod.load(stored)
            if pod.owner in found:
                found[pod.owner].append(pod)
        return found

    def present_pod(self, manifest: Manifest, now: float) -> Manifest:
        """The pod as the API shows it."""
        return Pod.load(manifest).shown(now, self._why_unscheduled)

    # --- State -----------------------------------------------------------------------------------------------

    def _load(self) -> _State:
        pods: dict[Owner, list[Pod]] = defaultdict(list)
        for stored in self._store.scan(PODS):
            pod = Pod.load(stored)
            pods[pod.owner].append(pod)
        state = _State({})
        for manifest in self._store.scan(DEPLOYMENTS):
            owner = _owner(manifest)
            replicas, wanted = self._replicas(manifest), template_hash(manifest)
            state.deployments[owner] = _Deployment(manifest, replicas, wanted, pods.pop(owner, []))
        for orphans in pods.values():
            for pod in orphans:
                state.remove(pod)
        return state

    def _save(self, state: _State) -> None:
        for key in state.removed:
            self._store.remove(key)
        for key, pod in state.touched.items():
            self._store.put(key, pod.stored())

    def _replicas(self, manifest: Manifest) -> int:
        """As declared, else what an autoscaler keeps, else one."""
        declared = manifest["spec"].get("replicas")
        return int(declared) if declared is not None else self._autoscaled().get(_owner(manifest), 1)

    def _autoscaled(self) -> Mapping[Owner, int]:
        """What autoscalers keep, by deployment; read anew when anything changed that they go by."""
        version = self._store.number("autoscalers")
        if self._kept[0] != version:
            self._kept = version, dict(autoscaled(self._store, self._needs))
        return self._kept[1]

    # --- Controllers and scheduler ---------------------------------------------------------------------------

    def _control(self, state: _State, time: float) -> bool:
        """One step of every deployment's rolling update; whether anything changed."""
        changed = [self._roll(state, deployment, time) for deployment in state.deployments.values()]
        return any(changed)

    def _roll(self, state: _State, deployment: _Deployment, time: float) -> bool:
        pods, replicas = deployment.pods, deployment.replicas
        surge, unavailable = rolling_limits(deployment.manifest["spec"], replicas)
        new = sorted(
            (pod for pod in pods if pod.hash == deployment.hash),
            key=lambda pod: (bool(pod.node), pod.is_ready(time), -pod.created),
        )
        leaving = new[: max(0, len(new) - replicas)]
        available = sum(pod.is_ready(time) for pod in pods) - sum(pod.is_ready(time) for pod in leaving)
        for pod in sorted((pod for pod in pods if pod.hash != deployment.hash), key=lambda pod: pod.is_ready(time)):
            if not pod.is_ready(time):
                leaving.append(pod)
            elif available > replicas - unavailable:
                leaving.append(pod)
                available -= 1
        for pod in leaving:
            pods.remove(pod)
            state.remove(pod)
        room = min(replicas - len(new), replicas + surge - len(pods))
        for _ in range(room):
            name = f"{deployment.manifest['metadata']['name']}-{deployment.hash}-{self._store.count('pods'):05d}"
            pod = Pod.create(deployment.manifest, name, deployment.hash, time)
            pods.append(pod)
            state.touched[pod.key] = pod
        return bool(leaving) or room > 0

    def _schedule(self, state: _State, time: float) -> bool:
        """Give nodes to waiting pods, first come first served, each the fullest that fits; whether any got one."""
        waiting = sorted((pod for pod in state.pods() if not pod.node), key=lambda pod: (pod.created, pod.key))
        free = self._free(state.pods()) if waiting else {}
        bound = False
        for pod in waiting:
            gpus = pod.gpus
            fitting = [node for node in self._nodes if _matches(node, pod) and free[node.name] >= gpus]
            if fitting:
                node = min(fitting, key=lambda node: free[node.name])
                free[node.name] -= gpus
                pod.node, pod.ready_at, bound = node.name, time + self._load_seconds(pod), True
                state.touched[pod.key] = pod
        return bound

    def _free(self, pods: Iterable[Pod]) -> dict[str, int]:
        free = {node.name: node.gpus for node in self._nodes}
        for pod in pods:
            if pod.node in free:
                free[pod.node] -= pod.gpus
        return free

    def _load_seconds(self, pod: Pod) -> float:
        declared = pod.manifest["metadata"].get("annotations", {}).get(LOAD_TIME, "1")
        try:
            return float(declared) / self._speed
        except ValueError:
            return 1 / self._speed

    def _why_unscheduled(self, pod: Pod) -> str:
        """In the words of the real scheduler."""
        unmatched = sum(not _matches(node, pod) for node in self._nodes)
        full = len(self._nodes) - unmatched
        reasons = [f"{full} Insufficient {GPU}"] if full else []
        if unmatched:
            reasons.append(f"{unmatched} node(s) didn't match Pod's node affinity/selector")
        return f"0/{len(self._nodes)} nodes are available: {', '.join(sorted(reasons))}."


def _owner(manifest: Manifest) -> Owner:
    return manifest["metadata"]["namespace"], manifest["metadata"]["name"]


def _matches(node: _Node, pod: Pod) -> bool:
    selector: Mapping[str, str] = pod.manifest["spec"].get("nodeSelector") or {}
    return all(node.labels.get(key) == value for key, value in selector.items())
