"""XLSX files: one sheet with a header. Archives and XML from strangers do no harm."""

from __future__ import annotations

import sys
import tracemalloc
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from lori_cl.errors import DataError
from lori_cl.spec.task import Source
from lori_cl.tasks import Example, read_task, train_examples, xlsx_rows
from lori_cl.tasks.sources import read_split
from tests.attempts import refusal_of
from tests.nightly import only_in_ci

from .task_files import classification, generation, write_bytes

HEADER = ["text", "label"]
SHEET = "xl/worksheets/sheet1.xml"


def write(folder: Path, *sheets: Sequence[Sequence[Any]]) -> Path:
    """Write a workbook; each sheet is a list of rows."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for rows in sheets:
        sheet = book.create_sheet()
        for row in rows:
            sheet.append(row)
    path = folder / "data" / "train.xlsx"
    path.parent.mkdir(exist_ok=True)
    book.save(path)
    return path


def replace(path: Path, part: str, content: bytes) -> None:
    """Write a part of a workbook anew; it is added if it does not exist."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, before in {**parts, part: content}.items():
            archive.writestr(name, content if name == part else before)


def sheet_of(rows: str, prolog: str = "") -> bytes:
    namespace = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    return f'{prolog}<worksheet xmlns="{namespace}"><sheetData>{rows}</sheetData></worksheet>'.encode()


def test_rows_of_the_only_sheet_with_content_are_read(tmp_path: Path) -> None:
    write(tmp_path, [], [HEADER, ["naïve 🙂\nline", "positive"], [], ["007", "negative"]], [])
    assert train_examples(classification(), tmp_path) == [
        Example(0, "naïve 🙂\nline", "positive"),
        Example(1, "007", "negative"),
    ]


def test_workbook_can_be_the_only_file_of_a_task(tmp_path: Path) -> None:
    rows = [HEADER, *([f"row number {i}", ("positive", "negative")[i % 2]] for i in range(60))]
    write(tmp_path, rows)
    task = classification(source={"local": "data/train.xlsx"}, eval={"fraction": 0.3})
    data = read_task(task, tmp_path)
    assert len(data.train) + len(data.held_out) == 60


def test_numbers_and_truth_values_keep_their_types(tmp_path: Path) -> None:
    write(tmp_path, [["a", "b", "c"], [1, 1.5, True]])
    ((_, row),) = read_split(Source(local="data"), "train", tmp_path)
    assert [type(value) for value in row.values()] == [int, float, bool]


def test_blank_rows_above_the_header_and_columns_without_a_name_are_ignored(tmp_path: Path) -> None:
    write(tmp_path, [[], [None, *HEADER], ["note", "a", "positive", "stray"], [None, "b", "negative"]])
    assert [e.text for e in train_examples(classification(), tmp_path)] == ["a", "b"]


def test_error_names_the_line_of_the_sheet(tmp_path: Path) -> None:
    write(tmp_path, [HEADER, ["a", "positive"], [], ["b", "neutral"]])
    with pytest.raises(DataError, match=r"train\.xlsx, line 4: label 'neutral' is not in the label set"):
        train_examples(classification(), tmp_path)


def test_cell_with_an_error_is_an_invalid_row(tmp_path: Path) -> None:
    write(tmp_path, [HEADER, ["a", "positive"], ["#N/A", "positive"]])
    with pytest.raises(DataError, match="line 3: column 'text' contains the error #N/A"):
        train_examples(classification(), tmp_path)
    skipping = classification(source={"local": "data", "skip_invalid": 1})
    assert [e.text for e in train_examples(skipping, tmp_path)] == ["a"]


def test_several_sheets_with_content_are_refused(tmp_path: Path) -> None:
    write(tmp_path, [HEADER, ["a", "positive"]], [["notes"]])
    with pytest.raises(DataError, match=r"2 sheets have content \('Sheet', 'Sheet1'\); keep one"):
        train_examples(classification(), tmp_path)


@pytest.mark.parametrize("rows", [[], [HEADER]])
def test_empty_workbook_is_refused(tmp_path: Path, rows: list[Any]) -> None:
    write(tmp_path, rows)
    with pytest.raises(DataError, match="no examples"):
        train_examples(classification(), tmp_path)


def test_misspelt_and_repeated_columns_are_refused(tmp_path: Path) -> None:
    write(tmp_path, [["text", "lable", "text"], ["a", "positive", "b"]])
    with pytest.raises(DataError, match="two columns are named 'text'"):
        train_examples(classification(), tmp_path)
    write(tmp_path, [["text", "lable"], ["a", "positive"]])
    with pytest.raises(DataError, match="Did you mean 'lable'"):
        train_examples(classification(), tmp_path)


def test_missing_package_is_one_line_that_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, [HEADER, ["a", "positive"]])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(DataError, match=r"train\.xlsx: .*: pip install 'lori-cl\[xlsx\]'$"):
        train_examples(classification(), tmp_path)


DOCTYPE = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize("part", [SHEET, "xl/workbook.xml", "xl/styles.xml", "[Content_Types].xml"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_document_type_is_refused(tmp_path: Path, part: str, encoding: str) -> None:
    path = write(tmp_path, [HEADER, ["a", "positive"]])
    content = f'<?xml version="1.0" encoding="{encoding}"?>{DOCTYPE}<x>&b;</x>'.encode(encoding)
    replace(path, part, content)
    with pytest.raises(DataError, match="has a document type"):
        train_examples(classification(), tmp_path)


def test_external_entity_is_never_opened(tmp_path: Path) -> None:
    path = write(tmp_path, [HEADER, ["a", "positive"]])
    (tmp_path / "secret").write_text("secret")
    prolog = f'<!DOCTYPE x [<!ENTITY a SYSTEM "file://{tmp_path}/secret">]>'
    cells = '<row r="1"><c r="A1" t="inlineStr"><is><t>text &a;</t></is></c></row>'
    replace(path, SHEET, sheet_of(cells, prolog))
    with pytest.raises(DataError, match="has a document type") as refused:
        train_examples(classification(), tmp_path)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("part", "content"),
    [
        (SHEET, sheet_of("<row/>" * 3_000_000)),
        (SHEET, sheet_of('<row r="1"><c r="A1" t="inlineStr"><is><t>' + "a" * 2**25 + "</t></is></c></row>")),
        ("xl/sharedStrings.xml", b"<sst>" + b"<si/>" * 3_000_000 + b"</sst>"),
        ("xl/media/image1.png", bytes(2**25)),
    ],
    ids=["elements", "text", "strings", "image"],
)
def test_archive_that_unpacks_to_a_large_size_is_refused_before_it_is_parsed(
    tmp_path: Path, part: str, content: bytes
) -> None:
    path = write(tmp_path, [HEADER, ["a", "positive"]])
    replace(path, part, content)
    assert path.stat().st_size < 2**17
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"the decoded content exceeds|elements and attributes"):
            train_examples(classification(), tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_false_size_in_the_archive_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, [HEADER, ["a", "positive"]])
    replace(path, "xl/media/image1.png", bytes(2**25))
    raw = path.read_bytes()
    path.write_bytes(raw.replace((2**25).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(DataError, match="cannot be read as XLSX"):
        train_examples(classification(), tmp_path)


@pytest.mark.parametrize("row", only_in_ci(["999999999999"], ["1048576", "999999999999", "-5", "1e300"]))
def test_row_number_far_below_the_header_takes_little_time_and_memory(tmp_path: Path, row: str) -> None:
    path = write(tmp_path, [HEADER, ["a", "positive"]])
    cells = "".join(f'<c t="inlineStr"><is><t>{name}</t></is></c>' for name in HEADER)
    replace(path, SHEET, sheet_of(f'<row r="1">{cells}</row><row r="{row}"><c t="n"><v>1</v></c></row>'))
    with pytest.raises(DataError):
        train_examples(classification(), tmp_path)


def test_column_far_to_the_right_is_ignored(tmp_path: Path) -> None:
    path = write(tmp_path, [HEADER, ["a", "positive"]])
    with zipfile.ZipFile(path) as archive:
        sheet = archive.read(SHEET)
    replace(path, SHEET, sheet.replace(b"</row></sheetData>", b'<c r="ZZZ2"><v>1</v></c></row></sheetData>'))
    assert [e.text for e in train_examples(classification(), tmp_path)] == ["a"]


def test_too_many_columns_are_refused(tmp_path: Path) -> None:
    write(tmp_path, [[f"c{i}" for i in range(1_001)], ["a"]])
    with pytest.raises(DataError, match="1,001 columns; the maximum is 1,000"):
        train_examples(generation(), tmp_path)


@pytest.mark.parametrize("content", [b"no archive", b"PK\x03\x04", b"\xd0\xcf\x11\xe0" * 200])
def test_invalid_workbook_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    write_bytes(tmp_path / "data" / "train.xlsx", content)
    with pytest.raises(DataError, match=r"^.*train\.xlsx: cannot be read as XLSX: [^\n]*$"):
        train_examples(classification(), tmp_path)


@pytest.mark.parametrize("part", ["[Content_Types].xml", "xl/workbook.xml", SHEET, "xl/styles.xml"])
@pytest.mark.parametrize("content", [b"", b"<", b"<a/>", b"\xff\xfe", b"<a>" * 10_000])
def test_invalid_part_is_refused_or_ignored(tmp_path: Path, part: str, content: bytes) -> None:
    path = write(tmp_path, [HEADER, ["a", "positive"]])
    replace(path, part, content)
    refusal = refusal_of(lambda: train_examples(classification(), tmp_path))
    assert refusal is None or refusal.startswith(str(path))


def test_large_file_is_refused_before_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, [HEADER, ["a", "positive"]])
    monkeypatch.setattr(xlsx_rows, "MAX_FILE_BYTES", 100)
    with pytest.raises(DataError, match="an XLSX file has at most 100; save the data as CSV"):
        train_examples(classification(), tmp_path)


def test_too_many_rows_are_refused_even_if_the_last_ones_are_blank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, [HEADER, *([f"row {i}", "positive"] for i in range(20)), [], [], ["last", "positive"]])
    monkeypatch.setattr(xlsx_rows, "MAX_CELLS", 44)
    with pytest.raises(DataError, match="more than 22 rows for 2 columns"):
        train_examples(classification(), tmp_path)
    monkeypatch.setattr(xlsx_rows, "MAX_CELLS", 48)
    assert len(train_examples(classification(), tmp_path)) == 21
