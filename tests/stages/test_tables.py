"""Reading tables: the same columns from Parquet, CSV and JSON Lines, and what is said about files that are wrong."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops.errors import GitopsError
from gitops.stages import tables
from gitops.stages.tables import needed, read_table, schema_of

ROWS: list[dict[str, Any]] = [
    {"age": 30, "score": 0.5, "country": "NA", "member": True, "note": "a, b"},
    {"age": None, "score": 1.0, "country": None, "member": False, "note": "two\nlines"},
    {"age": 41, "score": None, "country": "DE", "member": None, "note": "ä"},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        quoted = [",".join("" if v is None else json.dumps(v, ensure_ascii=False) for v in r.values()) for r in rows]
        # json writes a line break as two characters; CSV has it as it is
        path.write_text("\n".join([",".join(rows[0]), *quoted]).replace("\\n", "\n") + "\n")
    else:
        path.write_text("\n\n".join(json.dumps(row) for row in rows))
    return path


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl", "ndjson"])
def test_every_format_gives_the_same_columns(tmp_path: Path, suffix: str) -> None:
    table = read_table(write(tmp_path / f"rows.{suffix}", ROWS))
    assert table.names == tuple(ROWS[0])
    assert table.rows == 3
    assert [table.kind(name) for name in table.names] == ["number", "number", "category", "category", "category"]
    np.testing.assert_array_equal(table.numbers("age"), [30, np.nan, 41])
    np.testing.assert_array_equal(table.numbers("score"), [0.5, 1, np.nan])
    assert spelled(table.categories("country")) == ["NA", None, "DE"]
    assert spelled(table.categories("member")) == ["true", "false", None]
    assert spelled(table.categories("note")) == ["a, b", "two\nlines", "ä"]
    assert spelled(table.categories("age")) == ["30", None, "41"]
    assert spelled(table.categories("score")) == ["0.5", "1", None]


def spelled(column: tables.Categories) -> list[str | None]:
    return [column.labels[code] if code >= 0 else None for code in column.codes]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_only_the_columns_that_are_asked_for_are_read(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"rows.{suffix}", ROWS)
    assert read_table(path, ["note", "age", "age"]).names == ("note", "age")
    assert read_table(path, ["note", "nothing"], lenient=True).names == ("note",)
    with pytest.raises(GitopsError, match=r"rows.*: there is no column agee — did you mean age\?"):
        read_table(path, ["agee"])


def test_times_lists_and_bytes_are_neither(tmp_path: Path) -> None:
    path = tmp_path / "odd.parquet"
    columns = {
        "when": pa.array([0], pa.timestamp("us")),
        "vector": pa.array([[1.0, 2.0]]),
        "bytes": pa.array([b"x"]),
        "void": pa.nulls(1),
        "packed": pa.array(["x"]).dictionary_encode(),
        "price": pa.array([1], pa.decimal128(9, 2)),
        "small": pa.array([1.5], pa.float32()),
        "dotted.name": pa.array([7]),
        "__index_level_0__": pa.array([0]),
    }
    pq.write_table(pa.table(columns), path)
    table = read_table(path, where="odd")
    kinds = ["other", "other", "other", "empty", "category", "number", "number", "number"]
    assert [table.kind(name) for name in table.names] == kinds
    assert table.numbers("price").tolist() == [1.0]
    assert np.isnan(table.numbers("void")).all()
    assert read_table(path, ["dotted.name"]).numbers("dotted.name").tolist() == [7.0]
    assert schema_of(path)["packed"] == "string"
    assert schema_of(path)["when"] == "timestamp[us]"
    with pytest.raises(GitopsError, match=r"odd: column when holds timestamp\[us\], which are no categories"):
        table.categories("when")
    with pytest.raises(GitopsError, match=r"odd: column vector holds list.*, no numbers"):
        table.numbers("vector")


def test_a_text_among_numbers_is_named_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("age,x\n30,1\n31,1\nabout 40,1\n")
    with pytest.raises(GitopsError, match='column age, row 3: "about 40" is no number'):
        read_table(path).numbers("age")
    (tmp_path / "a.jsonl").write_text('{"age": 30}\n\n{"age": "about 40"}\n')
    with pytest.raises(GitopsError, match=r"column age, line 3: this is text — the lines before have a number"):
        read_table(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"a,b\n1,2\n3\n", "row 2 has 1 fields, the header 2 — commas in values need quotes"),
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b"a,a\n1,2\n", "there are two columns a"),
        ("a.jsonl", b'{"a": 1}\n{"a": ', "line 2 is not JSON"),
        ("a.jsonl", b"[1]\n", "line 1 is no JSON object"),
        ("a.jsonl", b'{"a": NaN}\n', "line 1 is not JSON"),
        ("a.parquet", b"PAR1 but not really PAR1", "this cannot be read as a table"),
        ("a.parquet", b"", "this cannot be read as a table"),
        ("a.xlsx", b"", "this is no table — files end in .parquet, .csv, .jsonl or .ndjson"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(GitopsError) as raised:
        read_table(tmp_path / name, where="data/it")
    assert str(raised.value).startswith(f"data/it: {message}")


def test_missing_files_and_directories(tmp_path: Path) -> None:
    with pytest.raises(GitopsError, match="not found"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(GitopsError, match="not a regular file"):
        read_table(tmp_path / "folder.csv")


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in ("parquet", "csv", "jsonl"):
        write(tmp_path / f"rows.{suffix}", ROWS * 50)
    monkeypatch.setattr(tables, "MAX_ROWS", 100)
    for suffix in ("parquet", "csv", "jsonl"):
        with pytest.raises(GitopsError, match="100"):
            read_table(tmp_path / f"rows.{suffix}")
    monkeypatch.setattr(tables, "MAX_ROWS", 1000)
    monkeypatch.setattr(tables, "MAX_LINE", 20)
    with pytest.raises(GitopsError, match="line 1 is longer"):
        read_table(tmp_path / "rows.jsonl")
    # A small Parquet file whose column is large once it is unpacked.
    pq.write_table(pa.table({"a": ["x" * 1000] * 900}), tmp_path / "bomb.parquet", use_dictionary=False)
    monkeypatch.setattr(tables, "MAX_BYTES", 100_000)
    assert (tmp_path / "bomb.parquet").stat().st_size < 100_000
    with pytest.raises(GitopsError, match="larger than"):
        read_table(tmp_path / "bomb.parquet")


def test_a_long_file_of_lines_is_read_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column may begin late, and turn from whole numbers to others."""
    monkeypatch.setattr(tables, "_CHUNK", 7)
    lines = [{"a": i if i < 50 else i + 0.5} | ({"late": str(i)} if i >= 60 else {}) for i in range(100)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    table = read_table(tmp_path / "a.jsonl")
    assert table.numbers("a").tolist() == [line["a"] for line in lines]
    assert spelled(table.categories("late")) == [line.get("late") for line in lines]


def test_an_empty_table_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n")
    (tmp_path / "a.jsonl").write_text("")
    assert read_table(tmp_path / "a.csv", ["a"]).numbers("a").size == 0
    assert read_table(tmp_path / "a.jsonl", ["a"]).categories("a").codes.size == 0


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(GitopsError, match=r"need the package pyarrow — pip install 'gitops-models\[validation\]'"):
        needed("pyarrow")


values = st.one_of(st.none(), st.floats(allow_nan=False, width=32), st.integers(-(2**50), 2**50))


@settings(max_examples=40)
@given(st.lists(values, min_size=1, max_size=30))
def test_numbers_survive_any_format(tmp_path_factory: pytest.TempPathFactory, numbers: list[float | None]) -> None:
    folder = tmp_path_factory.mktemp("numbers")
    rows = [{"x": None if n is None else float(n), "y": 1} for n in numbers]
    expected = [math.nan if n is None else float(n) for n in numbers]
    pq.write_table(pa.Table.from_pylist(rows, pa.schema([("x", pa.float64())])), folder / "a.parquet")
    (folder / "a.csv").write_text("x,y\n" + "".join(f"{'' if r['x'] is None else r['x']},1\n" for r in rows))
    paths = [folder / "a.parquet", folder / "a.csv"]
    if all(math.isfinite(e) or math.isnan(e) for e in expected):
        (folder / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
        paths.append(folder / "a.jsonl")
    for path in paths:
        np.testing.assert_array_equal(read_table(path, ["x"]).numbers("x"), expected)
