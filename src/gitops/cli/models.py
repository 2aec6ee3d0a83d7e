"""`gitops models`: which versions the spec names, a new one into it, and whether an artifact is what it should be."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from gitops.cli.console import ERROR, OK, PENDING, note, write
from gitops.cli.meter import Meter
from gitops.cli.project import load
from gitops.errors import GitopsError, Refused
from gitops.spec.load import load_spec
from gitops.spec.pipeline import Model
from gitops.spec.problems import suggestion
from gitops.spec.resolved import SourceFile, Spec
from gitops.spec.unbuilt import UNBUILT
from gitops.view.terminal import table, visible
from gitops.world.files import PIPELINE, Project, read_project, write_atomically

if TYPE_CHECKING:
    from gitops.stages.results import GateResult
    from gitops.stages.verification import Trust

_ANY_DIGEST = f"sha256:{'f' * 64}"
"""Stands for the digest while the rest of an edit is checked, before the artifact is read."""


class Adding(NamedTuple):
    """The options of `gitops models add`, as they were written; empty where they were not given."""

    model: str
    version: str
    uri: str = ""
    digest: str = ""
    format: str = ""
    from_mlflow: str = ""


# --- list and show -------------------------------------------------------------------------------------------


def list_models(project: Path, form: str = "text") -> int:
    """Print every model of the spec in one line each."""
    spec = load(project)
    if form == "json":
        _json({"models": [_document(spec, name) for name in spec.pipeline.models]})
        return OK
    rows = [("MODEL", "VERSION", "DIGEST", "FORMAT", "RELEASED IN")]
    for name, model in spec.pipeline.models.items():
        rows.append((name, model.version, _short(model), model.artifact.format, _places(spec, name)))
    write("\n".join(line.rstrip() for line in table(rows)))
    return OK


def show(project: Path, name: str, form: str = "text") -> int:
    """Print all that the spec says of a model's artifact, and what its statement of provenance says."""
    spec = load(project)
    model = model_of(spec, name)
    document = _document(spec, name)
    try:
        document["provenance"] = _told(model, project)
    except GitopsError as error:
        document["provenance"], document["provenanceError"] = [], str(error)
    if form == "json":
        _json(document)
        return OK
    lines = [(key, document[key]) for key in ("model", "version", "uri", "digest", "format", "owner") if document[key]]
    lines.append(("released in", _places(spec, name) or "no environment"))
    for number, line in enumerate(document["provenance"] or [document.get("provenanceError", "none")]):
        lines.append(("" if number else "provenance", line))
    write("\n".join(f"{key:<12} {visible(value)}".rstrip() for key, value in lines))
    return OK


def _told(model: Model, project: Path) -> list[str]:
    from gitops.stages.verification import told

    return [] if _is_built(model) else list(told(model.artifact.uri, model.artifact.digest, project))


def _document(spec: Spec, name: str) -> dict[str, Any]:
    model = spec.pipeline.models[name]
    units = {unit.environment: one.version for unit, one in spec.models.items() if unit.model == name}
    return {
        "model": name,
        "version": model.version,
        "uri": model.artifact.uri,
        "digest": "" if _is_built(model) else model.artifact.digest,
        "format": model.artifact.format,
        "owner": model.owner or "",
        "environments": units,
    }


def _places(spec: Spec, name: str) -> str:
    """The environments that release the model, each with its version where that is another one."""
    version = spec.pipeline.models[name].version
    units = [(unit.environment, one.version) for unit, one in spec.models.items() if unit.model == name]
    return ", ".join(place if own == version else f"{place} ({own})" for place, own in units)


def _short(model: Model) -> str:
    return "to be built" if _is_built(model) else model.artifact.digest[: len("sha256:") + 12]


def _is_built(model: Model) -> bool:
    return model.artifact.digest == UNBUILT


# --- add -----------------------------------------------------------------------------------------------------


def add(project: Path, wanted: Adding, form: str = "text") -> int:
    """Put a version into `pipeline.yaml`, with the digest of what lies at its URI."""
    files = read_project(project)
    model = model_of(_load(files), wanted.model)
    if model.build is not None:
        hint = "change its version, and let the build run: Git keeps the digest of what was built"
        raise Refused("the model's artifact is what its build makes", where=wanted.model, hint=hint)
    uri = _source(wanted)
    _edited(files, wanted, uri, _ANY_DIGEST)  # what would be refused afterwards is refused before hours of reading
    digest = _digest(project, wanted, uri)
    files = read_project(project)  # somebody may have edited it meanwhile
    _keep_versions(_load(files), wanted, digest)
    after = _edited(files, wanted, uri, digest)
    changed = changed_lines(files.pipeline.data, after)
    if changed:
        place = (project / PIPELINE).resolve()
        write_atomically(place, after, mode=place.stat().st_mode & 0o777)
    told = {"model": wanted.model, "version": wanted.version, "uri": uri, "digest": digest, "changedLines": changed}
    _json(told) if form == "json" else write(_added(wanted, digest, changed))
    return OK


def _source(wanted: Adding) -> str:
    if bool(wanted.uri) == bool(wanted.from_mlflow):
        raise GitopsError("name one place of the artifact", hint="give either --uri or --from-mlflow")
    if wanted.uri:
        return wanted.uri
    from gitops.stages.registry import resolve

    found = resolve(wanted.from_mlflow)
    note(f"MLflow: {found.name} version {found.version} lies at {found.uri}")
    return found.uri


def _digest(project: Path, wanted: Adding, uri: str) -> str:
    from gitops.stages.artifacts import digest_of

    with Meter(f"{wanted.model} {wanted.version}") as meter:
        found = digest_of(uri, project=project, progress=meter.step, cache=_cache(project, uri))
    if wanted.digest and wanted.digest != found.digest:
        what = f"the artifact has digest {found.digest}, --digest says {wanted.digest}"
        raise Refused(what, where=uri, hint="find out which is right; nothing was changed")
    return found.digest


def _cache(project: Path, uri: str) -> Path:
    return project / ".gitops" / "digests" / f"{hashlib.sha256(uri.encode()).hexdigest()[:16]}.json"


def _keep_versions(spec: Spec, wanted: Adding, digest: str) -> None:
    """Refuse a version that the spec names with another artifact already, in any environment."""
    units = [
        spec.pipeline.models[wanted.model],
        *(one for unit, one in spec.models.items() if unit.model == wanted.model),
    ]
    for model in units:
        if model.version == wanted.version and model.artifact.digest != digest:
            what = f"version {wanted.version} is {model.artifact.digest[:19]}… already, not {digest[:19]}…"
            raise Refused(what, where=wanted.model, hint="a version never changes its artifact; give it a new version")


def _edited(files: Project, wanted: Adding, uri: str, digest: str) -> bytes:
    """The new text of `pipeline.yaml`; SpecError where the spec would not be valid with it."""
    from gitops.spec.editing import set_version

    changes = {"version": wanted.version, "uri": uri, "digest": digest, "format": wanted.format}
    after = set_version(files.pipeline.data, wanted.model, {key: value for key, value in changes.items() if value})
    load_spec(SourceFile(files.pipeline.path, after), files.environments)
    return after


def changed_lines(before: bytes, after: bytes) -> int:
    """How many lines of a diff begin with `+`."""
    old, new = before.splitlines(), after.splitlines()
    while old and new and old[-1] == new[-1]:
        del old[-1], new[-1]
    start = next(
        (at for at, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), min(len(old), len(new))
    )
    matcher = difflib.SequenceMatcher(None, old[start:], new[start:], autojunk=False)
    return sum(to - at for kind, _, _, at, to in matcher.get_opcodes() if kind in ("replace", "insert"))


def _added(wanted: Adding, digest: str, changed: int) -> str:
    if not changed:
        return f"{wanted.model} {wanted.version} is in {PIPELINE} already, with the same artifact: nothing to do."
    lines = "1 line" if changed == 1 else f"{changed} lines"
    return (
        f"{wanted.model} {wanted.version} is {digest}\n"
        f"{lines} changed in {PIPELINE}. Look at it with `git diff`, commit it, and see what it does: gitops plan"
    )


# --- verify --------------------------------------------------------------------------------------------------


def verify(
    project: Path,
    name: str = "",
    keys: Sequence[Path] = (),
    identity: str = "",
    issuer: str = "",
    form: str = "text",
) -> int:
    """Read the artifact of one model, or of all, and compare. Without keys or identity, the spec's are trusted.

    PENDING (2) when something is not as it should be, ERROR when all is well but for what could not be read.
    """
    from gitops.stages.results import report_json, summary
    from gitops.stages.verification import policy_trust, trusted

    spec = load(project)
    chosen = {name: model_of(spec, name)} if name else dict(spec.pipeline.models)
    policy = spec.pipeline.signatures
    trust = policy_trust(policy, project) if policy and not keys and not identity else trusted(keys, identity, issuer)
    results, unread = [], False
    for one, model in chosen.items():
        if _is_built(model):
            note(f"{one}: its artifact is still to be built")
            continue
        try:
            results.append(_verified(project, one, model, trust))
        except GitopsError as error:
            if name:
                raise
            unread = True
            note(f"error: {one}: {error}")
            continue
        if form != "json":
            write("\n".join(visible(line) for line in (*summary(results[-1:]), f"  {results[-1].note}")))
    if form == "json":
        _json(report_json(results))
    failed = not all(result.passed for result in results)
    return PENDING if failed else ERROR if unread else OK


def _verified(project: Path, name: str, model: Model, trust: Trust) -> GateResult:
    from gitops.stages.verification import verify as of_artifact

    uri, digest = model.artifact.uri, model.artifact.digest
    with Meter(f"{name} {model.version}") as meter:
        cache = _cache(project, uri)
        return of_artifact(name, uri, digest, project=project, trust=trust, progress=meter.step, cache=cache)


# --- Common --------------------------------------------------------------------------------------------------


def _load(files: Project) -> Spec:
    return load_spec(files.pipeline, files.environments)


def model_of(spec: Spec, name: str) -> Model:
    """The model of `pipeline.yaml`; GitopsError where there is none of that name."""
    if name not in spec.pipeline.models:
        hint = suggestion(name, spec.pipeline.models, "model")
        raise GitopsError("there is no such model in the spec", where=name, hint=f"{hint}; a new one is added by hand")
    return spec.pipeline.models[name]


def _json(document: object) -> None:
    write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
