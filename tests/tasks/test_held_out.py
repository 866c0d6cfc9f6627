"""`eval.fraction`: one data file, or one split, is divided into training rows and eval rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from lori_cl.errors import DataError
from lori_cl.tasks import eval_examples, read_task, train_examples
from lori_cl.tasks.duplicates import normalised
from lori_cl.tasks.held_out import split_rows
from lori_cl.tasks.rows import Rows

from .task_files import ENDINGS, classification, generation, write_bytes, write_rows

ROWS = [{"text": f"row number {i}", "label": ("negative", "positive")[i % 2]} for i in range(200)]
FIELDS = {"source": {"local": "data.csv"}, "eval": {"fraction": 0.25}}


def sides(folder: Path, **changes: Any) -> tuple[set[str], set[str]]:
    data = read_task(classification(**{**FIELDS, **changes}), folder)
    return {e.text for e in data.train}, {e.text for e in data.held_out}


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_row_of_a_file_is_a_training_or_an_eval_example(tmp_path: Path, ending: str) -> None:
    write_rows(tmp_path / f"data.{ending}", ROWS)
    train, held_out = sides(tmp_path, source={"local": f"data.{ending}"})
    assert train | held_out == {row["text"] for row in ROWS}
    assert train & held_out == set()
    assert 30 <= len(held_out) <= 70


def test_training_reads_the_same_side_as_add_task(tmp_path: Path) -> None:
    write_rows(tmp_path / "data.csv", ROWS)
    task = classification(**FIELDS)
    data = read_task(task, tmp_path)
    assert train_examples(task, tmp_path) == data.train
    assert eval_examples(task, tmp_path) == data.held_out


def test_an_example_keeps_its_row_number_in_the_file(tmp_path: Path) -> None:
    write_rows(tmp_path / "data.csv", ROWS)
    data = read_task(classification(**FIELDS), tmp_path)
    assert all(ROWS[e.id]["text"] == e.text for e in (*data.train, *data.held_out))


def test_rows_with_equal_inputs_stay_together(tmp_path: Path) -> None:
    other = [{"text": f" {row['text'].upper()}!", "label": "negative"} for row in ROWS]
    write_rows(tmp_path / "data.csv", [*ROWS, *other, *ROWS])
    train, held_out = sides(tmp_path)
    assert {normalised(text) for text in train}.isdisjoint(normalised(text) for text in held_out)


def test_rows_added_later_move_no_other_row(tmp_path: Path) -> None:
    write_rows(tmp_path / "data.csv", ROWS[:100])
    train, held_out = sides(tmp_path)
    write_rows(tmp_path / "data.csv", ROWS[::-1])
    later_train, later_held_out = sides(tmp_path)
    assert train <= later_train
    assert held_out <= later_held_out


def test_seed_changes_the_eval_rows(tmp_path: Path) -> None:
    write_rows(tmp_path / "data.csv", ROWS)
    assert sides(tmp_path, seed=1) == sides(tmp_path, seed=1)
    assert sides(tmp_path, seed=1) != sides(tmp_path, seed=2)


def test_a_folder_without_an_eval_file_can_be_split(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "train.csv", ROWS)
    write_rows(tmp_path / "data.csv", ROWS)
    assert sides(tmp_path, source={"local": "data"}) == sides(tmp_path)


def test_a_hub_data_set_can_be_split_and_keeps_its_row_numbers() -> None:
    rows = Rows(datasets.Dataset.from_list(ROWS), ["text", "label"], "hub[train]")
    train, held_out = split_rows(classification(**FIELDS), rows)
    both = [*train, *held_out]
    assert sorted(number for number, _ in both) == list(range(len(ROWS)))
    assert all(ROWS[number]["text"] == row["text"] for number, row in both)


def test_training_prompt_reads_its_own_columns_of_the_file(tmp_path: Path) -> None:
    write_rows(tmp_path / "data.csv", [{"q": f"q{i}", "a": "1", "hint": f"h{i}"} for i in range(50)])
    data = read_task(generation(**FIELDS, train={"prompt": "{{ q }} {{ hint }}"}), tmp_path)
    assert all(e.text == f"q{e.id} h{e.id}" for e in data.train)
    assert all(e.text == f"q{e.id}" for e in data.held_out)


def test_duplicates_are_reported_as_rows_of_the_split_that_is_divided(tmp_path: Path) -> None:
    write_rows(tmp_path / "data.csv", [{"q": f"q {i}", "a": "1"} for i in range(20)])
    held_out = read_task(generation(**FIELDS), tmp_path).held_out[0].text
    same = generation(**FIELDS, train={"prompt": held_out})  # every training prompt is this eval prompt
    with pytest.raises(DataError, match=r"of split 'train', equal to row \d+ of split 'train'"):
        read_task(same, tmp_path)


def test_file_without_a_fraction_is_refused_with_the_line_to_add(tmp_path: Path) -> None:
    write_rows(tmp_path / "data.csv", ROWS)
    with pytest.raises(DataError, match=r"one file for both splits; add `eval: \{fraction: 0\.1\}`"):
        read_task(classification(source={"local": "data.csv"}), tmp_path)


def test_each_split_may_be_a_file_of_its_own(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.csv", ROWS[:5])
    write_rows(tmp_path / "b.csv", ROWS[5:])
    files = {"source": {"local": "a.csv"}, "train": {"source": {"local": "b.csv"}}}
    data = read_task(classification(**files), tmp_path)
    assert (len(data.train), len(data.held_out)) == (195, 5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("data.txt", r"data\.txt: not a data file; source\.local is a folder, or a \.jsonl, "),
        ("absent.csv", r"no file 'absent\.csv'; tried "),
        ("../data.csv", "leads out of"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, message: str) -> None:
    write_bytes(tmp_path / "data.csv", b"text,label\na,positive\n")
    write_bytes(tmp_path / "tasks" / "data.txt", b"text,label\na,positive\n")
    with pytest.raises(DataError, match=message):
        read_task(classification(**{**FIELDS, "source": {"local": name}}), tmp_path / "tasks")


def test_extension_may_be_in_capitals(tmp_path: Path) -> None:
    write_rows(tmp_path / "data.csv", ROWS).rename(tmp_path / "DATA.CSV")
    assert len(sides(tmp_path, source={"local": "DATA.CSV"})[0]) > 100


@pytest.mark.parametrize(("fraction", "advice"), [(0.001, "raise it"), (0.999, "lower it")])
def test_side_without_rows_is_refused(tmp_path: Path, fraction: float, advice: str) -> None:
    write_rows(tmp_path / "data.csv", ROWS[:3])
    with pytest.raises(DataError, match=rf"eval\.fraction {fraction} holds out . of 3 rows; {advice}"):
        sides(tmp_path, eval={"fraction": fraction})


def test_skipped_rows_of_a_file_are_reported_once(tmp_path: Path) -> None:
    write_rows(tmp_path / "data.csv", [*ROWS, {"text": "", "label": "positive"}])
    task = classification(source={"local": "data.csv", "skip_invalid": 1}, eval={"fraction": 0.25})
    (skipped,) = read_task(task, tmp_path).skipped
    assert (skipped.split, skipped.n) == ("train", 1)
    assert len(sides(tmp_path, source=task.source.model_dump())[0]) > 100


def test_eval_limit_draws_from_the_held_out_rows(tmp_path: Path) -> None:
    write_rows(tmp_path / "data.csv", ROWS)
    train, held_out = sides(tmp_path)
    limited = sides(tmp_path, eval={"fraction": 0.25, "limit": 5})
    assert limited[0] == train
    assert limited[1] < held_out
