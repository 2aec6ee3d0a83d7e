"""The release record: which version of a model an environment runs, kept in Git beside the rendered files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import orjson

from gitops.errors import GitopsError
from gitops.values import UnitKey

API_VERSION = "gitops/v1"
_HEADER = "# Written by gitops: one step of a rollout is one commit that changes this file.\n"


def record_path(unit: UnitKey) -> str:
    """Where a unit's record lies in the GitOps repository."""
    return f"releases/{unit.environment}/{unit.model}.yaml"


@dataclass(frozen=True, slots=True)
class ReleasedVersion:
    """A version as it was released: `digest` is the artifact's, `since` an RFC 3339 time in UTC.

    `replicas` is the least number it runs with and `gpus` what each of them takes, so that a later plan knows
    what the version occupies without reading its manifests.
    """

    version: str
    digest: str
    since: str
    gpu_type: str = ""
    gpus: int = 0
    replicas: int = 0


@dataclass(frozen=True, slots=True)
class SpecSource:
    """The commit of the spec that a record was made from; empty when the spec is not kept in Git."""

    commit: str = ""
    modified: bool = False
    """The spec's files differed from that commit."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What the unit's files were rendered from, and to what.

    `inputs` is a digest over everything that rendering read; `trees` maps each cluster to the Git tree id of the
    unit's directory there. While both still hold, nothing has to be rendered to know that nothing changed.
    """

    inputs: str
    trees: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Release:
    """The state of one unit. Later rollout phases add `candidate`; here every release is stable at once."""

    unit: UnitKey
    stable: ReleasedVersion
    rendered: Rendered
    source: SpecSource = SpecSource()
    previous: str = ""
    """The version that was stable before, for the reader."""


def dump_release(release: Release) -> bytes:
    """The record as YAML, the same bytes for the same value."""
    stable = release.stable
    lines = [
        f"apiVersion: {API_VERSION}",
        "kind: Release",
        f"environment: {release.unit.environment}",
        f"model: {release.unit.model}",
        "stable:",
        f"  version: {_text(stable.version)}",
        f"  digest: {_text(stable.digest)}",
        f"  since: {_text(stable.since)}",
        f"  replicas: {stable.replicas}",
    ]
    if stable.gpus:
        lines.append(f"  gpu: {{type: {_text(stable.gpu_type)}, count: {stable.gpus}}}")
    if release.previous:
        lines.append(f"previous: {_text(release.previous)}")
    if release.source.commit:
        lines += ["spec:", f"  commit: {_text(release.source.commit)}"]
        if release.source.modified:
            lines.append("  modified: true")
    lines += ["rendered:", f"  inputs: {_text(release.rendered.inputs)}"]
    if release.rendered.trees:
        lines.append("  trees:")
        lines += [f"    {cluster}: {_text(tree)}" for cluster, tree in sorted(release.rendered.trees.items())]
    return (_HEADER + "\n".join(lines) + "\n").encode()


def parse_release(data: bytes, path: str) -> Release:
    """Read a record back. Raises GitopsError with `path` when it is not one (somebody edited it)."""
    return _as_written(data) or _as_yaml(data, path)


_TEXT = r'"([^"\\]*)"'  # as long as nothing in it is escaped
_AS_WRITTEN = re.compile(
    re.escape(f"{_HEADER}apiVersion: {API_VERSION}\nkind: Release\n")
    + r"environment: ([a-z0-9-]+)\nmodel: ([a-z0-9-]+)\nstable:\n"
    + rf"  version: {_TEXT}\n  digest: {_TEXT}\n  since: {_TEXT}\n  replicas: (\d+)\n"
    + rf"(?:  gpu: {{type: {_TEXT}, count: (\d+)}}\n)?"
    + rf"(?:previous: {_TEXT}\n)?"
    + rf"(?:spec:\n  commit: {_TEXT}\n(  modified: true\n)?)?"
    + rf"rendered:\n  inputs: {_TEXT}\n(?:  trees:\n((?:    [a-z0-9-]+: {_TEXT}\n)+))?"
)
_TREE = re.compile(rf"    ([a-z0-9-]+): {_TEXT}\n")


def _as_written(data: bytes) -> Release | None:
    """A record exactly as `dump_release` writes it: a plan reads thousands, and YAML takes four times as long."""
    found = _AS_WRITTEN.fullmatch(data.decode(errors="replace"))
    if found is None:
        return None
    environment, model, version, digest, since, replicas, gpu, gpus, previous, commit, modified, inputs, trees, _ = (
        found.groups(default="")
    )
    return Release(
        unit=UnitKey(environment, model),
        stable=ReleasedVersion(version, digest, since, gpu, int(gpus or 0), int(replicas)),
        rendered=Rendered(inputs, MappingProxyType(dict(_TREE.findall(trees)))),
        source=SpecSource(commit, bool(modified)),
        previous=previous,
    )


def _as_yaml(data: bytes, path: str) -> Release:
    import yaml_rs

    try:
        raw: Any = yaml_rs.loads(data.decode(), parse_datetime=False)
        if raw["apiVersion"] != API_VERSION or raw["kind"] != "Release":
            raise ValueError("apiVersion or kind")
        stable, spec, rendered = raw["stable"], raw.get("spec") or {}, raw["rendered"]
        gpu = stable.get("gpu") or {}
        return Release(
            unit=UnitKey(raw["environment"], raw["model"]),
            stable=ReleasedVersion(
                stable["version"],
                stable["digest"],
                stable["since"],
                gpu.get("type", ""),
                int(gpu.get("count", 0)),
                int(stable["replicas"]),
            ),
            rendered=Rendered(rendered["inputs"], MappingProxyType(dict(rendered.get("trees") or {}))),
            source=SpecSource(spec.get("commit", ""), bool(spec.get("modified", False))),
            previous=raw.get("previous", ""),
        )
    except (
        yaml_rs.YAMLDecodeError,
        UnicodeDecodeError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:
        raise GitopsError(
            "this is no release record that gitops wrote",
            where=path,
            hint="restore it from the repository's history (git log -p -- " + path + ")",
        ) from error


def _text(value: str) -> str:
    # JSON strings are YAML strings, whatever the value looks like.
    return orjson.dumps(value).decode()
