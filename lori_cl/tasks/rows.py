"""The rows of a data set, and where each of them stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lori_cl.errors import DataError, suggestion

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


def require_column(rows: Rows, column: str, field: str) -> None:
    """Make sure that a column is there.

    Raises: DataError, naming the columns there are.
    """
    if column not in rows.columns:
        near = suggestion(column, rows.columns) or f" There are: {', '.join(rows.columns)}."
        raise DataError(f"{rows.origin}: {field} names '{column}', which is no column.{near}")
