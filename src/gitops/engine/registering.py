"""Build, validate and verify versions before anything runs them, and register what came of it: one commit for each.

Nothing is registered of a version that a gate refused: the next attempt asks its gates again, and what was built is
in the cache. A version that nobody who is trusted has signed is no error: it waits, and the others go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from gitops import __version__
from gitops.engine.contention import push_attempts
from gitops.engine.identity import job, person
from gitops.engine.session import Session
from gitops.errors import GitopsError, Moved
from gitops.plan.registered import VersionKey, has_to_register
from gitops.rollout.registration import (
    BuiltStage,
    Registration,
    dump_registration,
    registration_message,
    registration_path,
    report_path,
)
from gitops.rollout.release import time_of
from gitops.spec.pipeline import Model
from gitops.values import Proof
from gitops.world.git.checkout import project_commit

if TYPE_CHECKING:
    from gitops.stages.build.runner import BuildResult
    from gitops.stages.gates import Outcome
    from gitops.stages.served import Labelled

_CACHE = Path(".gitops")


class GateRefused(GitopsError):
    """A validation gate said no: the version is not registered, and nothing runs it."""


@dataclass(frozen=True)
class _Made:
    """What a version serves: its digest and format, and where its files are on this machine, if they are."""

    digest: str
    path: Path | None
    built: BuildResult | None = None


def register(session: Session, model: str = "", endpoint: str = "") -> tuple[Registration, ...]:
    """Build, validate and verify what the spec names and nobody has registered, in the order of the spec.

    With `model`, only its versions; `endpoint` is a URL where that one is served already, for its gates. Raises
    GateRefused at the first version that a gate says no to, GitopsError for what cannot be built or asked; what was
    registered before stays.
    """
    missing = session.registered.missing.items()
    found = (_register(session, key, one, endpoint) for key, one in missing if model in ("", key.model))
    return tuple(one for one in found if one is not None)


def _register(session: Session, key: VersionKey, model: Model, endpoint: str) -> Registration | None:
    """What is registered now, or None where only a signature is missing, and stays so."""
    before, report = session.registered.known.get(key), _Report()
    if before is None and has_to_register(model):
        one, report = _prepared(session, key, model, endpoint)
    else:
        one = before or _registration(session, key, model, model.artifact.digest)
    if key in session.registered.unsigned:
        one = replace(one, proofs=_proofs(session, key, one))
        one = replace(one, provenance=one.provenance or _told(session, one)) if one.proofs else one
    if not one.proofs and (before or not has_to_register(model)):
        return None
    commit = _commit(session, one, report.data, before)
    done = "verified, signed by" if before else "registered as"
    what = ", ".join(one.signers) if before else f"{one.digest[:19]}…"
    session.options.progress(f"{key.model} {key.version}: {done} {what} in {commit[:10]}")
    return one


def _prepared(session: Session, key: VersionKey, model: Model, endpoint: str) -> tuple[Registration, _Report]:
    made = _made(session, key, model, fetches=not endpoint)
    report = _validated(session, key, model, made, endpoint)
    provenance = _published(session, key, model, made)
    one = replace(
        _registration(session, key, model, made.digest),
        source=model.build.source.digest if model.build else "",
        stages=_stages(made),
        gates=report.lines,
        report=report.digest,
        provenance=provenance,
    )
    return one, report


def _registration(session: Session, key: VersionKey, model: Model, digest: str) -> Registration:
    artifact, at = model.artifact, time_of(int(session.world.clock.now()))
    return Registration(key.model, key.version, artifact.uri, digest, artifact.format, at)


def _proofs(session: Session, key: VersionKey, one: Registration) -> tuple[Proof, ...]:
    """The signatures over the artifact that the policy asks for; none, with a word to the user, where one lacks."""
    from gitops.stages.signature import NotVerified
    from gitops.stages.verification import found_proofs, policy_trust

    policy = session.spec.pipeline.signatures
    assert policy is not None
    trust = policy_trust(policy, session.options.project)
    try:
        return found_proofs(one.uri, one.digest, trust, session.options.project)
    except NotVerified as error:
        session.options.progress(f"{key.model} {key.version} waits: {str(error).replace(' MODEL ', f' {key.model} ')}")
        return ()


# --- Building ------------------------------------------------------------------------------------------------


def _made(session: Session, key: VersionKey, model: Model, *, fetches: bool) -> _Made:
    project, say = session.options.project, session.options.progress
    if model.build:
        from gitops.stages.build.runner import run_build

        commit = partial(project_commit, project)
        result = run_build(model.build, project, model=key.model, version=key.version, commit=commit, say=say)
        return _Made(result.digest, result.path, result)
    if fetches and model.validation and model.validation.server:
        from gitops.stages.artifacts import fetch

        path = project / _CACHE / "artifacts" / model.artifact.digest.removeprefix("sha256:")
        fetch(model.artifact.uri, path, model.artifact.digest, project=project)
        return _Made(model.artifact.digest, path)
    return _Made(model.artifact.digest, None)


def _stages(made: _Made) -> tuple[BuiltStage, ...]:
    stages = made.built.stages if made.built else ()
    return tuple(BuiltStage(one.stage, one.key, MappingProxyType(_figures(one.figures)), one.notes) for one in stages)


def _figures(found: object) -> dict[str, float]:
    """What was measured of the model; how much memory this machine took says nothing about it."""
    assert hasattr(found, "items")
    return {name: float(value) for name, value in found.items() if not name.startswith("peak-")}


# --- Validating ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Report:
    """What the gates said: a line each, and the whole of it."""

    lines: tuple[str, ...] = ()
    digest: str = ""
    data: bytes = b""


def _validated(session: Session, key: VersionKey, model: Model, made: _Made, endpoint: str) -> _Report:
    if model.validation is None:
        return _Report()
    from gitops.stages.gates import NoEndpoint, Wanted, run_gates
    from gitops.stages.report import report_bytes
    from gitops.stages.results import summary

    server = model.validation.server
    with nullcontext(endpoint) if endpoint else _served(session, key, model, made) as url:
        wait = float(server.ready_timeout) if server else 0.0
        wanted = Wanted(url, wait=wait, labelled=_labelled(session.options.project, model, made))
        try:
            outcome = run_gates(session.options.project, key.model, model, wanted, session.options.progress)
        except NoEndpoint as error:
            hint = f"add `validate.server`, or serve it: gitops build {key.model} --register --endpoint URL"
            raise GitopsError(error.what, where=f"{key.model} {key.version}", hint=hint) from None
    _check(key, outcome)
    subject = {"model": key.model, "version": key.version, "artifact": made.digest}
    subject |= {"endpoint": endpoint} if endpoint else {}
    data, digest = report_bytes(outcome.results, subject, outcome.measured)
    return _Report(tuple(summary(outcome.results)), digest, data)


def _labelled(project: Path, model: Model, made: _Made) -> Labelled | None:
    from gitops.stages.served import labelled

    built = made.built
    return labelled(project, model.build, [one.figures for one in built.stages]) if model.build and built else None


@contextmanager
def _served(session: Session, key: VersionKey, model: Model, made: _Made) -> Iterator[str]:
    """Where the artifact is served while its gates ask it; empty where nothing serves it."""
    server = model.validation.server if model.validation else None
    if server is None or made.path is None:
        yield ""
        return
    from gitops.stages.serving import served

    project = session.options.project.absolute()
    log = project / _CACHE / "validation" / f"{key.model}-{key.version}.log"
    with served(server, made.path.absolute(), project, log) as url:
        yield url


def _check(key: VersionKey, outcome: Outcome) -> None:
    """Raises GateRefused when a gate said no, or the error of one that could not be asked."""
    from gitops.stages.results import summary

    name = f"{key.model} {key.version}"
    if outcome.refused:
        lines = summary(one for one in outcome.results if one.checks and not one.passed)
        hint = "make a better version; nothing runs this one, and nothing was registered"
        raise GateRefused("\n  ".join((f"refused by {_named(outcome)}", *lines)), where=name, hint=hint)
    if outcome.unasked:
        first = outcome.unasked[0]
        raise GitopsError(first.what, where=f"{name}: {first.where}" if first.where else name, hint=first.hint)
    if not outcome.passed:
        raise GitopsError("its gates found nothing to check", where=name, hint="declare more below `validate`")


def _named(outcome: Outcome) -> str:
    return ", ".join(one.gate for one in outcome.results if one.checks and not one.passed)


# --- Keeping -------------------------------------------------------------------------------------------------


def _published(session: Session, key: VersionKey, model: Model, made: _Made) -> tuple[str, ...]:
    """Bring what was built to its place, with a statement of where it comes from; that statement in lines.

    Of what came ready-made and was fetched, the statement that lies beside it.
    """
    if not (model.build and made.built):
        return _told(session, _registration(session, key, model, made.digest)) if made.path else ()
    from gitops.stages.addresses import public
    from gitops.stages.artifacts import write_beside
    from gitops.stages.build.transfer import publish
    from gitops.stages.digest import digest_path
    from gitops.stages.provenance import SUFFIX, Build, Dependency, now, statement, summary, written

    project, source = session.options.project, model.build.source
    uri = model.build.output.uri
    publish(made.built.path, made.digest, uri, project, session.options.progress)
    running = job()
    digest = {"sha256": source.digest.removeprefix("sha256:")}
    used = [Dependency("checkpoint", public(source.uri), MappingProxyType(digest))]
    if source.commit:
        used.append(Dependency("code", "git:training", MappingProxyType({"gitCommit": source.commit})))
    told = statement(
        f"{key.model} {key.version}",
        digest_path(made.built.path),
        Build(
            builder=running.url if running else "urn:gitops:local",
            parameters={"model": key.model, "version": key.version, "stages": list(_parameters(model))},
            dependencies=used,
            training_data=public(source.dataset or ""),
            invoked_by=person(session),
            invocation=public(source.run or ""),
            finished=now(),
            tools={"gitops": __version__},
        ),
    )
    from gitops.stages.signature import signing_key

    write_beside(uri, SUFFIX, written(told, *signing_key()), project=project)
    return tuple(summary(told))


def _told(session: Session, one: Registration) -> tuple[str, ...]:
    from gitops.stages.verification import told

    return told(one.uri, one.digest, session.options.project)


def _parameters(model: Model) -> Iterator[dict[str, object]]:
    assert model.build
    for stage in model.build.stages:
        yield stage.model_dump(mode="json", exclude_none=True, exclude_defaults=True) | {"stage": stage.stage}


def _commit(session: Session, one: Registration, report: bytes, before: Registration | None) -> str:
    """The commit that holds the registration, in the place of the one that was there before."""
    path = registration_path(one.model, one.version)
    message = registration_message(one, session.source, before)
    changes: dict[str, bytes | None] = {path: dump_registration(one)}
    if report:
        changes[report_path(one.model, one.version)] = report
    repository = session.world.repository(create=True)
    for _ in push_attempts(session.world.clock.sleep):
        head = repository.head()
        entry = repository.entries(head, path.rpartition("/")[0]).get(path) if head else None
        if entry and (before is None or repository.read([entry.id])[0] != dump_registration(before)):
            hint = "run the same command again: it goes on with what is registered"
            raise GitopsError("somebody else has registered this version meanwhile", where=path, hint=hint)
        try:
            return repository.commit(head, changes, message)
        except Moved:
            continue
    raise AssertionError("the last attempt raises")
