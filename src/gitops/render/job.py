"""What Kubernetes Jobs have in common, whatever they run: where, how large, how long, and in which queue.

None carries the labels by which a cluster is kept in line with Git: a Job is nobody's desired state, and Kubernetes
removes it when it has been finished for a while.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gitops.spec.pipeline import SecretRef
from gitops.spec.resolved import Spec
from gitops.spec.validation import Job
from gitops.values import API_GROUP

LABEL_QUEUE = "kueue.x-k8s.io/queue-name"
"""https://kueue.sigs.k8s.io/docs/tasks/run/jobs/: Kueue holds a Job with this label until its queue admits it."""
NAMESPACE = "kubernetes/job/namespace.yaml.j2"
WORK = "/work"
"""Where it writes, beside `/tmp`."""
_MOST_NAME = 63
_DIGITS = 8


def job_context(
    job: Job, labels: Mapping[str, str], args: Sequence[str], env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What the template of a Job is told, but for its name and namespace. `env` comes before what the spec adds."""
    own: dict[str, str | SecretRef] = {"HOME": "/tmp", **(env or {})}  # noqa: S108  # a volume of the pod's own
    return {
        "labels": {**labels, LABEL_QUEUE: job.queue} if job.queue else labels,
        "pod_labels": labels,
        "image": job.image,
        "args": args,
        "env": [_variable(name, value) for name, value in {**own, **job.env}.items()],
        "work": WORK,
        "cpu": job.cpu,
        "memory": job.memory,
        "disk": job.disk,
        "retries": job.retries,
        "timeout": job.timeout,
        "keep": job.keep,
        "service_account": job.service_account,
    }


def job_labels(pipeline: str, model: str, version: str, command: str) -> dict[str, str]:
    """The labels of a Job that runs `gitops build` or `gitops check`, and of its pods."""
    return {
        "app.kubernetes.io/name": model,
        "app.kubernetes.io/component": command,
        "app.kubernetes.io/part-of": pipeline,
        "app.kubernetes.io/version": version,
        f"{API_GROUP}/{command}": model,
    }


def own_namespace(spec: Spec, namespace: str) -> tuple[str, ...]:
    """The template of the namespace, unless it is an environment's, which has one with the same restrictions."""
    taken = {spec.namespace(environment) for environment in spec.environments}
    return () if namespace in taken else (NAMESPACE,)


def name_of(stem: str, content: object) -> str:
    """`build-iris-1-2-0-5f2c91ab`: other content gives another name, because a Job cannot be changed."""
    digest = hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:_DIGITS]
    return stem[: _MOST_NAME - _DIGITS - 1].rstrip("-") + f"-{digest}"


def _variable(name: str, value: str | SecretRef) -> dict[str, Any]:
    if isinstance(value, SecretRef):
        return {"name": name, "valueFrom": {"secretKeyRef": {"name": value.secret, "key": value.key}}}
    return {"name": name, "value": value}
