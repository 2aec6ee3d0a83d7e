"""The release record: where a model stands in an environment, kept in Git beside the rendered files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, get_args

import orjson

from gitops.errors import GitopsError
from gitops.rollout.endings import PauseCause, Waits
from gitops.rollout.load import Loads, read_loads, write_loads
from gitops.rollout.phases import Stage
from gitops.rollout.state import Approval, Candidate, Kept, ModelVersion, Pause, Rejection, Returned, RolloutState
from gitops.values import UnitKey, without_acting

API_VERSION = "gitops/v1"
_STAGES, _CAUSES = get_args(Stage), get_args(PauseCause)
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
    """Where one unit stands: the version that is stable, and the rollout under way beside it.

    `models` holds every version that runs as it was released (`spec.frozen`), so that it can be rendered again
    after the spec has moved on. `rollout_id` names the last rollout.
    """

    unit: UnitKey
    stable: ReleasedVersion
    rendered: Rendered
    source: SpecSource = SpecSource()
    previous: str = ""
    """The version that was stable before, for the reader."""
    candidate: Candidate | None = None
    kept: tuple[Kept, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    approvals: tuple[Approval, ...] = ()
    load: Loads = ()
    """What its versions are sized for while there are several."""
    returned: tuple[Returned, ...] = ()
    rollout_id: str = ""
    models: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def state(self) -> RolloutState:
        """What the state machine goes on from."""
        stable = ModelVersion(self.stable.version, self.stable.digest)
        given = (self.rejected, self.approvals, self.load, self.returned)
        return RolloutState(stable, self.candidate, self.kept, *given)

    @property
    def settled(self) -> bool:
        """Whether nothing but the stable version is there."""
        return not (self.candidate or self.kept or self.rejected or self.approvals or self.returned)


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
    if release.rollout_id or not release.settled:
        lines += ["rollout:", *(f"  {line}" for line in _rollout_lines(release))]
    if release.source.commit:
        lines += ["spec:", f"  commit: {_text(release.source.commit)}"]
        if release.source.modified:
            lines.append("  modified: true")
    lines += ["rendered:", f"  inputs: {_text(release.rendered.inputs)}"]
    if release.rendered.trees:
        lines.append("  trees:")
        lines += [f"    {cluster}: {_text(tree)}" for cluster, tree in sorted(release.rendered.trees.items())]
    if release.models:
        # Each on one line: they are for rendering again; a reader finds the same in the spec's history.
        lines.append("models:")
        lines += [f"  {_text(version)}: {model}" for version, model in release.models.items()]
    return (_HEADER + "\n".join(lines) + "\n").encode()


_MOST = 1_000_000
"""Of replicas, GPUs, steps and waves: no record that a step wrote has as many, or fewer than none."""


def parse_release(data: bytes, path: str) -> Release:
    """Read a record back. Raises GitopsError with `path` when it is not one (somebody edited it)."""
    try:
        return _as_written(data) or _as_yaml(data)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise GitopsError(
            "this is no release record that gitops wrote",
            where=path,
            hint=f"restore it from the repository's history (git log -p -- {path}); delete it if it is none",
        ) from error


# --- The rollout's part --------------------------------------------------------------------------------------


def _rollout_lines(release: Release) -> Iterator[str]:
    yield f"id: {_text(release.rollout_id)}"
    if release.load:
        yield f"load: {_text(write_loads(release.load))}"
    if release.candidate:
        yield "candidate:"
        yield from (f"  {key}: {_json(value)}" for key, value in _candidate_data(release.candidate).items())
    lists: tuple[tuple[str, list[dict[str, Any]]], ...] = (
        ("kept", [_kept_data(one) for one in release.kept]),
        ("rejected", [_rejection_data(one) for one in release.rejected]),
        ("returned", [_returned_data(one) for one in release.returned]),
        ("approvals", [_approval_data(one) for one in release.approvals]),
    )
    for name, items in lists:
        if items:
            yield f"{name}:"
            yield from (f"- {_json(item)}" for item in items)


def _candidate_data(one: Candidate) -> dict[str, Any]:
    data: dict[str, Any] = {
        "version": one.version.version,
        "digest": one.version.digest,
        "stage": one.stage,
        "step": one.step,
        "weight": one.weight,
        "mirror": one.mirror,
        "scale": one.scale,
        "started": time_of(one.started),
        "since": time_of(one.since),
        "entered": time_of(one.entered),
    }
    if one.wave:
        data["wave"] = one.wave
    if one.scales:
        data["scales"] = list(one.scales)
    if one.clusters:
        data["clusters"] = [list(wave) for wave in one.clusters]
    if one.hotfix:
        data["hotfix"] = True
    if one.pause:
        data["pause"] = {"cause": one.pause.cause, "reason": one.pause.reason, "by": one.pause.by}
    if one.tolerated:
        data["tolerated"] = list(one.tolerated)
    if one.despite:
        data["despite"] = list(one.despite)
    if one.resumed:
        data["resumed"] = time_of(one.resumed)
    if one.earlier:
        data["earlier"] = [time_of(at) for at in one.earlier]
    if one.basis:
        data["basis"] = write_loads(one.basis)
    return data


def _candidate(data: Mapping[str, Any]) -> Candidate:
    pause = data.get("pause")
    if (_percent(data["weight"]) or _percent(data["mirror"])) and not _percent(data["scale"]):
        raise ValueError("traffic without pods")
    if data["stage"] not in _STAGES or (pause and pause["cause"] not in _CAUSES):
        raise ValueError("stage or cause")
    return Candidate(
        version=_version(data),
        stage=data["stage"],
        scale=_percent(data["scale"]),
        started=seconds_of(data["started"]),
        since=seconds_of(data["since"]),
        entered=seconds_of(data["entered"]),
        step=_count(data["step"]),
        weight=_percent(data["weight"]),
        mirror=_percent(data["mirror"]),
        wave=_count(data.get("wave", 0)),
        scales=tuple(map(_percent, data.get("scales", ()))),
        clusters=tuple(tuple(map(_string, wave)) for wave in data.get("clusters", ())),
        hotfix=bool(data.get("hotfix", False)),
        pause=Pause(pause["cause"], _string(pause["reason"]), _string(pause["by"])) if pause else None,
        tolerated=tuple(map(_string, data.get("tolerated", ()))),
        despite=tuple(map(_string, data.get("despite", ()))),
        resumed=seconds_of(data["resumed"]) if "resumed" in data else 0,
        earlier=tuple(map(seconds_of, data.get("earlier", ()))),
        basis=read_loads(data.get("basis", "")),
    )


def _kept_data(one: Kept) -> dict[str, Any]:
    data: dict[str, Any] = {
        "version": one.version.version,
        "digest": one.version.digest,
        "drained": time_of(one.drained),
        "until": time_of(one.until),
        "scale": one.scale,
        "previous": one.previous,
    }
    return {**data, "scales": list(one.scales)} if one.scales else data


def _kept(data: Mapping[str, Any]) -> Kept:
    drained, until = seconds_of(data["drained"]), seconds_of(data["until"])
    scales = tuple(map(_percent, data.get("scales", ())))
    return Kept(_version(data), drained, until, bool(data["previous"]), _percent(data["scale"]), scales)


def _rejection_data(one: Rejection) -> dict[str, Any]:
    version = {"version": one.version.version, "digest": one.version.digest}
    runs = {"runs": one.runs} if one.runs else {}
    return {**version, "reason": one.reason, "at": time_of(one.at), **runs}


def _rejection(data: Mapping[str, Any]) -> Rejection:
    return Rejection(_version(data), _string(data["reason"]), seconds_of(data["at"]), _string(data.get("runs", "")))


def _version(data: Mapping[str, Any]) -> ModelVersion:
    return ModelVersion(_string(data["version"]), _string(data["digest"]))


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _percent(value: Any) -> int:
    if not 0 <= int(value) <= 100:
        raise ValueError("no percentage")
    return int(value)


def _count(value: Any) -> int:
    if not 0 <= int(value) <= _MOST:
        raise ValueError("no count")
    return int(value)


def _returned_data(one: Returned) -> dict[str, Any]:
    version = {"version": one.version.version, "digest": one.version.digest}
    return {**version, "reason": one.reason, "at": time_of(one.at), "waits": one.waits}


def _returned(data: Mapping[str, Any]) -> Returned:
    if data["waits"] not in get_args(Waits):
        raise ValueError("waits")
    return Returned(_version(data), data["reason"], seconds_of(data["at"]), data["waits"])


def _approval_data(one: Approval) -> dict[str, Any]:
    return {"digest": one.digest, "by": one.by, **({"runs": one.runs} if one.runs else {})}


def _approval(data: Mapping[str, Any]) -> Approval:
    return Approval(_string(data["digest"]), _string(data["by"]), _string(data.get("runs", "")))


def _rollout(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of Release that `_rollout_lines` wrote."""
    return {
        "rollout_id": raw.get("id", ""),
        "candidate": _candidate(raw["candidate"]) if raw.get("candidate") else None,
        "kept": tuple(map(_kept, raw.get("kept") or ())),
        "rejected": tuple(map(_rejection, raw.get("rejected") or ())),
        "returned": tuple(map(_returned, raw.get("returned") or ())),
        "approvals": tuple(map(_approval, raw.get("approvals") or ())),
        "load": read_loads(raw.get("load", "")),
    }


# --- Reading -------------------------------------------------------------------------------------------------


_TEXT = r'"([^"\\]*)"'  # as long as nothing in it is escaped
_AS_WRITTEN = re.compile(
    re.escape(f"{_HEADER}apiVersion: {API_VERSION}\nkind: Release\n")
    + r"environment: ([a-z0-9-]+)\nmodel: ([a-z0-9-]+)\nstable:\n"
    + rf"  version: {_TEXT}\n  digest: {_TEXT}\n  since: {_TEXT}\n  replicas: (\d+)\n"
    + rf"(?:  gpu: {{type: {_TEXT}, count: (\d+)}}\n)?"
    + rf"(?:previous: {_TEXT}\n)?"
    + r"(rollout:\n(?:  .*\n)+)?"
    + rf"(?:spec:\n  commit: {_TEXT}\n(  modified: true\n)?)?"
    + rf"rendered:\n  inputs: {_TEXT}\n(?:  trees:\n((?:    [a-z0-9-]+: {_TEXT}\n)+))?"
    + rf"(?:models:\n((?:  {_TEXT}: {{.*}}\n)+))?"
)
_TREE = re.compile(rf"    ([a-z0-9-]+): {_TEXT}\n")
_MODEL = re.compile(rf"  {_TEXT}: ({{.*}})\n")


def _as_written(data: bytes) -> Release | None:
    """A record exactly as `dump_release` writes it: a plan reads thousands, and YAML takes four times as long."""
    found = _AS_WRITTEN.fullmatch(data.decode(errors="replace"))
    if found is None:
        return None
    (environment, model, version, digest, since, replicas, gpu, gpus, previous, rollout) = found.groups("")[:10]
    commit, modified, inputs, trees, _, models, _ = found.groups("")[10:]
    return Release(
        unit=UnitKey(environment, model),
        stable=ReleasedVersion(version, digest, since, gpu, _count(gpus or 0), _count(replicas)),
        rendered=Rendered(inputs, MappingProxyType(dict(_TREE.findall(trees)) if trees else {})),
        source=SpecSource(commit, bool(modified)),
        previous=previous,
        models=MappingProxyType({found[1]: found[2] for found in _MODEL.finditer(models)}),
        **(_rollout(_yaml(rollout)["rollout"]) if rollout else {}),
    )


def _as_yaml(data: bytes) -> Release:
    raw: Any = _yaml(data.decode())
    if raw["apiVersion"] != API_VERSION or raw["kind"] != "Release":
        raise ValueError("apiVersion or kind")
    stable, spec, rendered = raw["stable"], raw.get("spec") or {}, raw["rendered"]
    gpu = stable.get("gpu") or {}
    return Release(
        unit=UnitKey(_string(raw["environment"]), _string(raw["model"])),
        stable=ReleasedVersion(
            _string(stable["version"]),
            _string(stable["digest"]),
            _string(stable["since"]),
            _string(gpu.get("type", "")),
            _count(gpu.get("count", 0)),
            _count(stable["replicas"]),
        ),
        rendered=Rendered(_string(rendered["inputs"]), MappingProxyType(dict(rendered.get("trees") or {}))),
        source=SpecSource(_string(spec.get("commit", "")), bool(spec.get("modified", False))),
        previous=_string(raw.get("previous", "")),
        models=MappingProxyType({version: _json(model) for version, model in (raw.get("models") or {}).items()}),
        **_rollout(raw.get("rollout") or {}),
    )


def _yaml(text: str) -> Any:
    import yaml_rs

    try:
        return yaml_rs.loads(text, parse_datetime=False)
    except yaml_rs.YAMLDecodeError as error:
        raise ValueError(str(error)) from error


def _json(value: Any) -> str:
    # JSON is YAML; a JSON string is a YAML string whatever it looks like.
    return without_acting(orjson.dumps(value).decode())


def _text(value: str) -> str:
    return _json(value)


def time_of(at: int) -> str:
    """Seconds of the epoch as RFC 3339 in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(time: str) -> int:
    """The reverse of `time_of`."""
    return int(datetime.fromisoformat(time).timestamp())
