"""Spec and templates to the files of the GitOps repository."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import orjson

from gitops.errors import GitopsError
from gitops.render.check import parse_manifest
from gitops.render.context import (
    Context,
    cluster_context,
    environment_context,
    model_context,
    version_context,
)
from gitops.render.live import Live, Waves, lives_in, replicas_of
from gitops.render.templates import Compiled, Templates
from gitops.render.terraform import root_context, root_variables
from gitops.render.traffic import traffic_context
from gitops.render.verified import check_verified
from gitops.spec.autoscaling import Scaler
from gitops.spec.environment import AwsCluster
from gitops.spec.pipeline import Model
from gitops.spec.placement import pools
from gitops.spec.resolved import Spec
from gitops.values import LABEL_CLUSTER, Manifest, UnitKey, plain_json

HEADER = "# Rendered by gitops; edits here are overwritten. Change pipeline.yaml or environments/ instead.\n"
"""The first line of every file that we render and that can hold a comment: how we know our own."""
_MARK = HEADER.rstrip("\n").encode()


class _File(NamedTuple):
    """A file of a unit: its place below the unit's directory, its template, and whether it is needed."""

    path: str
    template: str
    needed: Callable[[Context], bool]


def _always(_: Context) -> bool:
    return True


def _scaled_by(*scalers: Scaler) -> Callable[[Context], bool]:
    return lambda context: context["replicas"]["scaled"] and context["replicas"]["by"] in scalers


def _routed_by(api: str) -> Callable[[Context], bool]:
    return lambda context: context["routed"] and context["gateway"]["api"] == api


_MODEL_FILES = (
    _File("serviceaccount.yaml", "kubernetes/model/serviceaccount.yaml.j2", _always),
    _File("service.yaml", "kubernetes/model/service.yaml.j2", _always),
    _File("httproute.yaml", "kubernetes/model/httproute.yaml.j2", _routed_by("gateway-api")),
    _File("virtualservice.yaml", "kubernetes/model/virtualservice.yaml.j2", _routed_by("istio")),
    _File("networkpolicy.yaml", "kubernetes/model/networkpolicy.yaml.j2", _always),
    _File(
        "podmonitor.yaml",
        "kubernetes/model/podmonitor.yaml.j2",
        lambda context: context["monitoring"] is not None and context["monitoring"]["pod_monitors"],
    ),
)
ROUTES = ("service.yaml", "httproute.yaml", "virtualservice.yaml")
"""Those of a model's files that say which versions get its requests."""
_DEPLOYMENT = "kubernetes/version/deployment.yaml.j2"
_VERSION_FILES = (
    _File("deployment.yaml", _DEPLOYMENT, _always),
    _File("service.yaml", "kubernetes/version/service.yaml.j2", _always),
    _File("configmap.yaml", "kubernetes/version/configmap.yaml.j2", lambda context: bool(context["files"])),
    _File(
        "autoscaler.yaml",
        "kubernetes/version/horizontalpodautoscaler.yaml.j2",
        _scaled_by("cpu", "metrics-adapter"),
    ),
    _File("autoscaler.yaml", "kubernetes/version/scaledobject.yaml.j2", _scaled_by("keda")),
    _File(
        "poddisruptionbudget.yaml",
        "kubernetes/version/poddisruptionbudget.yaml.j2",
        # With a single replica it would protect nothing.
        lambda context: context["replicas"]["max"] > 1,
    ),
)
_VERIFY_SCRIPT = "kubernetes/version/verify-model.sh.j2"
_ENVIRONMENT_FILES = ("namespace.yaml", "networkpolicy.yaml")
_ROOT_FILES = ("main.tf", "backend.tf")
_VERSION_INPUTS = ({"version", "artifact", "serve"}, {"serve": {"network"}})
"""The fields that rendering reads of each version, and what of them it does not; how a model is validated and rolled
out changes no file."""
_UNIT_INPUTS = ({"route": True, "owner": True, "serve": {"network"}}, None)
"""The same for what belongs to no version (`context.UNVERSIONED`)."""


def is_rendered(content: bytes) -> bool:
    """Whether a file of the GitOps repository is one of ours; files of others carry no mark and are theirs."""
    return content.startswith(_MARK)


def cluster_directory(cluster: str, environment: str) -> str:
    """Where an environment's files for one cluster lie in the GitOps repository."""
    return f"clusters/{cluster}/{environment}"


def unit_directory(cluster: str, unit: UnitKey) -> str:
    """Where a unit's files for one cluster lie in the GitOps repository."""
    return f"clusters/{cluster}/{unit.environment}/{unit.model}"


class Renderer:
    """Renders what it is asked for and keeps what units share. Constructing one costs nothing."""

    def __init__(self, spec: Spec, templates: Templates) -> None:
        self._spec = spec
        self._templates = templates
        self._compiled = Compiled(templates.sources)
        self._environments: dict[str, Context] = {}
        self._settings: dict[str, bytes] = {}
        # By identity, for the same model serves many units; kept with the model, so that no other takes its place.
        self._facts: dict[tuple[str, int], tuple[Model, Context]] = {}
        self._digests: dict[int, tuple[Model, bytes, bytes]] = {}

    def of(self, spec: Spec) -> Renderer:
        """One for another spec, with the same templates."""
        other = Renderer(spec, self._templates)
        other._compiled = self._compiled
        return other

    def inputs(self, unit: UnitKey, lives: Sequence[Live] | None = None, waves: Waves | None = None) -> str:
        """The digest (`sha256:…`) of everything that `unit()` reads: equal digests mean equal files."""
        present = self._spec.models[unit]
        digest = hashlib.sha256(self._environment_inputs(unit.environment))
        digest.update(unit.model.encode() + b"\0")
        digest.update(self._model_digests(present)[0])
        for live in _alone(present) if lives is None else lives_in(unit.environment, lives):
            digest.update(self._model_digests(live.model)[1] + _numbers(live))
        for part in self._wave_inputs(unit, lives or (), waves):
            digest.update(part)
        return "sha256:" + digest.hexdigest()

    def unit(self, unit: UnitKey, lives: Sequence[Live] | None = None, waves: Waves | None = None) -> dict[str, bytes]:
        """The files of a model in an environment, by path, for every cluster of the environment.

        `lives` are the versions that run: stable, then the candidate, then what is kept; by default the version that
        the spec names, with all traffic. None at all give no files. `waves` says where clusters differ. What belongs
        to no version (route, network, owner) is that of the spec's model.

        Raises GitopsError where the spec asks for what a runtime or an environment does not have, and when two
        versions would run under one name; ValueError for weights that are none.
        """
        present = self._spec.models[unit]
        lives = _alone(present) if lives is None else lives
        facts = [self._model_facts(unit.model, live.model) for live in lives]
        _check_names(unit, facts)
        files: dict[str, bytes] = {}
        if lives:
            versions = [self._version(unit, live.model, fact) for live, fact in zip(lives, facts, strict=True)]
            for cluster in self._clusters(unit.environment):
                files.update(self._on_cluster(cluster, unit, lives_in(cluster, lives, waves), versions))
        return files

    def base(self, environment: str) -> dict[str, bytes]:
        """What an environment's models need on each of its clusters: the namespace, and a policy that denies all."""
        context = self._environment(environment)
        files = {}
        for cluster in self._clusters(environment):
            if self._owns_namespace(cluster, environment):
                directory = cluster_directory(cluster, environment)
                here = {**context, "labels": {**context["labels"], LABEL_CLUSTER: cluster}}
                for file in _ENVIRONMENT_FILES:
                    text = self._render(f"kubernetes/environment/{file}.j2", here)
                    files[f"{directory}/{file}"] = text
        return files

    def root(self, cluster: str) -> dict[str, bytes]:
        """The Terraform root of a cluster; empty for clusters that Terraform does not keep."""
        settings = self._spec.clusters[cluster]
        if not isinstance(settings, AwsCluster):
            return {}
        context = {"cluster": root_context(cluster, settings)}
        directory = f"terraform/{cluster}"
        files = {f"{directory}/{file}": self._render(f"terraform/aws/{file}.j2", context) for file in _ROOT_FILES}
        variables = root_variables(self._spec, cluster, settings)
        options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
        files[f"{directory}/terraform.tfvars.json"] = plain_json(orjson.dumps(variables, option=options))
        return files

    def _version(self, unit: UnitKey, model: Model, facts: Context) -> Context:
        present = self._model_facts(unit.model, self._spec.models[unit])
        return version_context(self._spec, unit, self._environment(unit.environment), model, facts, present)

    def _on_cluster(
        self, cluster: str, unit: UnitKey, lives: Sequence[Live], versions: Sequence[Context]
    ) -> Iterator[tuple[str, bytes]]:
        directory = unit_directory(cluster, unit)
        routed = versions[0]["routed"]
        sizes = replicas_of(lives, routed=routed)
        here = [
            {**version, **cluster_context(self._spec, unit.environment, cluster, live.model, version, replicas)}
            for live, version, replicas in zip(lives, versions, sizes, strict=True)
        ]
        whole = {**here[0], **traffic_context(lives, here, routed=routed)}
        for path, template, needed in _MODEL_FILES:
            if needed(whole):
                yield f"{directory}/{path}", self._render(template, whole)
        for live, context in zip(lives, here, strict=True):
            for path, template, needed in _VERSION_FILES:
                if needed(context):
                    where, data = f"{directory}/{live.model.version}/{path}", self._render(template, context)
                    if template == _DEPLOYMENT and template in self._templates.replaced:
                        check_verified(_own(data, where, template), context, f"templates/{template}")
                    yield where, data

    def _render(self, template: str, context: Context) -> bytes:
        return (HEADER + self._compiled.render(template, context)).encode()

    def _clusters(self, environment: str) -> Mapping[str, Any]:
        return self._spec.environments[environment].clusters

    def _environment(self, environment: str) -> Context:
        if environment not in self._environments:
            self._environments[environment] = environment_context(self._spec, environment)
        return self._environments[environment]

    def _model_facts(self, name: str, model: Model) -> Context:
        key = (name, id(model))
        if key not in self._facts:
            script = self._compiled.render(_VERIFY_SCRIPT, {})
            self._facts[key] = model, {**model_context(name, model), "verify_script": script}
        return self._facts[key][1]

    def _owns_namespace(self, cluster: str, environment: str) -> bool:
        """Environments may share a namespace on a cluster; the first of them keeps it."""
        namespace = self._spec.namespace(environment)
        neighbours = self._spec.cluster_environments[cluster]
        return environment == next(name for name in neighbours if self._spec.namespace(name) == namespace)

    def _model_digests(self, model: Model) -> tuple[bytes, bytes]:
        """Of what belongs to no version, and of what belongs to this one."""
        known = self._digests.get(id(model))
        if known is None:
            unit, version = (_digest(model, *fields) for fields in (_UNIT_INPUTS, _VERSION_INPUTS))
            known = self._digests[id(model)] = model, unit, version
        return known[1:]

    def _wave_inputs(self, unit: UnitKey, lives: Sequence[Live], waves: Waves | None) -> Iterator[bytes]:
        """Of each cluster on which the lives' numbers are not the common ones."""
        if waves:
            common = lives_in(unit.environment, lives)
            for cluster in self._clusters(unit.environment):
                here = lives_in(cluster, lives, waves)
                if here != common:
                    yield b"\0\0" + cluster.encode() + b"".join(map(_numbers, here))

    def _environment_inputs(self, environment: str) -> bytes:
        if environment not in self._settings:
            settings = self._spec.environments[environment]
            content = {
                "templates": self._templates.digest,
                "pipeline": self._spec.pipeline.name,
                "environment": environment,
                "namespace": self._spec.namespace(environment),
                "gateway": settings.gateway and settings.gateway.model_dump(),
                "monitoring": settings.monitoring and settings.monitoring.model_dump(),
                "pods": settings.pods and settings.pods.model_dump(),
                "autoscaler": settings.autoscaler and settings.autoscaler.model_dump(),
                "clusters": {name: self._cluster_inputs[name] for name in settings.clusters},
            }
            self._settings[environment] = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
        return self._settings[environment]

    @cached_property
    def _cluster_inputs(self) -> dict[str, list[Any]]:
        """Of each cluster only what places a model, in order: sizes and prices of a pool change no manifest."""
        return {
            name: [
                cluster.provider == "aws",
                cluster.pods and cluster.pods.model_dump(),
                [server.model_dump() for server in cluster.dns],
                [store.model_dump() for store in cluster.artifact_stores],
                [
                    [
                        pool.name,
                        pool.gpu_type,
                        pool.gpus,
                        sorted(pool.selector.items()),
                        pool.pods and pool.pods.model_dump(),
                    ]
                    for pool in pools(cluster).values()
                ],
            ]
            for name, cluster in self._spec.clusters.items()
        }


def _own(data: bytes, path: str, template: str) -> Manifest:
    """The object that a template of the project's own made. Raises GitopsError with the template to correct."""
    try:
        return parse_manifest(data, path)
    except GitopsError as error:
        raise GitopsError(error.what, where=path, hint=f"correct templates/{template}") from error


def _alone(model: Model) -> Sequence[Live]:
    return (Live(model, 100),)


def _check_names(unit: UnitKey, facts: Sequence[Context]) -> None:
    taken: dict[str, str] = {}
    for fact in facts:
        workload, version = fact["workload"], fact["version"]
        if workload in taken:
            raise GitopsError(
                f"versions {taken[workload]} and {version} would both run as {workload}",
                where=str(unit),
                hint="give the new one another version",
            )
        taken[workload] = version


def _numbers(live: Live) -> bytes:
    more = f"*{live.load}".encode() if live.load != 1 else b""
    return b"\0%d/%d/%d" % live[1:4] + more


def _digest(model: Model, include: Any, exclude: Any) -> bytes:
    return hashlib.sha256(model.__pydantic_serializer__.to_json(model, include=include, exclude=exclude)).digest()
