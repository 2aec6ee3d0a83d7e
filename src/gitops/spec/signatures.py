"""Whose signatures a version needs before it is released."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from gitops.spec.fields import Name, OneLine, SpecModel
from gitops.spec.validation import ProjectFile


class Sigstore(SpecModel):
    """Who a Sigstore certificate has to name, and who has to have vouched for that."""

    identity: Annotated[
        OneLine,
        Field(examples=["https://github.com/acme/models/.github/workflows/release.yaml@refs/heads/main"]),
    ]
    """An e-mail address, or the URL of a workflow."""
    issuer: Annotated[
        str,
        StringConstraints(pattern=r"^https://[A-Za-z0-9][A-Za-z0-9.:/_-]*$", max_length=1024),
        Field(examples=["https://token.actions.githubusercontent.com"]),
    ]


class Signatures(SpecModel):
    """A version is released to these environments only once these have signed its artifact."""

    keys: Annotated[tuple[ProjectFile, ...], Field(max_length=16, strict=False)] = ()
    """Files with public keys, of which one has to have signed."""
    sigstore: Sigstore | None = None
    """A certificate that has to have signed; with keys, a signature of each kind is needed."""
    environments: Annotated[tuple[Name, ...], Field(min_length=1, max_length=16, strict=False)] | None = None
    """Where it matters; by default everywhere."""

    def cover(self, environment: str) -> bool:
        """Whether a version needs a signature to be released there."""
        return self.environments is None or environment in self.environments
