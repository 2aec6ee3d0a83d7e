"""The gates of a model as a Kubernetes Job: the same `gitops check`, from inside the cluster that serves the model.

It asks the Service of the *version* that the spec names. The model's own Service answers with whichever version has
the traffic: during a rollout that is stable, or now one and now the other, and the candidate would be judged by
answers of another version.

An environment denies all traffic that nothing allows, and a model lets in its gateway, its monitoring and those whom
the spec names. So two NetworkPolicies come with the Job: one lets its pod look up names and reach what the gates ask,
and nothing else; the other lets that pod, and nobody else, in to the model's port.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from gitops.errors import GitopsError
from gitops.render.context import SERVICE_PORT
from gitops.render.job import WORK, job_context, job_labels, name_of, own_namespace
from gitops.render.pods import dns_rules, pods_context
from gitops.render.runtimes import runtime_of
from gitops.render.templates import Compiled, Templates
from gitops.spec.pipeline import Model
from gitops.spec.pods import together
from gitops.spec.resolved import Spec
from gitops.spec.validation import CheckJob
from gitops.values import API_GROUP, LABEL_MODEL, UnitKey, workload_name

TEMPLATES = ("kubernetes/check/networkpolicies.yaml.j2", "kubernetes/check/job.yaml.j2")
LABEL_CHECK = f"{API_GROUP}/check"
LABEL_CHECK_ENVIRONMENT = f"{API_GROUP}/check-environment"
"""With `gitops/check`, whose gates a pod asks. `gitops/environment` would make it a thing that Git keeps."""
METADATA = "169.254.0.0/16"
"""Link-local addresses: there clouds hand out credentials of the node and of the pod."""

_SERVICE = re.compile(r"[a-z0-9-]+(\.(?P<namespace>[a-z0-9-]+)\.svc(\..+)?)?")
_LOOPBACK = re.compile(r"localhost|127\..+|::1")
_PORTS = {"http": 80, "https": 443}


class Asked(NamedTuple):
    """What `gitops check` is asked for, as its options say it."""

    endpoint: str = ""
    """A URL in place of the version's own Service."""
    only: Sequence[str] = ()
    wait: str = "0s"
    tolerance: float | None = None
    others: Sequence[str] = ()
    """Further URLs that the gates ask, such as an endpoint for embeddings."""


def check_job(spec: Spec, templates: Templates, unit: UnitKey, asked: Asked) -> bytes:
    """The manifests of a check: two NetworkPolicies and the Job, and its namespace where that is no environment's.

    Raises GitopsError without `validate.job`, and for a URL that means the Job's own pod.
    """
    model = spec.models[unit]
    job = model.validation.job if model.validation else None
    if job is None:
        hint = "add `validate: {job: {image: …}}`: an image with gitops and a checkout of this project"
        where = f"models.{unit.model}.validate"
        raise GitopsError("these gates do not say how they run as a Job", where=where, hint=hint)
    namespace = job.namespace or spec.namespace(unit.environment)
    labels = job_labels(spec.pipeline.name, unit.model, model.version, "check")
    labels[LABEL_CHECK_ENVIRONMENT] = unit.environment
    args = _args(spec, unit, job, asked)
    context = {
        **job_context(job, labels, args),
        **_network(spec, unit, model, namespace, asked),
        **pods_context(together(spec.environments[unit.environment].pods), gpus=False),
        "name": job_name(unit, model, args),
        "namespace": namespace,
    }
    compiled, own = Compiled(templates.sources), own_namespace(spec, namespace)
    return "---\n".join(compiled.render(template, context) for template in (*own, *TEMPLATES)).encode()


def job_name(unit: UnitKey, model: Model, args: Sequence[str]) -> str:
    """`check-dev-iris-1-2-0-5f2c91ab`: other gates, or other options, give another name."""
    gates = model.validation.model_dump(mode="json") if model.validation else None
    stem = f"check-{unit.environment}-{workload_name(unit.model, model.version)}"
    return name_of(stem, [str(unit), model.version, list(args), gates])


def endpoint_of(spec: Spec, unit: UnitKey) -> str:
    """The URL of the Service of the version that the spec names; it is there once that version is deployed."""
    service = workload_name(unit.model, spec.models[unit].version)
    return f"http://{service}.{spec.namespace(unit.environment)}.svc:{SERVICE_PORT}"


def _args(spec: Spec, unit: UnitKey, job: CheckJob, asked: Asked) -> list[str]:
    args = ["check", str(unit), f"--project={job.project}"]
    args += [f"--endpoint={asked.endpoint or endpoint_of(spec, unit)}", f"--wait={asked.wait}"]
    args += [f"--only={gate}" for gate in asked.only]
    if asked.tolerance is not None:
        args.append(f"--tolerance={asked.tolerance:g}")
    return [*args, "--format=json", f"--output={WORK}"]


# --- Network -------------------------------------------------------------------------------------------------


def _network(spec: Spec, unit: UnitKey, model: Model, namespace: str, asked: Asked) -> dict[str, Any]:
    """Who may reach whom. `opens` says whether the model has to let the Job's pod in."""
    home = spec.namespace(unit.environment)
    port = runtime_of(model).container(unit.model, model).http_port
    served = {"namespaceSelector": _named(home), "podSelector": {"matchLabels": {LABEL_MODEL: unit.model}}}
    rules: list[dict[str, Any]] = []
    if not asked.endpoint:
        rules.append({"to": [served], "ports": [{"port": port, "protocol": "TCP"}]})
    urls = [url for url in (asked.endpoint, *asked.others) if url]
    for url in urls:
        if (rule := _towards(url, namespace)) not in rules:
            rules.append(rule)
    return {
        "policy": f"check.{unit.environment}.{unit.model}",
        "selector": {LABEL_CHECK: unit.model, LABEL_CHECK_ENVIRONMENT: unit.environment},
        "egress": rules,
        "dns": dns_rules(spec.environments[unit.environment].clusters.values()),
        "opens": not asked.endpoint or _service_namespace(asked.endpoint, namespace) == home,
        "model": unit.model,
        "model_namespace": home,
        "http_port": port,
    }


def _towards(url: str, namespace: str) -> dict[str, Any]:
    """The rule that lets a pod in `namespace` reach a URL: the pods behind a Service, which has ports of its own, or
    the URL's port anywhere.
    """
    parts = urlsplit(url)
    if _LOOPBACK.fullmatch(parts.hostname or ""):
        hint = "leave `--endpoint` out to ask the version's own Service, or name what is there in the cluster"
        raise GitopsError("in a Job this is the Job's own pod", where=url, hint=hint)
    if there := _service_namespace(url, namespace):
        return {"to": [{"namespaceSelector": _named(there)}]}
    anywhere = {"ipBlock": {"cidr": "0.0.0.0/0", "except": [METADATA]}}
    return {"to": [anywhere], "ports": [{"port": parts.port or _PORTS[parts.scheme], "protocol": "TCP"}]}


def _service_namespace(url: str, namespace: str) -> str | None:
    """The namespace of the Service that a URL names in `namespace`: `chat`, or `chat.acme-dev.svc`; else None."""
    found = _SERVICE.fullmatch(urlsplit(url).hostname or "")
    return (found["namespace"] or namespace) if found else None


def _named(namespace: str) -> Mapping[str, Any]:
    return {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
