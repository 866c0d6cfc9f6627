"""The rows of a CSV file, read line by line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from lori_cl.errors import DataError


def csv_rows(path: Path, longest: int) -> Iterator[tuple[int, list[str] | DataError]]:
    """(the line on which a row begins, its cells, or what is wrong with it); the header first.

    A row has at most `longest` characters. Blank lines are left out.
    """
    csv.field_size_limit(longest)  # a text may be longer than the 128 KiB that csv expects
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        lines = _Lines(path, file, longest)
        reader = csv.reader(lines, strict=True)
        header = True
        while True:
            begins = reader.line_num + 1
            lines.begin_row()
            try:
                cells = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                yield begins, DataError(f"{path}, line {begins}: cannot be read as CSV: {error}")
            except DataError as error:
                yield begins, error
            else:
                if cells or header:
                    yield begins, cells
            header = False
        if header:
            yield 1, []


class _Lines:
    """The lines of a file, as long as a row may be, and UTF-8."""

    def __init__(self, path: Path, file: TextIO, longest: int) -> None:
        self._path = path
        self._file = file
        self._longest = longest
        self._left = longest
        self._number = 0

    def begin_row(self) -> None:
        """The next line begins a row."""
        self._left = self._longest

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._file.readline(self._longest + 1)
        if not line:
            raise StopIteration
        self._number += 1
        self._left -= len(line)
        where = f"{self._path}, line {self._number}"
        if self._left < 0:
            rest = line
            while not rest.endswith(("\n", "\r")) and (rest := self._file.readline(self._longest)):
                pass
            raise DataError(f"{where}: a row has at most {self._longest:,} characters")
        try:
            line.encode()
        except UnicodeEncodeError as error:
            at = len(line[: error.start].encode())
            raise DataError(f"{where}: byte {at} is not UTF-8; save the file as UTF-8") from None
        return line
