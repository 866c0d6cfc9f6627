from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from lori_cl.errors import DataError
from lori_cl.spec.task import Source
from lori_cl.tasks import Example, both_splits, eval_examples, train_examples
from lori_cl.tasks.sources import read_split

from .task_files import ENDINGS, classification, generation, write_bytes, write_rows

ROWS = [
    {"text": 'he said "no", twice', "label": "negative"},
    {"text": "two\nlines and a\ttab", "label": "positive"},
    {"text": "naïve 🙂 \u2028 東京", "label": "positive"},
]
EXAMPLES = [Example(i, row["text"], row["label"]) for i, row in enumerate(ROWS)]


def texts(examples: list[Example]) -> list[str]:
    return [example.text for example in examples]


def one_row(path: Path, text: str) -> None:
    write_rows(path, [{"text": text, "label": "positive"}])


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_source_gives_the_same_examples_in_every_format(tmp_path: Path, ending: str) -> None:
    write_rows(tmp_path / "data" / f"train.{ending}", ROWS)
    assert train_examples(classification(), tmp_path) == EXAMPLES


LOOKS_LIKE_SOMETHING_ELSE = [
    "NA", "null", "None", "nan", "123", "007", "1.50", "1e3", "true", "FALSE",
    "2024-01-01", "2024-01-01T10:00:00Z", "12:30", "inf", "-", " spaced ",
]  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("text", LOOKS_LIKE_SOMETHING_ELSE)
def test_a_text_is_taken_as_it_stands_whatever_it_looks_like(tmp_path: Path, ending: str, text: str) -> None:
    one_row(tmp_path / "data" / f"train.{ending}", text)
    assert texts(train_examples(classification(), tmp_path)) == [text]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "labels", [("true", "false"), ("NA", "EU"), ("no", "yes"), ("1.0", "2.0"), ("01", "02")]
)
def test_a_label_is_taken_as_it_stands_whatever_it_looks_like(
    tmp_path: Path, ending: str, labels: tuple[str, str]
) -> None:
    rows = [{"text": "a", "label": labels[0]}, {"text": "b", "label": labels[1]}]
    write_rows(tmp_path / "data" / f"train.{ending}", rows)
    assert [e.target for e in train_examples(classification(labels), tmp_path)] == list(labels)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("answer", ["2024-01-01", "007", "1.50", "NA"])
def test_an_answer_is_written_as_it_stands_whatever_it_looks_like(
    tmp_path: Path, ending: str, answer: str
) -> None:
    write_rows(tmp_path / "data" / f"train.{ending}", [{"q": "which", "a": answer}])
    assert train_examples(generation(), tmp_path) == [Example(0, "which", answer)]


def test_a_csv_from_a_spreadsheet_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    write_bytes(tmp_path / "data" / "train.csv", "\ufefftext,label\r\na,positive\r\n".encode())
    assert train_examples(classification(), tmp_path) == [Example(0, "a", "positive")]


def test_a_local_folder_is_found_beside_the_tasks_file(tmp_path: Path) -> None:
    one_row(tmp_path / "data" / "train.jsonl", "beside")
    assert texts(train_examples(classification(), tmp_path)) == ["beside"]


def test_a_local_folder_that_is_not_beside_is_found_under_lori_cl_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORI_CL_DATA", str(tmp_path / "elsewhere"))
    one_row(tmp_path / "elsewhere" / "data" / "train.jsonl", "elsewhere")
    assert texts(train_examples(classification(), tmp_path)) == ["elsewhere"]


def test_the_folder_beside_goes_before_the_one_under_lori_cl_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORI_CL_DATA", str(tmp_path / "elsewhere"))
    one_row(tmp_path / "elsewhere" / "data" / "train.jsonl", "elsewhere")
    one_row(tmp_path / "data" / "train.jsonl", "beside")
    assert texts(train_examples(classification(), tmp_path)) == ["beside"]


def test_an_absolute_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    one_row(tmp_path / "far" / "train.jsonl", "absolute")
    task = classification(source={"local": str(tmp_path / "far")})
    assert texts(train_examples(task, tmp_path / "unrelated")) == ["absolute"]


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    one_row(tmp_path / "far" / "train.jsonl", "home")
    assert texts(train_examples(classification(source={"local": "~/far"}), tmp_path / "unrelated")) == [
        "home"
    ]


@pytest.mark.parametrize("name", ["two words", "ünï", "data[1]", "all*", "what?", "{a,b}"])
def test_a_local_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    one_row(tmp_path / name / "train.jsonl", "found")
    assert texts(train_examples(classification(source={"local": name}), tmp_path)) == ["found"]


@pytest.mark.parametrize("split", ["validation", "dev-matched", "dev.v2", "all", "2024"])
def test_a_local_split_is_the_files_name_without_its_ending(tmp_path: Path, split: str) -> None:
    one_row(tmp_path / "data" / f"{split}.jsonl", split)
    assert texts(train_examples(classification(train={"split": split}), tmp_path)) == [split]


def test_the_local_copy_is_used_where_both_are_named(tmp_path: Path) -> None:
    one_row(tmp_path / "data" / "train.jsonl", "local")
    task = classification(source={"local": "data", "hub": "nobody/nothing", "revision": "abc"})
    assert texts(train_examples(task, tmp_path)) == ["local"]


def test_a_file_that_changed_is_read_anew_though_its_time_did_not(tmp_path: Path) -> None:
    path = tmp_path / "data" / "train.jsonl"
    one_row(path, "old")
    before = path.stat()
    train_examples(classification(), tmp_path)
    one_row(path, "new")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert texts(train_examples(classification(), tmp_path)) == ["new"]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A hub with one data set whose labels are whole numbers; what it is asked is noted here."""
    asked: list[tuple[Any, ...]] = []
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])}
    )

    def load(path: str, name: str | None, *, split: str, revision: str) -> datasets.Dataset:
        asked.append((path, name, split, revision))
        return datasets.Dataset.from_dict({"text": ["a", " ", "b"], "label": [1, 0, 0]}, features=features)

    monkeypatch.setattr(datasets, "load_dataset", load)
    return asked


HUB = {"hub": "stanfordnlp/sst2", "config": "main", "revision": "8d51e7e4887a4caaa95b3fbebbf53c0490b58bbb"}


def test_the_hub_is_asked_for_exactly_the_named_revision(tmp_path: Path, hub: list[tuple[Any, ...]]) -> None:
    task = classification(
        source={"local": "nowhere", **HUB}, train={"split": "validation"}, columns={"text": "x"}
    )
    with pytest.raises(DataError):
        train_examples(task, tmp_path)
    assert hub == [(HUB["hub"], "main", "validation", HUB["revision"])]


@pytest.mark.usefixtures("hub")
def test_a_row_from_the_hub_is_named_by_data_set_split_and_row(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^stanfordnlp/sst2\[train\], row 2: column 'text' holds no text$"):
        train_examples(classification(source=HUB), tmp_path)


def test_a_hub_that_cannot_be_reached_is_an_error_that_names_data_set_and_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^hub data set 'nobody/nothing', split 'train': .*'nobody/nothing'"):
        train_examples(classification(source={"hub": "nobody/nothing", "revision": "abc"}), tmp_path)


def looked_for(error: pytest.ExceptionInfo[DataError]) -> str:
    return str(error.value)


def test_a_missing_folder_is_answered_with_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORI_CL_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(DataError, match=r"source\.local 'data' is no folder") as missing:
        train_examples(classification(), tmp_path / "tasks")
    assert f"{tmp_path / 'tasks' / 'data'} and {tmp_path / 'elsewhere' / 'data'}" in looked_for(missing)


def test_a_missing_folder_is_answered_with_the_variable_that_would_help(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="set LORI_CL_DATA to the folder that holds your data") as missing:
        train_examples(classification(), tmp_path)
    assert f"looked for {tmp_path / 'data'};" in looked_for(missing)


def test_a_missing_split_is_answered_with_those_that_are_there(tmp_path: Path) -> None:
    for split in ("dev", "test"):
        one_row(tmp_path / "data" / f"{split}.csv", split)
    (tmp_path / "data" / "README.md").write_text("no split")
    with pytest.raises(
        DataError, match=r"no train\.jsonl, \.json, \.csv or \.parquet\. There are: dev, test\.$"
    ):
        train_examples(classification(), tmp_path)


Reader = Callable[[Path], list[Example]]


@pytest.mark.parametrize("field", ["text", "label"])
def test_a_misspelt_column_is_answered_with_the_nearest(tmp_path: Path, field: str) -> None:
    write_rows(tmp_path / "data" / "train.jsonl", ROWS)
    task = classification(columns={field: field + "s"})
    with pytest.raises(
        DataError,
        match=rf"train\.jsonl: columns\.{field} names '{field}s', which is no column\. "
        rf"Did you mean '{field}'\?",
    ):
        train_examples(task, tmp_path)


def test_a_missing_column_with_no_near_name_is_answered_with_those_there_are(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "train.jsonl", ROWS)
    with pytest.raises(DataError, match=r"columns\.text names 'utterance', .* There are: text, label\.$"):
        train_examples(classification(columns={"text": "utterance"}), tmp_path)


def test_a_json_file_is_a_list_of_rows(tmp_path: Path) -> None:
    rows = [{"text": "a"}, {"text": "b", "label": "positive"}]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test.json").write_text(json.dumps(rows), encoding="utf-8")
    assert list(read_split(Source(local="data"), "test", tmp_path).rows) == [
        {"text": "a", "label": None},
        {"text": "b", "label": "positive"},
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'[{"text": "a"}, {"text": }]', r"test.json, line 1: this is no JSON: Expecting value"),
        (b'{"text": "a"}', "test.json: expected a list of JSON objects"),
        (b'[{"text": "\xe9"}]', "test.json: byte 11 is not UTF-8; save the file as UTF-8"),
    ],
)
def test_a_json_file_that_is_none_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test.json").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_split(Source(local="data"), "test", tmp_path)


def test_a_classified_text_may_be_a_template_over_several_columns(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "test.jsonl", [{"title": "a", "body": "b", "label": "positive"}])
    task = classification(columns={"text": "{{ title }}: {{ body }}"})
    assert texts(eval_examples(task, tmp_path)) == ["a: b"]
    with pytest.raises(DataError, match=r"columns.text: 'heading' is undefined. Columns: title, body, label"):
        eval_examples(classification(columns={"text": "{{ heading }}"}), tmp_path)


def test_a_task_may_learn_from_another_source(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "test.jsonl", [{"text": "a", "label": "positive"}])
    write_rows(tmp_path / "more" / "all.jsonl", [{"text": "b", "label": "negative"}])
    task = classification(train={"source": {"local": "more"}, "split": "all"})
    assert [texts(examples) for examples in both_splits(task, tmp_path)] == [["b"], ["a"]]


def test_examples_in_both_splits_are_counted_and_refused_unless_allowed(tmp_path: Path) -> None:
    rows = [{"text": text, "label": "positive"} for text in "abcd"]
    write_rows(tmp_path / "data" / "train.jsonl", rows)
    write_rows(tmp_path / "data" / "test.jsonl", [{"text": "e", "label": "negative"}, *rows[2:]])
    said = r"task 'sst2': 2 of 3 eval examples stand .* \(the first is row 2 of split 'test'\)"
    with pytest.raises(DataError, match=said):
        both_splits(classification(), tmp_path)
    assert len(both_splits(classification(allow_duplicates=True), tmp_path)[1]) == 3
