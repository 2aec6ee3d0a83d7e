"""Whatever a value is, both YAML parsers read back the same value."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
import yaml_rs
from hypothesis import given
from hypothesis import strategies as st

from gitops.render.yaml_text import block, finalize, literal, scalar, text

# YAML cannot carry lone surrogates at all; the spec's loader cannot deliver them either.
ANY_TEXT = st.text(st.characters(exclude_categories=("Cs",)))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner), max_leaves=8)
NOT_PLAIN = [
    "yes",
    "No",
    "ON",
    "n",
    "null",
    "~",
    "1e3",
    "0x1F",
    "012",
    "1_000",
    "12:30",
    "2026-11-21",
    ".inf",
    "<<",
    "=",
]


def read(document: str) -> Any:
    """The value as PyYAML (YAML 1.1) reads it, after checking that yaml-rs agrees."""
    parsed = yaml.safe_load(document)
    assert yaml_rs.loads(document, parse_datetime=False) == parsed
    return parsed


@given(SCALARS)
def test_scalars_survive(value: object) -> None:
    assert read(f"key: {scalar(value)}\n") == {"key": value}


@given(VALUES)
def test_flow_collections_survive(value: object) -> None:
    assert read(f"key: {finalize(value)}\n") == {"key": value}


@given(VALUES)
def test_block_collections_survive(value: object) -> None:
    assert read(f"key:\n  list:\n    - {block(value, 6)}\n") == {"key": {"list": [value]}}


@given(ANY_TEXT)
def test_literal_blocks_survive(value: str) -> None:
    assert read(f"data:\n  file: {literal(value, 4)}\n  next: 1\n") == {"data": {"file": value, "next": 1}}


@given(st.text("ab \n:#-'\"\\"))
def test_literal_blocks_of_lines_survive(value: str) -> None:
    assert read(f"data:\n  file: {literal(value, 4)}\n  next: 1\n") == {"data": {"file": value, "next": 1}}


@pytest.mark.parametrize("value", NOT_PLAIN)
def test_what_could_be_misread_is_quoted(value: str) -> None:
    assert text(value) == f'"{value}"'


@pytest.mark.parametrize("value", ["chat", "s3://models/chat/1.2.0", "vllm/vllm-openai:v0.11.0", "--port=8000", "16Gi"])
def test_what_is_unmistakable_stays_plain(value: str) -> None:
    assert text(value) == value


def test_a_file_is_a_literal_block() -> None:
    assert literal("a: 1\n\nb\n", 4) == "|\n    a: 1\n\n    b"


@pytest.mark.parametrize("value", [object(), float("nan"), b"bytes", {1, 2}])
def test_other_values_are_refused(value: object) -> None:
    with pytest.raises(TypeError):
        finalize(value)
