"""Rows from files: JSON lines, JSON, CSV and Parquet, each of limited size and taken as it stands.

Local files are not read through `datasets`: it guesses types, so that the text "2024-01-01" becomes a time,
"007" a 7 and "NA" nothing; it serves a changed file of the same modification time from its cache; and it
forgets on which line a row stood.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from lori_cl.errors import DataError, first_line
from lori_cl.spec.base import twice
from lori_cl.strict_json import NoJSON, decoded
from lori_cl.tasks.rows import Rows

MAX_FILE_BYTES = 2**30
"""Of one file, or of what a Parquet file unpacks to: it is read whole, and rows take several times that."""
MAX_LINE_BYTES = 2**22
"""Of one JSON line: a million tokens, more than a language model reads at once."""
MAX_ROWS = 10_000_000
MAX_COLUMNS = 1_000
"""Every row is given every column: a file whose every row has one of its own would grow with its square."""

PARQUET_BATCH = 1_000
"""Rows unpacked at once: a text that a Parquet file holds once may stand in all of them."""


def read_file(path: Path) -> Rows:
    """The rows of a file, as its ending says; at least one.

    Raises: DataError, with the line where there are lines, if it is empty, too large or no such file;
    OSError, if it cannot be read.
    """
    size = path.stat().st_size
    if size == 0:
        raise DataError(f"{path}: the file is empty")
    _require(path, size <= MAX_FILE_BYTES, f"{size:,} bytes; a file has at most {MAX_FILE_BYTES:,}")
    rows = READERS[path.suffix](path)
    if not rows.rows:
        raise DataError(f"{path}: no examples in it")
    return rows


def _read_jsonl(path: Path) -> Rows:
    rows, lines = [], []
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            where = f"{path}, line {number}"
            _require(where, len(raw) <= MAX_LINE_BYTES, f"a row has at most {MAX_LINE_BYTES:,} bytes")
            if raw.strip():
                raw = raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw
                rows.append(_row(where, _utf8(where, raw)))
                lines.append(number)
                _check_rows(path, len(rows))
    return _filled_up(rows, path, lines)


def _row(where: str, text: str) -> dict[str, Any]:
    try:
        row = decoded(text)
    except NoJSON as problem:
        raise DataError(f"{where}: this is no JSON: {problem}") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected one JSON object a line")
    return row


def _read_json(path: Path) -> Rows:
    try:
        rows = decoded(_text(path))
    except NoJSON as problem:
        line = f", line {problem.line}" if problem.line else ""
        raise DataError(f"{path}{line}: this is no JSON: {problem}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: expected a list of JSON objects")
    _check_rows(path, len(rows))
    return _filled_up(rows, path)


def _filled_up(rows: Sequence[dict[str, Any]], path: Path, lines: Sequence[int] | None = None) -> Rows:
    """Rows that have every column; what a row does not name is null."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    _check_columns(path, columns)
    return Rows([dict.fromkeys(columns) | row for row in rows], columns, str(path), lines)


def _read_csv(path: Path) -> Rows:
    text = _text(path)
    csv.field_size_limit(2**31 - 1)  # a text may be longer than the 128 KiB that csv expects
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows, lines = [], []
    begins = 1
    try:
        columns = list(reader.fieldnames or [])
        _check_columns(path, columns)
        begins = reader.line_num + 1
        for row in reader:
            if None in row or None in row.values():
                n = sum(value is not None for value in row.values())
                raise DataError(f"{path}, line {begins}: {n} cells and more under {len(columns)} columns")
            rows.append(row)
            lines.append(begins)
            _check_rows(path, len(rows))
            begins = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}, line {begins}: cannot be read as CSV: {error}") from None
    return Rows(rows, columns, str(path), lines)


def _read_parquet(path: Path) -> Rows:
    try:
        with pq.ParquetFile(path) as file:
            columns = file.schema_arrow.names
            _check_columns(path, columns)
            _check_rows(path, file.metadata.num_rows)
            return Rows(_unpacked(path, file), columns, str(path))
    except DataError:
        raise
    except Exception as error:  # Arrow's own errors, and those of Python's values that cannot hold Arrow's
        raise DataError(f"{path}: cannot be read as PARQUET: {first_line(error)}") from error


def _unpacked(path: Path, file: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    size = 0
    for batch in file.iter_batches(PARQUET_BATCH):
        size += batch.nbytes
        _require(path, size <= MAX_FILE_BYTES, f"it unpacks to more than {MAX_FILE_BYTES:,} bytes")
        rows += batch.to_pylist()
    return rows


READERS: Mapping[str, Callable[[Path], Rows]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
"""By a file's ending."""


def _text(path: Path) -> str:
    return _utf8(path, path.read_bytes().removeprefix(codecs.BOM_UTF8))


def _utf8(where: Path | str, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: byte {error.start} is not UTF-8; save the file as UTF-8") from None


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    _require(path, len(columns) <= MAX_COLUMNS, f"{len(columns):,} columns; at most {MAX_COLUMNS:,}")
    if (column := twice(columns)) is not None:
        raise DataError(f"{path}: two columns are named '{column}'")


def _check_rows(path: Path, rows: int) -> None:
    _require(path, rows <= MAX_ROWS, f"a file has at most {MAX_ROWS:,} rows")


def _require(where: Path | str, holds: bool, limit: str) -> None:
    if not holds:
        raise DataError(f"{where}: {limit}; take the data set from the hub, or cut it")
