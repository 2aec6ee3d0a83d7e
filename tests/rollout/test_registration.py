"""The registration of a version: as a file, and as a commit."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops.errors import GitopsError
from gitops.rollout.registration import (
    BuiltStage,
    Registration,
    dump_registration,
    parse_registration,
    registration_message,
    registration_path,
    told,
)
from gitops.rollout.release import SpecSource
from gitops.values import Proof

BUILT = Registration(
    model="iris",
    version="1.2.0",
    uri="s3://acme/iris/1.2.0",
    digest=f"sha256:{'a' * 64}",
    format="onnx",
    registered="2026-11-21T10:00:00Z",
    source=f"sha256:{'b' * 64}",
    stages=(BuiltStage("convert", "k1", MappingProxyType({"greatest-difference": 2e-6})), BuiltStage("package", "k2")),
    gates=("golden: pass (3 of 3)",),
    report=f"sha256:{'c' * 64}",
    provenance=("training data 2026-10, seed 7",),
    proofs=(Proof("detached", "SHA256:release", b"\x00signature"),),
)


def test_what_is_written_is_read_back() -> None:
    assert parse_registration(dump_registration(BUILT), "x") == BUILT
    bare = replace(BUILT, source="", stages=(), gates=(), report="", provenance=(), proofs=())
    assert parse_registration(dump_registration(bare), "x") == bare
    assert b"build" not in dump_registration(bare)


@given(st.text(max_size=50), st.floats(allow_nan=False, allow_infinity=False))
def test_any_words_survive(words: str, figure: float) -> None:
    try:
        words.encode()
    except UnicodeEncodeError:
        return
    one = replace(BUILT, gates=(words,), stages=(BuiltStage("convert", words, MappingProxyType({"f": figure})),))
    assert parse_registration(dump_registration(one), "x") == one


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"apiVersion": "gitops/v1", "kind": "Release"}', b"\xff"])
def test_what_somebody_edited_is_refused(data: bytes) -> None:
    path = registration_path("iris", "1.2.0")
    with pytest.raises(GitopsError, match="no registration") as refused:
        parse_registration(data, path)
    assert refused.value.where == "artifacts/iris/1.2.0.json"


def test_a_line_that_only_names_a_signer_says_nothing() -> None:
    """Also what an older gitops wrote: it kept the name and not the signature."""
    bare = dump_registration(replace(BUILT, proofs=()))
    named = bare.replace(b'"kind"', b'"signers": ["nobody"],\n  "kind"', 1)
    assert parse_registration(named, "x").signers == ()


def test_an_edited_number_is_refused() -> None:
    data = dump_registration(BUILT).replace(b'"version": "1.2.0"', b'"version": 1.2')
    with pytest.raises(GitopsError, match="no registration"):
        parse_registration(data, "x")


def test_the_commit_says_what_was_built_and_validated() -> None:
    subject, body, trailers = registration_message(BUILT, SpecSource("d" * 40)).rstrip("\n").split("\n\n")
    assert subject == "artifact(iris): 1.2.0 is built, validated and signed"
    assert body.splitlines() == [
        "convert: greatest-difference 2e-06",
        "package",
        "golden: pass (3 of 3)",
        "training data 2026-10, seed 7",
        "signed by SHA256:release",
    ]
    assert trailers.splitlines() == [
        "Model: iris",
        "Version: 1.2.0",
        "Decision: register",
        f"Artifact: {BUILT.digest}",
        f"Source: {BUILT.source}",
        f"Report: {BUILT.report}",
        f"Spec-Commit: {'d' * 40}",
    ]
    validated = registration_message(replace(BUILT, stages=(), source="", provenance=(), proofs=()), SpecSource())
    assert validated.startswith("artifact(iris): 1.2.0 is validated\n\ngolden: pass (3 of 3)\n\nModel: iris\n")
    signed = registration_message(BUILT, SpecSource(), before=replace(BUILT, proofs=()))
    assert signed.startswith("artifact(iris): 1.2.0 is signed\n\nsigned by SHA256:release\n\nModel: iris\n")


def test_what_a_release_says_of_it() -> None:
    assert told(BUILT) == (
        "convert: greatest-difference 2e-06",
        "package",
        "golden: pass (3 of 3)",
        f"validation report: artifacts/iris/1.2.0.report.json {BUILT.report}",
        "training data 2026-10, seed 7",
        "signed by SHA256:release",
    )
