"""`source.skip_invalid`: up to that many invalid rows are skipped and reported; more refuse the split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lori_cl.errors import DataError, SpecError
from lori_cl.spec import load_task
from lori_cl.tasks import read_task, train_examples

from .task_files import classification, code, generation, multiple_choice, safety, write_bytes, write_rows

GOOD = {"q": "x", "a": "1", "text": "x", "label": "positive", "x": "b", "y": "c", "n": 0, "expect": "refuse"}


def skipping(n: int) -> dict[str, Any]:
    return {"source": {"local": "data", "skip_invalid": n}, "allow_duplicates": True}


def jsonl(folder: Path, *lines: str | dict[str, Any]) -> None:
    texts = [line if isinstance(line, str) else json.dumps({**GOOD, **line}) for line in lines]
    for split in ("train", "test"):
        write_bytes(
            folder / "data" / f"{split}.jsonl", ("\n".join(texts) + "\n").encode("utf-8", "surrogatepass")
        )


BAD = {
    "json": (generation, '{"q": '),
    "list": (generation, "[1]"),
    "twice": (generation, '{"q": "x", "q": "y"}'),
    "not utf-8": (generation, '{"q": "\ud800", "a": "1"}'),
    "half a character": (generation, {"q": "\ud800"}),
    "null": (generation, {"q": None}),
    "missing": (generation, '{"a": "1"}'),
    "empty": (generation, {"a": " "}),
    "object": (generation, {"a": ["1"]}),
    "template": (lambda **more: generation(prompt="{{ 1 // q | length }}{{ q }}", **more), {"q": ""}),
    "label": (classification, {"label": "neutral"}),
    "text": (classification, {"text": 7}),
    "choice": (lambda **more: multiple_choice(answer="{{ n }}", **more), {"n": 5}),
    "choices": (lambda **more: multiple_choice(answer="{{ n }}", **more), {"y": "b"}),
    "unequal": (
        lambda **more: multiple_choice(prompt="{{ a }}", choices="q", answer="0", **more),
        {"q": ["a", "b", "c"]},
    ),
    "expect": (safety, {"expect": "maybe"}),
    "program": (lambda **more: code(program="{{ completion }} = {{ label }}", **more), {"label": "("}),
    "number": (lambda **more: generation(metric="numeric_match", **more), {"a": "none"}),
}


@pytest.mark.parametrize("name", BAD)
def test_invalid_row_is_skipped_reported_and_counted_if_the_task_allows_it(tmp_path: Path, name: str) -> None:
    make, bad = BAD[name]
    first = {"q": ["a", "b"]} if name == "unequal" else {"a": "q"} if name == "program" else {}
    last = {**first, **({"a": "3"} if name != "program" else {})}
    jsonl(tmp_path, first, bad, last)
    with pytest.raises(DataError, match=r"line 2|row 2"):
        read_task(make(allow_duplicates=True), tmp_path)
    data = read_task(make(**skipping(1)), tmp_path)
    assert [example.id for example in data.held_out] == [0, 2]
    held_out = data.skipped[-1]
    assert (held_out.split, held_out.n) == ("test", 1)
    assert held_out.first[0].startswith("test.jsonl, line 2")


def test_too_many_invalid_rows_refuse_the_split(tmp_path: Path) -> None:
    jsonl(tmp_path, {}, {"a": None}, "{", {"q": ""})
    with pytest.raises(DataError) as refused:
        train_examples(generation(**skipping(2)), tmp_path)
    assert "more than 2 invalid rows, the limit in source.skip_invalid; the first: " in str(refused.value)
    assert "line 3" in str(refused.value)
    assert "line 4" in str(refused.value)
    assert len(train_examples(generation(**skipping(3)), tmp_path)) == 1


def test_split_with_only_invalid_rows_is_refused(tmp_path: Path) -> None:
    jsonl(tmp_path, "{", {"q": None})
    with pytest.raises(DataError, match=r"no examples$"):
        train_examples(generation(**skipping(5)), tmp_path)


def test_many_skipped_rows_are_counted_and_the_first_is_reported(tmp_path: Path) -> None:
    jsonl(tmp_path, {}, *[{"q": None}] * 20)
    ((train, held_out),) = [read_task(generation(**skipping(20)), tmp_path).skipped]
    assert (train.n, held_out.n, len(train.first)) == (20, 20, 5)
    assert train.words().startswith("skipped 20 invalid rows of train: train.jsonl, line 2: ")


@pytest.mark.parametrize("row", ["x", "x,1,2", 'x"y,1', '"x"y,1', "\udcff,1"])
def test_invalid_csv_row_is_skipped(tmp_path: Path, row: str) -> None:
    text = f"q,a\nx,1\n{row}\nz,3\n"
    write_bytes(tmp_path / "data" / "train.csv", text.encode("utf-8", "surrogateescape"))
    if row != 'x"y,1':  # a quote is text inside a cell that does not start with a quote
        with pytest.raises(DataError, match="line 3"):
            train_examples(generation(), tmp_path)
    found = train_examples(generation(**skipping(1)), tmp_path)
    assert [example.text for example in found if example.id != 1] == ["x", "z"]


def test_column_missing_from_every_row_is_refused_at_once(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "train.jsonl", [{"text": "a", "label": "positive"}])
    with pytest.raises(DataError, match=r"columns\.text: unknown column 'body'"):
        train_examples(classification(columns={"text": "body"}, **skipping(5)), tmp_path)


def test_skipped_is_refused_in_task_files(tmp_path: Path) -> None:
    path = tmp_path / "task.yaml"
    path.write_text(
        "name: a\nkind: generation\nsource: {local: a}\nprompt: '{{ q }}'\nanswer: '{{ a }}'\nskipped: []\n"
    )
    with pytest.raises(SpecError, match="line 6: 'skipped' is written by add-task; remove it"):
        load_task(path)
