"""Read the rows of an XLSX file with openpyxl, after checks that make its archive and its XML harmless.

An archive can unpack to a large size, and openpyxl makes an object of every element. So the sizes that the
archive declares are limited, which zipfile enforces, and so is the number of elements and attributes. A
document type, which can define entities, is refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any
from xml.parsers import expat
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from lori_cl.errors import DataError, first_line
from lori_cl.tasks.rows import RowCollector, decoded_size

MAX_FILE_BYTES = 2**27
FREE_BYTES = 2**24
"""Unpacked size that every file may have."""
GROWTH = 32
"""Unpacked bytes per byte of the file, in addition to FREE_BYTES."""
FREE_MARKUP = 200_000
"""Number of elements and attributes that every file may have."""
MARKUP_PER_BYTE = 4
MAX_MARKUP = 2**25
MAX_PARTS = 10_000
MAX_SHEET_ROWS = 2**20
"""The number of rows of a sheet in Excel."""
MAX_CELLS = 2**26
"""Maximum number of rows times columns of a sheet, blank ones included."""
MAX_HEADER_LINE = 100
"""The last line that may have the column names."""
CHUNK = 2**20

Cells = Sequence[Any]


def read_xlsx(
    path: Path,
    collector: RowCollector,
    check_columns: Callable[[list[str]], None],
    max_row_bytes: int,
    max_columns: int,
) -> None:
    """Collect the rows of the only sheet with content; its first row that is not blank has the column names.

    Raises: DataError, if openpyxl is not installed, or the file is invalid, too large or has several sheets.
    """
    try:
        from openpyxl import load_workbook  # an optional dependency
    except ImportError:
        raise DataError(f"{path}: XLSX needs the package openpyxl: pip install 'lori-cl[xlsx]'") from None
    try:
        with path.open("rb") as file, warnings.catch_warnings(action="ignore"):
            _check_archive(path, file)
            book = load_workbook(file, read_only=True, data_only=True, keep_links=False)
            sheet, line, names = _sheet(path, book, max_columns)
            read = [(name, i) for i, name in enumerate(names) if name and collector.reads(name)]
            collector.columns |= dict.fromkeys(name for name in names if name)
            check_columns([name for name, _ in read])
            most = min(MAX_SHEET_ROWS, MAX_CELLS // len(names))
            for number, cells in _rows(sheet, line + 1, most + 1, len(names)):
                _require(path, number <= most, f"more than {most:,} rows for {len(names):,} columns")
                if not _is_blank(cells):
                    _keep(cells, read, collector, collector.begin(number), max_row_bytes)
    except DataError:
        raise
    except Exception as error:  # the errors of zipfile, expat and openpyxl
        raise DataError(f"{path}: cannot be read as XLSX: {first_line(error)}") from error


def _check_archive(path: Path, file: IO[bytes]) -> None:
    size = path.stat().st_size
    _require(path, size <= MAX_FILE_BYTES, f"{size:,} bytes; an XLSX file has at most {MAX_FILE_BYTES:,}")
    most_bytes = FREE_BYTES + GROWTH * size
    most_markup = min(MAX_MARKUP, FREE_MARKUP + MARKUP_PER_BYTE * size)
    markup = 0
    with ZipFile(file) as archive:
        parts = archive.infolist()
        _require(path, len(parts) <= MAX_PARTS, f"{len(parts):,} parts; the maximum is {MAX_PARTS:,}")
        unpacked = sum(part.file_size for part in parts)
        _require(path, unpacked <= most_bytes, f"the decoded content exceeds {most_bytes:,} bytes")
        for part in parts:
            for n in _scan(path, archive, part):
                markup += n
                _require(path, markup <= most_markup, f"more than {most_markup:,} elements and attributes")


def _scan(path: Path, archive: ZipFile, part: ZipInfo) -> Iterator[int]:
    """Yield the number of elements and attributes, at most, of each chunk of a part.

    Raises: DataError, if the part has a document type or an unusual compression.
    """
    _require(
        path,
        part.compress_type in (ZIP_STORED, ZIP_DEFLATED),
        f"'{part.filename}' has an unknown compression",
    )
    prolog = _Prolog(path, part.filename)
    with archive.open(part) as content:
        while chunk := content.read(CHUNK):
            prolog.feed(chunk)
            yield chunk.count(b"<") + chunk.count(b"=")


class _Prolog:
    """Reads a part of the archive up to its root element; a document type can only stand before it."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._in_prolog = True
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._end
        self._parser.StartDoctypeDeclHandler = self._refuse

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes; Raises: DataError, if they begin a document type."""
        if self._in_prolog:
            try:
                self._parser.Parse(chunk, False)
            except expat.ExpatError:  # an image, or invalid XML, which openpyxl refuses
                self._in_prolog = False

    def _end(self, *_: Any) -> None:
        self._in_prolog = False

    def _refuse(self, *_: Any) -> None:
        raise DataError(f"{self._path}: '{self._name}' has a document type, which is not allowed in XLSX")


def _sheet(path: Path, book: Any, max_columns: int) -> tuple[Any, int, list[str]]:
    """Return the only sheet with content, the line of its header, and the names of its columns."""
    found = []
    for sheet in book.worksheets:
        sheet.reset_dimensions()  # the declared size may be wrong
        rows = _rows(sheet, 1, MAX_HEADER_LINE, max_columns + 1)
        header = next(((line, cells) for line, cells in rows if not _is_blank(cells)), None)
        if header is not None:
            found.append((sheet, header[0], _names(header[1])))
    if len(found) > 1:
        titles = ", ".join(f"'{sheet.title}'" for sheet, *_ in found[:5])
        raise DataError(
            f"{path}: {len(found):,} sheets have content ({titles}{', …' if len(found) > 5 else ''}); "
            "keep one of them, or save one as CSV"
        )
    if not found:
        raise DataError(f"{path}: no examples; the first {MAX_HEADER_LINE} rows of each sheet are blank")
    n_columns = len(found[0][2])
    _require(path, n_columns <= max_columns, f"{n_columns:,} columns; the maximum is {max_columns:,}")
    return found[0]


def _names(cells: Cells) -> list[str]:
    names = ["" if cell.value is None else str(cell.value) for cell in cells]
    while not names[-1]:
        names.pop()
    return names


def _rows(sheet: Any, first: int, last: int, width: int) -> Iterator[tuple[int, Cells]]:
    """Yield the line and the cells of each row from `first` to `last`."""
    return enumerate(sheet.iter_rows(min_row=first, max_row=last, max_col=width), start=first)


def _is_blank(cells: Cells) -> bool:
    return all(cell.value in (None, "") for cell in cells)


def _keep(
    cells: Cells, read: Sequence[tuple[str, int]], collector: RowCollector, where: str, max_row_bytes: int
) -> None:
    row = {name: cells[i].value for name, i in read}
    errors = [name for name, i in read if cells[i].data_type == "e"]
    size = sum(map(decoded_size, row.values()))
    if errors:
        collector.drop(DataError(f"{where}: column '{errors[0]}' contains the error {row[errors[0]]}"))
    elif size > max_row_bytes:
        collector.drop(DataError(f"{where}: {size:,} bytes; a row has at most {max_row_bytes:,} bytes"))
    else:
        collector.keep(row)


def _require(path: Path, condition: bool, problem: str) -> None:
    if not condition:
        raise DataError(f"{path}: {problem}; save the data as CSV, or shorten the file")
