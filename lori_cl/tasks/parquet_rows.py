"""The rows of a Parquet file: only the columns that are read, a few rows at a time.

A Parquet file can hold a text once that stands in many rows, and a list of a billion nulls in a few bytes. A
column of texts is therefore unpacked as its different texts; of a column of lists or tables, so few rows are
unpacked at once that they fit into BATCH_BYTES even if each held all of the column's content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lori_cl.errors import DataError, first_line
from lori_cl.tasks.rows import CELL_BYTES, RowCollector, decoded_size

BATCH = 1_000
"""Rows that are unpacked at once."""
BATCH_BYTES = 2**28


class _Unread:
    """A value that Python cannot hold."""

    def __init__(self, why: str) -> None:
        self.why = why


def read_parquet(
    path: Path, into: RowCollector, check_columns: Callable[[list[str]], None], longest: int
) -> None:
    """Collect the rows of a file; `check_columns` is given the names of the columns that are read.

    Raises: DataError, naming the column and the row of a value that cannot be read.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            into.columns |= dict.fromkeys(names)
            read = [name for name in names if into.reads(name)]
            check_columns(read)
            kinds = {name: file.schema_arrow.field(name).type for name in read}
        texts = [name for name, kind in kinds.items() if _is_text(kind)]
        repeating = [name for name, kind in kinds.items() if not _is_text(kind) and not _is_fixed(kind)]
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            for group in range(file.metadata.num_row_groups):
                _check_group(path, file, group, read, longest)
                batch_rows = _batch_rows(_unpacked_bytes(file, group, repeating))
                _read_group(file, group, read, batch_rows, into, longest)
    except DataError:
        raise
    except Exception as error:  # Arrow's own errors
        raise DataError(f"{path}: cannot be read as PARQUET: {first_line(error)}") from error


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))


def _is_fixed(kind: Any) -> bool:
    """Whether each value of a type takes the same few bytes."""
    return bool(pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind))


def _check_group(path: Path, file: Any, group: int, read: list[str], longest: int) -> None:
    """Make sure that the rows of a group are not too large on average, before one of them is unpacked."""
    unpacked, rows = _unpacked_bytes(file, group, read), file.metadata.row_group(group).num_rows
    if unpacked > longest * max(1, rows):
        columns = ", ".join(read)
        raise DataError(
            f"{path}: {unpacked:,} bytes in {rows:,} rows of {columns}; a row has at most {longest:,} bytes"
        )


def _batch_rows(unpacked: int) -> int:
    return max(1, min(BATCH, BATCH_BYTES // max(1, unpacked)))


def _read_group(
    file: Any, group: int, read: list[str], batch_rows: int, into: RowCollector, longest: int
) -> None:
    if not read:
        for _ in range(file.metadata.row_group(group).num_rows):
            into.begin()
            into.keep({})
        return
    for batch in file.iter_batches(batch_rows, row_groups=[group], columns=read):
        columns = {name: _values(batch.column(name)) for name in read}
        for index in range(batch.num_rows):
            _keep_row({name: values[index] for name, values in columns.items()}, into, longest)


def _unpacked_bytes(file: Any, group: int, read: list[str]) -> int:
    """What columns of a row group unpack to, each value of a dictionary once, and a place for each value."""
    described = file.metadata.row_group(group)
    columns = (described.column(i) for i in range(described.num_columns))
    return sum(
        c.total_uncompressed_size + CELL_BYTES * c.num_values
        for c in columns
        if _belongs(c.path_in_schema, read)
    )


def _belongs(path: str, read: list[str]) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in read)


def _keep_row(row: dict[str, Any], into: RowCollector, longest: int) -> None:
    where = into.begin()
    for name, value in row.items():
        if isinstance(value, _Unread):
            into.drop(DataError(f"{where}: column '{name}' cannot be read: {value.why}"))
            return
    size = sum(map(decoded_size, row.values()))
    if size > longest:
        into.drop(DataError(f"{where}: {size:,} bytes; a row has at most {longest:,} bytes"))
        return
    into.keep(row)


def _values(array: Any) -> list[Any]:
    """A column's values; a text that stands in several rows is made once."""
    if isinstance(array, pa.DictionaryArray):
        different = _values(array.dictionary)
        return [None if i is None else different[i] for i in array.indices.to_pylist()]
    try:
        values: list[Any] = array.to_pylist()
    except Exception:  # a value that Python cannot hold; which one, and why
        return list(_each(array))
    return values


def _each(array: Any) -> Iterator[Any]:
    for value in array:
        try:
            yield value.as_py()
        except Exception as error:  # a year of six digits, a text that is not UTF-8
            yield _Unread(first_line(error))
