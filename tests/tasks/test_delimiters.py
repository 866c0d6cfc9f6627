"""The delimiter of a CSV file: comma, semicolon or tab, by its header."""

from __future__ import annotations

from pathlib import Path

import pytest

from lori_cl.errors import DataError
from lori_cl.spec.task import Source
from lori_cl.tasks import Example, train_examples
from lori_cl.tasks.sources import read_split

from .task_files import classification, write_bytes

TASK = classification(columns={"text": "Text", "label": "Label"})


def examples(folder: Path, content: str, name: str = "train.csv") -> list[Example]:
    write_bytes(folder / "data" / name, content.encode())
    return train_examples(TASK, folder)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_delimiter_is_found_in_the_header(tmp_path: Path, delimiter: str, mark: str) -> None:
    rows = [["Text", "Label"], ['"a, b; c\td"', "positive"]]
    content = mark + "".join(delimiter.join(cells) + "\r\n" for cells in rows)
    assert examples(tmp_path, content) == [Example(0, "a, b; c\td", "positive")]


def test_text_may_contain_the_other_delimiters_without_quotes(tmp_path: Path) -> None:
    assert examples(tmp_path, "Text;Label\na, b, c;positive\n") == [Example(0, "a, b, c", "positive")]


def test_quoted_column_name_may_contain_a_delimiter(tmp_path: Path) -> None:
    content = 'Text;Label;"Notes, private"\na;positive;x\n'
    assert examples(tmp_path, content) == [Example(0, "a", "positive")]
    assert read_split(Source(local="data"), "train", tmp_path).columns == ["Text", "Label", "Notes, private"]


def test_the_delimiter_that_gives_the_columns_of_the_task_is_used(tmp_path: Path) -> None:
    content = "Text,Label,Notes (a; b)\nx,positive,y\n"
    assert examples(tmp_path, content) == [Example(0, "x", "positive")]


def test_ambiguous_delimiter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.csv, line 1: .* contains comma and semicolon; put column"):
        examples(tmp_path, "Text,Label;Notes\nx,positive;y\n")


def test_one_column_needs_no_delimiter(tmp_path: Path) -> None:
    write_bytes(tmp_path / "data" / "train.csv", b"Text\na;b\n")
    assert next(iter(read_split(Source(local="data"), "train", tmp_path)))[1] == {"Text": "a;b"}


def test_tsv_file_has_tabs(tmp_path: Path) -> None:
    content = "Text\tLabel\nx, y; z\tpositive\n"
    assert examples(tmp_path, content, "train.tsv") == [Example(0, "x, y; z", "positive")]
    write_bytes(tmp_path / "data" / "train.tsv", b"Text,Label\nx,positive\n")
    with pytest.raises(DataError, match="unknown column 'Text'"):
        train_examples(TASK, tmp_path)


def test_row_with_another_delimiter_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 3: 1 cells, but 2 columns"):
        examples(tmp_path, "Text;Label\na;positive\nb,positive\n")
