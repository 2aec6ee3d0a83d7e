"""A build as a Kubernetes Job: the same `gitops build`, on a node that has the GPU.

All stages of a build run one after the other in one pod, on one GPU if any of them needs it. Inside a container the
stages can seldom be kept apart from gitops, so the pod is kept apart: a NetworkPolicy comes with the Job, and a
namespace that is not an environment's enforces the restricted Pod Security Standard.
"""

from __future__ import annotations

from gitops.errors import GitopsError
from gitops.render.job import WORK, job_context, job_labels, name_of, own_namespace
from gitops.render.pods import dns_rules, pods_context
from gitops.render.templates import Compiled, Templates
from gitops.spec.build import Build, BuildJob
from gitops.spec.pipeline import Gpu
from gitops.spec.placement import pods_of, pools
from gitops.spec.pods import Pods, together
from gitops.spec.resolved import Spec
from gitops.values import API_GROUP, workload_name

TEMPLATES = ("kubernetes/build/networkpolicy.yaml.j2", "kubernetes/build/job.yaml.j2")
LABEL_BUILD = f"{API_GROUP}/build"
CLOSED = ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
"""Networks that a build does not reach: the cluster's own, and link-local ones, where credentials are handed out."""


def build_job(
    spec: Spec, templates: Templates, model: str, version: str, build: Build, commit: str = "", commit_time: int = 0
) -> bytes:
    """The manifests of a build: its namespace where that is nobody else's, its network policy, its Job.

    `commit` and its time (seconds since 1970) tag an image that it makes.
    Raises GitopsError without `build.job`, and where no node pool has the GPU.
    """
    job = build.job
    if job is None:
        hint = "add `build: {job: {image: …}}`: an image with gitops, the tools and a checkout of this project"
        raise GitopsError("this build does not say how it runs as a Job", where=f"models.{model}", hint=hint)
    labels = job_labels(spec.pipeline.name, model, version, "build")
    args = ["build", model, f"--project={job.project}", f"--cache={WORK}", "--publish"]
    env = {"GITOPS_COMMIT": commit, "SOURCE_DATE_EPOCH": str(commit_time)} if commit else None
    context = {
        **job_context(job, labels, args, env),
        "model": model,
        "selector": {LABEL_BUILD: model},
        "dns": dns_rules(one for name, one in spec.clusters.items() if job.cluster in (None, name)),
        "closed": list(CLOSED),
        "name": job_name(model, version, build),
        "namespace": job.namespace,
        "gpus": build.gpu.count if build.gpu else 0,
        **pods_context(job_pods(spec, model, job, build.gpu), gpus=build.gpu is not None),
        "cache": job.cache,
    }
    compiled, own = Compiled(templates.sources), own_namespace(spec, job.namespace)
    return "---\n".join(compiled.render(template, context) for template in (*own, *TEMPLATES)).encode()


def job_name(model: str, version: str, build: Build) -> str:
    """`build-iris-1-2-0-5f2c91ab`: another build has another name."""
    return name_of(f"build-{workload_name(model, version)}", build.model_dump(mode="json"))


def job_pods(spec: Spec, model: str, job: BuildJob, gpu: Gpu | None) -> Pods:
    """What the build's cluster asks of its pods, with the labels of the nodes that have the GPU.

    Without a cluster a GPU is only counted: on a cluster with several types, any of them could be given.
    """
    if job.cluster is None:
        if gpu is not None and job.pool is not None:
            raise GitopsError("a pool belongs to a cluster", where=f"models.{model}.build.job", hint="add `cluster`")
        return together()
    cluster = spec.clusters.get(job.cluster)
    if cluster is None:
        hint = f"there are {', '.join(sorted(spec.clusters))}"
        raise GitopsError(f"there is no cluster {job.cluster}", where=f"models.{model}.build.job.cluster", hint=hint)
    if gpu is None:
        return together(cluster.pods)
    for name, pool in pools(cluster).items():
        if pool.gpu_type == gpu.type and pool.gpus >= gpu.count and job.pool in (None, name):
            return pods_of(None, cluster, pool, None)
    what = f"no node pool of {job.cluster} has {gpu.count} x {gpu.type}"
    raise GitopsError(what, where=f"models.{model}.build.job", hint="name another cluster, or add such a pool")
