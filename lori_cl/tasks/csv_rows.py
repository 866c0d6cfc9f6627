"""Read the rows of a CSV file line by line; its delimiter is a comma, a semicolon or a tab."""

from __future__ import annotations

import csv
from collections.abc import Collection, Generator
from contextlib import closing
from pathlib import Path
from typing import TextIO

from lori_cl.errors import DataError

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
"""The delimiters that are detected."""


def find_delimiter(path: Path, required: Collection[str], max_characters: int) -> str:
    """Return the delimiter of a CSV file by its header; a `.tsv` file has tabs.

    It is the delimiter that gives the required columns, otherwise the only one that occurs outside quotes.

    Raises: DataError, if several delimiters occur and not exactly one of them gives the required columns.
    """
    if path.suffix.lower() == ".tsv":
        return "\t"
    headers = {delimiter: _header(path, delimiter, max_characters) for delimiter in DELIMITERS}
    fitting = [delimiter for delimiter, cells in headers.items() if required and {*required} <= {*cells}]
    if len(fitting) == 1:
        return fitting[0]
    occurring = [delimiter for delimiter, cells in headers.items() if len(cells) > 1 and _complete(cells)]
    if len(occurring) > 1:
        names = " and ".join(DELIMITERS[delimiter] for delimiter in occurring)
        raise DataError(
            f"{path}, line 1: the delimiter is ambiguous: the header contains {names}; put column names that "
            "contain one of them in quotes"
        )
    return occurring[0] if occurring else ","


def _header(path: Path, delimiter: str, max_characters: int) -> list[str]:
    """Return the cells of the header; none if it cannot be read with this delimiter."""
    with closing(csv_rows(path, max_characters, delimiter)) as rows:
        _, cells = next(rows)
    return [] if isinstance(cells, DataError) else cells


def _complete(cells: list[str]) -> bool:
    """Whether no quoted name was split, because it contains the delimiter."""
    return not any(cell.count('"') % 2 for cell in cells)


def csv_rows(
    path: Path, max_characters: int, delimiter: str = ","
) -> Generator[tuple[int, list[str] | DataError], None, None]:
    """Yield (first line of a row, its cells or the error), beginning with the header.

    A row has at most `max_characters` characters. Blank lines are skipped.
    """
    csv.field_size_limit(max_characters)  # a text may exceed the default limit of csv, 128 KiB
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        lines = _Lines(path, file, max_characters)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        header = True
        while True:
            first_line = reader.line_num + 1
            lines.begin_row()
            try:
                cells = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                yield first_line, DataError(f"{path}, line {first_line}: cannot be read as CSV: {error}")
            except DataError as error:
                yield first_line, error
            else:
                if cells or header:
                    yield first_line, cells
            header = False
        if header:
            yield 1, []


class _Lines:
    """Iterate over the lines of a file; check the length of a row and the UTF-8 encoding."""

    def __init__(self, path: Path, file: TextIO, max_characters: int) -> None:
        self._path = path
        self._file = file
        self._max_characters = max_characters
        self._left = max_characters
        self._number = 0

    def begin_row(self) -> None:
        """Start a new row at the next line."""
        self._left = self._max_characters

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._file.readline(self._max_characters + 1)
        if not line:
            raise StopIteration
        self._number += 1
        self._left -= len(line)
        where = f"{self._path}, line {self._number}"
        if self._left < 0:
            rest = line
            while not rest.endswith(("\n", "\r")) and (rest := self._file.readline(self._max_characters)):
                pass
            raise DataError(
                f"{where}: the row is too long; a row has at most {self._max_characters:,} characters"
            )
        try:
            line.encode()
        except UnicodeEncodeError as error:
            at = len(line[: error.start].encode())
            raise DataError(f"{where}: byte {at} is not UTF-8; save the file as UTF-8") from None
        return line
