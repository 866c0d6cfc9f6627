"""The rows of a data set, where each of them stands, and which of them are invalid."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lori_cl.errors import DataError, first_line, suggestion
from lori_cl.tasks.examples import Example, check_whole_characters

Row = Mapping[str, Any]

SHOWN_INVALID = 5
"""Invalid rows that are named; the others are counted."""


class FileRow(dict[str, Any]):
    """One row: the columns that the task reads, a null where the row does not have one."""

    __slots__ = ("columns",)

    def __init__(self, values: Mapping[str, Any], columns: Sequence[str]) -> None:
        super().__init__(values)
        self.columns = columns
        """Every column of the file, for messages."""


class Skipped(NamedTuple):
    """Invalid rows of a split that were left out."""

    n: int
    first: tuple[str, ...]
    """What is wrong with the first ones, each with its place."""


class InvalidRows:
    """Collects the invalid rows of one split, up to `source.skip_invalid`."""

    def __init__(self, limit: int = 0) -> None:
        self._limit = limit
        self._found: list[str] = []
        self._n = 0

    def add(self, problem: DataError) -> None:
        """Leave a row out.

        Raises: the problem itself where none may be left out; DataError, where there are too many.
        """
        self._n += 1
        if self._limit == 0:
            raise problem
        if self._n <= SHOWN_INVALID:
            self._found.append(str(problem))
        if self._n > self._limit:
            raise DataError(
                f"more than {self._limit:,} invalid rows, which is source.skip_invalid; the first: "
                f"{self._found[0]}. Row number {self._n:,} of them: {problem}"
            )

    def skipped(self, folder: str) -> Skipped:
        """What was left out; places are said without the folder, so that they are the same everywhere."""
        return Skipped(self._n, tuple(found.removeprefix(folder) for found in self._found))


@dataclass(frozen=True)
class Rows:
    """The valid rows of one split."""

    rows: Any
    """A list, or a `datasets.Dataset`."""
    columns: list[str]
    """The names of the columns."""
    origin: str
    """What the user calls it: a file, or a hub id with its split."""
    lines: Sequence[int] | None = None
    """The line on which each row begins, invalid ones included, where the file has lines."""
    numbers: Sequence[int] | None = None
    """The position of each row in the file, from 0; None where no row was left out."""
    invalid: InvalidRows = field(default_factory=InvalidRows, compare=False)
    """The rows that were left out."""

    def __iter__(self) -> Iterator[tuple[int, Row]]:
        """(position in the file, row)."""
        if self.numbers is not None:
            return zip(self.numbers, self.rows, strict=True)
        return enumerate(self.rows) if isinstance(self.rows, list) else self._of_data_set()

    def _of_data_set(self) -> Iterator[tuple[int, Row]]:
        for index in range(len(self.rows)):
            try:
                row = self.rows[index]
            except Exception as error:  # a value that `datasets` cannot decode
                self.invalid.add(DataError(f"{self.where(index)}: cannot be read: {first_line(error)}"))
                continue
            yield index, FileRow(row, self.columns)

    def where(self, index: int) -> str:
        """'FILE, line N' of a row, or its row counted from 1."""
        if self.lines is None:
            return f"{self.origin}, row {index + 1}"
        return f"{self.origin}, line {self.lines[index]}"

    def valid(self, example_of: Callable[[int, Row, str], Example]) -> list[Example]:
        """The example of every valid row; `example_of` is given its position, the row, and its place.

        Raises: DataError, at the first invalid row, or where more are invalid than may be left out.
        """
        examples = []
        for index, row in self:
            where = self.where(index)
            try:
                example = example_of(index, row, where)
                check_whole_characters(example, where)
            except DataError as problem:
                self.invalid.add(problem)
            else:
                examples.append(example)
        return examples


class RowCollector:
    """Collects the rows of a file: only the columns that are read, within the limits of memory."""

    def __init__(
        self,
        origin: str,
        wanted: frozenset[str] | None,
        invalid: InvalidRows,
        *,
        max_rows: int,
        max_bytes: int,
    ) -> None:
        self._origin = origin
        self._wanted = wanted
        self._invalid = invalid
        self._max_rows, self._max_bytes = max_rows, max_bytes
        self._rows: list[dict[str, Any]] = []
        self._numbers, self._lines = array("q"), array("q")
        self._read = 0
        self._bytes = 0
        self.columns: dict[str, None] = {}
        """The names of the columns, in order."""

    def reads(self, column: str) -> bool:
        """Whether the task reads the column."""
        return self._wanted is None or column in self._wanted

    def begin(self, line: int | None = None) -> str:
        """Count a row; gives its place. Raises: DataError."""
        self._read += 1
        self._require(self._read <= self._max_rows, f"a file has at most {self._max_rows:,} rows")
        if line is None:
            return f"{self._origin}, row {self._read}"
        self._lines.append(line)
        return f"{self._origin}, line {line}"

    def keep(self, row: Mapping[str, Any]) -> None:
        """Keep the row that began last; Raises: DataError, where the rows become too large."""
        kept = {name: row[name] for name in row if self.reads(name)}
        self.grow(sum(map(decoded_size, kept.values())) + CELL_BYTES * len(self.read_columns()))
        self._rows.append(kept)
        self._numbers.append(self._read - 1)

    def grow(self, size: int) -> None:
        """Count bytes of content; Raises: DataError."""
        self._bytes += size
        self._require(self._bytes <= self._max_bytes, f"it unpacks to more than {self._max_bytes:,} bytes")

    def drop(self, problem: DataError) -> None:
        """Leave out the row that began last; Raises: DataError, where it may not be."""
        self._invalid.add(problem)

    def read_columns(self) -> list[str]:
        """The file's columns that the task reads."""
        if self._wanted is None:
            return list(self.columns)
        return [name for name in self._wanted if name in self.columns]

    def collected(self) -> Rows:
        """All rows; what a row does not name is null."""
        columns, empty = list(self.columns), dict.fromkeys(self.read_columns())
        for index, row in enumerate(self._rows):
            self._rows[index] = FileRow(empty | row, columns)
        return Rows(
            rows=self._rows,
            columns=columns,
            origin=self._origin,
            lines=self._lines or None,
            numbers=self._numbers if len(self._numbers) < self._read else None,
            invalid=self._invalid,
        )

    def _require(self, holds: bool, limit: str) -> None:
        if not holds:
            raise DataError(f"{self._origin}: {limit}; take the data set from the hub, or cut it")


CELL_BYTES = 8
"""What a cell takes besides its content."""


def decoded_size(value: Any) -> int:
    """Bytes of a value's content, the places in lists and tables included."""
    size, waiting = 0, [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str | bytes):
            size += len(part)
        elif isinstance(part, Mapping):
            size += CELL_BYTES * (8 + 2 * len(part))
            waiting += [*part.keys(), *part.values()]
        elif isinstance(part, list | tuple):
            size += CELL_BYTES * (8 + len(part))
            waiting += part
        else:
            size += CELL_BYTES
    return size


def require_column(rows: Rows, column: str, field: str) -> None:
    """Make sure that a column is there.

    Raises: DataError, naming the columns there are.
    """
    if column not in rows.columns:
        near = suggestion(column, rows.columns) or f" There are: {', '.join(rows.columns)}."
        raise DataError(f"{rows.origin}: {field} names '{column}', which is no column.{near}")
