"""Broken specs, each with exactly what is said about it.

A file is a broken `pipeline.yaml` whose first lines say what is expected; a folder replaces any files of
`corpus/base` and has the expectation in `expect.txt`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.spec.conftest import BASE, read_tree
from tests.spec.loader import Loader

CORPUS = Path(__file__).parent / "corpus"
MARK = "# expect: "
FILES = sorted(p for p in CORPUS.glob("*/*.yaml") if p.parent != BASE)
FOLDERS = sorted(p.parent for p in CORPUS.glob("*/*/expect.txt"))


def name_of(path: Path) -> str:
    return path.relative_to(CORPUS).with_suffix("").as_posix()


def test_the_corpus_is_there() -> None:
    assert len(FILES) + len(FOLDERS) >= 70


def test_the_base_loads(loader: Loader, base: dict[str, bytes]) -> None:
    assert loader.load(base) is None


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_file(loader: Loader, base: dict[str, bytes], path: Path) -> None:
    lines = path.read_text().splitlines()
    expected = [line.removeprefix(MARK) for line in lines if line.startswith(MARK)]
    assert expected
    assert loader.load({**base, "pipeline.yaml": path.read_bytes()}) == expected


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_folder(loader: Loader, base: dict[str, bytes], folder: Path) -> None:
    expected = (folder / "expect.txt").read_text().splitlines()
    assert expected
    assert loader.load({**base, **read_tree(folder)}) == expected


BIG = 8 * 1024 * 1024
GENERATED: dict[str, tuple[bytes, str]] = {
    "utf-16": ("name: acme\n".encode("utf-16"), "1:1: the file is UTF-16 — save it as UTF-8"),
    "utf-32": (
        b"\x00\x00\xfe\xff" + "name: acme\n".encode("utf-32-be"),
        "1:1: the file is UTF-32 — save it as UTF-8",
    ),
    "latin-1": (
        "name: acme\nowner: Zoë\n".encode("latin-1"),
        "2:10: byte 0xeb is not UTF-8 — save the file as UTF-8",
    ),
    "cut-off": ("a: é".encode()[:-1], "1:4: byte 0xc3 is not UTF-8 — save the file as UTF-8"),
    "nul": (b"name: ac\x00me\n", "1:9: the invisible character U+0000 is not allowed — remove it"),
    "escape": (b"name: \x1b[31macme\n", "1:7: the invisible character U+001B is not allowed — remove it"),
    "bidirectional": (
        "name: \u202eacme\n".encode(),
        "1:7: the invisible character U+202E is not allowed — remove it",
    ),
    "second-mark": (
        "\ufeff\ufeffname: acme\n".encode(),
        "1:1: the invisible character U+FEFF is not allowed — remove it",
    ),
    "compressed": (b"\x1f\x8b\x08\x00abc", "1:2: byte 0x8b is not UTF-8 — save the file as UTF-8"),
    "too-big": (b"#" * (BIG + 1), "1:1: the file has 8.0 MiB; at most 8 MiB are read"),
    "gigantic": (b"a: b\n" * 4_000_000, "1:1: the file has 19.1 MiB; at most 8 MiB are read"),
    "too-many-nodes": (
        b"a: [" + b"1," * 2_000_005 + b"1]\n",
        "1:4000001: more than 2,000,000 keys and values",
    ),
    "million-brackets": (
        b"a: " + b"[" * 1_000_000,
        "1:53: a[0][0][0][0][0][0][0][0][0]: nested more than 50 levels deep",
    ),
    "million-braces": (
        b"{a: " * 1_000_000,
        "1:201: a.a.a.a.a.a.a.a.a.a: nested more than 50 levels deep",
    ),
    "million-dashes": (
        b"a:\n" + b"- " * 1_000_000,
        "2:99: a[0][0][0][0][0][0][0][0][0]: nested more than 50 levels deep",
    ),
}


@pytest.mark.parametrize("name", GENERATED)
def test_generated(loader: Loader, base: dict[str, bytes], name: str) -> None:
    data, expected = GENERATED[name]
    assert loader.load({**base, "pipeline.yaml": data}) == [f"pipeline.yaml:{expected}"]


def test_billion_laughs(loader: Loader, base: dict[str, bytes]) -> None:
    rows = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    messages = loader.load({**base, "pipeline.yaml": "\n".join(rows).encode()})
    assert messages
    assert messages[0].startswith("pipeline.yaml:1:5: a0: anchors and aliases are not allowed — write the values")
    assert messages[-1] == f"and {1 + 29 * 11 - 100} more"


def test_many_unknown_keys_are_counted(loader: Loader, base: dict[str, bytes]) -> None:
    rows = b"".join(b"k%d: 1\n" % n for n in range(300_000))
    messages = loader.load({**base, "pipeline.yaml": base["pipeline.yaml"] + rows})
    assert messages
    assert len(messages) == 101
    assert messages[-1] == "and 299900 more"


@pytest.mark.parametrize("text", ["a" * 4_000_000, '"' + "a" * 4_000_000 + '"', "1" * 4_000_000, "*" * 1000])
def test_endless_values(loader: Loader, base: dict[str, bytes], text: str) -> None:
    messages = loader.load({**base, "pipeline.yaml": f"name: {text}\n".encode()})
    assert messages
    assert all(len(message) < 400 for message in messages)
