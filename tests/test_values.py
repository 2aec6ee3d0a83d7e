"""Text from outside: what is no UTF-8 is replaced where it can be seen, and two spellings of one person are one."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gitops.engine.identity import job
from gitops.render.hcl import hcl
from gitops.render.yaml_text import scalar
from gitops.rollout.events import one_line
from gitops.rollout.message import line_of
from gitops.spec.problems import shorten
from gitops.stages.signature import signing_key
from gitops.values import person_key, plain_json, readable, without_acting, without_userinfo
from gitops.view.terminal import visible
from gitops.world.git.commit import Identity, identity

LATIN = os.fsdecode("Zoë".encode("latin-1"))


@given(st.binary())
def test_whatever_bytes_come_can_be_written_down_again(data: bytes) -> None:
    shown = readable(os.fsdecode(data))
    assert shown.encode().decode() == shown
    line = one_line(os.fsdecode(data))
    assert readable(line) == line
    if "\ufffd" not in shown:
        assert shown.encode() == data


def test_what_is_utf_8_stays() -> None:
    assert readable("Zoë 東京 😀") == "Zoë 東京 😀"
    assert readable(LATIN) == "Zo\ufffd"
    assert readable("\ud83d") == "\ufffd"


def test_the_name_of_an_author(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_AUTHOR_NAME", LATIN)
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", f"{LATIN}@acme.example")
    assert identity(tmp_path) == Identity("Zo\ufffd", "Zo\ufffd@acme.example")


def test_the_variables_of_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACTOR", "SERVER_URL", "REPOSITORY", "RUN_ID", "TRIGGERING_ACTOR"):
        monkeypatch.setenv(f"GITHUB_{name}", LATIN)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    found = job()
    assert found
    assert found.person == "Zo\ufffd"
    assert found.words.encode()


def test_a_password_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes of a secret are no text: replacing one would make another password of it."""
    monkeypatch.setenv("GITOPS_SIGNING_KEY", f"-----BEGIN {LATIN}")
    monkeypatch.setenv("GITOPS_SIGNING_PASSWORD", LATIN)
    assert signing_key() == (b"-----BEGIN Zo\xeb", b"Zo\xeb")


@pytest.mark.parametrize(
    ("one", "other"),
    [("ann@acme.example", "Ann@ACME.example"), ("ann", " ann "), ("straße", "STRASSE"), ("ａnn", "ANN")],
)
def test_spellings_of_one_person(one: str, other: str) -> None:
    assert person_key(one) == person_key(other)


@given(st.text())
def test_a_spelling_of_a_spelling_is_the_same(name: str) -> None:
    assert person_key(person_key(name)) == person_key(name)


@pytest.mark.parametrize("character", ["\u061c", "\u200e", "\u2028", "\u2029", "\u202a", "\u202e", "\u2066", "\u2069"])
def test_what_changes_how_text_is_shown_is_written_out(character: str) -> None:
    text = f"a{character}b é"
    escaped = f"a\\u{ord(character):04x}b é"
    assert without_acting(text) == escaped
    assert visible(text) == escaped
    assert scalar(text) == f'"{escaped}"'
    assert yaml.safe_load(scalar(text)) == text
    assert hcl(text) == f'"{escaped}"'
    data = plain_json(orjson.dumps({"x": text}))
    assert character not in data.decode()
    assert orjson.loads(data) == {"x": text}
    assert one_line(text) == line_of(text) == "a b é"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://admin:hunter2@prom:9090/x", "http://…@prom:9090/x"),
        ("https://hunter2@prom", "https://…@prom"),
        ("see https://a:b c@prom and ssh://git:x@h/y", "see https://…@prom and ssh://…@h/y"),
        ("az://container@account.blob.core.windows.net/x", "az://container@account.blob.core.windows.net/x"),
        ("hf://acme/chat@main", "hf://acme/chat@main"),
        ("ann@acme.example", "ann@acme.example"),
    ],
)
def test_users_and_passwords_of_urls_are_not_shown(text: str, shown: str) -> None:
    assert without_userinfo(text) == shown
    assert shorten(text, 100) == shown
