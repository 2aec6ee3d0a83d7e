"""A build as a Kubernetes Job: the same `gitops build`, on a node that has the GPU.

All stages of a build run one after the other in one pod, on one GPU if any of them needs it.
"""

from __future__ import annotations

from gitops.errors import GitopsError
from gitops.render.job import WORK, job_context, job_labels, name_of
from gitops.render.pods import pods_context
from gitops.render.templates import Compiled, Templates
from gitops.spec.build import Build, BuildJob
from gitops.spec.pipeline import Gpu
from gitops.spec.placement import pods_of, pools
from gitops.spec.pods import Pods, together
from gitops.spec.resolved import Spec
from gitops.values import workload_name

TEMPLATE = "kubernetes/build/job.yaml.j2"


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
    labels = job_labels(spec.pipeline.name, model, version, "build")
    args = ["build", model, f"--project={job.project}", f"--cache={WORK}", "--publish"]
    env = {"GITOPS_COMMIT": commit, "SOURCE_DATE_EPOCH": str(commit_time)} if commit else None
    context = {
        **job_context(job, labels, args, env),
        "name": job_name(model, version, build),
        "namespace": job.namespace,
        "gpus": build.gpu.count if build.gpu else 0,
        **pods_context(job_pods(spec, model, job, build.gpu), gpus=build.gpu is not None),
        "cache": job.cache,
    }
    return Compiled(templates.sources).render(TEMPLATE, context).encode()


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
