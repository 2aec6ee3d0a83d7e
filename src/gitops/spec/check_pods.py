"""Checks of what an existing cluster asks of pods, of monitors and of NetworkPolicies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gitops.spec.check_models import wrong_place
from gitops.spec.documents import Finding
from gitops.spec.draft import Draft
from gitops.spec.environment import Environment
from gitops.spec.pipeline import NetworkPlace
from gitops.spec.placement import choose_pool, pools
from gitops.spec.pods import Pods
from gitops.spec.problems import Path

_OURS = ("gitops/", "app.kubernetes.io/")
"""Objects are found by labels with these prefixes."""


def network_places(draft: Draft) -> Iterator[Finding]:
    """A DNS server, a store and a gateway's proxy is a namespace or a block of addresses."""
    for name, environment in draft.environments.items():
        for top, where in _places(environment):
            for path, message, hint in wrong_place(where):
                yield Finding((*top, *path), message, hint, name)


def _places(environment: Environment) -> Iterator[tuple[Path, NetworkPlace]]:
    for cluster, settings in environment.clusters.items():
        for index, server in enumerate(settings.dns):
            yield ("clusters", cluster, "dns", index), server
        for index, store in enumerate(settings.artifact_stores):
            yield ("clusters", cluster, "artifactStores", index), store
    for index, proxy in enumerate(environment.gateway.proxies if environment.gateway else ()):
        yield ("gateway", "proxies", index), proxy


def monitor_labels(draft: Draft) -> Iterator[Finding]:
    """The labels by which Prometheus finds monitors replace none of those by which we do."""
    for name, environment in draft.environments.items():
        for key in environment.monitoring.labels if environment.monitoring else ():
            if key.startswith(_OURS):
                hint = "use the label that the `podMonitorSelector` of your Prometheus asks for, such as `release`"
                yield Finding(("monitoring", "labels", key), f"gitops itself sets {key}", hint, name, at="key")


def node_selectors(draft: Draft) -> Iterator[Finding]:
    """No model asks for one value of a label where the nodes of its pool have another: it would never be scheduled."""
    seen: set[tuple[str, Path]] = set()
    for unit, model in draft.models.items():
        environment = draft.environments[unit.environment]
        for cluster, settings in environment.clusters.items():
            pool = choose_pool(model.serve, pools(settings))
            if pool is None:
                continue
            wider: tuple[tuple[Path, Pods | None], ...] = (
                (("pods",), environment.pods),
                (("clusters", cluster, "pods"), settings.pods),
            )
            said = f"the nodes of pool {pool.name} in {cluster} have"
            for top, pods in wider:
                for key, value in _contradicted(pods, pool.selector):
                    place: Path = (*top, "nodeSelector", key)
                    if (unit.environment, place) not in seen:
                        seen.add((unit.environment, place))
                        hint = f"remove it, or correct the pool's `selector`; {unit.model} runs there"
                        yield Finding(place, f"{said} {key}: {value}", hint, unit.environment)
            for key, value in _contradicted(model.serve.pods, pool.selector):
                hint = "remove it, or name another `pool`"
                place = ("serve", "pods", "nodeSelector", key)
                yield draft.subject(unit).finding(place, f"{said} {key}: {value}", hint)


def _contradicted(pods: Pods | None, selector: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Labels that are asked for and that the nodes have with another value, and that value."""
    for key, wanted in pods.node_selector.items() if pods else ():
        if selector.get(key, wanted) != wanted:
            yield key, selector[key]
