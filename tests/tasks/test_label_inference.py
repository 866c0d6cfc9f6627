"""A task without `labels` gets those of its label column, if they can be a label set."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest

from lori_cl.errors import DataError, SpecError
from lori_cl.spec import ClassificationSpec, load_task, task_from_record
from lori_cl.tasks import TaskData, read_task
from lori_cl.tasks.label_inference import infer_labels
from lori_cl.tasks.rows import Rows

from .task_files import ENDINGS, classification, write_rows


def without_labels(**fields: Any) -> ClassificationSpec:
    declared = {"name": "t", "kind": "classification", "source": {"local": "data"}, **fields}
    return ClassificationSpec.model_validate(declared)


def read(
    folder: Path, train: Sequence[Any], test: Sequence[Any], task: Any = None, ending: str = "jsonl"
) -> TaskData:
    for split, values in (("train", train), ("test", test)):
        rows = [{"text": f"{split} {i}", "label": value} for i, value in enumerate(values)]
        write_rows(folder / "data" / f"{split}.{ending}", rows)
    return read_task(task or without_labels(), folder)


def labels(data: TaskData) -> list[str]:
    assert isinstance(data.task, ClassificationSpec)
    return list(data.task.labels)


@pytest.mark.parametrize("ending", ENDINGS)
def test_texts_of_both_splits_are_labels_in_alphabetical_order(tmp_path: Path, ending: str) -> None:
    data = read(tmp_path, ["no", "yes", "no"], ["maybe"], ending=ending)
    assert labels(data) == ["maybe", "no", "yes"]
    assert data.inferred == "3 labels inferred from column 'label': maybe (1), no (2), yes (1)"
    assert [e.target for e in data.train] == ["no", "yes", "no"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_whole_numbers_are_labels_in_numerical_order(tmp_path: Path, ending: str) -> None:
    data = read(tmp_path, [10, 2, 1], [1, 2], ending=ending)
    assert labels(data) == ["1", "2", "10"]
    assert str(data.inferred).endswith("1 (2), 2 (2), 10 (1); give the numbers names: `labels: {…}`")
    assert [e.target for e in data.train] == ["10", "2", "1"]


def test_truth_values_are_labels(tmp_path: Path) -> None:
    assert labels(read(tmp_path, [True, False], [True])) == ["false", "true"]


def test_whole_floats_are_labels(tmp_path: Path) -> None:
    data = read(tmp_path, [1.0, 0.0], [1.0], ending="parquet")
    assert labels(data) == ["0", "1"]
    assert [e.target for e in data.train] == ["1", "0"]


def test_spaces_around_a_value_are_not_part_of_the_label(tmp_path: Path) -> None:
    assert labels(read(tmp_path, [" no", "yes "], ["no"])) == ["no", "yes"]


def test_missing_label_is_refused_with_its_line_and_is_no_label(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.jsonl, line 2: label None is not in the label set"):
        read(tmp_path, ["no", None, "yes"], ["no"])
    skipping = without_labels(source={"local": "data", "skip_invalid": 2})
    data = read(tmp_path, ["no", None, "", "yes"], ["no"], skipping)
    assert labels(data) == ["no", "yes"]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([f"value {i}" for i in range(101)], r"101 distinct values, more than 100 \('value 0', 'value 1', "),
        (["only"], "only the value 'only'"),
        ([None], "no value"),
        ([0.5, 1.5], "the number 0.5, but only whole numbers up to 1,000"),
        (["1", "0.25"], "the number 0.25, but only whole"),
        ([1, 123_456], "the number 123456, but"),
        ([1, 10**15], "the number 1000000000000000, but"),
        (["Yes", "yes", "no"], "'Yes' and 'yes', which differ only in spelling"),
        (["1", "1.0", "2"], "'1' and '1.0', which differ only in spelling"),
        (["no", "a" * 300], "a text of 300 characters"),
    ],
)
def test_values_that_are_no_label_set_are_refused(tmp_path: Path, values: list[Any], problem: str) -> None:
    with pytest.raises(DataError, match=rf"cannot be inferred: column 'label' contains {problem}"):
        read(tmp_path, values, values[:1])


def test_one_hundred_labels_are_inferred(tmp_path: Path) -> None:
    data = read(tmp_path, [f"value {i:02}" for i in range(100)], ["value 00"])
    assert len(labels(data)) == 100
    assert str(data.inferred).endswith("value 11 (1), …")


def test_labels_of_one_file_are_those_of_all_its_rows(tmp_path: Path) -> None:
    rows = [{"text": f"row number {i}", "label": "rare" if i == 7 else "often"} for i in range(50)]
    write_rows(tmp_path / "data.csv", rows)
    task = without_labels(source={"local": "data.csv"}, eval={"fraction": 0.2})
    assert labels(read_task(task, tmp_path)) == ["often", "rare"]


def test_declared_labels_are_not_replaced(tmp_path: Path) -> None:
    data = read(tmp_path, ["negative"], ["negative"], classification())
    assert (labels(data), data.inferred) == (["negative", "positive"], None)


def test_misspelt_label_column_is_reported_with_the_columns(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"columns\.label: unknown column 'lable'\. Did you mean 'label'"):
        read(tmp_path, ["a", "b"], ["a"], without_labels(columns={"label": "lable"}))


def test_hub_class_label_names_the_labels() -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["zero", "one", "two"])}
    )
    rows = datasets.Dataset.from_dict({"text": ["x", "y"], "label": [1, 1]}, features=features)
    found = infer_labels(without_labels(), [Rows(rows, ["text", "label"], "hub")])
    assert found.labels == ("zero", "one", "two")
    assert found.counts == {"zero": 0, "one": 2, "two": 0}


def test_inferred_labels_round_trip_through_the_record(tmp_path: Path) -> None:
    task = read(tmp_path, ["no", "yes"], ["no"]).task
    assert task_from_record(task.to_record()) == task


def test_label_words_need_declared_labels(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(
        "name: t\nkind: classification\nsource: {local: data}\nprompt: '{{ text }}'\nlabel_words: [a, b]\n"
    )
    with pytest.raises(SpecError, match="'label_words' has the order of 'labels'; list the labels too"):
        load_task(file)


def test_label_may_differ_in_case_and_spaces_and_is_counted_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    task = classification(("No", "Yes"))
    data = read(tmp_path, ["No", "yes", " YES ", "No"], ["no"], task)
    assert [e.target for e in data.train] == ["No", "Yes", "Yes", "No"]
    assert [record.message for record in caplog.records] == [
        "task 'sst2': 3 labels are matched without case and surrounding spaces, such as 'yes' as 'Yes'"
    ]


def test_exact_labels_are_not_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    read(tmp_path, ["0", "1", "0"], ["1"], classification())
    read(tmp_path, ["negative", "positive"], ["negative"], classification())
    assert caplog.records == []


def test_ambiguous_label_is_refused(tmp_path: Path) -> None:
    task = classification(("US", "us"))
    assert [e.target for e in read(tmp_path, ["US", " us"], ["US"], task).train] == ["US", "us"]
    with pytest.raises(DataError, match=r"line 2: label 'Us' is ambiguous: without case it is 'US' and 'us'"):
        read(tmp_path, ["US", "Us"], ["US"], task)


def test_key_of_a_mapping_may_differ_in_case(tmp_path: Path) -> None:
    task = without_labels(labels={"Y": "yes", "N": "no"})
    assert [e.target for e in read(tmp_path, ["y", "N "], ["n"], task).train] == ["yes", "no"]
