"""`gitops models sign`: detached signatures over digests, beside their artifacts.

It is the one step that needs the private key, and it sees digests alone: no checkpoint, no model and no training code.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gitops.cli.console import OK, write
from gitops.cli.project import load
from gitops.errors import GitopsError
from gitops.spec.unbuilt import UNBUILT

if TYPE_CHECKING:
    from gitops.engine.session import Session
    from gitops.spec.pipeline import Artifact


def sign(project: Path, name: str = "", key: Path | None = None, embedded: bool = False) -> int:
    """Sign the digest of the version that `pipeline.yaml` names, with a private key or with GITOPS_SIGNING_KEY.

    Without a name, sign every version that waits for a signature. The digest of what a build made comes from its
    registration. GITOPS_SIGNING_PASSWORD opens a key that has one.
    """
    from gitops.stages.artifacts import write_beside
    from gitops.stages.signature import SUFFIX, sign_digest, signing_key

    named, password = signing_key()
    private = key or named
    if private is None:
        hint = "name one with --key FILE, or in GITOPS_SIGNING_KEY"
        raise GitopsError("there is no key to sign with", where="--key", hint=hint)
    artifacts = [_artifact(project, name, embedded)] if name else _waiting(project, embedded)
    for artifact in artifacts:
        write_beside(artifact.uri, SUFFIX, sign_digest(artifact.digest, private, password), project=project)
        write(f"Signed {artifact.digest}\nThe signature is {artifact.uri}{SUFFIX}")
    if not artifacts:
        write("Nothing waits for a signature")
    return OK


def _artifact(project: Path, name: str, embedded: bool) -> Artifact:
    from gitops.cli.models import model_of

    model = model_of(load(project), name)
    if model.artifact.digest != UNBUILT:
        return model.artifact
    from gitops.plan.registered import VersionKey, with_artifact

    with _session(project, embedded) as session:
        one = session.registered.known.get(VersionKey(name, model.version))
    if one is None:
        hint = "build it first: gitops build --register"
        raise GitopsError(f"version {model.version} is not built yet", where=name, hint=hint)
    return with_artifact(model, one).artifact


def _waiting(project: Path, embedded: bool) -> list[Artifact]:
    """The artifacts of versions without a signature, where the policy wants one and their digest is known."""
    from gitops.plan.registered import with_artifact

    with _session(project, embedded) as session:
        found = session.registered
        made = (
            with_artifact(model, one) if (one := found.known.get(key)) else model
            for key, model in found.missing.items()
            if key in found.unsigned
        )
        return [model.artifact for model in made if model.artifact.digest != UNBUILT]


def _session(project: Path, embedded: bool) -> Session:
    from gitops.engine.session import Options, open_session
    from gitops.world.places import wants_embedded

    return open_session(Options(project=project, kind="embedded" if wants_embedded(embedded) else "real"))
