"""The rows of a data set with their file positions, and the collection of invalid rows."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from lori_cl.errors import DataError, first_line, suggestion
from lori_cl.tasks.examples import Example, check_encodable

Row = Mapping[str, Any]

SHOWN_INVALID = 5
"""Maximum number of invalid rows whose problem is reported; the others are only counted."""


class FileRow(dict[str, Any]):
    """One row with the columns that the task reads; a missing value is null."""

    __slots__ = ("columns",)

    def __init__(self, values: Mapping[str, Any], columns: Sequence[str]) -> None:
        super().__init__(values)
        self.columns = columns
        """Every column of the file, for messages."""


class Skipped(NamedTuple):
    """Invalid rows of a split that were skipped."""

    n: int
    first: tuple[str, ...]
    """The problems of the first rows, each with its file and line."""


class InvalidRows:
    """Collects the invalid rows of one split, up to `source.skip_invalid`."""

    def __init__(self, limit: int = 0) -> None:
        self._limit = limit
        self._problems: list[str] = []
        self._n = 0

    def add(self, problem: DataError) -> None:
        """Skip an invalid row.

        Raises: the problem itself, if no row may be skipped; DataError, if there are too many.
        """
        self._n += 1
        if self._limit == 0:
            raise problem
        if self._n <= SHOWN_INVALID:
            self._problems.append(str(problem))
        if self._n > self._limit:
            raise DataError(
                f"more than {self._limit:,} invalid rows, the limit in source.skip_invalid; the first: "
                f"{self._problems[0]}. Invalid row number {self._n:,}: {problem}"
            )

    def skipped(self, folder: str) -> Skipped:
        """Return the skipped rows; paths omit the folder, so the text is the same on all machines."""
        return Skipped(self._n, tuple(problem.removeprefix(folder) for problem in self._problems))


@dataclass(frozen=True)
class Rows:
    """The valid rows of one split."""

    rows: Any
    """A list, or a `datasets.Dataset`."""
    columns: list[str]
    """The names of the columns."""
    origin: str
    """The source as shown to users: a file, or a hub id with its split."""
    lines: Sequence[int] | None = None
    """The first line of each row, including invalid rows; None if the file has no lines."""
    numbers: Sequence[int] | None = None
    """The position of each row in the file, from 0; None if no row was skipped."""
    invalid: InvalidRows = field(default_factory=InvalidRows, compare=False)
    """The skipped rows."""

    def __iter__(self) -> Iterator[tuple[int, Row]]:
        """Yield (position in the file, row)."""
        if not isinstance(self.rows, list):
            return self._of_data_set()
        return zip(self._numbers(), self.rows, strict=True)

    def _numbers(self) -> Sequence[int]:
        return range(len(self.rows)) if self.numbers is None else self.numbers

    def _of_data_set(self) -> Iterator[tuple[int, Row]]:
        for position, index in enumerate(self._numbers()):
            try:
                row = self.rows[position]
            except Exception as error:  # a value that `datasets` cannot decode
                self.invalid.add(DataError(f"{self.where(index)}: cannot be read: {first_line(error)}"))
                continue
            yield index, FileRow(row, self.columns)

    def only(self, kept: Collection[int]) -> Rows:
        """Return the rows at these positions in the file; the skipped rows are shared."""
        places = [place for place, number in enumerate(self._numbers()) if number in kept]
        rows = [self.rows[i] for i in places] if isinstance(self.rows, list) else self.rows.select(places)
        return replace(self, rows=rows, numbers=[self._numbers()[place] for place in places])

    def where(self, index: int) -> str:
        """Return 'FILE, line N' of a row, or 'FILE, row N', counted from 1."""
        if self.lines is None:
            return f"{self.origin}, row {index + 1}"
        return f"{self.origin}, line {self.lines[index]}"

    def valid(self, example_of: Callable[[int, Row, str], Example]) -> list[Example]:
        """Return the example of every valid row; `example_of` gets the position, the row and its place.

        Raises: DataError, at the first invalid row, or if more rows are invalid than may be skipped.
        """
        examples = []
        for index, row in self:
            where = self.where(index)
            try:
                example = example_of(index, row, where)
                check_encodable(example, where)
            except DataError as problem:
                self.invalid.add(problem)
            else:
                examples.append(example)
        return examples


class RowCollector:
    """Collects the rows of a file: only the required columns, within memory limits."""

    def __init__(
        self,
        origin: str,
        required: frozenset[str] | None,
        invalid: InvalidRows,
        *,
        max_rows: int,
        max_bytes: int,
    ) -> None:
        self._origin = origin
        self._required = required
        self._invalid = invalid
        self._max_rows, self._max_bytes = max_rows, max_bytes
        self._rows: list[dict[str, Any]] = []
        self._numbers, self._lines = array("q"), array("q")
        self._read = 0
        self._bytes = 0
        self.columns: dict[str, None] = {}
        """The names of the columns, in order."""

    @property
    def required(self) -> frozenset[str]:
        """The columns that the task reads; none if it reads all."""
        return self._required or frozenset()

    def reads(self, column: str) -> bool:
        """Whether the task reads the column."""
        return self._required is None or column in self._required

    def begin(self, line: int | None = None) -> str:
        """Count a row and return its place; Raises: DataError."""
        self._read += 1
        self._require(
            self._read <= self._max_rows, f"too many rows; a file has at most {self._max_rows:,} rows"
        )
        if line is None:
            return f"{self._origin}, row {self._read}"
        self._lines.append(line)
        return f"{self._origin}, line {line}"

    def keep(self, row: Mapping[str, Any]) -> None:
        """Keep the current row; Raises: DataError, if the rows become too large."""
        kept = {name: row[name] for name in row if self.reads(name)}
        self.grow(sum(map(decoded_size, kept.values())) + CELL_BYTES * len(self.read_columns()))
        self._rows.append(kept)
        self._numbers.append(self._read - 1)

    def grow(self, size: int) -> None:
        """Add to the size of the content; Raises: DataError, if it becomes too large."""
        self._bytes += size
        self._require(
            self._bytes <= self._max_bytes, f"the decoded content exceeds {self._max_bytes:,} bytes"
        )

    def drop(self, problem: DataError) -> None:
        """Skip the current row; Raises: DataError, if it may not be skipped."""
        self._invalid.add(problem)

    def read_columns(self) -> list[str]:
        """The file's columns that the task reads."""
        if self._required is None:
            return list(self.columns)
        return [name for name in self._required if name in self.columns]

    def collected(self) -> Rows:
        """Return all rows; a missing value is null."""
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

    def _require(self, condition: bool, problem: str) -> None:
        if not condition:
            raise DataError(f"{self._origin}: {problem}; use the hub data set or shorten the file")


CELL_BYTES = 8
"""Bytes of a cell in addition to its content."""


def decoded_size(value: Any) -> int:
    """Return the bytes of a value's content, including the cells of lists and tables."""
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
    """Make sure that a column exists.

    Raises: DataError, listing the available columns.
    """
    if column not in rows.columns:
        near = suggestion(column, rows.columns) or f" Available: {', '.join(rows.columns)}."
        raise DataError(f"{rows.origin}: {field}: unknown column '{column}'.{near}")
