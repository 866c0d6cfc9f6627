"""Rows of a task's source: local files, or a hub data set through `datasets`.

Local files are not read through `datasets`: it guesses types, so that the text "2024-01-01" becomes a time,
"007" a 7 and "NA" nothing; it serves a changed file of the same modification time from its cache; and it
forgets on which line a row stood.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lori_cl.errors import DataError, suggestion
from lori_cl.spec.task import Source

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Rows:
    """The rows of one split."""

    rows: Any
    """A list, or a `datasets.Dataset`."""
    columns: list[str]
    """The names of the columns."""
    origin: str
    """What the user calls it: a file, or a hub id with its split."""
    lines: Sequence[int] | None = None
    """The line on which each row begins, where the file has lines."""

    def __iter__(self) -> Iterator[tuple[int, Row]]:
        return enumerate(self.rows)

    def where(self, index: int) -> str:
        """'FILE, line N' of a row, or its row counted from 1."""
        if self.lines is None:
            return f"{self.origin}, row {index + 1}"
        return f"{self.origin}, line {self.lines[index]}"


def read_split(source: Source, split: str, beside: Path) -> Rows:
    """Read a split of the local copy where it is there, or else of the hub's.

    `beside` is the folder of the task's file. Raises: DataError, if nothing is there, or it is unreadable.
    """
    folders = _candidates(source, beside)
    for folder in folders:
        try:
            if folder.is_dir():
                return _read_local(folder, split)
        except OSError as error:
            raise DataError(f"{folder}: cannot be read: {error.strerror}") from error
    if source.hub is None:
        tried = " and ".join(str(folder) for folder in folders)
        hint = "" if "LORI_CL_DATA" in os.environ else "; set LORI_CL_DATA to the folder that holds your data"
        raise DataError(f"source.local '{source.local}' is no folder: looked for {tried}{hint}")
    return _read_hub(source, split)


def _candidates(source: Source, beside: Path) -> list[Path]:
    if source.local is None:
        return []
    try:
        local = Path(source.local).expanduser()
    except RuntimeError as error:  # ~nobody
        raise DataError(f"source.local '{source.local}': {error}") from None
    if local.is_absolute():
        return [local]
    roots = [beside, *([Path(root)] if (root := os.environ.get("LORI_CL_DATA")) else [])]
    return [root / local for root in roots]


def _read_local(folder: Path, split: str) -> Rows:
    found = [folder / f"{split}{ending}" for ending in READERS if (folder / f"{split}{ending}").is_file()]
    if not found:
        stems = sorted({p.stem for p in folder.iterdir() if p.suffix in READERS})
        there = f" There are: {', '.join(stems)}." if stems else ""
        raise DataError(f"{folder}: no {split}.jsonl, .json, .csv or .parquet.{there}")
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise DataError(f"{folder}: {names} are both there; leave one, so that it is clear which is meant")
    path = found[0]
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    rows = READERS[path.suffix](path)
    if not rows.rows:
        raise DataError(f"{path}: no examples in it")
    return rows


def _read_jsonl(path: Path) -> Rows:
    rows, lines = [], []
    for number, raw in enumerate(path.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n"), start=1):
        if not raw.strip():
            continue
        try:
            row = json.loads(raw.decode())
        except UnicodeDecodeError:
            raise DataError(f"{path}, line {number}: this is not UTF-8; save the file as UTF-8") from None
        except (ValueError, RecursionError) as problem:
            what = getattr(problem, "msg", "too large or too deep")
            raise DataError(f"{path}, line {number}: this is no JSON: {what}") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: expected one JSON object a line")
        rows.append(row)
        lines.append(number)
    return _filled_up(rows, str(path), lines)


def _read_json(path: Path) -> Rows:
    text = _text(path)
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as problem:
        what = getattr(problem, "msg", "too large or too deep")
        raise DataError(f"{path}, line {getattr(problem, 'lineno', 1)}: this is no JSON: {what}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: expected a list of JSON objects")
    return _filled_up(rows, str(path))


def _text(path: Path) -> str:
    """A file's text, without a byte order mark."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None


def _filled_up(rows: Sequence[dict[str, Any]], origin: str, lines: Sequence[int] | None = None) -> Rows:
    """Rows that have every column; what a row does not name is null."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return Rows([dict.fromkeys(columns) | row for row in rows], columns, origin, lines)


def _read_csv(path: Path) -> Rows:
    text = _text(path)
    csv.field_size_limit(2**31 - 1)  # a text may be longer than the 128 KiB that csv expects
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows, lines = [], []
    begins = 2
    try:
        columns = list(reader.fieldnames or [])
        twice = [column for column in columns if columns.count(column) > 1]
        if twice:
            raise DataError(f"{path}, line 1: two columns are named '{twice[0]}'")
        begins = reader.line_num + 1
        for row in reader:
            if None in row or None in row.values():
                n = sum(value is not None for value in row.values())
                raise DataError(f"{path}, line {begins}: {n} cells and more under {len(columns)} columns")
            rows.append(row)
            lines.append(begins)
            begins = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}, line {begins}: cannot be read as CSV: {error}") from None
    return Rows(rows, columns, str(path), lines)


def _read_parquet(path: Path) -> Rows:
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as PARQUET: {str(error).splitlines()[0]}") from error
    return Rows(table.to_pylist(), table.column_names, str(path))


READERS: Mapping[str, Callable[[Path], Rows]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}


def _read_hub(source: Source, split: str) -> Rows:
    import datasets  # slow to import, and only the hub needs it

    assert source.hub is not None
    datasets.disable_progress_bars()
    try:
        rows = datasets.load_dataset(source.hub, source.config, split=split, revision=source.revision)
    except Exception as error:  # the hub's client raises what its transport raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"hub data set '{source.hub}', split '{split}': {reason}") from error
    return Rows(rows, list(rows.column_names), f"{source.hub}[{split}]")


def require_column(rows: Rows, column: str, field: str) -> None:
    """Make sure that a column is there.

    Raises: DataError, naming the columns there are.
    """
    if column not in rows.columns:
        near = suggestion(column, rows.columns) or f" There are: {', '.join(rows.columns)}."
        raise DataError(f"{rows.origin}: {field} names '{column}', which is no column.{near}")
