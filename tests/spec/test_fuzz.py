"""Whatever is done to the bytes of a spec, it loads or is refused with a reason."""

from __future__ import annotations

import random

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitops.spec.load import load_spec, merge
from gitops.spec.peek import repository_of
from gitops.spec.problems import SpecError
from gitops.spec.resolved import SourceFile
from gitops.spec.source import read_yaml
from gitops.spec.survey import locate
from tests.spec.conftest import sources

PIECES = (
    b"&a", b"*a", b"!!str ", b"!x ", b"? ", b": ", b"- ", b"[", b"]", b"{", b"}", b"|", b">", b"'", b'"', b"#", b"\t",
    b"\n", b"\r\n", b"  ", b"null", b"~", b"true", b"on", b"1", b"-1", b"1e9", b".nan", b"0x10", b"2026-11-21", b"<<",
    b"---\n", b"...\n", b"%YAML 1.1\n", b"\x00", b"\xff", b"\xc3", "é".encode(), b"\\u0000", b"..", b",", b"@", b"`",
)  # fmt: skip


def mutated(data: bytes, seed: int) -> bytes:
    """The bytes with one to four changes: cut, doubled, replaced, moved, or something put in."""
    chance = random.Random(seed)
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(changed) + 1)
        end = min(len(changed), at + chance.choice((1, 1, 2, 8, 80)))
        lines = changed.split(b"\n")
        match chance.randrange(6):
            case 0:
                del changed[at:end]
            case 1:
                changed[at:at] = chance.choice(PIECES)
            case 2:
                changed[at:end] = chance.choice(PIECES)
            case 3:
                changed[at:at] = changed[at:end]
            case 4:
                line = lines.pop(chance.randrange(len(lines)))
                lines.insert(chance.randrange(len(lines) + 1), line)
                changed = bytearray(b"\n".join(lines))
            case 5:
                line = lines[chance.randrange(len(lines))]
                value = line.rpartition(b" ")[2]
                changed = bytearray(bytes(changed).replace(value, chance.choice(PIECES), 1)) if value else changed
    return bytes(changed)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_mutations_load_or_are_refused(example: dict[str, bytes], seed: int) -> None:
    name = random.Random(seed).choice(sorted(example))
    files = {**example, name: mutated(example[name], seed)}
    pipeline, environments = sources(files)
    try:
        load_spec(pipeline, environments)
    except SpecError as error:
        check_places(error, files)
    try:
        repository_of(pipeline)
    except SpecError as error:
        check_places(error, files)


def check_places(error: SpecError, files: dict[str, bytes]) -> None:
    assert error.problems
    for problem in error.problems:
        assert problem.file in files
        assert 1 <= problem.line <= files[problem.file].count(b"\n") + files[problem.file].count(b"\r") + 2
        assert problem.column >= 1
        assert "Input should" not in problem.message
        assert "pydantic" not in str(problem)
        assert "\n" not in str(problem)


@settings(max_examples=300)
@given(text=st.text(alphabet="ab:-?[]{},&*!|>'\"#%@` \n\t~<=10.", max_size=40))
def test_any_text_reads_as_libyaml_reads_it_or_is_refused(text: str) -> None:
    source = SourceFile("a.yaml", text.encode())
    try:
        data = read_yaml(source)
    except SpecError as error:
        refusal = str(error)
    else:
        assert yaml.load(text, Loader=yaml.CBaseLoader) == as_text(data, text)  # CBaseLoader makes text only
        return
    assert refusal
    assert "this is not valid YAML" not in refusal or unreadable(text)


def unreadable(text: str) -> bool:
    try:
        yaml.load(text, Loader=yaml.CBaseLoader)
    except yaml.YAMLError:
        return True
    return False


def as_text(data: object, text: str) -> object:
    """The data with each scalar as the file writes it, found by its path."""
    paths: list[tuple[str | int, ...]] = []

    def collect(value: object, path: tuple[str | int, ...]) -> None:
        paths.append(path)
        entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, below in entries:
            collect(below, (*path, key))

    collect(data, ())
    places = locate(text, paths)

    def render(value: object, path: tuple[str | int, ...]) -> object:
        if isinstance(value, dict):
            return {key: render(below, (*path, key)) for key, below in value.items()}
        if isinstance(value, list):
            return [render(below, (*path, n)) for n, below in enumerate(value)]
        return places[path].raw

    return render(data, ())


nested = st.recursive(
    st.integers(0, 3) | st.lists(st.integers(0, 3), max_size=2),
    lambda below: st.dictionaries(st.sampled_from("abc"), below | st.none(), max_size=3),
    max_leaves=8,
)
mappings = st.dictionaries(st.sampled_from("abc"), nested | st.none(), max_size=3)


@given(base=mappings, override=mappings)
def test_merge_laws(base: dict[str, object], override: dict[str, object]) -> None:
    merged = merge(base, override)
    assert merge(base, {}) == base
    assert merge(merged, override) == merged
    for key, value in override.items():
        assert (key in merged) == (value is not None)
        if value is not None and not isinstance(value, dict):
            assert merged[key] == value
    for key in base.keys() - override.keys():
        assert merged[key] == base[key]
