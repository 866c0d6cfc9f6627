"""Read the sizes in a Parquet file's metadata, in a process of its own.

pyarrow does not convert every C++ exception about a column's metadata to a Python exception. Such an
exception ends the process, so a damaged file must not be inspected in the process that runs the command.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple


class ColumnSize(NamedTuple):
    """Decoded size of one column of a row group, as the metadata states it."""

    path: str
    bytes: int
    values: int


class RowGroupSize(NamedTuple):
    """Number of rows of a row group, and the size of each column."""

    rows: int
    columns: list[ColumnSize]


def row_group_sizes(path: Path) -> list[RowGroupSize]:
    """Return the size of each row group.

    Raises: ValueError: the metadata cannot be read.
    """
    command = [sys.executable, "-I", __file__, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own file)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise ValueError(lines[-1].strip().removeprefix("what():").strip())
    return [
        RowGroupSize(rows, [ColumnSize(*column) for column in columns])
        for rows, columns in json.loads(done.stdout)
    ]


def _print_sizes(path: str) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        columns = [[group.column(i) for i in range(group.num_columns)] for group in groups]
        sizes = [
            (group.num_rows, [(c.path_in_schema, c.total_uncompressed_size, c.num_values) for c in of_group])
            for group, of_group in zip(groups, columns, strict=True)
        ]
    sys.stdout.write(json.dumps(sizes))


def _forbid_core_dumps() -> None:
    try:
        import resource
    except ImportError:  # not on this system
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    _forbid_core_dumps()
    _print_sizes(sys.argv[1])
