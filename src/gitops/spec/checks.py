"""What a well-formed spec can still have wrong, as a table of small functions. Each yields what it finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from gitops.spec.check_capacity import capacity
from gitops.spec.check_ci import runners
from gitops.spec.check_clusters import cluster_definitions, clusters
from gitops.spec.check_environments import environments
from gitops.spec.check_models import models, repository
from gitops.spec.check_names import hostnames, namespaces, workload_names
from gitops.spec.check_namespaces import places, system_namespaces
from gitops.spec.check_overrides import overrides
from gitops.spec.check_pods import monitor_labels, network_places, node_selectors
from gitops.spec.check_rollouts import holding_back, judgement, mirroring, rollouts
from gitops.spec.check_times import times
from gitops.spec.documents import Finding
from gitops.spec.draft import Draft
from gitops.spec.environment import EmbeddedCluster
from gitops.spec.problems import suggestion


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
    """Autoscaling on requests needs Prometheus."""
    for name, environment in draft.environments.items():
        if name in draft.damaged or (environment.monitoring and environment.monitoring.prometheus):
            continue
        for unit in (u for u in draft.models if u.environment == name):
            replicas = draft.models[unit].serve.replicas
            if replicas.autoscaling.metric == "cpu" or replicas.min >= replicas.max:
                continue
            message = f"autoscaling on {replicas.autoscaling.metric} needs Prometheus in {name}"
            hint = f"set monitoring.prometheus in {draft.files[name]}"
            yield draft.subject(unit).finding(("serve", "replicas", "autoscaling", "metric"), message, hint)


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
