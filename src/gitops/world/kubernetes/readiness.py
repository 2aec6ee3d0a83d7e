"""Whether an object does its work, judged from its status as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from gitops.world.ports import Readiness

MISSING = Readiness(False, "does not exist yet")
_EXISTS = Readiness(True, "exists")
_WAITING_IS_FINE = frozenset({"ContainerCreating", "PodInitializing"})
_CRASHED, _NO_IMAGE, _NO_NODE, _TRIES_AGAIN = 1, 2, 3, 4
"""What says most about a pod that is not ready, in order; one that tries again may still get there."""
_MOST_SAID = 400


def readiness_of(live: Mapping[str, Any], pods: Sequence[Mapping[str, Any]] = ()) -> Readiness:
    """Judge one live object; `pods` are those of a Deployment that is not ready, to say why."""
    if live["metadata"].get("deletionTimestamp"):
        return Readiness(False, "is being deleted")
    if live["kind"] == "Deployment":
        return _deployment(live, pods)
    if live["kind"] == "Namespace":
        phase = live.get("status", {}).get("phase", "Active")
        return Readiness(phase == "Active", f"is {phase}")
    if live["kind"] == "HTTPRoute":
        return _route(live)
    return _EXISTS


def is_overdue(live: Mapping[str, Any]) -> bool:
    """Whether a Deployment makes no progress within its deadline; what its pods say tells whether that is final."""
    conditions = live.get("status", {}).get("conditions", ())
    return _condition(conditions, "Progressing").get("reason") == "ProgressDeadlineExceeded"


def ready_replicas(live: Mapping[str, Any]) -> int | None:
    """The ready replicas of a Deployment's present template; None where its status does not tell.

    It does not while the controller has not seen the present generation: what it counted before may be too many for
    growth, and 0 would be capacity that was never lost. Nor does it say whose replicas are ready while old ones run.
    """
    status, metadata = live.get("status", {}), live["metadata"]
    if metadata.get("deletionTimestamp"):
        return 0
    if status.get("observedGeneration", 0) < metadata.get("generation", 0):
        return None
    ready, updated = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
    return ready if ready <= updated else None


def _deployment(live: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> Readiness:
    """By kubectl's rules (polymorphichelpers/rollout_status.go), plus availability of every replica."""
    status, spec = live.get("status", {}), live["spec"]
    wanted = spec.get("replicas", 1)
    if status.get("observedGeneration", 0) < live["metadata"].get("generation", 0):
        return Readiness(False, "waits for the deployment controller")
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    total = status.get("replicas", 0)
    if updated >= wanted and total <= updated and available >= wanted:
        return Readiness(True, f"{available} of {wanted} replicas available")
    if updated < wanted:
        message = f"{updated} of {wanted} replicas updated, {available} available"
    elif total > updated:
        message = f"{total - updated} old replicas still run"
    else:
        message = f"{available} of {wanted} replicas available"
    rank, reason = _most_telling(pods)
    if reason:
        message = f"{message}: {reason}"
    # The condition stays until all is well: pods that found room meanwhile and load their model are no failure.
    failed = bool(reason) and rank < _TRIES_AGAIN and is_overdue(live)
    said = f"{message} (progress deadline exceeded)" if failed else message
    return Readiness(False, said, failed, bool(reason) and rank <= _CRASHED, tuple(sorted(_unready(live, pods))))


def _unready(live: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> Iterator[int]:
    """Since when each replica is not ready; of one without a pod the Deployment itself says it, where it does."""
    there = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    for pod in there:
        ready = _condition(pod.get("status", {}).get("conditions", ()), "Ready")
        since = ready.get("lastTransitionTime") or pod["metadata"].get("creationTimestamp")
        if ready.get("status") != "True" and since:
            yield _seconds(since)
    available = _condition(live.get("status", {}).get("conditions", ()), "Available")
    since = available.get("lastTransitionTime")
    if available.get("status") == "False" and since:
        yield from [_seconds(since)] * max(0, live["spec"].get("replicas", 1) - len(there))


def _seconds(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp())


def _route(live: Mapping[str, Any]) -> Readiness:
    """Every parent must accept the route. Without any status no controller has an opinion: taken as ready."""
    for parent in live.get("status", {}).get("parents", ()):
        accepted = _condition(parent.get("conditions", ()), "Accepted")
        if accepted.get("status") != "True":
            gateway = parent.get("parentRef", {}).get("name", "")
            reason = accepted.get("message") or accepted.get("reason") or "no answer yet"
            return Readiness(False, f"gateway {gateway} does not accept it: {reason}")
    return _EXISTS


def most_telling(pods: Sequence[Mapping[str, Any]]) -> str:
    """The one sentence about these pods that explains best why they are not ready; empty if there is none.

    A crash says more than a failed image pull, and that more than a pod without a node. What a container said at its
    end is quoted by its last line.
    """
    return _most_telling(pods)[1]


def _most_telling(pods: Sequence[Mapping[str, Any]]) -> tuple[int, str]:
    found = [reason for pod in pods if not pod["metadata"].get("deletionTimestamp") for reason in _reasons(pod)]
    return min(found, default=(_TRIES_AGAIN, ""))


def _reasons(pod: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    status, name = pod.get("status", {}), pod["metadata"]["name"]
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        yield from _container_reasons(name, container)
    scheduled = _condition(status.get("conditions", ()), "PodScheduled")
    if scheduled.get("status") == "False":
        reason = f"{scheduled.get('reason', 'Unschedulable')}: {scheduled.get('message', '')}"
        yield _NO_NODE, reason.removesuffix(": ")


def _container_reasons(pod: str, container: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    where, state = f"container {container['name']} of pod {pod}", container.get("state", {})
    waiting, stopped = state.get("waiting", {}), state.get("terminated") or {}
    ended = stopped or container.get("lastState", {}).get("terminated") or {}
    reason, code = waiting.get("reason", ""), ended.get("exitCode")
    end = (f", exit code {code}" if code is not None else "") + _said(ended)
    if ended.get("reason") == "OOMKilled":
        yield 0, f"{where} was killed for exceeding its memory limit (OOMKilled)"
    elif reason in ("ImagePullBackOff", "ErrImagePull", "InvalidImageName"):
        detail = waiting.get("message", "")
        yield _NO_IMAGE, f"{where}: {reason}{f': {detail}' if detail else ''}"
    elif reason and reason not in _WAITING_IS_FINE:
        yield _CRASHED, f"{where}: {reason}{end}"
    elif stopped and code:
        yield _CRASHED, f"{where}: {stopped.get('reason', 'Error')}{end}"
    elif "running" in state and code and not container.get("ready"):
        yield _TRIES_AGAIN, f"{where} tries again after {ended.get('reason', 'Error')}{end}"


def _said(ended: Mapping[str, Any]) -> str:
    """The last line of what a container left as its message: the end of its log, for those that fetch the model."""
    lines = [line for line in ended.get("message", "").splitlines() if line.strip()]
    text = " ".join("".join(c if c.isprintable() else " " for c in lines[-1]).split()) if lines else ""
    return f": {text if len(text) <= _MOST_SAID else text[: _MOST_SAID - 1] + '…'}" if text else ""


def _condition(conditions: Sequence[Mapping[str, Any]], kind: str) -> Mapping[str, Any]:
    return next((condition for condition in conditions if condition.get("type") == kind), {})
