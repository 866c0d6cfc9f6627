"""Rows from files: JSON lines, JSON, CSV and Parquet, each of limited size and taken as it stands.

Local files are not read through `datasets`: it guesses types, so that the text "2024-01-01" becomes a time,
"007" a 7 and "NA" nothing; it serves a changed file of the same modification time from its cache; and it
forgets on which line a row stood.

Only the columns that a task reads are kept, and Parquet unpacks only those. A small file can unpack to much:
its content may grow to FREE_BYTES, and beyond that to GROWTH times the file.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from lori_cl.errors import DataError
from lori_cl.spec.base import twice
from lori_cl.strict_json import NoJSON, array_items, decoded
from lori_cl.tasks.csv_rows import csv_rows
from lori_cl.tasks.parquet_rows import read_parquet
from lori_cl.tasks.rows import InvalidRows, RowCollector, Rows

MAX_FILE_BYTES = 2**30
"""Of one file, and of the columns of it that are read, unpacked."""
FREE_BYTES = 2**28
"""Content that every file may unpack to, however small it is."""
GROWTH = 32
"""How much larger than a file its content may be, beyond FREE_BYTES."""
MAX_LINE_BYTES = 2**22
"""Of one row: a million tokens, more than a language model reads at once."""
MAX_ROWS = 10_000_000
FREE_ROWS = 1_000_000
"""Rows that every file may have; a larger number of rows takes a byte of the file each."""
MAX_COLUMNS = 1_000
"""Columns that are read, or named in the rows of a JSON file."""


def read_file(path: Path, columns: Collection[str] | None = None, invalid: InvalidRows | None = None) -> Rows:
    """The rows of a file, as its ending says; at least one. Of the columns, only the named ones are kept.

    Raises: DataError, with the line where there are lines, if it is empty, too large or no such file;
    OSError, if it cannot be read.
    """
    size = path.stat().st_size
    if size == 0:
        raise DataError(f"{path}: the file is empty")
    _require(path, size <= MAX_FILE_BYTES, f"{size:,} bytes; a file has at most {MAX_FILE_BYTES:,}")
    into = RowCollector(
        str(path),
        None if columns is None else frozenset(columns),
        invalid or InvalidRows(),
        max_rows=min(MAX_ROWS, FREE_ROWS + size),
        max_bytes=min(MAX_FILE_BYTES, FREE_BYTES + GROWTH * size),
    )
    READERS[path.suffix](path, into)
    rows = into.collected()
    if not rows.rows:
        raise DataError(f"{path}: no examples in it")
    return rows


def _read_jsonl(path: Path, into: RowCollector) -> None:
    for number, raw in enumerate(_lines(path), start=1):
        if not raw.strip():
            continue
        where = into.begin(number)
        try:
            if len(raw) > MAX_LINE_BYTES:
                raise DataError(f"{where}: a row has at most {MAX_LINE_BYTES:,} bytes")
            row = _row(where, raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw)
        except DataError as problem:
            into.drop(problem)
        else:
            _keep(path, row, into)


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file; of one that is too long, only the beginning."""
    with path.open("rb") as file:
        while raw := file.readline(MAX_LINE_BYTES + 1):
            rest = raw
            while not rest.endswith(b"\n") and (rest := file.readline(MAX_LINE_BYTES)):
                pass
            yield raw


def _row(where: str, raw: bytes) -> dict[str, Any]:
    try:
        row = decoded(_utf8(where, raw))
    except NoJSON as problem:
        raise DataError(f"{where}: this is no JSON: {problem}") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected one JSON object a line")
    return row


def _keep(path: Path, row: Mapping[str, Any], into: RowCollector) -> None:
    into.columns |= dict.fromkeys(row)
    named = len(into.columns)
    _require(path, named <= MAX_COLUMNS, f"{named:,} columns; at most {MAX_COLUMNS:,}")
    into.keep(row)


def _read_json(path: Path, into: RowCollector) -> None:
    text = _utf8(path, path.read_bytes().removeprefix(codecs.BOM_UTF8))
    try:
        for row in array_items(text, MAX_LINE_BYTES):
            where = into.begin()
            if isinstance(row, dict):
                _keep(path, row, into)
            else:
                into.drop(DataError(f"{where}: expected a list of JSON objects"))
    except TypeError:
        raise DataError(f"{path}: expected a list of JSON objects") from None
    except NoJSON as problem:
        line = f", line {problem.line}" if problem.line else ""
        raise DataError(f"{path}{line}: this is no JSON: {problem}") from None


def _read_csv(path: Path, into: RowCollector) -> None:
    _, columns = next(rows := csv_rows(path, MAX_LINE_BYTES))
    if isinstance(columns, DataError):
        raise columns
    into.columns |= dict.fromkeys(columns)
    _check_columns(path, [name for name in columns if into.reads(name)])
    for line, cells in rows:
        where = into.begin(line)
        if isinstance(cells, DataError):
            into.drop(cells)
        elif len(cells) != len(columns):
            into.drop(DataError(f"{where}: {len(cells)} cells under {len(columns)} columns"))
        else:
            into.keep(dict(zip(columns, cells, strict=True)))


def _read_parquet(path: Path, into: RowCollector) -> None:
    read_parquet(path, into, lambda columns: _check_columns(path, columns), MAX_LINE_BYTES)


READERS: Mapping[str, Callable[[Path, RowCollector], None]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
"""By a file's ending."""


def _utf8(where: Path | str, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: byte {error.start} is not UTF-8; save the file as UTF-8") from None


def _check_columns(path: Path, columns: list[str]) -> None:
    """Make sure that the columns that are read are not too many, and have different names."""
    _require(path, len(columns) <= MAX_COLUMNS, f"{len(columns):,} columns; at most {MAX_COLUMNS:,}")
    if (column := twice(columns)) is not None:
        raise DataError(f"{path}: two columns are named '{column}'")


def _require(where: Path | str, holds: bool, limit: str) -> None:
    if not holds:
        raise DataError(f"{where}: {limit}; take the data set from the hub, or cut it")
