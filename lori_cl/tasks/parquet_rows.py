"""Read the rows of a Parquet file: only the required columns, a few rows at a time.

A Parquet file can store a text of many rows once, and a list of a billion nulls in a few bytes. A text column
is therefore decoded as a dictionary of its distinct texts. A column of lists or tables is decoded in batches
that fit into BATCH_BYTES even if each row contains the content of the whole column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lori_cl.errors import DataError, first_line
from lori_cl.tasks.parquet_sizes import RowGroupSize, row_group_sizes
from lori_cl.tasks.rows import CELL_BYTES, RowCollector, decoded_size

BATCH = 1_000
"""Maximum number of rows that are decoded at once."""
BATCH_BYTES = 2**28


class _Unreadable:
    """A value that Python cannot represent."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def read_parquet(
    path: Path, collector: RowCollector, check_columns: Callable[[list[str]], None], max_row_bytes: int
) -> None:
    """Collect the rows of a file; `check_columns` gets the names of the columns to read.

    Raises: DataError, naming the column and the row of a value that cannot be read.
    """
    try:
        sizes = row_group_sizes(path)
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            collector.columns |= dict.fromkeys(names)
            read = [name for name in names if collector.reads(name)]
            check_columns(read)
            kinds = {name: file.schema_arrow.field(name).type for name in read}
        texts = [name for name, kind in kinds.items() if _is_text(kind)]
        repeating = [name for name, kind in kinds.items() if not _is_text(kind) and not _is_fixed(kind)]
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            for group, size in enumerate(sizes):
                _check_group(path, size, read, max_row_bytes)
                batch_rows = _batch_rows(_unpacked_bytes(size, repeating))
                _read_group(file, group, read, batch_rows, collector, max_row_bytes)
    except DataError:
        raise
    except Exception as error:  # Arrow's own errors
        raise DataError(f"{path}: cannot be read as PARQUET: {first_line(error)}") from error


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))


def _is_fixed(kind: Any) -> bool:
    """Whether all values of a type have the same small size."""
    return bool(pa.types.is_primitive(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind))


def _check_group(path: Path, size: RowGroupSize, read: list[str], max_row_bytes: int) -> None:
    """Check the average row size of a row group before any row is decoded."""
    unpacked, rows = _unpacked_bytes(size, read), size.rows
    if unpacked > max_row_bytes * max(1, rows):
        columns = ", ".join(read)
        raise DataError(
            f"{path}: {unpacked:,} bytes in {rows:,} rows of {columns}; "
            f"a row has at most {max_row_bytes:,} bytes"
        )


def _batch_rows(unpacked: int) -> int:
    return max(1, min(BATCH, BATCH_BYTES // max(1, unpacked)))


def _read_group(
    file: Any, group: int, read: list[str], batch_rows: int, collector: RowCollector, max_row_bytes: int
) -> None:
    if not read:
        for _ in range(file.metadata.row_group(group).num_rows):
            collector.begin()
            collector.keep({})
        return
    for batch in file.iter_batches(batch_rows, row_groups=[group], columns=read):
        columns = {name: _values(batch.column(name)) for name in read}
        for index in range(batch.num_rows):
            _keep_row({name: values[index] for name, values in columns.items()}, collector, max_row_bytes)


def _unpacked_bytes(size: RowGroupSize, read: list[str]) -> int:
    """Return the decoded size of columns of a row group: dictionary values once, plus a cell per value."""
    return sum(c.bytes + CELL_BYTES * c.values for c in size.columns if _is_in_column(c.path, read))


def _is_in_column(path: str, read: list[str]) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in read)


def _keep_row(row: dict[str, Any], collector: RowCollector, max_row_bytes: int) -> None:
    where = collector.begin()
    for name, value in row.items():
        if isinstance(value, _Unreadable):
            collector.drop(DataError(f"{where}: column '{name}' cannot be read: {value.reason}"))
            return
    size = sum(map(decoded_size, row.values()))
    if size > max_row_bytes:
        collector.drop(DataError(f"{where}: {size:,} bytes; a row has at most {max_row_bytes:,} bytes"))
        return
    collector.keep(row)


def _values(array: Any) -> list[Any]:
    """Return the values of a column; a text that occurs in several rows is one object."""
    if isinstance(array, pa.DictionaryArray):
        distinct = _values(array.dictionary)
        return [None if i is None else distinct[i] for i in array.indices.to_pylist()]
    try:
        values: list[Any] = array.to_pylist()
    except Exception:  # a value that Python cannot represent: find it
        return list(_each(array))
    return values


def _each(array: Any) -> Iterator[Any]:
    for value in array:
        try:
            yield value.as_py()
        except Exception as error:  # a year of six digits, a text that is not UTF-8
            yield _Unreadable(first_line(error))
