"""Read rows from JSON Lines, JSON, CSV, XLSX and Parquet files of limited size, without type conversion.

Local files are not read through `datasets`. It guesses types: the text "2024-01-01" becomes a time, "007"
becomes 7 and "NA" becomes null. It returns a stale cache entry for a changed file with the same modification
time. It does not keep the line of a row.

Only the columns that a task reads are kept, and Parquet decodes only those. A small file can decode to a
large size: the content may have FREE_BYTES, plus GROWTH times the size of the file.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from lori_cl.errors import DataError
from lori_cl.spec.base import first_duplicate
from lori_cl.strict_json import InvalidJSON, array_items, parse_json
from lori_cl.tasks.csv_rows import csv_rows, find_delimiter
from lori_cl.tasks.parquet_rows import read_parquet
from lori_cl.tasks.rows import InvalidRows, RowCollector, Rows
from lori_cl.tasks.xlsx_rows import read_xlsx

MAX_FILE_BYTES = 2**30
"""Maximum size of one file, and of its decoded columns."""
FREE_BYTES = 2**28
"""Decoded size that every file may have, however small the file is."""
GROWTH = 32
"""Decoded bytes per byte of the file, in addition to FREE_BYTES."""
MAX_LINE_BYTES = 2**22
"""Maximum size of one row: about a million tokens, more than the context of a language model."""
MAX_ROWS = 10_000_000
FREE_ROWS = 1_000_000
"""Number of rows that every file may have, plus one row per byte of the file."""
MAX_COLUMNS = 1_000
"""Maximum number of columns to read, or of names in the rows of a JSON file."""


def read_file(path: Path, columns: Collection[str] | None = None, invalid: InvalidRows | None = None) -> Rows:
    """Read a file in the format of its extension; keep only the given columns.

    Raises: DataError, with the line if the format has lines, if the file is empty, too large or invalid;
    OSError, if it cannot be read.
    """
    size = path.stat().st_size
    if size == 0:
        raise DataError(f"{path}: the file is empty")
    _require(path, size <= MAX_FILE_BYTES, f"{size:,} bytes; a file has at most {MAX_FILE_BYTES:,}")
    collector = RowCollector(
        str(path),
        None if columns is None else frozenset(columns),
        invalid or InvalidRows(),
        max_rows=min(MAX_ROWS, FREE_ROWS + size),
        max_bytes=min(MAX_FILE_BYTES, FREE_BYTES + GROWTH * size),
    )
    READERS[path.suffix.lower()](path, collector)
    rows = collector.collected()
    if not rows.rows:
        raise DataError(f"{path}: no examples")
    return rows


def _read_jsonl(path: Path, collector: RowCollector) -> None:
    for number, raw in enumerate(_lines(path), start=1):
        if not raw.strip():
            continue
        where = collector.begin(number)
        try:
            if len(raw) > MAX_LINE_BYTES:
                raise DataError(f"{where}: the row is too long; a row has at most {MAX_LINE_BYTES:,} bytes")
            row = _row(where, raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw)
        except DataError as problem:
            collector.drop(problem)
        else:
            _keep(path, row, collector)


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file; of a line that is too long, only the beginning."""
    with path.open("rb") as file:
        while raw := file.readline(MAX_LINE_BYTES + 1):
            rest = raw
            while not rest.endswith(b"\n") and (rest := file.readline(MAX_LINE_BYTES)):
                pass
            yield raw


def _row(where: str, raw: bytes) -> dict[str, Any]:
    try:
        row = parse_json(_utf8(where, raw))
    except InvalidJSON as problem:
        raise DataError(f"{where}: invalid JSON: {problem}") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected one JSON object per line")
    return row


def _keep(path: Path, row: Mapping[str, Any], collector: RowCollector) -> None:
    collector.columns |= dict.fromkeys(row)
    n_columns = len(collector.columns)
    _require(path, n_columns <= MAX_COLUMNS, f"{n_columns:,} columns; the maximum is {MAX_COLUMNS:,}")
    collector.keep(row)


def _read_json(path: Path, collector: RowCollector) -> None:
    text = _utf8(path, path.read_bytes().removeprefix(codecs.BOM_UTF8))
    try:
        for row in array_items(text, MAX_LINE_BYTES):
            where = collector.begin()
            if isinstance(row, dict):
                _keep(path, row, collector)
            else:
                collector.drop(DataError(f"{where}: expected a list of JSON objects"))
    except TypeError:
        raise DataError(f"{path}: expected a list of JSON objects") from None
    except InvalidJSON as problem:
        line = f", line {problem.line}" if problem.line else ""
        raise DataError(f"{path}{line}: invalid JSON: {problem}") from None


def _read_csv(path: Path, collector: RowCollector) -> None:
    delimiter = find_delimiter(path, collector.required, MAX_LINE_BYTES)
    _, columns = next(rows := csv_rows(path, MAX_LINE_BYTES, delimiter))
    if isinstance(columns, DataError):
        raise columns
    collector.columns |= dict.fromkeys(columns)
    _check_columns(path, [name for name in columns if collector.reads(name)])
    for line, cells in rows:
        where = collector.begin(line)
        if isinstance(cells, DataError):
            collector.drop(cells)
        elif len(cells) != len(columns):
            collector.drop(DataError(f"{where}: {len(cells)} cells, but {len(columns)} columns"))
        else:
            collector.keep(dict(zip(columns, cells, strict=True)))


def _read_parquet(path: Path, collector: RowCollector) -> None:
    read_parquet(path, collector, lambda columns: _check_columns(path, columns), MAX_LINE_BYTES)


def _read_xlsx(path: Path, collector: RowCollector) -> None:
    read_xlsx(path, collector, lambda columns: _check_columns(path, columns), MAX_LINE_BYTES, MAX_COLUMNS)


READERS: Mapping[str, Callable[[Path, RowCollector], None]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".xlsx": _read_xlsx,
    ".parquet": _read_parquet,
}
"""File extension → reader."""


def _utf8(where: Path | str, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: byte {error.start} is not UTF-8; save the file as UTF-8") from None


def _check_columns(path: Path, columns: list[str]) -> None:
    """Make sure that the columns to read are not too many and have distinct names."""
    _require(path, len(columns) <= MAX_COLUMNS, f"{len(columns):,} columns; the maximum is {MAX_COLUMNS:,}")
    if (column := first_duplicate(columns)) is not None:
        raise DataError(f"{path}: two columns are named '{column}'")


def _require(where: Path | str, condition: bool, problem: str) -> None:
    if not condition:
        raise DataError(f"{where}: {problem}; use the hub data set or shorten the file")
