"""A number in a label column is never silently read as the wrong label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
from pydantic import ValidationError

from lori_cl.errors import DataError
from lori_cl.spec import ClassificationSpec, task_from_record
from lori_cl.tasks import kind_of, read_task
from lori_cl.tasks.rows import Rows

from .task_files import ENDINGS, classification, multiple_choice, write_rows

STARS = [f"{i} star{'s' * (i > 1)}" for i in range(1, 6)]
MAPPING = dict(enumerate(STARS, start=1))


def mapped(labels: Any) -> ClassificationSpec:
    fields = {"name": "stars", "kind": "classification", "source": {"local": "data"}, "labels": labels}
    return ClassificationSpec.model_validate(fields)


def splits(
    tmp_path: Path, task: Any, train: Sequence[Any], test: Sequence[Any], ending: str = "jsonl"
) -> tuple[list[str], list[str]]:
    for split, values in (("train", train), ("test", test)):
        rows = [{"text": f"{split} {i}", "label": value} for i, value in enumerate(values)]
        write_rows(tmp_path / "data" / f"{split}.{ending}", rows)
    data = read_task(task, tmp_path)
    return [e.target for e in data.train], [e.target for e in data.held_out]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("prompt", [None, "{{ text }}:"])
def test_labels_counted_from_1_are_refused_with_the_values_and_the_fix(
    tmp_path: Path, ending: str, prompt: str | None
) -> None:
    with pytest.raises(DataError) as refused:
        splits(tmp_path, classification(STARS, prompt=prompt), [1, 2, 3, 4], [1, 2], ending)
    assert "contains the numbers 1, 2, 3, 4 for 5 labels" in str(refused.value)
    assert "labels: {1: 1 star, 2: 2 stars, 3: 3 stars, …}" in str(refused.value)


@pytest.mark.parametrize(
    "values", [[1, 2, 3, 4, 5], ["1", "5"], [1.0, 2.0], [-1, 0, 4], [0, 1, 2, 3], [2, 3]]
)
def test_label_numbers_with_an_unclear_first_index_are_refused(tmp_path: Path, values: list[Any]) -> None:
    with pytest.raises(DataError, match=r"label .*labels: \{|contains the numbers .*labels: \{"):
        splits(tmp_path, classification(STARS), values, values[:1])


def test_one_split_may_lack_labels_if_the_other_shows_the_first_index(tmp_path: Path) -> None:
    assert splits(tmp_path, classification(STARS), [0, 1, 2, 3, 4], [1, 1])[1] == ["2 stars"] * 2
    assert splits(tmp_path, classification(STARS), [1, 1], [0, 4])[0] == ["2 stars"] * 2


@pytest.mark.parametrize("values", [[1, 2, 5], ["1", "2", "5"], [1.0, 2.0, 5.0]])
def test_mapping_assigns_values_to_labels(tmp_path: Path, values: list[Any]) -> None:
    task = mapped(MAPPING)
    assert task.labels == tuple(STARS)
    assert splits(tmp_path, task, values, [1])[0] == ["1 star", "2 stars", "5 stars"]


def test_mapping_accepts_booleans_and_several_values_per_label(tmp_path: Path) -> None:
    task = mapped({True: "spam", False: "ham", "junk": "spam"})
    assert task.labels == ("spam", "ham")
    assert splits(tmp_path, task, [True, False, "junk", "true"], [True])[0] == ["spam", "ham", "spam", "spam"]


def test_value_missing_from_the_mapping_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"train\.jsonl, line 2: label '6' is not a key of the labels mapping: 1, 2, 3"
    ):
        splits(tmp_path, mapped(MAPPING), [1, 6], [1])


def test_mapping_round_trips_through_its_record_and_changes_no_other_record() -> None:
    task = mapped(MAPPING)
    assert task_from_record(task.to_record()) == task
    assert classification().to_record()["columns"] == {"text": "text", "label": "label"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labels": {1: "a", "1": "b"}}, "lists the value '1' twice"),
        (
            {"labels": ["a", "b"], "columns": {"label_values": {1: "c"}}},
            "unknown label 'c'; add it to labels",
        ),
        ({"labels": {1: "a", 2: "b"}, "columns": {"label_values": {1: "a"}}}, "already a mapping"),
        ({"labels": {1: "a"}}, "at least 2 items"),
        ({"labels": {1: None, 2: "a"}}, "string"),
    ],
)
def test_contradictory_mapping_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ClassificationSpec.model_validate(
            {"name": "t", "kind": "classification", "source": {"local": "data"}, **fields}
        )


def test_hub_class_label_counts_from_0_whatever_values_occur() -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=list("abcde"))}
    )
    rows = datasets.Dataset.from_dict({"text": ["x", "y"], "label": [1, 2]}, features=features)
    task = classification(STARS)
    kind_of(task).check_numbering(task, [Rows(rows, ["text", "label"], "hub")])
    plain = datasets.Dataset.from_dict({"text": ["x", "y"], "label": [1, 2]})
    with pytest.raises(DataError, match="contains the numbers 1, 2 for 5 labels"):
        kind_of(task).check_numbering(task, [Rows(plain, ["text", "label"], "hub")])


@pytest.mark.parametrize(
    ("fields", "answers", "refused"),
    [
        ({}, [1, 1], True),
        ({}, [0, 1], False),
        ({"answer_is": "position"}, [1, 1], False),
        ({"answer": "{{ label - 1 }}"}, [2, 2], False),
    ],
)
def test_choices_possibly_counted_from_1_need_an_explicit_answer_is(
    tmp_path: Path, fields: dict[str, Any], answers: list[int], refused: bool
) -> None:
    for split in ("train", "test"):
        rows = [{"q": f"{split} {i}", "x": "a", "y": "b", "label": n} for i, n in enumerate(answers)]
        write_rows(tmp_path / "data" / f"{split}.jsonl", rows)
    if not refused:
        assert len(read_task(multiple_choice(**fields), tmp_path).held_out) == 2
        return
    with pytest.raises(DataError, match=r"the answers are 1 and never 0, .*answer_is: number"):
        read_task(multiple_choice(**fields), tmp_path)
