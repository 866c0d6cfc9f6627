"""Rows of a task's source, local or from the hub, both read through `datasets`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from lori_cl.errors import DataError, suggestion
from lori_cl.spec.task import Source

Row = Mapping[str, Any]

READERS = {".jsonl": "json", ".csv": "csv", ".parquet": "parquet"}
"""The builder of `datasets` for each file ending."""

FIRST_LINE = {".jsonl": 1, ".csv": 2}
"""The line of a file's first row; a Parquet file has rows instead."""


@dataclass(frozen=True)
class Rows:
    """The rows of one split."""

    rows: Any
    """A `datasets.Dataset`."""
    origin: str
    """What the user calls it: a file, or a hub id with its split."""
    first_line: int | None = None
    """The line of the first row in the file, where it has lines."""

    def __iter__(self) -> Iterator[tuple[int, Row]]:
        return enumerate(self.rows)

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self.rows.column_names)

    def where(self, index: int) -> str:
        """'FILE, line N' of a row, or its row counted from 1."""
        if self.first_line is None:
            return f"{self.origin}, row {index + 1}"
        return f"{self.origin}, line {index + self.first_line}"


def read_split(source: Source, split: str, beside: Path) -> Rows:
    """Read a split of the local copy where it is there, or else of the hub's.

    `beside` is the folder of the task's file. Raises: DataError, if nothing is there, or it is unreadable.
    """
    datasets.disable_progress_bars()
    folders = _candidates(source, beside)
    for folder in folders:
        if folder.is_dir():
            return _read_local(folder, split)
    if source.hub is None:
        tried = " and ".join(str(folder) for folder in folders)
        hint = "" if "LORI_CL_DATA" in os.environ else "; set LORI_CL_DATA to the folder that holds your data"
        raise DataError(f"source.local '{source.local}' is no folder: looked for {tried}{hint}")
    return _read_hub(source, split)


def _candidates(source: Source, beside: Path) -> list[Path]:
    if source.local is None:
        return []
    local = Path(source.local).expanduser()
    if local.is_absolute():
        return [local]
    roots = [beside, *([Path(root)] if (root := os.environ.get("LORI_CL_DATA")) else [])]
    return [root / local for root in roots]


def _read_local(folder: Path, split: str) -> Rows:
    found = [folder / f"{split}{ending}" for ending in READERS if (folder / f"{split}{ending}").is_file()]
    if not found:
        stems = sorted({p.stem for p in folder.iterdir() if p.suffix in READERS})
        there = f" There are: {', '.join(stems)}." if stems else ""
        raise DataError(f"{folder}: no {split}.jsonl, {split}.csv or {split}.parquet.{there}")
    path = found[0]
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty")
    try:
        rows = datasets.load_dataset(READERS[path.suffix], data_files={split: str(path)}, split=split)
    except (datasets.exceptions.DatasetGenerationError, ValueError, OSError) as error:
        raise DataError(_unreadable(path, error)) from error
    return Rows(rows, str(path), FIRST_LINE.get(path.suffix))


def _unreadable(path: Path, error: BaseException) -> str:
    if path.suffix == ".jsonl":
        for number, raw in enumerate(path.read_bytes().split(b"\n"), start=1):
            try:
                if raw.strip() and not isinstance(json.loads(raw), dict):
                    return f"{path}, line {number}: expected one JSON object a line"
            except UnicodeDecodeError:
                return f"{path}, line {number}: this is not UTF-8; save the file as UTF-8"
            except json.JSONDecodeError as problem:
                return f"{path}, line {number}: this is no JSON: {problem.msg}"
    reason = str(error.__cause__ or error).splitlines()[0]
    return f"{path}: cannot be read as {path.suffix.removeprefix('.').upper()}: {reason}"


def _read_hub(source: Source, split: str) -> Rows:
    assert source.hub is not None
    try:
        rows = datasets.load_dataset(source.hub, source.config, split=split, revision=source.revision)
    except Exception as error:  # the hub's client raises what its transport raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"hub data set '{source.hub}', split '{split}': {reason}") from error
    return Rows(rows, f"{source.hub}[{split}]")


def require_column(rows: Rows, column: str, field: str) -> None:
    """Make sure that a column is there.

    Raises: DataError, naming the columns there are.
    """
    if column not in rows.columns:
        near = suggestion(column, rows.columns) or f" There are: {', '.join(rows.columns)}."
        raise DataError(f"{rows.origin}: {field} names '{column}', which is no column.{near}")
