"""The registration of a version: what was built and validated, by digest, kept in Git before anything runs it.

`artifacts/<model>/<version>.json` is written once. The same version with another source or artifact is another
version: it is refused, so that a digest that was judged is the digest that is served.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import orjson

from gitops.errors import GitopsError
from gitops.rollout.release import API_VERSION, SpecSource
from gitops.values import Proof, plain_json

KIND = "Registration"
ARTIFACTS = "artifacts"
_PROOFS = ("detached", "statement", "sigstore")


@dataclass(frozen=True, slots=True)
class BuiltStage:
    """One stage of the build: the key of its inputs, parameters and tools, and what it measured."""

    stage: str
    key: str
    figures: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    notes: tuple[str, ...] = ()
    """What a reader should know besides, such as the processor on which the accuracy was measured."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A version that may be released: `digest` is of what is served, `source` of what it was built from."""

    model: str
    version: str
    uri: str
    digest: str
    format: str
    registered: str
    """RFC 3339 time in UTC."""
    source: str = ""
    """Digest of the checkpoint that was built; empty when nothing was."""
    stages: tuple[BuiltStage, ...] = ()
    gates: tuple[str, ...] = ()
    """What the validation gates said, a line each."""
    report: str = ""
    """Digest of the full report, which lies beside this file; empty without gates."""
    provenance: tuple[str, ...] = ()
    """Where the version comes from, a line each."""
    proofs: tuple[Proof, ...] = ()
    """The signatures over the artifact's digest; each plan verifies them by the keys that are trusted then."""

    @property
    def signers(self) -> tuple[str, ...]:
        """Who had signed the artifact when it was verified, for the reader."""
        return tuple(one.by for one in self.proofs)


def registration_path(model: str, version: str) -> str:
    """Where a version's registration lies in the GitOps repository."""
    return f"{ARTIFACTS}/{model}/{version}.json"


def report_path(model: str, version: str) -> str:
    """Where the full report of its gates lies."""
    return f"{ARTIFACTS}/{model}/{version}.report.json"


def dump_registration(one: Registration) -> bytes:
    """As JSON for people: the same bytes for the same value."""
    data: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "model": one.model,
        "version": one.version,
        "artifact": {"uri": one.uri, "digest": one.digest, "format": one.format},
        "registered": one.registered,
    }
    if one.source:
        data["source"] = one.source
    if one.stages:
        data["build"] = [_stage_data(stage) for stage in one.stages]
    if one.report:
        data["validation"] = {"gates": list(one.gates), "report": one.report}
    if one.provenance:
        data["provenance"] = list(one.provenance)
    if one.proofs:
        data["signatures"] = [
            {"kind": proof.kind, "by": proof.by, "data": base64.b64encode(proof.data).decode()} for proof in one.proofs
        ]
    return plain_json(orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def _stage_data(stage: BuiltStage) -> dict[str, Any]:
    notes = {"notes": list(stage.notes)} if stage.notes else {}
    return {"stage": stage.stage, "key": stage.key, "figures": dict(stage.figures), **notes}


def parse_registration(data: bytes, path: str) -> Registration:
    """Read it back. Raises GitopsError with `path` when it is none (somebody edited it)."""
    try:
        raw = orjson.loads(data)
        if raw["apiVersion"] != API_VERSION or raw["kind"] != KIND:
            raise ValueError("apiVersion or kind")
        artifact, validation = raw["artifact"], raw.get("validation") or {}
        return Registration(
            model=_text(raw["model"]),
            version=_text(raw["version"]),
            uri=_text(artifact["uri"]),
            digest=_text(artifact["digest"]),
            format=_text(artifact["format"]),
            registered=_text(raw["registered"]),
            source=_text(raw.get("source", "")),
            stages=tuple(
                BuiltStage(
                    _text(s["stage"]),
                    _text(s["key"]),
                    MappingProxyType(dict(s["figures"])),
                    tuple(map(_text, s.get("notes", ()))),
                )
                for s in raw.get("build", ())
            ),
            gates=tuple(map(_text, validation.get("gates", ()))),
            report=_text(validation.get("report", "")),
            provenance=tuple(map(_text, raw.get("provenance", ()))),
            proofs=tuple(map(_proof, raw.get("signatures", ()))),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise GitopsError(
            "this is no registration that gitops wrote",
            where=path,
            hint=f"restore it from the repository's history (git log -p -- {path})",
        ) from error


def told(one: Registration) -> tuple[str, ...]:
    """What the commit that releases a version says of its registration, a line each; the rest is in its files."""
    report = (f"validation report: {report_path(one.model, one.version)} {one.report}",) if one.report else ()
    return (*_build_lines(one), *one.gates, *report, *one.provenance, *_signed(one))


def registration_message(one: Registration, source: SpecSource, before: Registration | None = None) -> str:
    """The message of the commit that registers a version: what was built, what the gates said, where it is from.

    With `before`, the version was registered already, and what is new is who has signed it.
    """
    body = _signed(one) if before else [*_build_lines(one), *one.gates, *one.provenance, *_signed(one)]
    done = (("built", one.stages), ("validated", one.report), ("signed", one.signers))
    said = "signed" if before else " and ".join(", ".join(w for w, there in done if there).rsplit(", ", 1))
    trailers = [f"Model: {one.model}", f"Version: {one.version}", "Decision: register", f"Artifact: {one.digest}"]
    trailers += [f"Source: {one.source}"] * bool(one.source)
    trailers += [f"Report: {one.report}"] * bool(one.report)
    trailers += [f"Spec-Commit: {source.commit}"] * bool(source.commit)
    parts = [f"artifact({one.model}): {one.version} is {said}", "\n".join(body), "\n".join(trailers)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _signed(one: Registration) -> list[str]:
    return [f"signed by {signer}" for signer in one.signers]


def _build_lines(one: Registration) -> Iterator[str]:
    for stage in one.stages:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in stage.figures.items())
        yield f"{stage.stage}: {figures}" if figures else stage.stage
        yield from (f"{stage.stage}: {note}" for note in stage.notes)


def _proof(raw: Any) -> Proof:
    if raw["kind"] not in _PROOFS:
        raise ValueError(raw["kind"])
    return Proof(raw["kind"], _text(raw["by"]), base64.b64decode(_text(raw["data"]), validate=True))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value
