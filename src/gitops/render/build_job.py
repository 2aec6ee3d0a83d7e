"""A build as a Kubernetes Job: the same `gitops build`, on a node that has the GPU.

All stages of a build run one after the other in one pod, on one GPU if any of them needs it. The Job carries none of
the labels by which a cluster is kept in line with Git: it is nobody's desired state, and Kubernetes removes it when
it has been finished for a while.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from gitops.errors import GitopsError
from gitops.render.context import cpu_quantity, memory_quantity
from gitops.render.templates import Compiled, Templates
from gitops.spec.build import Build, BuildJob
from gitops.spec.pipeline import Gpu, SecretRef
from gitops.spec.placement import pools
from gitops.spec.resolved import Spec
from gitops.values import API_GROUP, workload_name

TEMPLATE = "kubernetes/build/job.yaml.j2"
LABEL_BUILD = f"{API_GROUP}/build"
LABEL_QUEUE = "kueue.x-k8s.io/queue-name"
"""https://kueue.sigs.k8s.io/docs/tasks/run/jobs/: Kueue holds a Job with this label until its queue admits it."""
WORK = "/work"
_MOST_NAME = 63


def build_job(
    spec: Spec, templates: Templates, model: str, version: str, build: Build, commit: str = "", commit_time: int = 0
) -> bytes:
    """The manifest of a build. `commit` and its time (seconds since 1970) tag an image that it makes.

    Raises GitopsError without `build.job`, and where no node pool has the GPU.
    """
    job = build.job
    if job is None:
        hint = "add `build: {job: {image: …}}`: an image with gitops, the tools and a checkout of this project"
        raise GitopsError("this build does not say how it runs as a Job", where=f"models.{model}", hint=hint)
    name = job_name(model, version, build)
    labels = {
        "app.kubernetes.io/name": model,
        "app.kubernetes.io/component": "build",
        "app.kubernetes.io/part-of": spec.pipeline.name,
        "app.kubernetes.io/version": version,
        LABEL_BUILD: model,
    }
    context = {
        "name": name,
        "namespace": job.namespace,
        "labels": labels | ({LABEL_QUEUE: job.queue} if job.queue else {}),
        "pod_labels": labels,
        "image": job.image,
        "args": ["build", model, f"--project={job.project}", f"--cache={WORK}", "--publish"],
        "env": _env(job, commit, commit_time),
        "gpus": build.gpu.count if build.gpu else 0,
        "node_selector": node_selector(spec, model, job, build.gpu),
        "work": WORK,
        "cache": job.cache,
        "cpu": cpu_quantity(job.cpu),
        "memory": memory_quantity(job.memory),
        "disk": memory_quantity(job.disk),
        "retries": job.retries,
        "timeout": job.timeout,
        "keep": job.keep,
        "service_account": job.service_account,
    }
    return Compiled(templates.sources).render(TEMPLATE, context).encode()


def job_name(model: str, version: str, build: Build) -> str:
    """`build-iris-1-2-0-5f2c91ab`: another build has another name, because a Job cannot be changed."""
    digest = hashlib.sha256(orjson.dumps(build.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)).hexdigest()[:8]
    return f"build-{workload_name(model, version)}"[: _MOST_NAME - 9].rstrip("-") + f"-{digest}"


def node_selector(spec: Spec, model: str, job: BuildJob, gpu: Gpu | None) -> Mapping[str, str]:
    """The labels of the nodes that have the GPU; none where the build needs none, or names no cluster.

    Without a cluster a GPU is only counted: on a cluster with several types, any of them could be given.
    """
    if job.cluster is None:
        if gpu is not None and job.pool is not None:
            raise GitopsError("a pool belongs to a cluster", where=f"models.{model}.build.job", hint="add `cluster`")
        return {}
    cluster = spec.clusters.get(job.cluster)
    if cluster is None:
        hint = f"there are {', '.join(sorted(spec.clusters))}"
        raise GitopsError(f"there is no cluster {job.cluster}", where=f"models.{model}.build.job.cluster", hint=hint)
    if gpu is None:
        return {}
    for name, pool in pools(cluster).items():
        if pool.gpu_type == gpu.type and pool.gpus >= gpu.count and job.pool in (None, name):
            return dict(sorted(pool.selector.items()))
    what = f"no node pool of {job.cluster} has {gpu.count} x {gpu.type}"
    raise GitopsError(what, where=f"models.{model}.build.job", hint="name another cluster, or add such a pool")


def _env(job: BuildJob, commit: str, commit_time: int) -> list[dict[str, Any]]:
    own: dict[str, str | SecretRef] = {"HOME": "/tmp"}  # noqa: S108  # a volume of the pod's own
    if commit:
        own |= {"GITOPS_COMMIT": commit, "SOURCE_DATE_EPOCH": str(commit_time)}
    return [_variable(name, value) for name, value in {**own, **job.env}.items()]


def _variable(name: str, value: str | SecretRef) -> dict[str, Any]:
    if isinstance(value, SecretRef):
        return {"name": name, "valueFrom": {"secretKeyRef": {"name": value.secret, "key": value.key}}}
    return {"name": name, "value": value}
