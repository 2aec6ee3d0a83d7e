"""Reads rendered manifests back, so that a template's mistake is found before it reaches Git or a cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from gitops.errors import GitopsError
from gitops.render.pod_security import violations
from gitops.values import (
    LABEL_CLUSTER,
    LABEL_ENVIRONMENT,
    LABEL_MODEL,
    LABEL_PIPELINE,
    LABEL_VERSION,
    Manifest,
)

_KINDS: dict[str, dict[str, tuple[str, ...]]] = {
    "environment": {"namespace.yaml": ("Namespace",), "networkpolicy.yaml": ("NetworkPolicy",)},
    "model": {
        "serviceaccount.yaml": ("ServiceAccount",),
        "service.yaml": ("Service",),
        "httproute.yaml": ("HTTPRoute",),
        "virtualservice.yaml": ("VirtualService",),
        "networkpolicy.yaml": ("NetworkPolicy",),
        "podmonitor.yaml": ("PodMonitor",),
    },
    "version": {
        "deployment.yaml": ("Deployment",),
        "service.yaml": ("Service",),
        "configmap.yaml": ("ConfigMap",),
        "autoscaler.yaml": ("HorizontalPodAutoscaler", "ScaledObject"),
        "poddisruptionbudget.yaml": ("PodDisruptionBudget",),
    },
}
"""What each file holds, by where it lies: beside, in or below a model's directory."""

_LEVELS = {4: "environment", 5: "model", 6: "version"}
_CLUSTER_SCOPED = frozenset({"Namespace"})
# RFC 1123 subdomains; names of Services and Namespaces are single labels.
_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SERVICE = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_NAMES = {"Service": _SERVICE, "Namespace": _LABEL}
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")


def files_of_kind(kind: str) -> frozenset[str]:
    """The names of the files that hold objects of a kind, wherever they lie."""
    return frozenset(name for level in _KINDS.values() for name, kinds in level.items() if kind in kinds)


def parse_manifest(data: bytes, path: str) -> Manifest:
    """The one object of a manifest file. Raises GitopsError with `path` when there is not exactly one."""
    import yaml_rs

    try:
        parsed: Any = yaml_rs.loads(data.decode(), parse_datetime=False)
    except (yaml_rs.YAMLDecodeError, UnicodeDecodeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise GitopsError(f"this is not valid YAML: {reason[0]}", where=path) from error
    if isinstance(parsed, dict) and parsed:
        return parsed
    raise GitopsError("a manifest holds exactly one object", where=path)


def check_manifests(files: Mapping[str, bytes]) -> list[GitopsError]:
    """What is wrong with the manifests (`clusters/**.yaml`) among these files; other files are not looked at.

    Each must hold one object that agrees with its path and carries our labels, names must be valid and unique on
    their cluster, and pods must satisfy the restricted Pod Security Standard.
    """
    errors: list[GitopsError] = []
    seen: dict[tuple[str, ...], str] = {}
    for path, data in files.items():
        if not path.startswith("clusters/") or not path.endswith(".yaml"):
            continue
        try:
            manifest = parse_manifest(data, path)
            identity = _identity(manifest)
        except GitopsError as error:
            errors.append(error if error.where else GitopsError(error.what, where=path))
            continue
        errors += [GitopsError(what, where=path) for what in _problems(path, manifest)]
        first = seen.setdefault((path.split("/", 2)[1], *identity), path)
        if first != path:
            errors.append(GitopsError(f"{identity[1]} {identity[3]} is also in {first}", where=path))
    return errors


def _identity(manifest: Manifest) -> tuple[str, str, str, str]:
    """API group, kind, namespace and name. Raises GitopsError when one of them is missing."""
    metadata = manifest.get("metadata")
    if not isinstance(metadata, dict):
        raise GitopsError("the object has no metadata")
    parts = (manifest.get("apiVersion"), manifest.get("kind"), metadata.get("name"))
    for field, value in zip(("apiVersion", "kind", "metadata.name"), parts, strict=True):
        if not isinstance(value, str) or not value:
            raise GitopsError(f"the object has no {field}")
    namespace = metadata.get("namespace", "")
    if not isinstance(namespace, str):
        raise GitopsError("metadata.namespace is not a string")
    version, kind, name = (str(part) for part in parts)
    return (version.rpartition("/")[0], kind, namespace, name)


def _problems(path: str, manifest: Manifest) -> Iterator[str]:
    metadata, kind = manifest["metadata"], manifest["kind"]
    if not _valid(_NAMES.get(kind, _SUBDOMAIN), metadata["name"]):
        yield f"{metadata['name']!r} is not a valid name for a {kind}"
    if kind in _CLUSTER_SCOPED:
        if "namespace" in metadata:
            yield f"a {kind} has no namespace"
    elif not _valid(_LABEL, metadata.get("namespace", "")):
        yield f"{metadata.get('namespace', '')!r} is not a valid namespace"
    yield from _path_problems(path, kind, metadata.get("labels"))
    if kind == "Deployment":
        yield from _deployment_problems(manifest)


def _path_problems(path: str, kind: str, labels: object) -> Iterator[str]:
    parts = path.split("/")
    level = _LEVELS.get(len(parts), "")
    if kind not in _KINDS.get(level, {}).get(parts[-1], ()):
        yield f"a {kind} does not belong into this file"
        return
    if not isinstance(labels, dict):
        yield "the object has no labels"
        return
    for key, value in labels.items():
        if not isinstance(value, str) or not _valid(_LABEL_VALUE, value):
            yield f"{value!r} is not a valid value of the label {key}"
    # The first environment on a cluster keeps a shared namespace, so its label may name another one.
    expected = dict(zip((LABEL_CLUSTER, LABEL_ENVIRONMENT, LABEL_MODEL, LABEL_VERSION), parts[1:-1], strict=False))
    for key, value in expected.items():
        if labels.get(key) != value:
            yield f"the label {key} is {labels.get(key)!r}, its directory says {value!r}"
    if LABEL_PIPELINE not in labels:
        yield f"the label {LABEL_PIPELINE} is missing"


def _deployment_problems(manifest: Manifest) -> Iterator[str]:
    try:
        spec = manifest["spec"]
        selector = spec["selector"]["matchLabels"]
        template = spec["template"]
        labels, pod = template["metadata"]["labels"], template["spec"]
        if not selector or not selector.items() <= labels.items():
            yield "the selector does not match the labels of the pods"
        yield from violations(pod)
    except (KeyError, TypeError, AttributeError) as error:
        yield f"the Deployment is incomplete or malformed ({type(error).__name__}: {error})"


@lru_cache(maxsize=1 << 15)
def _valid(pattern: re.Pattern[str], value: str) -> bool:
    return pattern.fullmatch(value) is not None
