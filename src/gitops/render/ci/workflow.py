"""The CI workflow from the spec: one file for GitHub Actions, one for GitLab CI."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from gitops import __version__
from gitops.errors import GitopsError
from gitops.render.ci.requirements import Locked, requirements
from gitops.render.ci.text import CiTemplates
from gitops.render.plain import plain
from gitops.render.yaml_text import YamlText
from gitops.spec.ci import Ci, Identity
from gitops.spec.environment import AwsCluster, ExistingCluster
from gitops.spec.resolved import Spec
from gitops.values import UnitKey

System = Literal["github", "gitlab"]

PATHS: Mapping[System, str] = {"github": ".github/workflows/gitops.yml", "gitlab": ".gitlab-ci.yml"}
"""The file of each system, from the root of the repository."""

FOLDERS: Mapping[System, str] = {"github": ".github/gitops", "gitlab": ".gitlab/gitops"}
"""Where what it installs is listed."""

FORWARD = ("approve", "promote", "resume", "retry")
"""What brings a version on its way: asked for in the environment that it concerns, by its rules."""
BACK = ("pause", "rollback", "abort")
"""What stops it or goes back: nobody has to agree to that first."""


_SCRIPTS: Mapping[str, str] = {
    "plan": "plan.sh",
    "check": "check.sh",
    "reconcile": "reconcile.sh",
    "note": "note.py",
}
"""What both systems run, or what is no shell, in a file each."""


class CiModel(NamedTuple):
    """What CI does for a model: whether it declares `build` stages, and gates under `validate`."""

    name: str
    builds: bool = False
    validates: bool = False


@dataclass(frozen=True, slots=True)
class Access:
    """How a job reaches the GitOps repository: with an SSH key, a token for `host`, or a path that needs nothing."""

    kind: Literal["ssh", "https", "path"]
    host: str = ""


def marker(system: System) -> str:
    """The beginning of the first line of a file that this program wrote, and may replace."""
    return f"# Written by `gitops ci {system}`"


def render_ci(
    system: System,
    spec: Spec,
    ci: Ci,
    templates: Mapping[str, str],
    models: Sequence[CiModel] = (),
    version: str = __version__,
    locked: Locked | None = None,
) -> dict[str, bytes]:
    """The workflow's files by their paths from the root of the repository, the workflow first.

    `templates` are texts by name, as `Templates.sources`; `locked` is what can be installed, with hashes, and not
    needed where the spec brings a command of its own. Raises GitopsError where the spec cannot work in CI.
    """
    context = _context(system, spec, ci, models, version)
    files = _installed(system, spec, ci, locked)
    compiled = CiTemplates(templates)
    context["scripts"] = {name: compiled.render(f"ci/scripts/{file}.j2", context) for name, file in _SCRIPTS.items()}
    text = compiled.render(f"ci/{system}.yml.j2", context)
    return {PATHS[system]: text.encode(), **files}


def access_of(url: str) -> Access:
    """How to reach a repository by its URL. Raises GitopsError for a path that only one machine has."""
    scheme, separator, rest = url.partition("://")
    if separator and scheme in ("https", "http"):
        return Access("https", f"{scheme}://{rest.partition('/')[0].rpartition('@')[2]}")
    if scheme == "ssh" or (not separator and re.match(r"[^/:]+:", url)):
        return Access("ssh")
    if url.startswith("/") or scheme in ("file", "git"):
        return Access("path")
    raise GitopsError(
        f"the GitOps repository is the path {url}, and every job of CI would start with an empty one",
        where="pipeline.yaml: repository.url",
        hint="name the URL of a repository that all jobs can reach, such as git@github.com:acme/gitops.git",
    )


def comment_marker(pipeline: str) -> str:
    """The first line of a plan's comment, as `gitops plan --format markdown` writes it."""
    return f"<!-- gitops-plan: {re.sub(r'-{2,}', '-', pipeline)} -->"


# --- What the templates see ----------------------------------------------------------------------------------


def _context(system: System, spec: Spec, ci: Ci, models: Sequence[CiModel], version: str) -> dict[str, Any]:
    pipeline = spec.pipeline
    clusters = spec.clusters.values()
    access = access_of(pipeline.repository.url)
    _check(spec, ci, access)
    return {
        "system": system,
        "temp": YamlText("RUNNER_TEMP" if system == "github" else "GITOPS_TEMP"),
        "marker": YamlText(marker(system)),
        "pipeline": pipeline.name,
        "comment_marker": comment_marker(pipeline.name),
        "ci": plain(ci),
        "gitlab_tags": [] if ci.runner == Ci().runner else list(ci.runner),
        "cron": _cron(ci.schedule),
        "access": plain(access),
        "environments": list(pipeline.promotion),
        "forward": FORWARD,
        "back": BACK,
        "commands": ["reconcile", "apply", *FORWARD, *BACK],
        "install": ci.install or _install(system),
        "installs": FOLDERS[system],
        "write_runner": ci.write_runner or ci.runner,
        "version": version,
        "terraform": any(isinstance(cluster, AwsCluster) for cluster in clusters),
        "existing": any(isinstance(cluster, ExistingCluster) for cluster in clusters),
        "prometheus": any(one.monitoring and one.monitoring.prometheus for one in spec.environments.values()),
        "identities": {
            "plan": _given(ci.identities.plan),
            "build": _given(ci.identities.build),
            "apply": _given(ci.identities.apply),
        },
        "signs": any(model.builds for model in models) and bool(pipeline.signatures and pipeline.signatures.keys),
        "builds": [model.name for model in models if model.builds],
        "checked": {one.name: unit for one in models if one.validates and (unit := _first(spec, one.name))},
        "gpu_models": [model.name for model in models if model.builds or model.validates],
        "verified": dict(_verified(spec, ci, models)),
    }


def _installed(system: System, spec: Spec, ci: Ci, locked: Locked | None) -> dict[str, bytes]:
    """The lists of what pip installs: everything by hash, with the extras that the spec needs, on all runners alike."""
    if ci.install:
        return {}
    if ci.wheel is None or locked is None:
        raise GitopsError(
            "nothing says where the runners get gitops from",
            where="pipeline.yaml: ci",
            hint="keep a wheel of it (pip wheel --no-deps --wheel-dir vendor PATH_OF_GITOPS) and name it: "
            "`wheel: {uri: vendor/gitops_models-….whl, digest: sha256:…}`, or give a command of yours as `install`",
        )
    found = requirements(ci.wheel, locked, set(_extras(spec)))
    return {f"{FOLDERS[system]}/{name}": marker(system).encode() + b"\n" + data for name, data in found.items()}


def _install(system: System) -> str:
    return " && ".join(
        f"python -P -m pip install --require-hashes --no-deps {options} --requirement {FOLDERS[system]}/{name}"
        for name, options in (("build.txt", "--only-binary :all:"), ("requirements.txt", "--no-build-isolation"))
    )


def _extras(spec: Spec) -> Iterator[str]:
    signatures = spec.pipeline.signatures
    if signatures:
        yield from (name for name, there in (("sign", signatures.keys), ("sigstore", signatures.sigstore)) if there)
    for model in (*spec.pipeline.models.values(), *spec.models.values()):
        if model.validation:
            yield "validation"
        if model.build or model.validation or signatures:
            places = [model.artifact.uri, *([model.build.source.uri] if model.build else [])]
            yield from (uri.partition("://")[0] for uri in places if not uri.startswith("file://"))


def _check(spec: Spec, ci: Ci, access: Access) -> None:
    if ci.own_repository and access.kind != "https":
        raise GitopsError(
            "the job's own token works over HTTPS alone",
            where="pipeline.yaml: ci.ownRepository",
            hint="name the repository by its https:// URL in repository.url",
        )
    if ci.own_repository and spec.pipeline.repository.branch == ci.branch:
        raise GitopsError(
            f"the GitOps files would be pushed to {ci.branch}, whose every commit is applied",
            where="pipeline.yaml: repository.branch",
            hint="give them a branch of their own, such as live",
        )
    for name in ci.verify:
        if name not in spec.environments:
            raise GitopsError(
                f"there is no environment {name}",
                where="pipeline.yaml: ci.verify",
                hint=f"one of: {', '.join(spec.environments)}",
            )


def _cron(schedule: str) -> str:
    """Five fields; empty for never. Not at the full hour, when everybody's jobs start and some are dropped."""
    if schedule == "never":
        return ""
    if schedule == "1h":
        return "2 * * * *"
    return f"2-59/{schedule.removesuffix('m')} * * * *"


def _given(identity: Identity) -> dict[str, Any] | None:
    return plain(identity) if identity.aws or identity.gcp or identity.azure else None


def _first(spec: Spec, model: str) -> str:
    """The first environment that runs a model, as ENVIRONMENT/MODEL."""
    return next((str(unit) for unit in spec.models if unit.model == model), "")


def _verified(spec: Spec, ci: Ci, models: Sequence[CiModel]) -> Iterator[tuple[str, str]]:
    """Releases that are checked once they are stable, with the URL at which clients reach them."""
    validated = {model.name for model in models if model.validates}
    for unit, model in spec.models.items():
        if unit.environment in ci.verify and unit.model in validated:
            if model.route is None:
                raise _unreachable(unit, "the model has no route")
            host = model.route.hostnames[0]
            if host.startswith("*"):
                raise _unreachable(unit, f"{host} names no one place")
            yield str(unit), f"https://{host}{model.route.path.rstrip('/')}"


def _unreachable(unit: UnitKey, why: str) -> GitopsError:
    return GitopsError(
        f"CI cannot check {unit}: {why}",
        where="pipeline.yaml: ci.verify",
        hint="give the model a route there, or take the environment out",
    )
