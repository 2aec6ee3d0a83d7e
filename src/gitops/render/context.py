"""The variables that templates see, as plain values. What depends on the model alone is built once per model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gitops.errors import GitopsError
from gitops.render.artifact import fetch, fetch_env, is_remote
from gitops.render.plain import plain
from gitops.render.pods import dns_rules, peer_rule, pods_context, proxy_places, store_rules
from gitops.render.runtimes import Container, runtime_of
from gitops.render.runtimes.base import MODELS_DIR
from gitops.render.traffic import path_matches
from gitops.render.yaml_text import Block
from gitops.spec.autoscaling import Scaling, scaling_of
from gitops.spec.environment import AwsCluster
from gitops.spec.pipeline import Model, SecretRef, Serve
from gitops.spec.placement import choose_pool, pods_of, pools
from gitops.spec.resolved import Spec
from gitops.spec.rollouts import NODE_TIME
from gitops.values import (
    API_GROUP,
    LABEL_CLUSTER,
    LABEL_ENVIRONMENT,
    LABEL_MODEL,
    LABEL_PIPELINE,
    LABEL_VERSION,
    UnitKey,
    workload_name,
)

SERVICE_PORT = 80
_DRAIN_SECONDS = 15
_TERMINATION_GRACE = 120
"""Seconds to finish running answers after the drain; long answers of language models take a minute or two."""
_SCALE_DOWN_WINDOW = 600
_SHARED_MEMORY_GIB_PER_GPU = 8

UNVERSIONED = ("owner", "hostnames", "route_path", "path_matches", "ingress", "egress")
"""What belongs to a model and to none of its versions."""

Context = dict[str, Any]


def environment_context(spec: Spec, environment: str) -> Context:
    """What every file of an environment shares."""
    settings = spec.environments[environment]
    return {
        "environment": environment,
        "namespace": spec.namespace(environment),
        "gateway": plain(settings.gateway),
        "monitoring": plain(settings.monitoring),
        "proxies": proxy_places(settings),
        "service_port": SERVICE_PORT,
        "labels": {
            "app.kubernetes.io/part-of": spec.pipeline.name,
            "app.kubernetes.io/managed-by": "gitops",
            LABEL_PIPELINE: spec.pipeline.name,
            LABEL_ENVIRONMENT: environment,
        },
    }


def model_context(name: str, model: Model) -> Context:
    """What depends on the model and not on where it runs."""
    runtime = runtime_of(model).container(name, model)
    serve, artifact = model.serve, model.artifact
    download = fetch(artifact.uri, serve.env, serve.fetch_image)
    verified = [MODELS_DIR, artifact.digest, artifact.uri, name]
    return {
        "model": name,
        "version": model.version,
        "workload": workload_name(name, model.version),
        "owner": model.owner,
        "selector": Block({LABEL_MODEL: name, LABEL_VERSION: model.version}),
        "model_labels": {
            "app.kubernetes.io/name": name,
            "app.kubernetes.io/component": "model-server",
        },
        "hostnames": model.route.hostnames if model.route else (),
        "route_path": model.route.path if model.route else "/",
        "path_matches": path_matches(model.route.path if model.route else "/"),
        "ingress": [peer_rule("from", peer) for peer in serve.network.ingress],
        "egress": [peer_rule("to", peer) for peer in serve.network.egress],
        "fetches": is_remote(artifact.uri),
        "fetch_image": download.image,
        "fetch_args": Block(download.args),
        "fetch_env": Block(_env_list({"HOME": "/tmp", **fetch_env(serve.env)})),  # noqa: S108  # a volume of the pod's own
        "verify_args": Block(verified),
        "verified": verified,
        "models_dir": MODELS_DIR,
        "pod_annotations": Block(_pod_annotations(model, runtime)),
        **_sizes(serve),
        **_container(runtime, serve),
    }


def version_context(
    spec: Spec, unit: UnitKey, shared: Context, model: Model, facts: Context, present: Context
) -> Context:
    """The context of one version of a unit: `shared` from `environment_context`, `facts` from `model_context`.

    `present` are the facts of the model as the spec has it: what belongs to no version is taken from there.
    """
    scaling = scaling_of(model.serve, spec.environments[unit.environment])
    return {
        **shared,
        **facts,
        **{name: present[name] for name in UNVERSIONED},
        "unit_labels": {**facts["model_labels"], **shared["labels"], LABEL_MODEL: unit.model},
        "replicas": facts["replicas"] | _scaled(scaling),
        "routed": shared["gateway"] is not None and bool(present["hostnames"]),
        "load_query": _load_query(spec, unit, model, scaling) if scaling and scaling.by == "keda" else None,
    }


def cluster_context(spec: Spec, environment: str, name: str, model: Model, version: Context, replicas: int) -> Context:
    """What differs between the clusters of an environment. `replicas` of the version run here, or at least so many
    where it is autoscaled.
    """
    settings, cluster = spec.environments[environment], spec.clusters[name]
    pool = choose_pool(model.serve, pools(cluster))
    labels = {**version["unit_labels"], LABEL_CLUSTER: name}
    bounds = version["replicas"]
    return {
        "labels": Block(labels),
        "version_labels": Block({**labels, "app.kubernetes.io/version": model.version, LABEL_VERSION: model.version}),
        "aws": isinstance(cluster, AwsCluster),
        "dns": dns_rules([cluster]),
        "stores": store_rules(cluster),
        **pods_context(pods_of(settings, cluster, pool, model.serve), gpus=model.serve.gpu is not None),
        "replicas": {**bounds, "min": replicas, "scaled": bounds["scaled"] and replicas > 0},
    }


def _sizes(serve: Serve) -> Context:
    replicas, resources = serve.replicas, serve.resources
    period = min(10, max(1, serve.load_time // 30))
    gpus = serve.gpu.count if serve.gpu else 0
    shared = resources.shared_memory or (f"{_SHARED_MEMORY_GIB_PER_GPU * gpus}Gi" if gpus > 1 else None)
    return {
        "replicas": {
            "min": replicas.min,
            "max": replicas.max,
            "surge": 1 if replicas.surge is None else replicas.surge,
        },
        "cpu": resources.cpu,
        "memory": resources.memory,
        "gpus": str(gpus) if gpus else None,
        "shared_memory": shared,
        "startup": {"period": period, "failures": max(1, math.ceil(serve.load_time / period))},
        "progress_deadline": serve.load_time + NODE_TIME,
        "termination_grace": _TERMINATION_GRACE + _DRAIN_SECONDS,
        "drain_seconds": _DRAIN_SECONDS,
        "scale_down_window": _SCALE_DOWN_WINDOW,
        "scale_up": _scale_up(serve),
    }


def _scale_up(serve: Serve) -> Context | None:
    """How fast an autoscaler may add replicas that take minutes to load: the load falls only when they are ready, and
    what is asked for until then is too much. HorizontalPodAutoscalers allow periods of up to 1,800 s.
    """
    if serve.gpu is None:
        return None
    return {"window": min(300, serve.load_time // 10), "period": min(1800, max(15, serve.load_time))}


def _container(runtime: Container, serve: Serve) -> Context:
    return {
        "image": runtime.image,
        "command": _block_or_none(runtime.command),
        "args": _block_or_none(runtime.args),
        "env": _block_or_none(_env_list({**runtime.env, **serve.env})),
        "http_port": runtime.http_port,
        "metrics_port": runtime.metrics_port,
        "metrics_port_name": "http" if runtime.metrics_port == runtime.http_port else "metrics",
        "metrics_path": runtime.metrics,
        "ready_path": runtime.ready,
        "health_path": runtime.health,
        "models_path": runtime.models_path,
        "files": runtime.files,
        "file_paths": runtime.file_paths,
        "writable": runtime.writable,
        "read_only_root": runtime.read_only_root,
    }


def _block_or_none(items: Sequence[Any]) -> Block | None:
    return Block(items) if items else None


def _pod_annotations(model: Model, runtime: Container) -> dict[str, str]:
    annotations = {
        "kubectl.kubernetes.io/default-container": "server",
        f"{API_GROUP}/artifact-digest": model.artifact.digest,
        f"{API_GROUP}/load-time-seconds": str(model.serve.load_time),
    }
    if runtime.files:
        # A file mounted by subPath never changes in a running pod: new content must start new pods.
        annotations[f"{API_GROUP}/config-checksum"] = runtime.files_digest()
    return annotations


def _env_list(env: Mapping[str, str | SecretRef]) -> list[dict[str, Any]]:
    """EnvVars in order. An empty value is left out, as the API server does."""
    result: list[dict[str, Any]] = []
    for name, value in env.items():
        if isinstance(value, SecretRef):
            reference = {"name": value.secret, "key": value.key}
            result.append({"name": name, "valueFrom": {"secretKeyRef": reference}})
        else:
            result.append({"name": name, "value": value} if value else {"name": name})
    return result


def _scaled(scaling: Scaling | None) -> Context:
    if scaling is None:
        return {"scaled": False, "by": ""}
    return {"scaled": True, "by": scaling.by, "target": scaling.target, "metric": scaling.name}


def _load_query(spec: Spec, unit: UnitKey, model: Model, scaling: Scaling) -> str:
    metric, monitoring = scaling.metric, spec.environments[unit.environment].monitoring
    if metric == "cpu" or monitoring is None or monitoring.prometheus is None:
        raise GitopsError(
            f"autoscaling on {metric} needs a Prometheus",
            where=str(unit),
            hint=f"set monitoring.prometheus in environments/{unit.environment}.yaml, or use metric: cpu",
        )
    labels = ",".join(
        f'{label}="{value}"'
        for label, value in (
            ("namespace", spec.namespace(unit.environment)),
            ("gitops_model", unit.model),
            ("gitops_version", model.version),
        )
    )
    query = runtime_of(model).load_query(metric, labels)
    if query is None:
        raise GitopsError(
            f"the runtime {model.serve.runtime} has no metric for {metric}",
            where=str(unit),
            hint="use metric: cpu, or equal minimum and maximum replicas",
        )
    return query
