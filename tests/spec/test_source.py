from __future__ import annotations

import pytest

from gitops.spec.problems import SpecError
from gitops.spec.resolved import SourceFile
from gitops.spec.source import read_yaml
from gitops.spec.survey import locate


def read(text: str) -> dict[str, object]:
    return read_yaml(SourceFile("a.yaml", text.encode()))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("-3", -3), ("+4", 4), ("0", 0), ("0x1f", 31), ("0o17", 15), ("1.5", 1.5), (".5", 0.5),
        ("1e3", 1000.0),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None), ("2.30", 2.3),
        ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"), ("0777", "0777"), ("00", "00"),
        ("1:30", "1:30"), ("1_000", "1_000"), ("2026-11-21", "2026-11-21"), (".inf", ".inf"), (".nan", ".nan"),
        ("1e999", "1e999"), ("12345678901234567890", "12345678901234567890"), ("2.3.0", "2.3.0"), ("tRue", "tRue"),
        ("'1'", "1"), ('"true"', "true"), ("-x", "-x"), ("15m", "15m"), ("<<", "<<"),
    ],
)  # fmt: skip
def test_plain_scalars(text: str, value: object) -> None:
    found = read(f"a: {text}\n")["a"]
    assert found == value
    assert type(found) is type(value)


def test_byte_order_mark_is_tolerated() -> None:
    assert read("\ufeffa: 1\n") == {"a": 1}


def test_windows_line_ends() -> None:
    assert read("a: 1\r\nb:\r\n  - 2\r\n") == {"a": 1, "b": [2]}


def test_quoted_keys_may_look_like_anything() -> None:
    assert read('"on": 1\n"1": 2\n') == {"on": 1, "1": 2}


def test_depth_ends_at_fifty() -> None:
    assert read("a: " + "[" * 49 + "]" * 49 + "\n")
    with pytest.raises(SpecError, match="more than 50 levels"):
        read("a: " + "[" * 50 + "]" * 50 + "\n")


def test_places_of_keys_and_values() -> None:
    text = "a:\n  b: [1, {c: 2.30}]\n  é: x\n"
    places = locate(text, [("a",), ("a", "b", 1, "c"), ("a", "b", 0), ("a", "é"), ("a", "nothing")])
    assert places["a",].key == (1, 1)
    assert places["a",].value == (2, 3)
    assert places["a", "b", 1, "c"] == ((2, 11), (2, 14), "2.30")
    assert places["a", "b", 0].key == (2, 7)
    assert places["a", "é"].value == (3, 6)
    assert ("a", "nothing") not in places
