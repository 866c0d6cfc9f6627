from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lori_cl.errors import DataError
from lori_cl.tasks import train_examples

from .task_files import ENDINGS, classification, generation, write_bytes, write_rows

TOPICS = ("World", "Sports", "Business", "Science or Technology")


def read(tmp_path: Path, rows: list[dict[str, Any]], labels: tuple[str, ...] = TOPICS) -> list[str]:
    write_rows(tmp_path / "data" / "train.jsonl", rows)
    return [example.target for example in train_examples(classification(labels), tmp_path)]


def labelled(*labels: Any) -> list[dict[str, Any]]:
    return [{"text": f"text {i}", "label": label} for i, label in enumerate(labels)]


def test_unknown_label_is_reported_with_file_line_and_nearest_label(tmp_path: Path) -> None:
    with pytest.raises(DataError) as unknown:
        read(tmp_path, labelled("World", "Sports", "Sprots"))
    assert str(unknown.value) == (
        f"{tmp_path / 'data' / 'train.jsonl'}, line 3: label 'Sprots' is not in the label set. "
        "Did you mean 'Sports'?"
    )


def test_unknown_label_without_a_near_match_lists_the_label_set(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"line 1: label 'xyz' .* Available: World, Sports, Business, Science or Technology\.$",
    ):
        read(tmp_path, labelled("xyz"))


def test_csv_line_numbers_count_the_header(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "train.csv", labelled("World", "Wrld"))
    with pytest.raises(DataError, match=r"train\.csv, line 3: label 'Wrld'"):
        train_examples(classification(TOPICS), tmp_path)


def test_parquet_errors_give_row_numbers(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "train.parquet", labelled("World", "Wrld"))
    with pytest.raises(DataError, match=r"train\.parquet, row 2: label 'Wrld'"):
        train_examples(classification(TOPICS), tmp_path)


def test_blank_line_does_not_shift_the_line_numbers(tmp_path: Path) -> None:
    first, second = (json.dumps(row) for row in labelled("World", "Wrld"))
    write_bytes(tmp_path / "data" / "train.jsonl", f"{first}\n\n{second}\n".encode())
    with pytest.raises(DataError, match=r"train\.jsonl, line 3: label 'Wrld'"):
        train_examples(classification(TOPICS), tmp_path)


def test_line_break_in_a_csv_cell_does_not_shift_reported_positions(tmp_path: Path) -> None:
    rows = [{"text": "two\nlines", "label": "World"}, {"text": "b", "label": "Wrld"}]
    write_rows(tmp_path / "data" / "train.csv", rows)
    with pytest.raises(DataError, match=r"train\.csv, (line 4|row 2): label 'Wrld'"):
        train_examples(classification(TOPICS), tmp_path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_integers_are_labels_by_position(tmp_path: Path, ending: str) -> None:
    write_rows(tmp_path / "data" / f"train.{ending}", labelled(0, 3, 1))
    targets = [example.target for example in train_examples(classification(TOPICS), tmp_path)]
    assert targets == ["World", "Science or Technology", "Sports"]


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_missing_label_among_integers_is_reported_with_its_line(tmp_path: Path, ending: str) -> None:
    write_rows(tmp_path / "data" / f"train.{ending}", labelled(1, None))
    with pytest.raises(DataError, match=rf"train\.{ending}, line {2 if ending == 'jsonl' else 3}: label"):
        train_examples(classification(TOPICS), tmp_path)


@pytest.mark.parametrize("number", [-1, 4])
def test_number_outside_the_label_set_is_refused(tmp_path: Path, number: int) -> None:
    with pytest.raises(DataError, match=rf"line 2: label '{number}' is not in the label set"):
        read(tmp_path, labelled(0, number))


def test_numeric_label_names_are_matched_by_name(tmp_path: Path) -> None:
    assert read(tmp_path, labelled(5, 1, "3"), ("1", "2", "3", "4", "5")) == ["5", "1", "3"]


def test_numeric_label_names_are_never_matched_by_position(
    tmp_path: Path,
) -> None:
    # The hub counts five stars from 0. Row by row, both 0 (by position) and 1 (by name) would mean label '1'.
    with pytest.raises(DataError, match="line 1: label '0' is not in the label set"):
        read(tmp_path, labelled(0, 1, 2, 3, 4), ("1", "2", "3", "4", "5"))


def test_bool_labels_are_matched_by_name(tmp_path: Path) -> None:
    assert read(tmp_path, labelled(True, False), ("False", "True")) == ["True", "False"]


def test_bool_is_not_a_label_position(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 1: label 'True' is not in the label set"):
        read(tmp_path, labelled(True), ("ham", "spam"))


@pytest.mark.parametrize("label", [None, 1.5, "", "worlds"])
def test_label_outside_the_label_set_is_refused_with_its_line(tmp_path: Path, label: Any) -> None:
    with pytest.raises(DataError, match=r"line 2: label .* is not in the label set"):
        read(tmp_path, [{"text": "a", "label": "World"}, {"text": "b", "label": label}])


@pytest.mark.parametrize("text", [None, "", " \t\n", ["a", "list"], 7])
def test_row_without_text_is_refused_with_its_line(tmp_path: Path, text: Any) -> None:
    rows = [{"text": text, "label": "World"}]
    write_rows(tmp_path / "data" / "train.jsonl", rows)
    with pytest.raises(DataError, match=r"train\.jsonl, line 1: column 'text' contains no text$"):
        train_examples(classification(TOPICS), tmp_path)


def test_empty_csv_cell_is_a_missing_text(tmp_path: Path) -> None:
    write_bytes(tmp_path / "data" / "train.csv", b"text,label\na,World\n,World\n")
    with pytest.raises(DataError, match=r"train\.csv, line 3: column 'text' contains no text$"):
        train_examples(classification(TOPICS), tmp_path)


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_empty_file_is_refused(tmp_path: Path, ending: str) -> None:
    path = write_bytes(tmp_path / "data" / f"train.{ending}", b"")
    with pytest.raises(DataError, match="the file is empty") as empty:
        train_examples(classification(), tmp_path)
    assert str(path) in str(empty.value)


def zero_rows_parquet(path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())}), path)


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_file_without_rows_gives_no_examples(tmp_path: Path, ending: str) -> None:
    path = write_bytes(tmp_path / "data" / f"train.{ending}", b"\n" if ending == "jsonl" else b"text,label\n")
    if ending == "parquet":
        zero_rows_parquet(path)
    with pytest.raises(DataError, match=r"no examples$") as empty:
        train_examples(classification(), tmp_path)
    assert str(path) in str(empty.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"text": "b", "label": }', "invalid JSON: Expecting value"),
        (b'{"text": "b"', "invalid JSON: Expecting ',' delimiter"),
        (b'["b", "World"]', "expected one JSON object per line"),
        (b'{"text": "caf\xe9", "label": "World"}', "byte 13 is not UTF-8; save the file as UTF-8"),
        (b'{"text": "\xff", "label": "World"}', "byte 10 is not UTF-8; save the file as UTF-8"),
    ],
    ids=["no value", "cut", "list", "latin-1", "no text"],
)
def test_line_that_is_not_a_json_object_is_reported(tmp_path: Path, line: bytes, words: str) -> None:
    good = b'{"text": "a", "label": "World"}\n'
    path = write_bytes(tmp_path / "data" / "train.jsonl", good * 2 + line + b"\n" + good)
    with pytest.raises(DataError) as bad:
        train_examples(classification(TOPICS), tmp_path)
    assert str(bad.value) == f"{path}, line 3: {words}"


def test_csv_that_is_not_utf8_is_refused_with_its_path(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "data" / "train.csv", "text,label\ncafé,World\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"(?i)utf-8") as bad:
        train_examples(classification(TOPICS), tmp_path)
    assert str(path) in str(bad.value)


def test_csv_row_with_too_many_cells_is_reported_with_its_line(tmp_path: Path) -> None:
    write_bytes(tmp_path / "data" / "train.csv", b"text,label\na,World\nb,World,more\n")
    with pytest.raises(DataError, match=r"train\.csv.* line 3"):
        train_examples(classification(TOPICS), tmp_path)


def test_invalid_parquet_file_is_refused_with_its_path(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "data" / "train.parquet", b"no parquet at all")
    with pytest.raises(DataError, match="cannot be read as PARQUET: ") as bad:
        train_examples(classification(), tmp_path)
    assert str(path) in str(bad.value)


@pytest.mark.parametrize("answer", ["", " \n "])
def test_empty_answer_is_refused_with_its_line(tmp_path: Path, answer: str) -> None:
    write_rows(tmp_path / "data" / "train.jsonl", [{"q": "x", "a": "y"}, {"q": "x", "a": answer}])
    with pytest.raises(DataError, match=r"train\.jsonl, line 2: the answer is empty$"):
        train_examples(generation(), tmp_path)


def test_empty_prompt_is_refused_with_its_line(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "train.jsonl", [{"q": "x", "a": "y"}, {"q": "", "a": "y"}])
    with pytest.raises(DataError, match=r"train\.jsonl, line 2: the prompt is empty$"):
        train_examples(generation(), tmp_path)


@pytest.mark.parametrize("column", ["q", "a"])
def test_null_is_never_written_into_a_prompt_or_an_answer(tmp_path: Path, column: str) -> None:
    write_rows(tmp_path / "data" / "train.jsonl", [{"q": "x", "a": "y"}, {"q": "x", "a": "y", column: None}])
    with pytest.raises(DataError, match=r"train\.jsonl, line 2: .*"):
        train_examples(generation(), tmp_path)
