"""Checks of names that have to be unique once they are built."""

from __future__ import annotations

from collections.abc import Iterator

from gitops.spec.documents import Finding
from gitops.spec.draft import Draft
from gitops.spec.resolved import default_namespace
from gitops.values import MAX_WORKLOAD_NAME, workload_name

MAX_LABEL = 63
"""Of a namespace, as of every DNS label (RFC 1123)."""


def workload_names(draft: Draft) -> Iterator[Finding]:
    """Every version of every model runs under a name of its own, which is not too long."""
    taken: dict[str, tuple[str, str]] = {}
    for subject in draft.subjects():
        name, version = subject.name, subject.model.version
        workload = workload_name(name, version)
        if len(workload) > MAX_WORKLOAD_NAME:
            message = f"the name {workload} has {len(workload)} characters, at most {MAX_WORKLOAD_NAME} fit"
            yield subject.finding(("version",), message, "shorten the model's name or the version")
        other_name, other_version = taken.setdefault(workload, (name, version))
        if (other_name, other_version) != (name, version):
            message = f"{name} {version} and {other_name} {other_version} would both run as {workload}"
            yield subject.finding(("version",), message, "rename one of them")
        if workload in draft.known_models:
            message = f"it would run as {workload}, which is also the name of a model"
            yield subject.finding(("version",), message, "rename one of them")


def namespaces(draft: Draft) -> Iterator[Finding]:
    """The namespace that an environment gets by default is a name that Kubernetes takes."""
    for name, environment in draft.environments.items():
        namespace = default_namespace(draft.pipeline.name, name)
        if environment.namespace is None and len(namespace) > MAX_LABEL:
            message = f"its namespace {namespace} has {len(namespace)} characters, at most {MAX_LABEL} fit"
            yield Finding((), message, "set `namespace` in this file", name)


def hostnames(draft: Draft) -> Iterator[Finding]:
    """In an environment no two models answer at the same address."""
    taken: dict[tuple[str, str, str], str] = {}
    for unit, model in draft.models.items():
        if not (route := model.route):
            continue
        path = route.path.rstrip("/") or "/"
        for index, hostname in enumerate(route.hostnames):
            other = taken.setdefault((unit.environment, hostname, path), unit.model)
            if other != unit.model:
                address = f"{hostname}{path}"
                message = f"{other} already answers at {address} in {unit.environment}"
                place = ("route", "hostnames", index)
                yield draft.subject(unit).finding(place, message, "give one another host name or path")
