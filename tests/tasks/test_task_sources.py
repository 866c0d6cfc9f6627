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
from lori_cl.tasks import Example, eval_examples, read_task, train_examples
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
def test_source_gives_the_same_examples_in_every_format(tmp_path: Path, ending: str) -> None:
    write_rows(tmp_path / "data" / f"train.{ending}", ROWS)
    assert train_examples(classification(), tmp_path) == EXAMPLES


AMBIGUOUS_TEXTS = [
    "NA", "null", "None", "nan", "123", "007", "1.50", "1e3", "true", "FALSE",
    "2024-01-01", "2024-01-01T10:00:00Z", "12:30", "inf", "-", " spaced ",
]  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("text", AMBIGUOUS_TEXTS)
def test_text_is_read_literally_whatever_it_looks_like(tmp_path: Path, ending: str, text: str) -> None:
    one_row(tmp_path / "data" / f"train.{ending}", text)
    assert texts(train_examples(classification(), tmp_path)) == [text]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "labels", [("true", "false"), ("NA", "EU"), ("no", "yes"), ("1.0", "2.0"), ("01", "02")]
)
def test_label_is_read_literally_whatever_it_looks_like(
    tmp_path: Path, ending: str, labels: tuple[str, str]
) -> None:
    rows = [{"text": "a", "label": labels[0]}, {"text": "b", "label": labels[1]}]
    write_rows(tmp_path / "data" / f"train.{ending}", rows)
    assert [e.target for e in train_examples(classification(labels), tmp_path)] == list(labels)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("answer", ["2024-01-01", "007", "1.50", "NA"])
def test_answer_is_written_literally_whatever_it_looks_like(tmp_path: Path, ending: str, answer: str) -> None:
    write_rows(tmp_path / "data" / f"train.{ending}", [{"q": "which", "a": answer}])
    assert train_examples(generation(), tmp_path) == [Example(0, "which", answer)]


def test_csv_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    write_bytes(tmp_path / "data" / "train.csv", "\ufefftext,label\r\na,positive\r\n".encode())
    assert train_examples(classification(), tmp_path) == [Example(0, "a", "positive")]


def test_local_folder_is_found_next_to_the_task_file(tmp_path: Path) -> None:
    one_row(tmp_path / "data" / "train.jsonl", "beside")
    assert texts(train_examples(classification(), tmp_path)) == ["beside"]


def test_local_folder_is_found_under_lori_cl_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORI_CL_DATA", str(tmp_path / "elsewhere"))
    one_row(tmp_path / "elsewhere" / "data" / "train.jsonl", "elsewhere")
    assert texts(train_examples(classification(), tmp_path)) == ["elsewhere"]


def test_folder_next_to_the_task_file_precedes_lori_cl_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORI_CL_DATA", str(tmp_path / "elsewhere"))
    one_row(tmp_path / "elsewhere" / "data" / "train.jsonl", "elsewhere")
    one_row(tmp_path / "data" / "train.jsonl", "beside")
    assert texts(train_examples(classification(), tmp_path)) == ["beside"]


def test_absolute_folder_is_used_unchanged(tmp_path: Path) -> None:
    one_row(tmp_path / "far" / "train.jsonl", "absolute")
    task = classification(source={"local": str(tmp_path / "far")})
    assert texts(train_examples(task, tmp_path / "unrelated")) == ["absolute"]


def test_tilde_expands_to_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    one_row(tmp_path / "far" / "train.jsonl", "home")
    assert texts(train_examples(classification(source={"local": "~/far"}), tmp_path / "unrelated")) == [
        "home"
    ]


@pytest.mark.parametrize("name", ["two words", "ünï", "data[1]", "all*", "what?", "{a,b}"])
def test_local_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    one_row(tmp_path / name / "train.jsonl", "found")
    assert texts(train_examples(classification(source={"local": name}), tmp_path)) == ["found"]


@pytest.mark.parametrize("split", ["validation", "dev-matched", "dev.v2", "all", "2024"])
def test_local_split_is_the_file_name_without_its_extension(tmp_path: Path, split: str) -> None:
    one_row(tmp_path / "data" / f"{split}.jsonl", split)
    assert texts(train_examples(classification(train={"split": split}), tmp_path)) == [split]


def test_local_copy_is_used_when_both_sources_are_declared(tmp_path: Path) -> None:
    one_row(tmp_path / "data" / "train.jsonl", "local")
    task = classification(source={"local": "data", "hub": "nobody/nothing", "revision": "abc"})
    assert texts(train_examples(task, tmp_path)) == ["local"]


def test_changed_file_is_read_again_even_if_its_mtime_did_not_change(tmp_path: Path) -> None:
    path = tmp_path / "data" / "train.jsonl"
    one_row(path, "old")
    before = path.stat()
    train_examples(classification(), tmp_path)
    one_row(path, "new")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert texts(train_examples(classification(), tmp_path)) == ["new"]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A hub with one data set with integer labels. The returned list records every request."""
    requests: list[tuple[Any, ...]] = []
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])}
    )

    def load(path: str, name: str | None, *, split: str, revision: str) -> datasets.Dataset:
        requests.append((path, name, split, revision))
        return datasets.Dataset.from_dict({"text": ["a", " ", "b"], "label": [1, 0, 0]}, features=features)

    monkeypatch.setattr(datasets, "load_dataset", load)
    return requests


HUB = {"hub": "stanfordnlp/sst2", "config": "main", "revision": "8d51e7e4887a4caaa95b3fbebbf53c0490b58bbb"}


def test_hub_is_queried_for_exactly_the_declared_revision(tmp_path: Path, hub: list[tuple[Any, ...]]) -> None:
    task = classification(
        source={"local": "nowhere", **HUB}, train={"split": "validation"}, columns={"text": "x"}
    )
    with pytest.raises(DataError):
        train_examples(task, tmp_path)
    assert hub == [(HUB["hub"], "main", "validation", HUB["revision"])]


@pytest.mark.usefixtures("hub")
def test_error_in_a_hub_row_names_data_set_split_and_row(tmp_path: Path) -> None:
    message = r"^stanfordnlp/sst2\[train\], row 2: column 'text' contains no text$"
    with pytest.raises(DataError, match=message):
        train_examples(classification(source=HUB), tmp_path)


def test_unreachable_hub_raises_an_error_with_data_set_and_split(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^hub data set 'nobody/nothing', split 'train': .*'nobody/nothing'"):
        train_examples(classification(source={"hub": "nobody/nothing", "revision": "abc"}), tmp_path)


def searched_paths(error: pytest.ExceptionInfo[DataError]) -> str:
    return str(error.value)


def test_missing_folder_is_reported_with_the_searched_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORI_CL_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(DataError, match=r"source\.local: no folder 'data'") as missing:
        train_examples(classification(), tmp_path / "tasks")
    assert f"{tmp_path / 'tasks' / 'data'} and {tmp_path / 'elsewhere' / 'data'}" in searched_paths(missing)


def test_missing_folder_error_mentions_the_data_variable(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="set LORI_CL_DATA to the folder that holds your data") as missing:
        train_examples(classification(), tmp_path)
    assert f"tried {tmp_path / 'data'};" in searched_paths(missing)


def test_missing_split_is_reported_with_the_available_splits(tmp_path: Path) -> None:
    for split in ("dev", "test"):
        one_row(tmp_path / "data" / f"{split}.csv", split)
    (tmp_path / "data" / "README.md").write_text("no split")
    with pytest.raises(
        DataError, match=r"no train\.jsonl, \.json, .*, \.xlsx or \.parquet\. Available: dev, test\.$"
    ):
        train_examples(classification(), tmp_path)


Reader = Callable[[Path], list[Example]]


@pytest.mark.parametrize("field", ["text", "label"])
def test_misspelt_column_error_suggests_the_nearest(tmp_path: Path, field: str) -> None:
    write_rows(tmp_path / "data" / "train.jsonl", ROWS)
    task = classification(columns={field: field + "s"})
    with pytest.raises(
        DataError,
        match=rf"train\.jsonl: columns\.{field}: unknown column '{field}s'\. "
        rf"Did you mean '{field}'\?",
    ):
        train_examples(task, tmp_path)


def test_missing_column_without_a_near_match_lists_the_columns(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "train.jsonl", ROWS)
    message = r"columns\.text: unknown column 'utterance'\. Available: text, label\.$"
    with pytest.raises(DataError, match=message):
        train_examples(classification(columns={"text": "utterance"}), tmp_path)


def test_json_file_is_a_list_of_rows(tmp_path: Path) -> None:
    rows = [{"text": "a"}, {"text": "b", "label": "positive"}]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test.json").write_text(json.dumps(rows), encoding="utf-8")
    assert list(read_split(Source(local="data"), "test", tmp_path).rows) == [
        {"text": "a", "label": None},
        {"text": "b", "label": "positive"},
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"text": "a"}, {"text": }]', r"test.json, line 1: invalid JSON: Expecting value"),
        (b'{"text": "a"}', "test.json: expected a list of JSON objects"),
        (b'[{"text": "\xe9"}]', "test.json: byte 11 is not UTF-8; save the file as UTF-8"),
    ],
)
def test_invalid_json_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test.json").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_split(Source(local="data"), "test", tmp_path)


def test_classification_text_may_be_a_template_over_several_columns(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "test.jsonl", [{"title": "a", "body": "b", "label": "positive"}])
    task = classification(columns={"text": "{{ title }}: {{ body }}"})
    assert texts(eval_examples(task, tmp_path)) == ["a: b"]
    with pytest.raises(DataError, match=r"columns.text: 'heading' is undefined. Columns: title, body, label"):
        eval_examples(classification(columns={"text": "{{ heading }}"}), tmp_path)


def test_training_source_may_differ_from_the_eval_source(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "test.jsonl", [{"text": "a", "label": "positive"}])
    write_rows(tmp_path / "more" / "all.jsonl", [{"text": "b", "label": "negative"}])
    task = classification(train={"source": {"local": "more"}, "split": "all"})
    data = read_task(task, tmp_path)
    assert [texts(data.train), texts(data.held_out)] == [["b"], ["a"]]


def test_examples_in_both_splits_are_counted_and_refused_unless_allowed(tmp_path: Path) -> None:
    rows = [{"text": text, "label": "positive"} for text in "abcd"]
    write_rows(tmp_path / "data" / "train.jsonl", rows)
    write_rows(tmp_path / "data" / "test.jsonl", [{"text": "e", "label": "negative"}, *rows[2:]])
    message = r"task 'sst2': 2 of 3 eval examples are also .* \(the first is row 2 of split 'test'"
    with pytest.raises(DataError, match=message):
        read_task(classification(), tmp_path)
    assert len(read_task(classification(allow_duplicates=True), tmp_path).held_out) == 3
