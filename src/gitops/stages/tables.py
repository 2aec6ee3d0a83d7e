"""Tables of recorded data: Parquet, CSV and JSON Lines into columns of numbers or categories.

Only the columns that are asked for are kept. Files, rows and lines are bounded, so that a wrong file is an error and
not the end of the machine's memory. pyarrow is loaded by the first table.
"""

from __future__ import annotations

import importlib
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple

from gitops.errors import GitopsError
from gitops.spec.problems import listed, shorten, suggestion

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_BYTES = 4 * 1024**3
"""Of a file, and of the chosen columns of a Parquet file once they are unpacked."""
MAX_ROWS = 50_000_000
MAX_LINE = 16 * 1024**2
_CHUNK = 65_536
_PANDAS_INDEX = "__index_level_"

Kind = Literal["number", "category", "empty", "other"]
"""`category` is text or truth values, `empty` has no value at all, `other` (times, lists, bytes) is never compared."""


class Categories(NamedTuple):
    """A column of categories: `codes` are positions in `labels`, -1 where there is no value."""

    codes: NDArray[np.int64]
    labels: tuple[str, ...]


def needed(module: str) -> Any:
    """An optional package's module; GitopsError that says how to install it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if (error.name or "").partition(".")[0] != package:
            raise
        hint = "pip install 'gitops-models[validation]'"
        raise GitopsError(f"checks of data need the package {package}", hint=hint) from None


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of equal length. `where` is the file as the user named it."""

    where: str
    data: Any
    """A pyarrow.Table."""

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(self.data.num_rows)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns in the order of the file."""
        return tuple(self.data.column_names)

    @property
    def schema(self) -> Mapping[str, str]:
        """Each column's type in Arrow's words; how texts are stored makes no difference."""
        return {field.name: _type_name(field.type) for field in self.data.schema}

    def kind(self, name: str) -> Kind:
        """What can be done with a column."""
        column = self.data.column(name)
        return "empty" if column.null_count == len(column) else _kind(column.type)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column as numbers, NaN where there is no value. GitopsError names the first row with something else."""
        pyarrow, column = needed("pyarrow"), _decoded(self.data.column(name))
        if self.kind(name) not in ("number", "empty"):
            raise self._no_number(name, column)
        values: NDArray[np.float64] = column.cast(pyarrow.float64(), safe=False).to_numpy()
        return values

    def categories(self, name: str) -> Categories:
        """A column as categories. Numbers become text, 1.0 as `1`; GitopsError for times, lists and bytes."""
        if self.kind(name) == "other":
            raise GitopsError(
                f"column {name} holds {self.schema[name]}, which are no categories",
                where=self.where,
                hint="use a column of text, numbers or truth values",
            )
        encoded = _text(_decoded(self.data.column(name))).combine_chunks().dictionary_encode()
        codes = encoded.indices.cast(needed("pyarrow").int64()).fill_null(-1)
        return Categories(codes.to_numpy(zero_copy_only=False), tuple(encoded.dictionary.to_pylist()))

    def _no_number(self, name: str, column: Any) -> GitopsError:
        hint = "numbers are needed in this column"
        for row, value in enumerate(column.to_pylist() if self.kind(name) == "category" else (), 1):
            if value is not None and not _reads_as_number(value):
                shown = shorten(str(value).lower() if isinstance(value, bool) else f'"{value}"')
                return GitopsError(f"column {name}, row {row}: {shown} is no number", where=self.where, hint=hint)
        return GitopsError(f"column {name} holds {self.schema[name]}, no numbers", where=self.where, hint=hint)


def read_table(path: Path, columns: Sequence[str] | None = None, *, where: str = "", lenient: bool = False) -> Table:
    """Reads some columns of a `.parquet`, `.csv`, `.jsonl` or `.ndjson` file, or by default all of them.

    `where` is what errors call the file. A lenient reading leaves out columns that are not there.
    Raises GitopsError for a file that is missing, too large, damaged or lacks a column, with the row where there is
    one.
    """
    where = where or str(path)
    reader = _READERS.get(path.suffix.lower())
    if not reader:
        raise GitopsError("this is no table", where=where, hint=f"files end in {listed(_READERS, 'or')}")
    arrow = needed("pyarrow")
    try:
        details = path.stat()
        if not stat.S_ISREG(details.st_mode):
            raise GitopsError("this is not a regular file", where=where, hint="name a file of data")
        _within(details.st_size, where)
        data = reader(path, _Wanted(_once(columns), lenient, where))
    except (OSError, arrow.ArrowException) as error:
        raise _unreadable(error, where) from None
    if data.num_rows > MAX_ROWS:
        raise GitopsError(f"more than {MAX_ROWS} rows", where=where, hint="take a sample")
    return Table(where, data)


def schema_of(path: Path) -> Mapping[str, str]:
    """The types of a file's columns, in Arrow's words. Raises GitopsError as `read_table` does."""
    if path.suffix.lower() != ".parquet":
        return read_table(path).schema
    # Of Parquet only the footer is read.
    arrow = needed("pyarrow")
    try:
        schema = needed("pyarrow.parquet").read_schema(path)
    except (OSError, arrow.ArrowException) as error:
        raise _unreadable(error, str(path)) from None
    return Table(str(path), schema.empty_table()).schema


def _once(columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else list(dict.fromkeys(columns))


def _within(size: int, where: str) -> None:
    if size > MAX_BYTES:
        raise GitopsError(f"larger than {MAX_BYTES // 1024**3} GiB", where=where, hint="take a sample of the rows")


class _Wanted(NamedTuple):
    """Which columns are asked for, None for all, and of which file."""

    columns: list[str] | None
    lenient: bool
    where: str

    def among(self, names: Sequence[str]) -> list[str]:
        """The columns to read; GitopsError for those that are not there, or there twice."""
        if self.columns is None:
            chosen = [name for name in names if not name.startswith(_PANDAS_INDEX)]
        else:
            chosen = [name for name in self.columns if name in names or not self.lenient]
        for name in chosen:
            if name not in names:
                hint = suggestion(name, names, "column")
                raise GitopsError(f"there is no column {name}", where=self.where, hint=hint)
        if twice := [name for name in chosen if names.count(name) > 1]:
            raise GitopsError(f"there are two columns {twice[0]}", where=self.where, hint="rename one")
        return chosen


# --- readers ---


def _parquet(path: Path, wanted: _Wanted) -> Any:
    with needed("pyarrow.parquet").ParquetFile(path) as file:
        chosen, metadata = wanted.among(file.schema_arrow.names), file.metadata
        if metadata.num_rows > MAX_ROWS:
            raise GitopsError(f"{metadata.num_rows} rows, at most {MAX_ROWS}", where=wanted.where, hint="take a sample")
        tops = {i: metadata.schema.column(i).path.partition(".")[0] for i in range(metadata.num_columns)}
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        _within(
            sum(g.column(i).total_uncompressed_size for g in groups for i in tops if tops[i] in chosen), wanted.where
        )
        return file.read(columns=chosen, use_threads=False)


def _csv(path: Path, wanted: _Wanted) -> Any:
    """An empty field is a missing value; in columns of numbers `NA`, `null` and `nan` are as well."""
    arrow, csv = needed("pyarrow"), needed("pyarrow.csv")
    # One thread, because rows are numbered in errors only then.
    reading, parsing = csv.ReadOptions(use_threads=False), csv.ParseOptions(newlines_in_values=True)
    with csv.open_csv(path, reading, parsing) as start:
        chosen = wanted.among(start.schema.names)
    data = csv.read_csv(path, reading, parsing, csv.ConvertOptions(include_columns=chosen))
    return arrow.table({name: _without_empty_text(data.column(name)) for name in chosen})


def _without_empty_text(column: Any) -> Any:
    arrow, compute = needed("pyarrow"), needed("pyarrow.compute")
    if not arrow.types.is_string(column.type):
        return column
    return compute.if_else(compute.equal(column, ""), arrow.scalar(None, column.type), column)


_JSON_KINDS = MappingProxyType(
    {bool: "a truth value", int: "a number", float: "a number", str: "text", dict: "a mapping", list: "a list"}
)


@dataclass(slots=True)
class _Growing:
    """A column of a JSON Lines file while it is read: finished chunks, and the values since."""

    chunks: list[Any]
    values: list[Any]
    kind: str = ""

    def add(self, value: Any) -> str:
        """Appends a value; returns what the column held before when this is something else."""
        if value is not None and (kind := _JSON_KINDS[type(value)]) != self.kind:
            if self.kind:
                return self.kind
            self.kind = kind
        self.values.append(value)
        return ""

    def flush(self) -> None:
        if self.values:
            self.chunks.append(needed("pyarrow").array(self.values))
            self.values = []

    def finished(self) -> Any:
        self.flush()
        arrow = needed("pyarrow")
        kinds = {chunk.type for chunk in self.chunks if chunk.type != arrow.null()}
        whole = arrow.float64() if len(kinds) > 1 else next(iter(kinds), arrow.null())
        return arrow.chunked_array([chunk.cast(whole, safe=False) for chunk in self.chunks], type=whole)


def _jsonl(path: Path, wanted: _Wanted) -> Any:
    growing = {name: _Growing([], []) for name in wanted.columns or ()}
    seen: dict[str, None] = {}
    rows = 0
    with path.open("rb") as file:
        for rows, (line, record) in enumerate(_records(file, wanted.where), 1):
            seen |= dict.fromkeys(record)
            if wanted.columns is None and (new := [name for name in record if name not in growing]):
                growing |= {name: _Growing([needed("pyarrow").nulls(rows - 1)], []) for name in new}
            for name, column in growing.items():
                if before := column.add(record.get(name)):
                    what = f"column {name}, line {line}: this is {_JSON_KINDS[type(record[name])]}"
                    raise GitopsError(
                        what, where=wanted.where, hint=f"the lines before have {before}; write them alike"
                    )
            if rows % _CHUNK == 0:
                for column in growing.values():
                    column.flush()
            if rows > MAX_ROWS:
                break
    chosen = wanted.among(list(seen)) if rows else list(growing)
    return needed("pyarrow").table({name: growing[name].finished() for name in chosen})


def _records(file: BinaryIO, where: str) -> Iterator[tuple[int, dict[str, Any]]]:
    import orjson

    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise GitopsError(f"line {number} is longer than {MAX_LINE // 1024**2} MiB", where=where)
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
        except ValueError as error:
            hint = f"every line is one JSON object: {shorten(str(error), 100)}"
            raise GitopsError(f"line {number} is not JSON", where=where, hint=hint) from None
        if not isinstance(record, dict):
            raise GitopsError(f"line {number} is no JSON object", where=where, hint="every line is one row: {…}")
        yield number, record


_READERS = MappingProxyType({".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl})


def _unreadable(error: Exception, where: str) -> GitopsError:
    if isinstance(error, FileNotFoundError):
        return GitopsError("not found", where=where, hint="check the path")
    said = " ".join(str(error).split())
    if match := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", said):
        row, expected, got = (int(part) for part in match.groups())
        hint = "commas in values need quotes around them"
        return GitopsError(f"row {row - 1} has {got} fields, the header {expected}", where=where, hint=hint)
    if "Empty CSV" in said:
        return GitopsError("the file is empty", where=where, hint="its first line names the columns")
    return GitopsError("this cannot be read as a table", where=where, hint=shorten(said, 160))


# --- columns ---


def _kind(of: Any) -> Kind:
    types = needed("pyarrow").types
    if types.is_dictionary(of):
        return _kind(of.value_type)
    if types.is_integer(of) or types.is_floating(of) or types.is_decimal(of):
        return "number"
    return "category" if types.is_boolean(of) or _is_text(of) else "other"


def _is_text(of: Any) -> bool:
    types = needed("pyarrow").types
    return bool(types.is_string(of) or types.is_large_string(of) or types.is_string_view(of))


def _type_name(of: Any) -> str:
    if needed("pyarrow").types.is_dictionary(of):
        return _type_name(of.value_type)
    return "string" if _is_text(of) else str(of)


def _decoded(column: Any) -> Any:
    dictionary = needed("pyarrow").types.is_dictionary(column.type)
    return column.cast(column.type.value_type) if dictionary else column


def _text(column: Any) -> Any:
    """The column as text, NaN as missing."""
    arrow, compute = needed("pyarrow"), needed("pyarrow.compute")
    if arrow.types.is_floating(column.type):
        column = compute.if_else(compute.is_nan(column), arrow.scalar(None, column.type), column)
    return column.cast(arrow.large_string())


def _reads_as_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True
