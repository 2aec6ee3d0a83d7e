"""What a well-formed spec can still have wrong, as a table of small functions. Each yields what it finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from gitops.spec.autoscaling import scaling_of
from gitops.spec.check_capacity import capacity
from gitops.spec.check_ci import runners
from gitops.spec.check_clusters import cluster_definitions, clusters
from gitops.spec.check_environments import environments
from gitops.spec.check_images import images
from gitops.spec.check_models import models, repository
from gitops.spec.check_names import hostnames, namespaces, workload_names
from gitops.spec.check_namespaces import places, system_namespaces
from gitops.spec.check_overrides import overrides
from gitops.spec.check_pods import monitor_labels, network_places, node_selectors
from gitops.spec.check_rollouts import holding_back, judgement, mirroring, rollouts
from gitops.spec.check_times import times
from gitops.spec.documents import Finding
from gitops.spec.draft import Draft
from gitops.spec.environment import EmbeddedCluster, Environment
from gitops.spec.pipeline import Model
from gitops.spec.problems import suggestion
from gitops.values import UnitKey


def promotion(draft: Draft) -> Iterator[Finding]:
    """Every environment of `promotion` has a file, every file is in `promotion`, none is there twice."""
    order = draft.pipeline.promotion
    first: dict[str, int] = {}
    for index, name in enumerate(order):
        if name in first:
            message = f"{name} is there twice"
            yield Finding(("promotion", index), message, "an environment is reached once; remove one")
        elif name not in draft.files:
            hint = suggestion(name, draft.files, "environment")
            yield Finding(("promotion", index), f"there is no file environments/{name}.yaml", hint)
        first.setdefault(name, index)
    for name in draft.files.keys() - first.keys():
        message = f"the environment {name} is not in `promotion` of pipeline.yaml"
        yield Finding((), message, "add it there, or remove this file", environment=name)


def signatures(draft: Draft) -> Iterator[Finding]:
    """Somebody is trusted, and the environments where that matters exist."""
    if not (wanted := draft.pipeline.signatures):
        return
    if not wanted.keys and not wanted.sigstore:
        yield Finding(("signatures",), "nobody is trusted", "name `keys`, or a `sigstore` identity, or both")
    for index, name in enumerate(wanted.environments or ()):
        if name not in draft.pipeline.promotion:
            hint = suggestion(name, draft.pipeline.promotion, "environment")
            yield Finding(("signatures", "environments", index), f"there is no environment {name}", hint)


def references(draft: Draft) -> Iterator[Finding]:
    """Rollouts and models that are named exist."""
    for subject in draft.subjects():
        if subject.model.rollout not in draft.known_rollouts:
            hint = suggestion(subject.model.rollout, draft.known_rollouts, "rollout")
            yield subject.finding(("rollout",), f"there is no rollout {subject.model.rollout}", hint)
    for name, environment in draft.environments.items():
        for model in environment.models.keys() - draft.known_models:
            hint = suggestion(model, draft.known_models, "model")
            yield Finding(("models", model), f"there is no model {model}", hint, name, at="key")
        for index, model in enumerate(environment.exclude):
            if model not in draft.known_models:
                hint = suggestion(model, draft.known_models, "model")
                yield Finding(("exclude", index), f"there is no model {model}", hint, name)


def exclusions(draft: Draft) -> Iterator[Finding]:
    """An environment excludes a model once, and does not also configure it."""
    for name, environment in draft.environments.items():
        counts = Counter(environment.exclude)
        for index, model in enumerate(environment.exclude):
            if counts[model] > 1 and environment.exclude.index(model) != index:
                yield Finding(("exclude", index), f"{model} is there twice", "remove one", name)
        for model in environment.models:
            if counts[model]:
                hint = "remove one of the two"
                yield Finding(("models", model), f"{model} is changed here, but excluded too", hint, name, at="key")


def autoscaling(draft: Draft) -> Iterator[Finding]:
    """Autoscaling on requests needs what measures them, and a runtime that tells."""
    for name, environment in draft.environments.items():
        if name in draft.damaged:
            continue
        scaler, monitoring = environment.autoscaler, environment.monitoring
        measured = bool(monitoring and monitoring.prometheus)
        if scaler and scaler.kind == "keda" and not measured:
            hint = f"set monitoring.prometheus in {draft.files[name]}"
            yield Finding(("autoscaler", "kind"), "KEDA has nothing to ask: there is no Prometheus", hint, name)
            continue
        if scaler and scaler.kind == "metrics-adapter" and not scaler.metrics:
            hint = "such as {queue-length: vllm_num_requests_waiting}: the name in custom.metrics.k8s.io"
            yield Finding(("autoscaler", "kind"), "a metrics adapter needs `metrics`", hint, name)
            continue
        for unit in (u for u in draft.models if u.environment == name):
            yield from _scaled_by(draft, unit, draft.models[unit], environment)


def _scaled_by(draft: Draft, unit: UnitKey, model: Model, environment: Environment) -> Iterator[Finding]:
    wanted, scaling = model.serve.replicas.autoscaling, scaling_of(model.serve, environment)
    path, subject = ("serve", "replicas", "autoscaling"), draft.subject(unit)
    if model.serve.replicas.min < model.serve.replicas.max and model.serve.gpu and wanted.target and not wanted.metric:
        yield subject.finding((*path, "target"), "a target of what? this model is on a GPU", "set `metric` beside it")
    elif scaling and scaling.by == "keda" and not (environment.monitoring and environment.monitoring.prometheus):
        message = f"autoscaling on {scaling.metric} needs Prometheus in {unit.environment}"
        hint = f"set monitoring.prometheus in {draft.files[unit.environment]}"
        yield subject.finding((*path, "metric"), message, hint)
    elif scaling and scaling.by == "metrics-adapter" and not scaling.name:
        message = f"the metrics adapter of {unit.environment} has no {scaling.metric}"
        hint = f"add it to autoscaler.metrics in {draft.files[unit.environment]}"
        yield subject.finding((*path, "metric"), message, hint)


def local_artifacts(draft: Draft) -> Iterator[Finding]:
    """Files of this machine reach embedded clusters only."""
    local = {name for name, m in draft.pipeline.models.items() if m.artifact.uri.startswith("file://")}
    for unit, model in draft.models.items():
        if unit.model not in local and model is draft.pipeline.models.get(unit.model):
            continue
        if not model.artifact.uri.startswith("file://"):
            continue
        for name, cluster in draft.environments[unit.environment].clusters.items():
            if not isinstance(cluster, EmbeddedCluster):
                message = f"a file of this machine cannot reach the cluster {name} of {unit.environment}"
                hint = "use s3://, gs://, az://, hf:// or oci://; file:// is for embedded clusters"
                yield draft.subject(unit).finding(("artifact", "uri"), message, hint)


CHECKS: tuple[Callable[[Draft], Iterator[Finding]], ...] = (
    promotion,
    signatures,
    runners,
    references,
    exclusions,
    repository,
    rollouts,
    models,
    overrides,
    images,
    workload_names,
    namespaces,
    hostnames,
    clusters,
    cluster_definitions,
    system_namespaces,
    places,
    network_places,
    monitor_labels,
    node_selectors,
    environments,
    autoscaling,
    mirroring,
    holding_back,
    judgement,
    times,
    local_artifacts,
    capacity,
)
