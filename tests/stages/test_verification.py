"""Signatures that a registration keeps are verified anew, by the keys of today."""

from __future__ import annotations

from pathlib import Path

import pytest

from gitops.stages import provenance, signature
from gitops.stages.artifacts import write_beside
from gitops.stages.digest import digest_path
from gitops.stages.verification import Trust, flaw_of, found_proofs
from gitops.values import Proof
from tests.support.signing import save_key


@pytest.fixture
def artifact(tmp_path: Path) -> str:
    (tmp_path / "model").write_bytes(b"weights")
    return digest_path(tmp_path / "model").digest


def trust(*keys: Path) -> Trust:
    return Trust(signature.load_keys(key.with_suffix(".pub") for key in keys))


@pytest.mark.parametrize("kind", ["detached", "statement"])
def test_a_kept_signature_holds_as_long_as_its_key_is_trusted(tmp_path: Path, artifact: str, kind: str) -> None:
    key, other = save_key(tmp_path, "release"), save_key(tmp_path, "other")
    if kind == "detached":
        write_beside("file://model", signature.SUFFIX, signature.sign_digest(artifact, key), project=tmp_path)
    else:
        told = provenance.statement("m 1", digest_path(tmp_path / "model"), provenance.Build("urn:x", {}, ()))
        write_beside("file://model", provenance.SUFFIX, provenance.written(told, key), project=tmp_path)
    (proof,) = proofs = found_proofs("file://model", artifact, trust(key), tmp_path)
    assert proof.kind == kind
    assert flaw_of(proofs, artifact, trust(key)) == ""
    assert flaw_of(proofs, artifact, trust(other, key)) == ""
    assert flaw_of(proofs, artifact, trust(other)) == "no trusted key has signed this"
    assert flaw_of(proofs, f"sha256:{'0' * 64}", trust(key))


def test_what_is_no_signature_holds_for_nobody(tmp_path: Path, artifact: str) -> None:
    keys = trust(save_key(tmp_path, "release"))
    both = Trust(keys.keys, signature.Identity("ada@acme.example", "https://id.example"))
    named = keys.keys[0].id
    for proofs in ((), (Proof("detached", named, b""),), (Proof("statement", named, b"{}"),)):
        assert flaw_of(proofs, artifact, keys)
    signed = Proof("detached", "x", signature.sign_digest(artifact, tmp_path / "release"))
    assert flaw_of((signed,), artifact, keys) == ""
    assert flaw_of((signed,), artifact, both) == "no signature of the kind sigstore is recorded"
    assert flaw_of((Proof("sigstore", "ada@acme.example", signed.data),), artifact, keys)
